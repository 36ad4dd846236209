//! Requests that come by the connection of another server.
//!
//! A client sends requests of all hosts that a certificate is for by one connection of HTTP/2 (RFC 9113, 9.1.1). Where servers of a
//! port share a certificate, such a request meets the routes of the server that the handshake named, which do not know its host.
//! 421 tells the client to ask again by another connection (RFC 9110, 15.5.20); Istio says that there is no such page.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use weir_model::GatewayServer;
use weir_model::host::is_wildcard;
use weir_xds::route::{DirectResponseAction, Route, VirtualHost, route::Action};

use super::virtual_host;
use crate::context::Context;
use crate::names;
use crate::route::condition;
use crate::secret_names::files;
use crate::secrets;

const MISDIRECTED: u32 = 421;

/// More hosts of one domain than that are told by the domain: else each of a thousand servers would name all others.
const MANY: usize = 64;

/// Which hosts of the servers of a gateway's ports a client may ask for by connections of others.
pub(crate) struct Connections<'g> {
    servers: Vec<&'g GatewayServer>,
    /// The names in each certificate, as far as the pilot can see them.
    names: HashMap<String, Vec<String>>,
    /// Servers, by one of their certificates and their port.
    by_certificate: HashMap<(String, Port<'g>), Vec<usize>>,
    /// Hosts of servers by port, and by what must stand in a certificate for it to be for them.
    by_name: HashMap<(String, Port<'g>), Vec<String>>,
}

/// A port, and the address that it is bound at.
type Port<'g> = (u16, &'g str);

fn port(server: &GatewayServer) -> Port<'_> {
    (server.port, &server.spec.bind)
}

impl<'g> Connections<'g> {
    /// Of all servers of a gateway.
    pub fn new(context: &Context<'_>, servers: impl Iterator<Item = &'g Arc<GatewayServer>>) -> Self {
        let servers: Vec<&GatewayServer> = servers.map(|server| &**server).filter(|server| server.is_tls()).collect();
        let mut known = Self { servers, names: HashMap::new(), by_certificate: HashMap::new(), by_name: HashMap::new() };
        for (i, server) in known.servers.iter().enumerate() {
            for certificate in certificates(server) {
                known.by_certificate.entry((certificate.clone(), port(server))).or_default().push(i);
                known.names.entry(certificate).or_insert_with_key(|name| secrets::names_in(context, name));
            }
            for host in server.sni_hosts() {
                let names = [Some(host.clone()), wildcard_of(&host).filter(|_| !is_wildcard(&host))];
                for name in names.into_iter().flatten() {
                    known.by_name.entry((name, port(server))).or_default().push(host.clone());
                }
            }
        }
        known
    }

    /// The virtual host for what other servers serve that show the same certificates, or whose hosts these are for. `is_served` tells
    /// which hosts the routes of this server are for.
    pub fn misdirected(&self, server: &GatewayServer, number: u16, is_served: impl Fn(&str) -> bool) -> Option<VirtualHost> {
        let own: BTreeSet<String> = server.sni_hosts().into_iter().collect();
        let hosts = self.covered(server).into_iter().filter(|host| !own.contains(host) && !is_served(host));
        let domains = shortened(hosts, &is_served);
        (!domains.is_empty()).then(|| virtual_host(names::host_and_port("misdirected", number), domains, vec![route()]))
    }

    /// The hosts of all servers of the port that a server's certificates are for.
    fn covered(&self, server: &GatewayServer) -> BTreeSet<String> {
        let mut hosts = BTreeSet::new();
        for certificate in certificates(server) {
            let names = self.names.get(&certificate).into_iter().flatten();
            let by_name = names.filter_map(|name| self.by_name.get(&(name.clone(), port(server)))).flatten();
            hosts.extend(by_name.map(|host| host.to_ascii_lowercase()));
            let alike = self.by_certificate.get(&(certificate, port(server))).into_iter().flatten();
            let alike = alike.filter_map(|i| self.servers.get(*i)).flat_map(|server| server.sni_hosts());
            hosts.extend(alike.map(|host| host.to_ascii_lowercase()));
        }
        hosts
    }
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

/// Domains for these hosts.
fn shortened(hosts: impl Iterator<Item = String>, is_served: impl Fn(&str) -> bool) -> Vec<String> {
    let mut of_parents: HashMap<Option<String>, Vec<String>> = HashMap::new();
    for host in hosts {
        of_parents.entry(wildcard_of(&host)).or_default().push(host);
    }
    let mut domains: Vec<String> = vec![];
    for (parent, hosts) in of_parents {
        match parent.filter(|parent| hosts.len() > MANY && !is_served(parent)) {
            Some(parent) => domains.push(parent),
            None => domains.extend(hosts),
        }
    }
    domains.sort_unstable();
    domains.dedup();
    domains
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
