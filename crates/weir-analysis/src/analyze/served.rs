//! The hosts that gateways serve, for rules of a namespace: read once for each gateway and namespace, since many rules are of few
//! gateways, and found by index, since one gateway may serve thousands.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use weir_api::{Kind, Spec};
use weir_model::host::{is_wildcard, overlap};

use super::index::{GATEWAY_API, Index};
use super::tree::{items, text};

/// The hosts of one gateway that rules of one namespace may use.
pub(super) struct Served {
    /// All of them, in the gateway's order.
    pub(super) hosts: Vec<String>,
    exact: HashSet<String>,
    /// By what follows the `*`.
    wildcards: HashSet<String>,
}

impl Served {
    fn new(hosts: Vec<String>) -> Self {
        let exact = hosts.iter().filter(|host| !is_wildcard(host)).cloned().collect();
        let wildcards = hosts.iter().filter_map(|host| host.strip_prefix('*')).map(str::to_owned).collect();
        Self { hosts, exact, wildcards }
    }

    /// Whether a host of a rule has a name in common with any of them.
    pub(super) fn overlaps(&self, host: &str) -> bool {
        if is_wildcard(host) {
            return self.hosts.iter().any(|served| overlap(served, host));
        }
        let mut suffixes = (0..=host.len()).filter_map(|start| host.get(start..));
        self.exact.contains(host) || suffixes.any(|suffix| self.wildcards.contains(suffix))
    }
}

/// What was asked already, by the gateway's namespace and name and by the rules' namespace.
#[derive(Default)]
pub(super) struct Gateways {
    known: HashMap<(String, String, String), Option<Rc<Served>>>,
}

impl Gateways {
    /// What a gateway of either API serves for rules of a namespace; none if there is no such gateway.
    pub(super) fn served(&mut self, index: &Index<'_>, namespace: &str, name: &str, viewer: &str) -> Option<Rc<Served>> {
        let key = (namespace.to_owned(), name.to_owned(), viewer.to_owned());
        let read = || hosts(index, namespace, name, viewer).map(|hosts| Rc::new(Served::new(hosts)));
        self.known.entry(key).or_insert_with(read).clone()
    }
}

fn hosts(index: &Index<'_>, namespace: &str, name: &str, viewer: &str) -> Option<Vec<String>> {
    let everything = || "*".to_owned();
    if let Some(gateway) = index.find(Kind::Gateway.group(), "Gateway", namespace, name) {
        // One that cannot be read may serve anything.
        let Some(Spec::Gateway(spec)) = gateway.spec() else { return Some(vec![everything()]) };
        let hosts = spec.servers.iter().flat_map(|server| &server.hosts);
        return Some(hosts.filter_map(|host| host_for(host, namespace, viewer)).collect());
    }
    let gateway = index.find(GATEWAY_API, "Gateway", namespace, name)?;
    let host = |listener| Some(text(listener, "hostname")).filter(|host| !host.is_empty()).map_or_else(everything, str::to_owned);
    Some(items(gateway.node(), "spec.listeners").map(|(_, listener)| host(listener)).collect())
}

/// A host of a server, if rules of a namespace may use it.
fn host_for(host: &str, own: &str, viewer: &str) -> Option<String> {
    match host.split_once('/') {
        None => Some(host.to_owned()),
        Some((namespace, host)) => {
            let allowed = namespace == "*" || namespace == viewer || (namespace == "." && own == viewer);
            allowed.then(|| host.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_as_they_are_compared() {
        let served = ["a.test", "*.b.test", "*.c.b.test"];
        let index = Served::new(served.iter().map(ToString::to_string).collect());
        for host in ["a.test", "b.test", "x.b.test", "x.c.b.test", "*.test", "*.b.test", "*.x.b.test", "*.a.test", "*", "é.b.test"] {
            assert_eq!(index.overlaps(host), served.iter().any(|served| overlap(served, host)), "{host}");
        }
        assert!(Served::new(vec!["*".to_owned()]).overlaps("anything"));
    }

    #[test]
    fn servers_say_whose_rules_may_use_a_host() {
        let allowed = |host, viewer| host_for(host, "own", viewer);
        assert_eq!(allowed("a.test", "x"), Some("a.test".to_owned()));
        assert_eq!(allowed("*/a.test", "x"), Some("a.test".to_owned()));
        assert_eq!((allowed("x/a.test", "x"), allowed("x/a.test", "own")), (Some("a.test".to_owned()), None));
        assert_eq!((allowed("./a.test", "x"), allowed("./a.test", "own")), (None, Some("a.test".to_owned())));
    }
}
