//! Sockets that have addresses which are not this machine's (`IP_TRANSPARENT`, ip(7)): by them a sidecar takes what the kernel hands over as it
//! was sent, and calls its workload in its client's name. The process needs `CAP_NET_ADMIN`.

use std::io;
use std::net::SocketAddr;

use socket2::SockRef;

/// In whose name an instance is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The address; port 0 is any.
    pub address: SocketAddr,
    /// What marks the packets, so that the answers find the way back; 0 is no mark.
    pub mark: u32,
}

/// Lets a socket have any address, of the family of this one.
///
/// # Errors
/// If the process may not, or the system knows no such sockets.
#[cfg(target_os = "linux")]
pub fn set<'s>(socket: impl Into<SockRef<'s>>, family: SocketAddr) -> io::Result<()> {
    let socket = socket.into();
    let set = if family.is_ipv4() { socket.set_ip_transparent_v4(true) } else { socket.set_ip_transparent_v6(true) };
    set.map_err(|error| io::Error::new(error.kind(), format!("it must be transparent, for which the process needs CAP_NET_ADMIN: {error}")))
}

/// Gives a socket the address and the mark of a source, before it connects.
///
/// # Errors
/// If the process may not.
#[cfg(target_os = "linux")]
pub fn speak_for(socket: &tokio::net::TcpSocket, source: Source) -> io::Result<()> {
    set(socket, source.address)?;
    if source.mark != 0 {
        SockRef::from(socket).set_mark(source.mark)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(source.address)
}

#[cfg(not(target_os = "linux"))]
pub fn set<'s>(_: impl Into<SockRef<'s>>, _: SocketAddr) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "only Linux has transparent sockets"))
}

#[cfg(not(target_os = "linux"))]
pub fn speak_for(socket: &tokio::net::TcpSocket, source: Source) -> io::Result<()> {
    set(socket, source.address)
}
