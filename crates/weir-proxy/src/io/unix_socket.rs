//! Unix sockets among addresses.
//!
//! Instances and listeners are told apart by their addresses, all over the proxy. A socket of a path has one that stands for it, of a
//! range in which nobody is (RFC 6666): it is a name within this process, and the path is looked up where a connection is made, a
//! socket opened, or somebody told of it. Who comes by a socket is known by its path as well. No text stands for such an address, so that no client can name a socket of this machine.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::net::{TcpStream, UnixStream};
use weir_ads::grpc;

/// `100::/64`.
const RANGE: u128 = 0x0100 << 112;
/// In place of a flow label, which no text of an address has.
const MARK: u32 = 0x756e_6978;

/// The paths that have been named, by the last part of their addresses. They stay: a path that is configured again is the same.
#[derive(Default)]
struct Paths {
    numbers: HashMap<Arc<str>, u64>,
    paths: Vec<Arc<str>>,
}

fn known() -> &'static Mutex<Paths> {
    static KNOWN: OnceLock<Mutex<Paths>> = OnceLock::new();
    KNOWN.get_or_init(Mutex::default)
}

/// The address that stands for a path.
pub fn address(path: &str) -> SocketAddr {
    let mut known = known().lock().unwrap_or_else(PoisonError::into_inner);
    let number = match known.numbers.get(path) {
        Some(number) => *number,
        None => {
            let (path, number) = (Arc::<str>::from(path), known.paths.len() as u64);
            known.paths.push(path.clone());
            known.numbers.insert(path, number);
            number
        }
    };
    SocketAddrV6::new(Ipv6Addr::from_bits(RANGE | u128::from(number)), 0, MARK, 0).into()
}

/// The path that an address stands for; none if it is an address as others are.
pub fn path(address: SocketAddr) -> Option<Arc<str>> {
    let SocketAddr::V6(address) = address else { return None };
    if address.flowinfo() != MARK {
        return None;
    }
    let number = u64::try_from(address.ip().to_bits().checked_sub(RANGE)?).ok()?;
    let known = known().lock().unwrap_or_else(PoisonError::into_inner);
    known.paths.get(usize::try_from(number).ok()?).cloned()
}

/// An address, or the path that it stands for, as people read it.
pub fn shown(address: SocketAddr) -> Cow<'static, str> {
    match path(address) {
        Some(path) => Cow::Owned(path.to_string()),
        None => Cow::Owned(address.to_string()),
    }
}

/// Connects to a path.
///
/// # Errors
/// If nobody accepts there.
pub async fn connect(path: &str) -> io::Result<TcpStream> {
    as_tcp(grpc::open_path(path).await?)
}

/// A connection as the rest of the proxy has them: bytes are read and written, and a side is closed, in the same way. What only TCP
/// has, addresses and options, fails.
pub fn as_tcp(stream: UnixStream) -> io::Result<TcpStream> {
    let socket = OwnedFd::from(stream.into_std()?);
    TcpStream::from_std(std::net::TcpStream::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_known_by_its_address() {
        let (one, other) = (address("/run/one"), address("@other"));
        assert_ne!(one, other);
        assert_eq!((address("/run/one"), path(one).as_deref(), path(other).as_deref()), (one, Some("/run/one"), Some("@other")));
        assert_eq!((&*shown(one), &*shown(([127, 0, 0, 1], 80).into())), ("/run/one", "127.0.0.1:80"));
        for address in ["127.0.0.1:80", "[::]:0", "[100::]:0", "[100::1]:0", "[2001:db8::1]:1"] {
            assert_eq!(path(address.parse().unwrap()), None, "{address}");
        }
    }
}
