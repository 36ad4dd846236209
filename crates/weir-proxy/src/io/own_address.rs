//! By which address others know this machine.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;

/// The first address of this machine that others can reach; the loopback address if it has none. It is found out once.
pub fn own_address() -> IpAddr {
    static OWN: OnceLock<IpAddr> = OnceLock::new();
    *OWN.get_or_init(|| {
        let table = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
        first_local(&table).unwrap_or(Ipv4Addr::LOCALHOST).into()
    })
}

/// The first local address in the kernel's routing table that is not a loopback address: a line with it, then one that says
/// `/32 host LOCAL`.
fn first_local(table: &str) -> Option<Ipv4Addr> {
    let lines: Vec<&str> = table.lines().map(str::trim).collect();
    lines.windows(2).find_map(|pair| {
        let address = pair.first()?.strip_prefix("|-- ")?.parse().ok().filter(|address: &Ipv4Addr| !address.is_loopback())?;
        (*pair.last()? == "/32 host LOCAL").then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_known_by_its_first_address() {
        let loopback = "  |-- 127.0.0.1\n     /32 host LOCAL\n";
        let network = "  |-- 192.0.2.0\n     /24 link UNICAST\n";
        let own = "  |-- 192.0.2.2\n     /32 host LOCAL\n";
        assert_eq!(first_local(&format!("{loopback}{network}{own}")), Some(Ipv4Addr::new(192, 0, 2, 2)));
        assert_eq!(first_local(&format!("{loopback}{network}")), None);
    }
}
