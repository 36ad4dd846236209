//! Requests that come by the connection of another server.
//!
//! A client sends requests of all hosts that a certificate is for by one connection of HTTP/2 (RFC 9113, 9.1.1). Where servers of a
//! port share a certificate, such a request meets the routes of the server that the handshake named, which do not know its host.
//! 421 tells the client to ask again by another connection (RFC 9110, 15.5.20); Istio says that there is no such page.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use weir_model::GatewayServer;
use weir_model::host::is_wildcard;
use weir_xds::route::{DirectResponseAction, Route, VirtualHost, route::Action};

use super::{virtual_host, wider};
use crate::context::Context;
use crate::names;
use crate::route::condition;
use crate::secret_names::files;
use crate::secrets::CertificateNames;

const MISDIRECTED: u32 = 421;

/// More hosts of one domain than that are told by the domain: else each of a thousand servers would name all others.
const MANY: usize = 64;

/// Which hosts of the servers of a gateway's ports a client may ask for by connections of others. All of them in lower case.
pub(crate) struct Connections<'g> {
    /// What each certificate is for, of what is served at a port.
    covers: HashMap<(String, Port<'g>), Rc<Cover>>,
}

/// The hosts that a certificate is for, by what stands behind their first label.
type Cover = BTreeMap<Option<String>, BTreeSet<Covered>>;

/// A host that a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Covered {
    host: String,
    /// The host of a server that it is, or is a part of.
    of: String,
}

/// A port, and the address that it is bound at.
type Port<'g> = (u16, &'g str);

fn port(server: &GatewayServer) -> Port<'_> {
    (server.port, &server.spec.bind)
}

/// The hosts of a port.
#[derive(Default)]
struct Served {
    all: HashSet<String>,
    /// By the wildcard that stands for them in certificates.
    by_wildcard: HashMap<String, Vec<String>>,
}

