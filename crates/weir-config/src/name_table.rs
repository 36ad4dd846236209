//! Which names of the mesh a sidecar answers to questions of DNS, and by which shorter ones.
//!
//! Facts: pkg/dns/client/dns.go of Istio.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use weir_xds::names::{NameInfo, NameTable as XdsNameTable};

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asker {
    /// The namespace of the workload, in which names need not say it.
    pub namespace: String,
    /// The domain of the platform's services, such as `cluster.local`.
    pub domain: String,
    /// The domain that resolvers first put behind a name, as `search` of resolv.conf says; empty if there is none.
    pub search: String,
}

/// The names of the mesh.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct NameTable {
    /// Addresses by names in lower case, without the last dot.
    hosts: HashMap<String, Arc<[IpAddr]>>,
    search: String,
}

/// What is known of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The name that it is another one for: a resolver has put a domain behind it.
    pub alias_of: Option<String>,
    /// Its addresses, of both families.
    pub addresses: Arc<[IpAddr]>,
}

impl NameTable {
    /// Compiles a table for somebody. Addresses that are none are left out.
    pub fn compile(table: &XdsNameTable, asker: &Asker) -> Self {
        let mut hosts: HashMap<String, Arc<[IpAddr]>> = table.table.iter().map(|(host, info)| (normal(host), addresses(info))).collect();
        for (host, info) in &table.table {
            for short in short_names(&normal(host), info, asker) {
                // A name that is written goes before one that is only short for another.
                hosts.entry(short).or_insert_with(|| addresses(info));
            }
        }
        Self { hosts, search: normal(&asker.search) }
    }

    /// What is known of a name; none if it is not the mesh's.
    pub fn find(&self, name: &str) -> Option<Known> {
        let name = normal(name);
        let searched = || {
            let before = name.strip_suffix(&self.search).filter(|_| !self.search.is_empty())?;
            before.strip_suffix('.').filter(|before| !before.is_empty())
        };
        let whole = |addresses: &Arc<[IpAddr]>| Known { alias_of: None, addresses: addresses.clone() };
        let alias = |of: &str, addresses: &Arc<[IpAddr]>| Known { alias_of: Some(of.to_owned()), addresses: addresses.clone() };
        let exact = self.hosts.get(&name).map(whole);
        exact
            .or_else(|| searched().and_then(|short| Some(alias(short, self.hosts.get(short)?))))
            .or_else(|| self.by_wildcard(&name).map(whole))
            .or_else(|| searched().and_then(|short| Some(alias(short, self.by_wildcard(short)?))))
    }

    /// The addresses of the longest wildcard that a name is of.
    fn by_wildcard(&self, name: &str) -> Option<&Arc<[IpAddr]>> {
        name.match_indices('.').find_map(|(dot, _)| self.hosts.get(&format!("*{}", name.get(dot..)?)))
    }
}

/// What of its addresses is one.
fn addresses(info: &NameInfo) -> Arc<[IpAddr]> {
    info.ips.iter().filter_map(|address| address.parse().ok()).collect()
}

/// In lower case, without the last dot.
fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// By which shorter names a service of the platform is known: `reviews` in its own namespace, `reviews.shop`, `reviews.shop.svc`.
fn short_names(host: &str, info: &NameInfo, asker: &Asker) -> Vec<String> {
    let NameInfo { ips: _, registry: _, shortname, namespace } = info;
    let (short, namespace) = (normal(shortname), normal(namespace));
    // Nothing but the service's own name: who may name hosts is not to take the short names of others.
    let is_of_platform = !asker.domain.is_empty() && host == format!("{short}.{namespace}.svc.{}", asker.domain);
    if !is_of_platform || short.is_empty() || namespace.is_empty() {
        return vec![];
    }
    let own = (namespace == asker.namespace).then(|| short.clone());
    own.into_iter().chain([format!("{short}.{namespace}"), format!("{short}.{namespace}.svc")]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> NameTable {
        let info = |ips: &[&str], shortname: &str, namespace: &str| NameInfo {
            ips: ips.iter().map(|ip| (*ip).to_owned()).collect(),
            shortname: shortname.to_owned(),
            namespace: namespace.to_owned(),
            ..Default::default()
        };
        let hosts = [
            ("reviews.shop.svc.cluster.local", info(&["10.0.0.1", "fd00::1"], "reviews", "shop")),
            ("reviews.other.svc.cluster.local", info(&["10.0.0.2"], "reviews", "other")),
            ("api.example.com", info(&["240.240.0.1"], "", "")),
            ("*.example.com", info(&["240.240.0.2"], "", "")),
            ("*.deep.example.com", info(&["240.240.0.3"], "", "")),
            ("other", info(&["240.240.0.4", "10.0.0.0/8", "nonsense"], "", "")),
            ("other.shop.svc.cluster.local", info(&["10.0.0.5"], "other", "shop")),
            // It would come before the service's own name.
            ("reviews.shop.svc.a.svc.cluster.local", info(&["10.6.6.6"], "reviews", "shop")),
        ];
        let table = XdsNameTable { table: hosts.into_iter().map(|(host, info)| (host.to_owned(), info)).collect() };
        let asker = Asker { namespace: "shop".to_owned(), domain: "cluster.local".to_owned(), search: "shop.svc.cluster.local".to_owned() };
        NameTable::compile(&table, &asker)
    }

    #[test]
    fn a_host_is_known_by_its_names() {
        let table = table();
        let found = |name: &str| {
            table.find(name).map(|known| {
                let addresses: Vec<String> = known.addresses.iter().map(IpAddr::to_string).collect();
                (known.alias_of, addresses.join(" "))
            })
        };
        let whole = |addresses: &str| Some((None, addresses.to_owned()));
        let alias = |of: &str, addresses: &str| Some((Some(of.to_owned()), addresses.to_owned()));
        for (name, expected) in [
            ("reviews.shop.svc.cluster.local.", whole("10.0.0.1 fd00::1")),
            ("Reviews.Shop", whole("10.0.0.1 fd00::1")),
            ("reviews", whole("10.0.0.1 fd00::1")),
            ("reviews.shop.svc", whole("10.0.0.1 fd00::1")),
            ("reviews.other", whole("10.0.0.2")),
            ("reviews.other.shop.svc.cluster.local", alias("reviews.other", "10.0.0.2")),
            ("api.example.com", whole("240.240.0.1")),
            ("API.example.com.shop.svc.cluster.local", alias("api.example.com", "240.240.0.1")),
            ("www.example.com", whole("240.240.0.2")),
            ("a.deep.example.com", whole("240.240.0.3")),
            ("a.b.deep.example.com", whole("240.240.0.3")),
            ("www.example.com.shop.svc.cluster.local", alias("www.example.com", "240.240.0.2")),
            ("example.com", None),
            ("other", whole("240.240.0.4")),
            ("unknown", None),
            ("shop.svc.cluster.local", None),
            ("", None),
            (".", None),
        ] {
            assert_eq!(found(name), expected, "{name}");
        }
    }
}
