//! Answers questions of DNS beside a workload: names of the mesh as the control plane tells them, all others as the servers that were asked
//! before. Over UDP and TCP.

mod message;
mod reply;
mod upstream;
mod waiting;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use weir_config::name_table::NameTable;

use reply::{Reply, Transport, failure};
pub use upstream::Upstream;
use waiting::Waiting;

/// So many questions may wait for other servers: the mesh's own names are answered whatever becomes of those.
const WAITING: usize = 1024;
/// So many connections of clients may be open.
const CONNECTIONS: usize = 256;
/// How long one of them may last, so that nobody holds all of them for ever.
const LIFE: Duration = Duration::from_secs(60);
/// How often a port is looked for that is free over both UDP and TCP.
const TRIES: usize = 16;
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
    /// What the upstream is being asked.
    asked: Waiting,
    /// How many may still wait for that.
    waiting: Semaphore,
    /// Whether it was said that questions come back.
    told: AtomicBool,
}

impl NameServer {
    /// One at an address, both over UDP and TCP.
    ///
    /// # Errors
    /// If one of them cannot be had.
    pub async fn bind(address: SocketAddr, names: Names, upstream: Upstream) -> io::Result<Self> {
        let (datagrams, connections) = bind_both(address).await?;
        let (asked, waiting) = (Waiting::new(upstream.clone()), Semaphore::new(WAITING));
        let shared = Shared { names, upstream, asked, waiting, told: AtomicBool::new(false) };
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

/// The same address for both. Port 0 is one port for both, which somebody else may have over TCP.
async fn bind_both(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = if address.port() == 0 { TRIES } else { 1 };
    loop {
        tries -= 1;
        let datagrams = UdpSocket::bind(address).await?;
        match TcpListener::bind(datagrams.local_addr()?).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            connections => return Ok((datagrams, connections?)),
        }
    }
}

impl Shared {
    /// What is said by what is known here.
    fn reply(&self, question: &[u8], transport: Transport) -> Reply {
        reply::to(question, self.names.borrow().clone().as_deref(), transport)
    }

    /// What others say; that there is no answer if none does, too many questions wait already, or it is our own question.
    async fn elsewhere(&self, question: &[u8], client: SocketAddr, transport: Transport) -> Option<Vec<u8>> {
        if self.upstream.is_own(client, transport) {
            self.tell_of_loop();
            return failure(question);
        }
        let Ok(_permit) = self.waiting.try_acquire() else { return failure(question) };
        self.asked.ask(question, transport).await.or_else(|| failure(question))
    }

    fn tell_of_loop(&self) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "what this proxy asks a DNS server comes back to it: the server is the proxy itself, or the capture does not know the \
                 proxy's user and group; such questions are not answered"
            );
        }
    }
}

async fn answer_datagrams(socket: Arc<UdpSocket>, shared: Arc<Shared>) {
    let mut buffer = vec![0; LONGEST];
    loop {
        // An error is about an earlier answer, whose client has gone away.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        let Some(question) = buffer.get(..length) else { continue };
        match shared.reply(question, Transport::Udp) {
            // Who cannot take it now asks again.
            Reply::Answer(answer) => drop(socket.try_send_to(&answer, client)),
            Reply::Nothing => {}
            Reply::Elsewhere => {
                let (question, socket, shared) = (question.to_vec(), socket.clone(), shared.clone());
                tokio::spawn(async move {
                    if let Some(answer) = shared.elsewhere(&question, client, Transport::Udp).await {
                        let _ = socket.send_to(&answer, client).await;
                    }
                });
            }
        }
    }
}

async fn answer_connections(listener: TcpListener, shared: Arc<Shared>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, client)) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(LIFE, answer_connection(stream, client, &shared)).await;
                    drop(permit);
                });
            }
            // No more files may be open: some will be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Answers what comes by one connection, question by question.
async fn answer_connection(mut stream: TcpStream, client: SocketAddr, shared: &Shared) -> io::Result<()> {
    loop {
        let question = tokio::time::timeout(SILENCE, read(&mut stream)).await??;
        let answer = match shared.reply(&question, Transport::Tcp) {
            Reply::Answer(answer) => Some(answer),
            Reply::Elsewhere => shared.elsewhere(&question, client, Transport::Tcp).await,
            Reply::Nothing => None,
        };
        let Some(answer) = answer else { return Ok(()) };
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
