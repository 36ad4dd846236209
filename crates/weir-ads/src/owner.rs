//! Whose the other end of a connection within this machine is, as the kernel knows it.
//!
//! Who comes by a loopback address need not be of this machine: whatever forwards connections has others behind it. Of that at least the
//! user is known.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whether a user is the one that this process runs as, or root: it could read its memory as well.
pub(crate) fn is_own(user: u32) -> bool {
    user == 0 || user == rustix::process::geteuid().as_raw()
}

/// The user of the process that has the other end of a connection; none if that is not on this machine.
#[cfg(target_os = "linux")]
pub(crate) fn of_connection(peer: SocketAddr, local: SocketAddr) -> Option<u32> {
    if !peer.ip().to_canonical().is_loopback() {
        return None;
    }
    // A socket of IPv6 may have its other end in the table of IPv4, and the other way round.
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    tables.iter().find_map(|table| owner(&std::fs::read_to_string(table).ok()?, peer, local))
}

/// Elsewhere nobody can tell.
#[cfg(not(target_os = "linux"))]
pub(crate) fn of_connection(_: SocketAddr, _: SocketAddr) -> Option<u32> {
    None
}

/// The user who has the socket between these addresses, in the kernel's table of TCP sockets.
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux has such a table"))]
fn owner(table: &str, own: SocketAddr, other: SocketAddr) -> Option<u32> {
    let (own, other) = (canonical(own), canonical(other));
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let (local, remote) = (address(words.nth(1)?)?, address(words.next()?)?);
        let user = words.nth(4)?.parse().ok()?;
        (local == own && remote == other).then_some(user)
    };
    table.lines().skip(1).find_map(row)
}

/// Without what else a socket's address may have, and IPv4 as what it is.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
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
    Some(canonical(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?)))
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:3A98 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:C350 0100007F:3A98 01 00000000:00000000 00:00000000 00000000  1000        0 2 1 0 20 4 30 10 -1
   2: 00000000000000000000000001000000:C350 00000000000000000000000001000000:3A98 01 0:0 00:0 0    7        0 3 1
   3: 0000000000000000FFFF00000100007F:C351 0000000000000000FFFF00000100007F:3A98 01 0:0 00:0 0    8        0 3 1
broken
";

    #[test]
    fn the_kernel_knows_whose_a_socket_is() {
        let of = |own: &str, other: &str| owner(TABLE, own.parse().unwrap(), other.parse().unwrap());
        let cases = [
            ("127.0.0.1:50000", "127.0.0.1:15000", Some(1000)),
            ("[::ffff:127.0.0.1]:50000", "[::ffff:127.0.0.1]:15000", Some(1000)),
            ("[::1]:50000", "[::1]:15000", Some(7)),
            ("127.0.0.1:50001", "127.0.0.1:15000", Some(8)),
            ("[::ffff:127.0.0.1]:50001", "[::ffff:127.0.0.1]:15000", Some(8)),
            ("127.0.0.1:50002", "127.0.0.1:15000", None),
            ("127.0.0.1:15000", "127.0.0.1:50000", None),
        ];
        for (own, other, wanted) in cases {
            assert_eq!(of(own, other), wanted, "{own} {other}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_connection_of_this_process_is_its_own_and_one_from_elsewhere_is_not() {
        for (at, from) in [("127.0.0.1:0", "127.0.0.1"), ("[::]:0", "127.0.0.1"), ("[::]:0", "::1"), ("[::]:0", "::ffff:127.0.0.1")] {
            // Not every machine has IPv6.
            let Ok(listener) = std::net::TcpListener::bind(at) else { continue };
            let port = listener.local_addr().unwrap().port();
            let Ok(_client) = std::net::TcpStream::connect((from, port)) else { continue };
            let (accepted, peer) = listener.accept().unwrap();
            assert!(of_connection(peer, accepted.local_addr().unwrap()).is_some_and(is_own), "{at} {from}");
        }
        let local = "127.0.0.1:15010".parse().unwrap();
        for peer in ["127.0.0.1:1", "192.0.2.1:1", "127.0.0.6:1"] {
            assert_eq!(of_connection(peer.parse().unwrap(), local), None, "{peer}");
        }
        assert!(!is_own(rustix::process::geteuid().as_raw() + 1));
    }
}
