//! Which addresses a workload of another machine may give itself: requests of the whole mesh go there, from wherever its proxies run.

use std::net::IpAddr;

/// Looks at one.
///
/// # Errors
/// If it is none of a machine alone, or is written so that two would be one.
pub(super) fn check(address: &str) -> Result<(), String> {
    let ip: IpAddr = address.parse().map_err(|_| format!("its address {address:?} is no IP address"))?;
    let ip = ip.to_canonical();
    if ip.to_string() != address {
        return Err(format!("its address {address} is written otherwise: {ip}"));
    }
    let (is_unspecified, is_link_local, is_broadcast) = match ip {
        // All of 0.0.0.0/8 is this machine.
        IpAddr::V4(ip) => (ip.octets()[0] == 0, ip.is_link_local(), ip.is_broadcast()),
        IpAddr::V6(ip) => (ip.is_unspecified(), ip.is_unicast_link_local(), false),
    };
    if is_unspecified || is_link_local || is_broadcast || ip.is_loopback() || ip.is_multicast() {
        return Err(format!("its address {ip} leads to no other machine, or to another one from everywhere"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_of_another_machine_has_an_address_that_leads_there_from_everywhere() {
        for good in ["10.0.0.1", "192.168.7.1", "203.0.113.9", "100.64.0.1", "fd00::1", "2001:db8::1"] {
            assert_eq!(check(good), Ok(()));
        }
        for (bad, expected) in [
            ("", "no IP address"),
            ("unix:///run/docker.sock", "no IP address"),
            ("bank.money.svc.cluster.local", "no IP address"),
            ("10.0.0.1:80", "no IP address"),
            ("[fd00::1]", "no IP address"),
            ("fe80::1%eth0", "no IP address"),
            ("010.0.0.1", "no IP address"),
            ("::ffff:10.0.0.2", "written otherwise: 10.0.0.2"),
            ("FD00::2", "written otherwise: fd00::2"),
            ("fd00:0::2", "written otherwise: fd00::2"),
            ("::ffff:127.0.0.1", "written otherwise"),
            ("127.0.0.1", "leads to no other machine"),
            ("127.1.2.3", "leads to no other machine"),
            ("::1", "leads to no other machine"),
            ("0.0.0.0", "leads to no other machine"),
            ("0.0.0.1", "leads to no other machine"),
            ("::", "leads to no other machine"),
            ("169.254.169.254", "leads to no other machine"),
            ("fe80::1", "leads to no other machine"),
            ("224.0.0.1", "leads to no other machine"),
            ("ff02::1", "leads to no other machine"),
            ("255.255.255.255", "leads to no other machine"),
        ] {
            let refused = check(bad).unwrap_err();
            assert!(refused.contains(expected), "{bad}: {refused}");
        }
    }
}
