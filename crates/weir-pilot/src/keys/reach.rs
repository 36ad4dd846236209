//! Where the pilot may be sent: whoever writes a policy, or runs a server that it names, must not have the pilot ask what only the
//! pilot can reach.

use std::net::IpAddr;

use ipnet::IpNet;

/// How an address came to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// A policy names it.
    ByPolicy,
    /// What was answered names it.
    ByAnswer {
        /// Whether that came by TLS.
        secure: bool,
        /// Whether it came from this machine.
        local: bool,
    },
}

/// Why nobody may be asked at an address; none if that may be.
pub(super) fn refusal(address: IpAddr, named: Named, blocked: &[IpNet]) -> Option<String> {
    let address = address.to_canonical();
    let is_from_here = matches!(named, Named::ByPolicy | Named::ByAnswer { local: true, .. });
    if is_of_link(address) {
        Some(format!("{address} is not the address of a server that keys come from"))
    } else if address.is_loopback() && !is_from_here {
        Some(format!("{address} is this machine, to which another one must not lead"))
    } else if blocked.iter().any(|range| range.contains(&address)) {
        Some(format!("{address} is among those that {BLOCKED} names"))
    } else {
        None
    }
}

/// Whether it is an address of the link, where clouds tell machines their credentials, or of nobody, or of many.
fn is_of_link(address: IpAddr) -> bool {
    let is_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast() || address.octets()[0] == 0,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    is_local || address.is_unspecified() || address.is_multicast()
}

/// The variable of the environment by which ranges of addresses are blocked, as istiod reads it.
const BLOCKED: &str = "BLOCKED_CIDRS_IN_JWKS_URIS";

/// The ranges that are blocked.
///
/// # Errors
/// Says which of them is none. Nothing is fetched then: it cannot be known what was to be blocked.
pub(super) fn blocked() -> Result<Vec<IpNet>, String> {
    read(&std::env::var(BLOCKED).unwrap_or_default())
}

fn read(text: &str) -> Result<Vec<IpNet>, String> {
    let range = |part: &str| part.parse::<IpNet>().map_err(|_| format!("{BLOCKED}: `{part}` is no range of addresses"));
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_sends_the_pilot_where_only_the_pilot_can_go() {
        let blocked = read("10.0.0.0/8, fd00::/8,").expect("ranges");
        let (remote, local) = (Named::ByAnswer { secure: true, local: false }, Named::ByAnswer { secure: false, local: true });
        // The address, and whether it may be asked: where a policy names it, another server, and one of this machine.
        for (address, expected) in [
            ("192.0.2.1", [true; 3]),
            ("2001:db8::1", [true; 3]),
            ("127.0.0.1", [true, false, true]),
            ("127.9.9.9", [true, false, true]),
            ("::1", [true, false, true]),
            ("::ffff:127.0.0.1", [true, false, true]),
            ("169.254.169.254", [false; 3]),
            ("::ffff:169.254.169.254", [false; 3]),
            ("fe80::1", [false; 3]),
            ("0.0.0.0", [false; 3]),
            ("0.1.2.3", [false; 3]),
            ("::", [false; 3]),
            ("224.0.0.1", [false; 3]),
            ("255.255.255.255", [false; 3]),
            ("10.1.2.3", [false; 3]),
            ("fd00::1", [false; 3]),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            let found = [Named::ByPolicy, remote, local].map(|named| refusal(address, named, &blocked).is_none());
            assert_eq!(found, expected, "{address}");
        }
    }

    #[test]
    fn a_range_that_cannot_be_read_is_told() {
        assert_eq!(read("10.0.0.0"), Err("BLOCKED_CIDRS_IN_JWKS_URIS: `10.0.0.0` is no range of addresses".to_owned()));
        assert_eq!(read(""), Ok(vec![]));
    }
}