impl<'g> Connections<'g> {
    /// Of all servers of a gateway.
    pub fn new(context: &Context<'_>, servers: impl Iterator<Item = &'g Arc<GatewayServer>>, names: &mut CertificateNames) -> Self {
        let mut ports: HashMap<Port<'g>, Served> = HashMap::new();
        // The hosts of the servers that show a certificate, which are all that is known of one that the pilot cannot see.
        let mut showing: HashMap<(String, Port<'g>), BTreeSet<String>> = HashMap::new();
        for server in servers.filter(|server| server.is_tls()) {
            let (served, certificates) = (ports.entry(port(server)).or_default(), certificates(server));
            for host in hosts_of(server) {
                for certificate in &certificates {
                    showing.entry((certificate.clone(), port(server))).or_default().insert(host.clone());
                }
                if let Some(wildcard) = wildcard_of(&host).filter(|_| !is_wildcard(&host)) {
                    served.by_wildcard.entry(wildcard).or_default().push(host.clone());
                }
                served.all.insert(host);
            }
        }
        names.begin();
        // Many Secrets may hold the same certificate.
        let mut by_names: HashMap<(Arc<[String]>, Port<'g>), Rc<Cover>> = HashMap::new();
        let cover = |((certificate, port), hosts): ((String, Port<'g>), BTreeSet<String>)| {
            let names = names.of(context, &certificate);
            let cover = match ports.get(&port).filter(|_| !names.is_empty()) {
                Some(served) => {
                    by_names.entry((names.clone(), port)).or_insert_with(|| Rc::new(grouped(served.covered_by(&names)))).clone()
                }
                // No certificate is for all hosts.
                None => Rc::new(grouped(hosts.into_iter().filter(|host| host != "*").map(Covered::whole))),
            };
            ((certificate, port), cover)
        };
        Self { covers: showing.into_iter().map(cover).collect() }
    }

    /// The virtual hosts for what other servers serve that this server's certificates are for. `is_served` tells which hosts the routes
    /// of this server are for.
    pub fn misdirected(&self, server: &GatewayServer, number: u16, is_served: impl Fn(&str) -> bool) -> Vec<VirtualHost> {
        let own: BTreeSet<String> = hosts_of(server).collect();
        let is_foreign = |covered: &&Covered| !own.contains(&covered.of) && !is_served(&covered.host);
        // Of a domain that is its own, only hosts may be others'.
        let is_foreign_domain = |domain: &str| !is_served(domain) && !wider(domain).any(|wider| own.contains(&wider));
        let mut domains = BTreeSet::new();
        for (parent, hosts) in
            certificates(server).into_iter().filter_map(|name| self.covers.get(&(name, port(server)))).flat_map(|cover| &**cover)
        {
            let is_many = || hosts.iter().filter(is_foreign).nth(MANY).is_some();
            match parent.as_ref().filter(|parent| is_foreign_domain(parent) && is_many()) {
                Some(parent) => drop(domains.insert(parent.clone())),
                None => domains.extend(hosts.iter().filter(is_foreign).map(|covered| covered.host.clone())),
            }
        }
        if domains.is_empty() {
            return vec![];
        }
        // Who asks for a host of this server has come to the right place, though there is nothing yet.
        let nowhere: Vec<String> =
            own.into_iter().filter(|host| !is_served(host) && wider(host).any(|wider| domains.contains(&wider))).collect();
        let name = |what: &str| names::host_and_port(what, number);
        let misdirected = virtual_host(name("misdirected"), domains.into_iter().collect(), vec![route()], true);
        let nowhere = (!nowhere.is_empty()).then(|| virtual_host(name("unserved"), nowhere, vec![], true));
        std::iter::once(misdirected).chain(nowhere).collect()
    }
}

impl Served {
    /// The hosts that a certificate with these names is for. A name within a wider host stands for that part of it.
    fn covered_by<'s>(&'s self, names: &'s [String]) -> impl Iterator<Item = Covered> + 's {
        names.iter().flat_map(|name| {
            let of = std::iter::once(name.clone()).chain(wider(name)).find(|host| self.all.contains(host));
            let named = of.map(|of| Covered { host: name.clone(), of });
            named.into_iter().chain(self.by_wildcard.get(name).into_iter().flatten().cloned().map(Covered::whole))
        })
    }
}

impl Covered {
    fn whole(host: String) -> Self {
        Self { of: host.clone(), host }
    }
}

fn grouped(hosts: impl Iterator<Item = Covered>) -> Cover {
    let mut cover = Cover::new();
    for covered in hosts {
        cover.entry(wildcard_of(&covered.host)).or_default().insert(covered);
    }
    cover
}

/// The hosts of a server.
fn hosts_of(server: &GatewayServer) -> impl Iterator<Item = String> {
    server.sni_hosts().into_iter().map(|host| host.to_ascii_lowercase())
}

/// What tells the certificates of a server from those of others: Secrets, and files of chains.
fn certificates(server: &GatewayServer) -> Vec<String> {
    let Some(settings) = server.spec.tls.as_ref().filter(|settings| settings.mode.has_own_certificate()) else { return vec![] };
    let credentials = std::iter::once(&settings.credential_name).chain(&settings.credential_names).filter(|name| !name.is_empty());
    let credentials: Vec<String> = credentials.cloned().collect();
    if credentials.is_empty() { files(settings).map(|(chain, _)| format!("file:{chain}")).collect() } else { credentials }
}

/// The wildcard that stands for a host in a certificate.
fn wildcard_of(host: &str) -> Option<String> {
    host.split_once('.').map(|(_, parent)| format!("*.{parent}"))
}

fn route() -> Route {
    let answer = DirectResponseAction { status: MISDIRECTED, ..Default::default() };
    Route {
        name: "misdirected".to_owned(),
        r#match: Some(condition::everything()),
        action: Some(Action::DirectResponse(answer)),
        ..Default::default()
    }
}
