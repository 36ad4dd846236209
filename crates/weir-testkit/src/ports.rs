//! Ports for the listeners of other processes.

use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// Where to begin, and how many there are. All lie below those that the system gives to outgoing connections (32768 and
/// more on Linux): a port that was bound as 0 and released could be a connection's before its proxy binds it.
const FIRST: u16 = 17_000;
const COUNT: u16 = 15_000;

/// A port that nobody listened on a moment ago, and that no other test of this process gets.
///
/// It cannot be kept: another process is to listen on it, and the configuration that says so must be written before. Two
/// processes that run tests begin at different places.
pub fn free() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let offset = u16::try_from(process::id() * 64 % u32::from(COUNT)).expect("a remainder of 15,000 fits");
    let next = || FIRST + (offset + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok();
    std::iter::repeat_with(next).take(COUNT.into()).find(is_free).expect("some port is free")
}
