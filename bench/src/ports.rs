//! Ports that nobody listens on, so that the bench disturbs nothing that runs on the machine.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::ensure;

/// Below those that the system gives to outgoing connections, one of which could else have a port before its listener does.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// How many were tried so far: none is given twice.
static TRIED: AtomicU16 = AtomicU16::new(0);

/// As many different free ports as asked for.
///
/// # Errors
/// If there are none left.
pub fn free<const N: usize>() -> anyhow::Result<[u16; N]> {
    let mut ports = [0; N];
    for port in &mut ports {
        *port = next()?;
    }
    Ok(ports)
}

/// Two benches at the same time begin at different places.
fn next() -> anyhow::Result<u16> {
    let begin = u16::try_from(std::process::id() % u32::from(COUNT))?;
    loop {
        let tried = TRIED.fetch_add(1, Ordering::Relaxed);
        ensure!(tried < COUNT, "no port is free from {FIRST} to {}", FIRST + COUNT);
        let port = FIRST + (begin + tried) % COUNT;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(port);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_different() {
        let [one, other] = free().unwrap();
        assert_ne!(one, other);
    }
}
