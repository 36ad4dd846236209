//! Whose the other end of a connection within this machine is, as the kernel knows it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whether the peer of a connection is a process of this machine that runs as the same user as this one, or as root: it could read
/// the authority's key by itself.
#[cfg(target_os = "linux")]
pub(super) fn is_own(peer: SocketAddr, local: SocketAddr) -> bool {
    if !peer.ip().to_canonical().is_loopback() {
        return false;
    }
    let table = if peer.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    let Ok(table) = std::fs::read_to_string(table) else { return false };
    let own = rustix::process::geteuid().as_raw();
    owner(&table, peer, local).is_some_and(|user| user == own || user == 0)
}

/// Elsewhere nobody can tell.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_own(_: SocketAddr, _: SocketAddr) -> bool {
    false
}

/// The user who has the socket between these addresses, in the kernel's table of TCP sockets.
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux has such a table"))]
fn owner(table: &str, own: SocketAddr, other: SocketAddr) -> Option<u32> {
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let (local, remote) = (address(words.nth(1)?)?, address(words.next()?)?);
        let user = words.nth(4)?.parse().ok()?;
        (local == own && remote == other).then_some(user)
    };
    table.lines().skip(1).find_map(row)
}

/// `0100007F:1F90`: the words of an address as this machine has them in memory, and a port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for (number, chunk) in bytes.chunks_mut(4).enumerate() {
                chunk.copy_from_slice(&word(number * 8)?);
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:3A98 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:C350 0100007F:3A98 01 00000000:00000000 00:00000000 00000000  1000        0 2 1 0 20 4 30 10 -1
   2: 00000000000000000000000001000000:C350 00000000000000000000000001000000:3A98 01 0:0 00:0 0    7        0 3 1
broken
";

    #[test]
    fn the_kernel_knows_whose_a_socket_is() {
        let of = |own: &str, other: &str| owner(TABLE, own.parse().unwrap(), other.parse().unwrap());
        assert_eq!(of("127.0.0.1:50000", "127.0.0.1:15000"), Some(1000));
        assert_eq!(of("[::1]:50000", "[::1]:15000"), Some(7));
        assert_eq!(of("127.0.0.1:50001", "127.0.0.1:15000"), None);
        assert_eq!(of("127.0.0.1:15000", "127.0.0.1:50000"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_connection_of_this_process_is_its_own_and_one_from_elsewhere_is_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(is_own(client.local_addr().unwrap(), client.peer_addr().unwrap()));
        assert!(!is_own("127.0.0.1:1".parse().unwrap(), client.peer_addr().unwrap()));
        assert!(!is_own("192.0.2.1:1".parse().unwrap(), client.peer_addr().unwrap()));
    }
}
