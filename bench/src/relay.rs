//! The floor: what it costs to be between two sockets, and nothing else. For each client a connection to the upstream; bytes are
//! copied and not looked at, so that it serves HTTP/1.1 and HTTP/2 alike, and knows no routes.

use std::net::Ipv4Addr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// As much as is copied at once.
const BUFFER: usize = 64 * 1024;

/// Serves until it is killed: where it listens, and where it connects.
pub(crate) fn run([port, upstream]: [u16; 2]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
        loop {
            let (client, _) = listener.accept().await?;
            // A client that goes is no fault, and an upstream that is gone shows as a client's error.
            tokio::task::spawn_local(async move { relay(client, upstream).await });
        }
    })
}

async fn relay(mut client: TcpStream, upstream: u16) -> std::io::Result<()> {
    let mut upstream = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)).await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_upstream, mut to_upstream) = upstream.split();
    let (one, other) = tokio::join!(copy(&mut from_client, &mut to_upstream), copy(&mut from_upstream, &mut to_client));
    one.and(other)
}

/// Until the end, which is passed on.
async fn copy(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(buffer.get(..count).unwrap_or_default()).await?;
    }
}
