//! The socket that one worker accepts at.

use std::io;
use std::net::{IpAddr, SocketAddr};
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
            Self::Tcp(socket) => socket.poll_accept(cx).map_ok(|(stream, remote)| (stream, plain(remote))),
            // Clients have no name of their own there: as with Envoy they are known by the path.
            Self::Unix(socket, address) => {
                socket.poll_accept(cx).map(|accepted| accepted.and_then(|(stream, _)| Ok((as_tcp(stream)?, *address))))
            }
        }
    }
}

/// An address of IPv4 as itself: a socket for both families writes it as one of IPv6, which no rule about addresses would know.
pub(super) fn plain(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(plain) => (plain, address.port()).into(),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_of_ipv4_is_known_by_its_own_address_at_a_socket_for_both() {
        let socket = std::net::TcpListener::bind("[::]:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let place = socket.local_addr().unwrap();
        let acceptor = Acceptor::new(Opened::Tcp(socket), place).unwrap();
        for loopback in ["127.0.0.1", "::1"] {
            let client = TcpStream::connect((loopback, place.port())).await.unwrap();
            let (stream, remote) = acceptor.accept().await.unwrap();
            assert_eq!(remote, client.local_addr().unwrap());
            assert_eq!(plain(stream.local_addr().unwrap()), client.peer_addr().unwrap());
        }
    }
}
