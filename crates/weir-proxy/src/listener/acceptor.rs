//! The socket that one worker accepts at.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker};

use tokio::net::{TcpListener, TcpStream, UnixListener};

use super::sockets::Opened;
use crate::io::unix_socket::as_tcp;

/// A socket that accepts connections.
pub enum Acceptor {
    /// At an address.
    Tcp(TcpListener),
    /// At a path, and the address that stands for that.
    Unix(UnixListener, SocketAddr),
}

impl Acceptor {
    /// For the worker that this is called on: a socket at this address.
    ///
    /// # Errors
    /// If the system does not tell of connections at it.
    pub fn new(opened: Opened, address: SocketAddr) -> io::Result<Self> {
        Ok(match opened {
            Opened::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket)?),
            Opened::Unix(socket) => Self::Unix(UnixListener::from_std(socket)?, address),
        })
    }

    /// Waits for a connection: its stream, and who is at the other side.
    ///
    /// # Errors
    /// If the system gives none.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        std::future::poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// A connection that waits already.
    pub fn accept_now(&self) -> Option<io::Result<(TcpStream, SocketAddr)>> {
        match self.poll_accept(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(accepted) => Some(accepted),
            Poll::Pending => None,
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        match self {
            Self::Tcp(socket) => socket.poll_accept(cx),
            // Clients have no name of their own there: as with Envoy they are known by the path.
            Self::Unix(socket, address) => {
                socket.poll_accept(cx).map(|accepted| accepted.and_then(|(stream, _)| Ok((as_tcp(stream)?, *address))))
            }
        }
    }
}
