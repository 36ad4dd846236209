//! Answers questions of DNS beside a workload: names of the mesh as the control plane tells them, all others as the servers that were asked
//! before. Over UDP and TCP.

mod reply;
mod upstream;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use weir_config::name_table::NameTable;

use reply::{Reply, Transport, failure};
pub use upstream::Upstream;

/// So many questions may wait for other servers, and so many connections of clients may be open.
const MOST: usize = 1024;
/// How long a connection may say nothing.
const SILENCE: Duration = Duration::from_secs(10);
/// The longest message over UDP, and over TCP.
const LONGEST: usize = 65_535;

/// What is known of the mesh's names; none until the control plane has told them.
pub type Names = watch::Receiver<Option<Arc<NameTable>>>;

/// A server that is bound.
pub struct NameServer {
    datagrams: Arc<UdpSocket>,
    connections: TcpListener,
    shared: Arc<Shared>,
}

/// What all questions have in common.
struct Shared {
    names: Names,
    upstream: Upstream,
    permits: Arc<Semaphore>,
}

impl NameServer {
    /// One at an address, both over UDP and TCP.
    ///
    /// # Errors
    /// If one of them cannot be had.
    pub async fn bind(address: SocketAddr, names: Names, upstream: Upstream) -> io::Result<Self> {
        let datagrams = UdpSocket::bind(address).await?;
        // Port 0 is one port for both.
        let connections = TcpListener::bind(datagrams.local_addr()?).await?;
        let shared = Shared { names, upstream, permits: Arc::new(Semaphore::new(MOST)) };
        Ok(Self { datagrams: Arc::new(datagrams), connections, shared: Arc::new(shared) })
    }

    /// Where it is.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.datagrams.local_addr()
    }

    /// Answers for as long as it is polled.
    pub async fn run(self) {
        let Self { datagrams, connections, shared } = self;
        tokio::join!(answer_datagrams(datagrams, shared.clone()), answer_connections(connections, shared));
    }
}

impl Shared {
    /// The answer to a question; none if there is to be none.
    async fn answer(&self, question: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let names = self.names.borrow().clone();
        match reply::to(question, names.as_deref(), transport) {
            Reply::Answer(answer) => Some(answer),
            Reply::Elsewhere => self.upstream.ask(question, transport).await.or_else(|| failure(question)),
            Reply::Nothing => None,
        }
    }
}

async fn answer_datagrams(socket: Arc<UdpSocket>, shared: Arc<Shared>) {
    let mut buffer = vec![0; LONGEST];
    loop {
        // An error is about an earlier answer, whose client has gone away.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        let Some(question) = buffer.get(..length).map(<[u8]>::to_vec) else { continue };
        // Who asks more than can be answered asks again.
        let Ok(permit) = shared.permits.clone().try_acquire_owned() else { continue };
        let (socket, shared) = (socket.clone(), shared.clone());
        tokio::spawn(async move {
            if let Some(answer) = shared.answer(&question, Transport::Udp).await {
                let _ = socket.send_to(&answer, client).await;
            }
            drop(permit);
        });
    }
}

async fn answer_connections(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok(permit) = shared.permits.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    let _ = answer_connection(stream, &shared).await;
                    drop(permit);
                });
            }
            // No more files may be open: some will be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Answers what comes by one connection, question by question.
async fn answer_connection(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    loop {
        let question = tokio::time::timeout(SILENCE, read(&mut stream)).await??;
        let Some(answer) = shared.answer(&question, Transport::Tcp).await else { return Ok(()) };
        tokio::time::timeout(SILENCE, write(&mut stream, &answer)).await??;
    }
}

/// Reads a message as TCP carries it: behind its length.
async fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await
}
