//! Which addresses are this machine's.

use std::net::{IpAddr, UdpSocket};

/// Whether a workload with this address runs on this machine: the address is a loopback address, or one that the
/// system lets a socket have.
pub(crate) fn is_local(address: &str) -> bool {
    let Ok(ip) = address.parse::<IpAddr>() else { return false };
    ip.is_loopback() || (!ip.is_unspecified() && UdpSocket::bind((ip, 0)).is_ok())
}
