//! Headers of the PROXY protocol, as bytes: who the client of a connection is, and where it was going to
//! (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>). Where the specification leaves it open, what counts is what
//! Envoy takes.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use weir_config::proxy_protocol::ProxyVersion;

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// No line of version 1 is longer, its end included.
const LONGEST_LINE: usize = 107;
/// The signature, what is meant, of which family, and how much follows.
const V2_HEAD: usize = 16;

/// The client of a connection, and the address that it connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub remote: SocketAddr,
    /// Where it connected to.
    pub local: SocketAddr,
}

/// What a connection begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// What is there so far may be a header; more is needed.
    Unfinished,
    /// No header.
    Other,
    /// A header of so many bytes. Without a client the connection is that of who made it: a check of health, for example.
    Header(ProxyVersion, Option<Client>, usize),
    /// Something that should be a header and is none.
    Malformed,
}

/// Reads what a connection begins with.
pub fn read(bytes: &[u8]) -> Beginning {
    let begins_as = |signature: &[u8]| {
        let length = bytes.len().min(signature.len());
        bytes[..length] == signature[..length]
    };
    match (begins_as(V1), begins_as(V2)) {
        (true, _) if bytes.len() >= V1.len() => line(bytes),
        (_, true) if bytes.len() >= V2.len() => binary(bytes).unwrap_or(Beginning::Malformed),
        (false, false) => Beginning::Other,
        _ => Beginning::Unfinished,
    }
}

fn line(bytes: &[u8]) -> Beginning {
    let Some(length) = bytes.windows(2).take(LONGEST_LINE - 1).position(|end| end == b"\r\n") else {
        return if bytes.len() < LONGEST_LINE { Beginning::Unfinished } else { Beginning::Malformed };
    };
    let text = std::str::from_utf8(&bytes[V1.len()..length]).unwrap_or_default();
    let parts: Vec<&str> = text.split(' ').collect();
    let client = match parts.as_slice() {
        ["UNKNOWN", ..] => None,
        ["TCP4", from, to, from_port, to_port, ..] => match client::<Ipv4Addr>(from, to, from_port, to_port) {
            None => return Beginning::Malformed,
            known => known,
        },
        ["TCP6", from, to, from_port, to_port, ..] => match client::<Ipv6Addr>(from, to, from_port, to_port) {
            None => return Beginning::Malformed,
            known => known,
        },
        _ => return Beginning::Malformed,
    };
    Beginning::Header(ProxyVersion::V1, client, length + 2)
}

fn client<A: std::str::FromStr + Into<IpAddr>>(from: &str, to: &str, from_port: &str, to_port: &str) -> Option<Client> {
    let address = |ip: &str, port: &str| Some(SocketAddr::new(ip.parse::<A>().ok()?.into(), port.parse().ok()?));
    of_hosts(address(from, from_port)?, address(to, to_port)?)
}

/// None if one of them is no address that a connection can have.
fn of_hosts(remote: SocketAddr, local: SocketAddr) -> Option<Client> {
    let is_host = |address: IpAddr| {
        let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
        !address.is_multicast() && !address.is_unspecified() && !is_broadcast
    };
    (is_host(remote.ip()) && is_host(local.ip())).then_some(Client { remote, local })
}

/// None if it is malformed.
fn binary(bytes: &[u8]) -> Option<Beginning> {
    const LOCAL: u8 = 0x20;
    const PROXY: u8 = 0x21;
    let Some([command, family, length @ ..]) = bytes.get(V2.len()..V2_HEAD) else { return Some(Beginning::Unfinished) };
    let length = usize::from(u16::from_be_bytes(<[u8; 2]>::try_from(length).ok()?));
    if !matches!(*command, LOCAL | PROXY) {
        return None;
    }
    let Some(rest) = bytes.get(V2_HEAD..V2_HEAD + length) else { return Some(Beginning::Unfinished) };
    let client = match *command {
        LOCAL => None,
        _ => Some(addresses(*family, rest)?),
    };
    Some(Beginning::Header(ProxyVersion::V2, client, V2_HEAD + length))
}

