//! Where a server accepts: at an address, or at the path of a Unix socket.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::stream::Peer;

/// How a path is told from an address, where either may be named.
pub const UNIX: &str = "unix:";

/// The path that a server's name stands for, if it is a path: `unix:PATH`, or `unix://PATH`.
pub fn socket_path(server: &str) -> Option<&str> {
    let path = server.strip_prefix(UNIX)?;
    Some(path.strip_prefix("//").unwrap_or(path))
}

/// A socket at which clients are accepted.
#[derive(Debug)]
pub enum Listener {
    /// At an address. A process of the same user of this machine may have secrets.
    Tcp(TcpListener),
    /// At an address where nobody may have them.
    Untrusted(TcpListener),
    /// At a path. Who may open that file may have secrets.
    Unix(UnixListener),
}

/// A client that was accepted.
pub(super) enum Accepted {
    Tcp(TcpStream),
    Untrusted(TcpStream),
    Unix(UnixStream),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

impl Listener {
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => accept(listener).await.map(Accepted::Tcp),
            Self::Untrusted(listener) => accept(listener).await.map(Accepted::Untrusted),
            Self::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }
}

async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let (socket, _) = listener.accept().await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

impl Accepted {
    /// Who is at the other end.
    pub fn peer(&self) -> Peer {
        match self {
            Self::Tcp(socket) => ends(socket).map_or(Peer::Unknown, |(peer, local)| Peer::Tcp { peer, local }),
            Self::Untrusted(socket) => ends(socket).map_or(Peer::Unknown, |(peer, local)| Peer::Stranger { peer, local }),
            Self::Unix(socket) => socket.peer_cred().map_or(Peer::Unknown, |credentials| Peer::Unix { user: credentials.uid() }),
        }
    }
}

/// The other end of a connection, and this one.
fn ends(socket: &TcpStream) -> io::Result<(SocketAddr, SocketAddr)> {
    Ok((socket.peer_addr()?, socket.local_addr()?))
}

/// Connects to a path, or to a name of the abstract namespace that `@` begins.
///
/// # Errors
/// If nobody accepts there.
pub async fn open_path(path: &str) -> io::Result<UnixStream> {
    match path.strip_prefix('@') {
        // For the system, such names begin with a zero.
        Some(name) => UnixStream::connect(format!("\0{name}")).await,
        None => UnixStream::connect(path).await,
    }
}
