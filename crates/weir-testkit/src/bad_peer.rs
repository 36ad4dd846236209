//! Instances that misbehave, as a script says: what to do with each connection, in order, byte by byte.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::peer::own_address;
use crate::wait::DEADLINE;

/// One thing that an instance does on a connection. At the end of its list it closes the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Reads a request: its head, and the body if `content-length` tells how long that is.
    Read,
    /// Reads only the head of a request.
    ReadHead,
    /// Reads so many bytes of a body.
    ReadBytes(usize),
    /// Says this.
    Say(&'static str),
    /// Says `x` so many times.
    Fill(usize),
    /// Waits until the test says [`BadPeer::go_on`], once for each wait of all connections.
    Wait,
    /// Waits until the other side has ended.
    UntilEnd,
    /// Ends the connection with an RST.
    Reset,
}

/// An instance that does what its script says.
pub struct BadPeer {
    address: SocketAddr,
    progress: Arc<Progress>,
    task: Option<JoinHandle<()>>,
}

/// What the peer and the test tell each other.
#[derive(Default)]
struct Progress {
    accepted: watch::Sender<usize>,
    requests: watch::Sender<usize>,
    received: watch::Sender<usize>,
    waits: watch::Sender<usize>,
    allowed: watch::Sender<usize>,
    closed: watch::Sender<usize>,
}

impl BadPeer {
    /// An instance with a list for each connection, in their order; the last is for all that follow.
    ///
    /// # Panics
    /// If it cannot listen.
    pub async fn start(script: &[&[Act]]) -> Self {
        let listener = TcpListener::bind((own_address(), 0)).await.expect("a peer's address is its own");
        let address = listener.local_addr().expect("a listener has an address");
        let progress = Arc::new(Progress::default());
        let script: Vec<Vec<Act>> = script.iter().map(|acts| acts.to_vec()).collect();
        let task = tokio::spawn(serve(listener, script, progress.clone()));
        Self { address, progress, task: Some(task) }
    }

    /// An instance that refuses all connections.
    ///
    /// # Panics
    /// If there is no address for it.
    pub async fn refusing() -> Self {
        let mut peer = Self::start(&[&[]]).await;
        if let Some(task) = peer.task.take() {
            task.abort();
            // Only afterwards is its listener closed.
            assert!(task.await.is_err(), "it serves until it is aborted");
        }
        peer
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has accepted.
    pub fn accepted(&self) -> usize {
        *self.progress.accepted.borrow()
    }

    /// How many heads of requests it has read.
    pub fn requests(&self) -> usize {
        *self.progress.requests.borrow()
    }

    /// How many bytes of bodies it has read.
    pub fn received(&self) -> usize {
        *self.progress.received.borrow()
    }

    /// Waits until it has come to so many [`Act::Wait`]s.
    ///
    /// # Panics
    /// If it does not.
    pub async fn waits(&self, times: usize) {
        reached(&self.progress.waits, times).await;
    }

    /// Waits until it has read so many heads of requests.
    ///
    /// # Panics
    /// If it does not.
    pub async fn has_read(&self, requests: usize) {
        reached(&self.progress.requests, requests).await;
    }

    /// Waits until it has ended so many connections.
    ///
    /// # Panics
    /// If it does not.
    pub async fn has_closed(&self, connections: usize) {
        reached(&self.progress.closed, connections).await;
    }

    /// Lets it go on from so many more [`Act::Wait`]s.
    pub fn go_on(&self, times: usize) {
        self.progress.allowed.send_modify(|allowed| *allowed += times);
    }
}

impl Drop for BadPeer {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn reached(count: &watch::Sender<usize>, least: usize) {
    let mut count = count.subscribe();
    let reached = timeout(DEADLINE, count.wait_for(|count| *count >= least)).await;
    reached.expect("it comes in time").expect("a peer does not go away");
}

fn increase(count: &watch::Sender<usize>, by: usize) -> usize {
    let mut now = 0;
    count.send_modify(|count| {
        *count += by;
        now = *count;
    });
    now
}

async fn serve(listener: TcpListener, script: Vec<Vec<Act>>, progress: Arc<Progress>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let number = increase(&progress.accepted, 1);
        let acts = script.get(number - 1).or(script.last()).cloned().unwrap_or_default();
        // That the other side goes away is what some tests are about.
        let progress = progress.clone();
        connections.spawn(async move {
            let _ = play(stream, acts, &progress).await;
            increase(&progress.closed, 1);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn play(mut stream: TcpStream, acts: Vec<Act>, progress: &Progress) -> io::Result<()> {
    let mut read = Vec::new();
    for act in acts {
        match act {
            Act::Read => {
                let length = read_head(&mut stream, &mut read, progress).await?;
                read_body(&mut stream, &mut read, length, progress).await?;
            }
            Act::ReadHead => drop(read_head(&mut stream, &mut read, progress).await?),
            Act::ReadBytes(length) => read_body(&mut stream, &mut read, length, progress).await?,
            Act::Say(text) => stream.write_all(text.as_bytes()).await?,
            Act::Fill(length) => {
                let piece = [b'x'; 16 * 1024];
                let mut rest = length;
                while rest > 0 {
                    let now = rest.min(piece.len());
                    stream.write_all(&piece[..now]).await?;
                    rest -= now;
                }
            }
            Act::Wait => {
                let mine = increase(&progress.waits, 1);
                let mut allowed = progress.allowed.subscribe();
                let _ = allowed.wait_for(|allowed| *allowed >= mine).await;
            }
            Act::UntilEnd => while stream.read(&mut [0; 4096]).await? > 0 {},
            Act::Reset => {
                stream.set_zero_linger()?;
                return Ok(());
            }
        }
    }
    stream.shutdown().await
}

/// Reads a head, and tells how long the body is that follows; what was read of it already stays in `read`.
async fn read_head(stream: &mut TcpStream, read: &mut Vec<u8>, progress: &Progress) -> io::Result<usize> {
    let end = loop {
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head: Vec<u8> = read.drain(..end).collect();
    increase(&progress.requests, 1);
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    Ok(length.unwrap_or(0))
}

async fn read_body(stream: &mut TcpStream, read: &mut Vec<u8>, length: usize, progress: &Progress) -> io::Result<()> {
    let mut rest = length;
    loop {
        let now = rest.min(read.len());
        read.drain(..now);
        rest -= now;
        if now > 0 {
            increase(&progress.received, now);
        }
        if rest == 0 {
            return Ok(());
        }
        if stream.read_buf(read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