/// Two addresses, two ports, and what else is told of the connection.
fn addresses(family: u8, bytes: &[u8]) -> Option<Client> {
    // Streams and datagrams, of IPv4 and of IPv6.
    let size = match family {
        0x11 | 0x12 => 4,
        0x21 | 0x22 => 16,
        _ => return None,
    };
    let (from, rest) = bytes.split_at_checked(size)?;
    let (to, rest) = rest.split_at_checked(size)?;
    let (ports, more) = rest.split_at_checked(4)?;
    let [a, b, c, d] = <[u8; 4]>::try_from(ports).ok()?;
    let ip = |bytes: &[u8]| -> Option<IpAddr> {
        let v4 = || <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
        v4().or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
    };
    let (remote, local) = (SocketAddr::new(ip(from)?, u16::from_be_bytes([a, b])), SocketAddr::new(ip(to)?, u16::from_be_bytes([c, d])));
    if is_list(more) { of_hosts(remote, local) } else { None }
}

/// Whether bytes are a list of values, each with a type and its length.
fn is_list(mut bytes: &[u8]) -> bool {
    while let [_, high, low, rest @ ..] = bytes {
        match rest.get(usize::from(u16::from_be_bytes([*high, *low]))..) {
            Some(next) => bytes = next,
            None => return false,
        }
    }
    bytes.is_empty()
}

/// The header of a connection that is made for a client; or for nobody, when `own` are its own addresses, if it has any.
pub fn write(version: ProxyVersion, client: Option<Client>, own: Option<Client>) -> Vec<u8> {
    let mut out = vec![];
    match version {
        ProxyVersion::V1 => match client.or(own) {
            Some(known) => write_line(known, &mut out),
            None => out.extend_from_slice(b"PROXY UNKNOWN\r\n"),
        },
        ProxyVersion::V2 => write_binary(client, &mut out),
    }
    out
}

/// Both addresses as of one family.
fn alike(client: Client) -> (IpAddr, IpAddr) {
    match (client.remote.ip().to_canonical(), client.local.ip().to_canonical()) {
        (IpAddr::V4(remote), IpAddr::V6(local)) => (remote.to_ipv6_mapped().into(), local.into()),
        (IpAddr::V6(remote), IpAddr::V4(local)) => (remote.into(), local.to_ipv6_mapped().into()),
        alike => alike,
    }
}

fn write_line(client: Client, out: &mut Vec<u8>) {
    let (remote, local) = alike(client);
    let family = if remote.is_ipv4() { "TCP4" } else { "TCP6" };
    // Writing to memory does not fail.
    let _ = write!(out, "PROXY {family} {remote} {local} {} {}\r\n", client.remote.port(), client.local.port());
}

