//! Which DNS servers a machine asks.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// The servers that a `resolv.conf` names, see resolv.conf(5).
pub fn name_servers(text: &str) -> BTreeSet<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        // A link-local address may name its interface.
        address.split('%').next()?.parse().ok()
    };
    text.lines().filter_map(server).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_stand_in_lines_of_their_own() {
        let text = "# nameserver 1.1.1.1\nsearch shop.test\nnameserver 10.0.0.10\n  nameserver\tfe80::1%eth0 \nnameserver nonsense\noptions ndots:5\nnameserver";
        let servers: Vec<String> = name_servers(text).iter().map(IpAddr::to_string).collect();
        assert_eq!(servers, ["10.0.0.10", "fe80::1"]);
    }
}
