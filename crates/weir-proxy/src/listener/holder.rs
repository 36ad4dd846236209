//! Who accepts at an address: for the error that says that it is taken.
//!
//! Linux tells in `/proc`; elsewhere nobody can be named.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A socket that accepts connections.
struct Listening {
    address: SocketAddr,
    inode: String,
}

/// The process that accepts at an address, or at all addresses of its port: `process 123 (nginx)`.
pub fn of(address: SocketAddr) -> Option<String> {
    let holders: Vec<Listening> = listening(address.port()).into_iter().filter(|socket| overlap(socket.address, address)).collect();
    let inodes: HashSet<&str> = holders.iter().map(|socket| socket.inode.as_str()).collect();
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let numbered = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let pid = numbered.into_iter().find(|pid| holds_any(*pid, &inodes))?;
    if pid == std::process::id() {
        return Some("another listener of this process".to_owned());
    }
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("process {pid} ({})", name.trim()))
}

/// Whether all who accept at this port are this process, and none at this very address.
pub fn is_only_us_elsewhere(address: SocketAddr) -> bool {
    let others: Vec<Listening> = listening(address.port()).into_iter().filter(|socket| overlap(socket.address, address)).collect();
    let ours = own_sockets(std::process::id());
    !others.is_empty() && others.iter().all(|socket| socket.address != address && ours.contains(&socket.inode))
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

fn listening(port: u16) -> Vec<Listening> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|path| fs::read_to_string(path).ok());
    let lines: Vec<String> = tables.flat_map(|table| table.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()).collect();
    lines.iter().filter_map(|line| parse(line)).filter(|socket| socket.address.port() == port).collect()
}

/// A line of the kernel's table: number, local address, remote address, state, …, the tenth word is the inode.
fn parse(line: &str) -> Option<Listening> {
    const LISTEN: &str = "0A";
    let words: Vec<&str> = line.split_whitespace().collect();
    let (ip, port) = words.get(1)?.split_once(':')?;
    (*words.get(3)? == LISTEN).then_some(())?;
    let address = SocketAddr::new(parse_ip(ip)?, u16::from_str_radix(port, 16).ok()?);
    Some(Listening { address, inode: (*words.get(9)?).to_owned() })
}

/// Addresses stand there as words of four bytes in the machine's own order.
fn parse_ip(hex: &str) -> Option<IpAddr> {
    let word = |i: usize| Some(u32::from_str_radix(hex.get(i * 8..i * 8 + 8)?, 16).ok()?.to_ne_bytes());
    if hex.len() == 8 {
        return Some(IpAddr::V4(Ipv4Addr::from(word(0)?)));
    }
    let words = [word(0)?, word(1)?, word(2)?, word(3)?];
    let bytes: [u8; 16] = words.concat().try_into().ok()?;
    Some(IpAddr::V6(Ipv6Addr::from(bytes)))
}

fn own_sockets(pid: u32) -> HashSet<String> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().filter_map(Result::ok);
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.filter_map(|target| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())).collect()
}

fn holds_any(pid: u32, inodes: &HashSet<&str>) -> bool {
    own_sockets(pid).iter().any(|inode| inodes.contains(inode.as_str()))
}