fn write_binary(client: Option<Client>, out: &mut Vec<u8>) {
    out.extend_from_slice(V2);
    let Some(client) = client else { return out.extend_from_slice(&[0x20, 0, 0, 0]) };
    match alike(client) {
        (IpAddr::V4(remote), IpAddr::V4(local)) => {
            out.extend_from_slice(&[0x21, 0x11, 0, 12]);
            out.extend_from_slice(&remote.octets());
            out.extend_from_slice(&local.octets());
        }
        (remote, local) => {
            out.extend_from_slice(&[0x21, 0x21, 0, 36]);
            for address in [remote, local] {
                let v6 = match address {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                out.extend_from_slice(&v6.octets());
            }
        }
    }
    out.extend_from_slice(&client.remote.port().to_be_bytes());
    out.extend_from_slice(&client.local.port().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn known(remote: &str, local: &str) -> Client {
        Client { remote: remote.parse().unwrap(), local: local.parse().unwrap() }
    }

    /// A header of version 2 with this command, family and rest.
    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = V2.to_vec();
        bytes.extend([command, family]);
        bytes.extend((rest.len() as u16).to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    const ADDRESSES: &[u8] = &[9, 8, 7, 6, 5, 4, 3, 2, 0, 10, 0, 20];

    #[test]
    fn headers_are_read_as_envoy_reads_them() {
        let v4 = Some(known("1.2.3.4:111", "5.6.7.8:222"));
        let told = Some(known("9.8.7.6:10", "5.4.3.2:20"));
        let cases: Vec<(Vec<u8>, Option<Option<Client>>)> = vec![
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 111 222\r\n".to_vec(), Some(v4)),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 111 222 \r\n".to_vec(), Some(v4)),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 0111 +222\r\n".to_vec(), Some(v4)),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n".to_vec(), Some(Some(known("[2001:db8::1]:1", "[2001:db8::2]:2")))),
            (b"PROXY UNKNOWN\r\n".to_vec(), Some(None)),
            (b"PROXY UNKNOWN a b c\r\n".to_vec(), Some(None)),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 111\r\n".to_vec(), None),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 111 99999\r\n".to_vec(), None),
            (b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n".to_vec(), None),
            (b"PROXY  TCP4 1.2.3.4 5.6.7.8 111 222\r\n".to_vec(), None),
            (b"PROXY TCP4 0.0.0.0 5.6.7.8 1 222\r\n".to_vec(), None),
            (b"PROXY TCP4 224.0.0.1 5.6.7.8 1 222\r\n".to_vec(), None),
            (b"PROXY TCP4 001.2.3.4 5.6.7.8 1 222\r\n".to_vec(), None),
            (b"PROXY \r\n".to_vec(), None),
            (b"PROXY UDP4 1.2.3.4 5.6.7.8 111 222\r\n".to_vec(), None),
            ([b"PROXY UNKNOWN ".to_vec(), vec![b'a'; 107]].concat(), None),
            (v2(0x21, 0x11, ADDRESSES), Some(told)),
            (v2(0x21, 0x12, ADDRESSES), Some(told)),
            (v2(0x21, 0x11, &[ADDRESSES, &[4, 0, 1, b'x']].concat()), Some(told)),
            (v2(0x20, 0x11, ADDRESSES), Some(None)),
            (v2(0x20, 0, &[]), Some(None)),
            (v2(0x21, 0, &[]), None),
            (v2(0x21, 0x11, &ADDRESSES[..8]), None),
            (v2(0x31, 0x11, ADDRESSES), None),
            (v2(0x22, 0x11, ADDRESSES), None),
            (v2(0x21, 0x31, &[b'a'; 216]), None),
            (v2(0x21, 0x11, &[ADDRESSES, &[4, 0, 9, b'x']].concat()), None),
        ];
        for (header, wanted) in cases {
            let length = header.len();
            let read = read(&[header.clone(), b"data".to_vec()].concat());
            match wanted {
                None => assert_eq!(read, Beginning::Malformed, "{}", String::from_utf8_lossy(&header)),
                Some(client) => assert!(
                    matches!(read, Beginning::Header(_, found, at) if found == client && at == length),
                    "{read:?} of {}",
                    String::from_utf8_lossy(&header)
                ),
            }
        }
    }

    #[test]
    fn what_may_be_a_header_is_waited_for() {
        for header in [b"PROXY TCP4 1.2.3.4 5.6.7.8 111 222\r\n".to_vec(), v2(0x21, 0x11, ADDRESSES)] {
            for length in 0..header.len() {
                assert_eq!(read(&header[..length]), Beginning::Unfinished, "{length}");
            }
        }
        for other in ["GET / HTTP/1.1", "proxy tcp4", "\r\n\r\nGET"] {
            assert_eq!(read(other.as_bytes()), Beginning::Other);
        }
    }

    #[test]
    fn what_is_told_without_a_client_are_the_connections_own_addresses_or_nothing() {
        let own = Some(known("10.0.0.1:1", "10.0.0.2:2"));
        assert_eq!(write(ProxyVersion::V1, None, own), b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n");
        assert_eq!(write(ProxyVersion::V1, None, None), b"PROXY UNKNOWN\r\n");
        for own in [own, None] {
            assert_eq!(write(ProxyVersion::V2, None, own), v2(0x20, 0, &[]));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(remote: IpAddr, local: IpAddr, ports: (u16, u16), second: bool) {
            let client = Client { remote: SocketAddr::new(remote, ports.0), local: SocketAddr::new(local, ports.1) };
            prop_assume!(of_hosts(client.remote, client.local).is_some());
            prop_assume!(of_hosts(canonical(client.remote), canonical(client.local)).is_some());
            let version = if second { ProxyVersion::V2 } else { ProxyVersion::V1 };
            let written = write(version, Some(client), None);
            let Beginning::Header(found, Some(read), length) = read(&written) else { panic!("{written:?}") };
            prop_assert_eq!((found, length), (version, written.len()));
            prop_assert_eq!((canonical(read.remote), canonical(read.local)), (canonical(client.remote), canonical(client.local)));
        }

        #[test]
        fn whatever_comes_is_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120), second: bool) {
            let _ = read(&bytes);
            let _ = read(&[if second { V2 } else { V1 }, &bytes].concat());
        }
    }

    fn canonical(address: SocketAddr) -> SocketAddr {
        SocketAddr::new(address.ip().to_canonical(), address.port())
    }
}
