//! Sockets that have addresses which are not this machine's (`IP_TRANSPARENT`, ip(7)): by them a sidecar takes what the kernel hands over as it
//! was sent, and calls its workload in its client's name. The process needs `CAP_NET_ADMIN`.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};

/// In whose name an instance is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The address; port 0 is any.
    pub address: SocketAddr,
    /// What marks the packets, so that the answers find the way back; 0 is no mark.
    pub mark: u32,
}

/// Ports that are chosen where a source says none: below those that systems choose for their own connections, so that a call in a client's
/// name is not taken for one of the client's own.
const PORTS: Range<u16> = 10_000..32_768;
/// So many ports are tried.
const TRIES: usize = 8;

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
fn speak_for(socket: &TcpSocket, source: Source) -> io::Result<()> {
    set(socket, source.address)?;
    if source.mark != 0 {
        SockRef::from(socket).set_mark(source.mark)?;
    }
    socket.set_reuseaddr(true)?;
    if source.address.port() != 0 {
        return socket.bind(source.address);
    }
    let mut tries = TRIES;
    loop {
        tries -= 1;
        match socket.bind(SocketAddr::new(source.address.ip(), fastrand::u16(PORTS))) {
            // Somebody listens there.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            result => return result,
        }
    }
}

/// Connects to an instance in a source's name.
///
/// # Errors
/// If the process may not, or the instance cannot be reached.
pub async fn connect(source: Source, instance: SocketAddr) -> io::Result<TcpStream> {
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let socket = if instance.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        speak_for(&socket, source)?;
        match socket.connect(instance).await {
            // Another call has this port.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable && source.address.port() == 0 && tries > 0 => {}
            result => return result,
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub fn set<'s>(_: impl Into<SockRef<'s>>, _: SocketAddr) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "only Linux has transparent sockets"))
}

#[cfg(not(target_os = "linux"))]
fn speak_for(socket: &TcpSocket, source: Source) -> io::Result<()> {
    set(socket, source.address)
}
