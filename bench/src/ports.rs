//! Ports that nobody listens on, so that the bench disturbs nothing that runs on the machine.

use std::net::{Ipv4Addr, TcpListener};

/// As many different free ports as asked for: all are held until the last is found.
///
/// # Errors
/// If the system has none left.
pub fn free<const N: usize>() -> anyhow::Result<[u16; N]> {
    let mut held = vec![];
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
