//! Who the client of a connection is, where a proxy stands before this one that tells it by the PROXY protocol.

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use weir_config::listener::Inspect;
use weir_config::proxy_protocol::AnnouncedClients;

use super::chain::NotServed;
use crate::io::proxy_protocol::{Beginning, Client, read as parse};

/// Where a connection comes from.
pub(super) struct Origin {
    /// The client and the address that it connected to.
    pub client: Client,
    /// Where it was going to, where that is known apart from the socket.
    pub destination: Option<SocketAddr>,
    /// What was read of it.
    pub read: Vec<u8>,
}

/// Reads the header that a connection begins with, and takes over what it says.
///
/// # Errors
/// If there is none that is taken, or it does not come in time.
pub(super) async fn read(
    stream: &mut TcpStream,
    clients: AnnouncedClients,
    inspect: Inspect,
    origin: &mut Origin,
) -> Result<(), NotServed> {
    // Who stands before us says it at once: nobody's silence is waited for.
    let limit = inspect.once_begun.unwrap_or(inspect.timeout);
    let beginning = tokio::time::timeout(limit, beginning(stream, &mut origin.read)).await;
    match beginning.map_err(|_| NotServed::NotUnderstood)?? {
        Beginning::Header(version, client, length) if clients.takes(version) => {
            origin.read.drain(..length);
            if let Some(client) = client {
                origin.client = client;
                origin.destination = Some(client.local);
            }
            Ok(())
        }
        Beginning::Other if clients.or_not => Ok(()),
        _ => Err(NotServed::NotAnnounced),
    }
}

async fn beginning(stream: &mut TcpStream, read: &mut Vec<u8>) -> io::Result<Beginning> {
    loop {
        match parse(read) {
            Beginning::Unfinished => {}
            known => return Ok(known),
        }
        if stream.read_buf(read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
