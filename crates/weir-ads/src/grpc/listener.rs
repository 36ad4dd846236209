//! Where a server accepts: at an address, or at the path of a Unix socket.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::certificates::Caller;

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
    /// At an address.
    Tcp(TcpListener),
    /// At a path. Who may open that file may have secrets.
    Unix(UnixListener),
}

/// A client that was accepted.
pub(super) enum Accepted {
    Tcp(TcpStream, SocketAddr),
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
            Self::Tcp(listener) => {
                let (socket, peer) = listener.accept().await?;
                socket.set_nodelay(true)?;
                Ok(Accepted::Tcp(socket, peer))
            }
            Self::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }
}

impl Accepted {
    /// Who it is.
    pub fn caller(&self) -> Caller {
        match self {
            Self::Tcp(_, peer) => Caller::Connected(*peer),
            Self::Unix(_) => Caller::AtSocket,
        }
    }
}
