//! Which DNS servers a machine asks.

use std::net::IpAddr;

/// The servers that a `resolv.conf` names, each once and in the order in which they are asked, see resolv.conf(5).
pub fn name_servers(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        // A link-local address may name its interface.
        address.split('%').next()?.parse().ok()
    };
    let mut servers: Vec<IpAddr> = vec![];
    for server in text.lines().filter_map(server) {
        if !servers.contains(&server) {
            servers.push(server);
        }
    }
    servers
}

/// The domain that is put behind a name first, if there is one. The last line that says so counts.
pub fn search_domain(text: &str) -> Option<&str> {
    let is_of_domains = |line: &&str| matches!(line.split_whitespace().next(), Some("search" | "domain"));
    text.lines().rfind(is_of_domains)?.split_whitespace().nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_stand_in_lines_of_their_own() {
        let text = "# nameserver 1.1.1.1\nsearch shop.test\nnameserver 10.0.0.10\n  nameserver\tfe80::1%eth0 \nnameserver nonsense\nnameserver 1.1.1.1\nnameserver 10.0.0.10\noptions ndots:5\nnameserver";
        let servers: Vec<String> = name_servers(text).iter().map(IpAddr::to_string).collect();
        assert_eq!(servers, ["10.0.0.10", "fe80::1", "1.1.1.1"]);
    }

    #[test]
    fn the_domain_that_is_searched_first_is_the_first_of_the_last_line() {
        for (text, expected) in [
            ("domain a.test\nsearch shop.svc.cluster.local svc.cluster.local", Some("shop.svc.cluster.local")),
            ("search\nnameserver 10.0.0.1", None),
            ("searching a.test", None),
            ("", None),
        ] {
            assert_eq!(search_domain(text), expected, "{text}");
        }
    }
}
