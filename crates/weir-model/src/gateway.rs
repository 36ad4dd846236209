//! Gateways: the servers of all Gateway resources that select one proxy, merged into its ports.
//!
//! Facts: pilot/pkg/model/gateway.go of Istio. The oldest Gateway decides what a port speaks; plaintext HTTP
//! servers share a port's routes; servers with TLS share a port by their hosts, each host once, and leave what is not TLS
//! to a younger server of plaintext.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use weir_api::resources::gateway::{Gateway as Written, Server, ServerTlsMode};
use weir_api::resources::protocol::Protocol;
use weir_api::{FieldPath, Object, Spec};

use crate::host::is_subset;
use crate::ingress;
use crate::proxy::Proxy;
use crate::rule::Origin;
use crate::service::{Endpoint, Service};

/// Names the services whose instances a Gateway is for, in place of a selector.
const GATEWAY_SERVICE: &str = "internal.istio.io/gateway-service";

/// A server of a Gateway, as one proxy carries it out.
#[derive(Debug)]
pub struct GatewayServer {
    /// What it says.
    pub spec: Server,
    /// What its port speaks.
    pub protocol: Protocol,
    /// Its hosts: `host`, or `namespace/host` where only that namespace's rules may use it.
    pub hosts: Vec<String>,
    /// Its Gateway, as `namespace/name`.
    pub gateway: String,
    /// The names by which its rules refer to it: that of its Gateway, and where an Ingress stands for that, those of its hosts.
    pub entrances: Vec<String>,
    /// The name of its route configuration; none where connections are forwarded as they are.
    pub route_name: Option<String>,
    /// The port that it is served at: the target port of the gateway's service, or the server's own.
    pub port: u16,
    /// Where it stands.
    pub origin: Origin,
}

/// A port of a gateway proxy.
#[derive(Debug)]
pub struct GatewayPort {
    /// Its number.
    pub number: u16,
    /// The address that it is bound to; all if it is empty.
    pub bind: String,
    /// What the first of its servers speaks.
    pub protocol: Protocol,
    /// Its servers, in order.
    pub servers: Vec<Arc<GatewayServer>>,
}

/// What a gateway proxy serves.
#[derive(Debug, Default)]
pub struct MergedGateway {
    /// Its ports, in the order in which they were first named.
    pub ports: Vec<GatewayPort>,
    /// The servers of each route configuration.
    pub routes: BTreeMap<String, Vec<Arc<GatewayServer>>>,
    /// The servers that older ones left no room for, and why.
    pub refused: Vec<(Origin, String)>,
}

impl GatewayServer {
    /// The hosts that rules of a namespace may use.
    pub fn hosts_for(&self, namespace: &str) -> Vec<String> {
        let usable = |host: &String| match host.split_once('/') {
            None => Some(host.clone()),
            Some((owner, host)) => (owner == namespace).then(|| host.to_owned()),
        };
        self.hosts.iter().filter_map(usable).collect()
    }

    /// Its hosts without namespaces, each once, in alphabetical order: the server names of its TLS handshakes.
    pub fn sni_hosts(&self) -> Vec<String> {
        let plain = |host: &String| host.split_once('/').map_or(host.as_str(), |(_, host)| host).to_owned();
        self.hosts.iter().map(plain).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether it sends plaintext requests to HTTPS.
    pub fn redirects_to_https(&self) -> bool {
        self.spec.tls.as_ref().is_some_and(|tls| tls.https_redirect)
    }

    /// Whether it ends TLS itself, to see the requests in it.
    pub fn terminates_https(&self) -> bool {
        self.protocol == Protocol::Https && self.spec.tls.as_ref().is_some_and(|tls| !tls.mode.is_passthrough())
    }

    /// Whether the first bytes of its connections are TLS.
    pub fn is_tls(&self) -> bool {
        self.spec.tls.is_some() && !self.protocol.is_http()
    }

    /// Whether a host of a rule overlaps with one of its hosts, for rules of a namespace.
    pub fn serves(&self, host: &str, namespace: &str) -> bool {
        self.hosts_for(namespace).iter().any(|own| is_subset(host, own) || is_subset(own, host))
    }
}

impl MergedGateway {
    /// The servers of all of its ports.
    pub fn servers(&self) -> impl Iterator<Item = &Arc<GatewayServer>> {
        self.ports.iter().flat_map(|port| &port.servers)
    }

    /// Whether any of its servers forwards TLS to the cluster that the server name itself stands for.
    pub fn passes_by_cluster_names(&self) -> bool {
        let mut servers = self.ports.iter().flat_map(|port| &port.servers);
        servers.any(|server| server.spec.tls.as_ref().is_some_and(|tls| tls.mode == ServerTlsMode::AutoPassthrough))
    }

    /// Merges the Gateways that select a proxy. `instances` are the services that the proxy itself is an instance
    /// of: their target ports take the place of their ports.
    pub fn new(gateways: &[Arc<Object>], proxy: &Proxy, instances: &[(Arc<Service>, Endpoint)]) -> Self {
        let mut merger = Merger::default();
        for object in gateways {
            let Spec::Gateway(written) = &object.spec else { continue };
            let Some(select) = selection(object, written, proxy, instances) else { continue };
            for (i, spec) in written.servers.iter().enumerate() {
                let origin = Origin::new(object, FieldPath::default().key("spec").key("servers").index(i));
                for port in select.ports(spec, instances) {
                    merger.add(GatewayServer::new((object, written), spec, port, origin.clone()));
                }
            }
        }
        merger.merged
    }
}

/// How a Gateway came to select a proxy.
enum Selection<'g> {
    ByLabels,
    ByServices(Vec<&'g str>),
}

fn selection<'g>(object: &'g Object, written: &Written, proxy: &Proxy, instances: &[(Arc<Service>, Endpoint)]) -> Option<Selection<'g>> {
    let Some(named) = object.meta.annotations.get(GATEWAY_SERVICE) else {
        return proxy.is_selected(&written.selector).then_some(Selection::ByLabels);
    };
    let names: Vec<&str> = named.split(',').map(str::trim).collect();
    instances.iter().any(|(service, _)| names.contains(&&*service.hostname)).then_some(Selection::ByServices(names))
}

impl Selection<'_> {
    /// The ports that a server is served at. By labels that is one port, of whatever service has it first; by
    /// services those of the named ones, and of nothing else.
    fn ports(&self, server: &Server, instances: &[(Arc<Service>, Endpoint)]) -> Vec<u16> {
        let Some(number) = server.port.as_ref().and_then(|port| u16::try_from(port.number).ok()) else { return vec![] };
        let targets = |named: &dyn Fn(&str) -> bool| {
            let matching = instances.iter().filter(|(service, at)| at.service_port == number && named(&service.hostname));
            matching.map(|(_, at)| at.port).collect::<BTreeSet<u16>>()
        };
        match self {
            Self::ByLabels => vec![instances.iter().find(|(_, at)| at.service_port == number).map_or(number, |(_, at)| at.port)],
            Self::ByServices(names) => targets(&|hostname| names.contains(&hostname)).into_iter().collect(),
        }
    }
}

impl GatewayServer {
    fn new((object, written): (&Arc<Object>, &Written), spec: &Server, port: u16, origin: Origin) -> Self {
        let protocol = spec.port.as_ref().and_then(weir_api::resources::gateway::Port::protocol).unwrap_or(Protocol::Tcp);
        let (name, namespace) = (&object.meta.name, &object.meta.namespace);
        let (gateway, hosts) = (format!("{namespace}/{name}"), hosts(&spec.hosts, namespace));
        let by_hosts = if written.of_ingress { ingress::entrances_of_server(&hosts) } else { BTreeSet::new() };
        Self {
            entrances: std::iter::once(gateway.clone()).chain(by_hosts).collect(),
            hosts,
            gateway,
            route_name: route_name(spec, protocol, port, name, namespace),
            spec: spec.clone(),
            protocol,
            port,
            origin,
        }
    }
}

/// `./host` is of the Gateway's own namespace, `*/host` of all.
fn hosts(written: &[String], namespace: &str) -> Vec<String> {
    let read = |host: &String| match host.split_once('/') {
        Some((".", host)) => format!("{namespace}/{host}"),
        Some(("*", host)) => host.to_owned(),
        _ => host.clone(),
    };
    let hosts: Vec<String> = written.iter().map(read).collect();
    if written.iter().any(|host| host == "*/*") { vec!["*".to_owned()] } else { hosts }
}

fn route_name(server: &Server, protocol: Protocol, port: u16, gateway: &str, namespace: &str) -> Option<String> {
    let bind = if server.bind.is_empty() { String::new() } else { format!(".{}", server.bind) };
    if protocol.is_http() {
        return Some(format!("http.{port}{bind}"));
    }
    let written = server.port.as_ref().filter(|_| protocol == Protocol::Https)?;
    let passthrough = server.tls.as_ref().is_none_or(|tls| tls.mode.is_passthrough());
    (!passthrough).then(|| format!("https.{}.{}.{gateway}.{namespace}{bind}", written.number, written.name))
}

/// Why a server has no room beside an older one of its port.
fn taken(server: &GatewayServer, older: Protocol) -> String {
    let (own, older) = (server.protocol.name(), older.name());
    format!("port {} speaks {older} for an older server: this server, of {own}, is left out", server.port)
}

/// What is known of the ports while servers are added, from the oldest Gateway's to the youngest's.
#[derive(Default)]
struct Merger {
    merged: MergedGateway,
    /// For each port that began as plaintext: what it speaks, and where it is bound.
    plaintext: HashMap<u16, (Protocol, String)>,
    known: HashSet<u16>,
    /// For each port that began as TLS: the server of plaintext beside it, at each address.
    beside_tls: HashMap<(u16, String), Protocol>,
    /// Hosts of servers with TLS, by port and address.
    tls_hosts: HashMap<(u16, String), HashSet<String>>,
}

impl Merger {
    fn add(&mut self, server: GatewayServer) {
        let server = Arc::new(server);
        if let Err(reason) = self.try_add(&server) {
            self.merged.refused.push((server.origin.clone(), reason));
        }
    }

    fn try_add(&mut self, server: &Arc<GatewayServer>) -> Result<(), String> {
        self.claim_tls_hosts(server)?;
        if self.known.insert(server.port) {
            if !server.is_tls() {
                self.plaintext.insert(server.port, (server.protocol, server.spec.bind.clone()));
            }
        } else if let Some((protocol, bind)) = self.plaintext.get(&server.port).cloned() {
            return self.add_to_plaintext(server, protocol, &bind);
        } else {
            let protocol = self.check_beside_tls(server)?;
            self.push(server, protocol);
            return Ok(());
        }
        self.push(server, server.protocol);
        Ok(())
    }

    /// A host with TLS belongs to one server of a port: the certificate is chosen by it.
    fn claim_tls_hosts(&mut self, server: &GatewayServer) -> Result<(), String> {
        if server.spec.tls.is_none() {
            return Ok(());
        }
        let known = self.tls_hosts.entry((server.port, server.spec.bind.clone())).or_default();
        let taken: Vec<&str> = server.hosts.iter().filter(|host| known.contains(*host)).map(String::as_str).collect();
        if !taken.is_empty() {
            return Err(format!(
                "an older server of port {} has the hosts {} already: this server is left out",
                server.port,
                taken.join(", ")
            ));
        }
        known.extend(server.hosts.iter().cloned());
        Ok(())
    }

    fn add_to_plaintext(&mut self, server: &Arc<GatewayServer>, protocol: Protocol, bind: &str) -> Result<(), String> {
        if bind != server.spec.bind {
            self.push(server, server.protocol);
            return Ok(());
        }
        if !server.protocol.is_http() || !protocol.is_http() {
            return Err(taken(server, protocol));
        }
        self.push(server, protocol);
        Ok(())
    }

    /// Beside servers with TLS there is room for one protocol in plaintext; only servers of HTTP share it. Returns what the
    /// server's part of the port speaks.
    fn check_beside_tls(&mut self, server: &GatewayServer) -> Result<Protocol, String> {
        if server.is_tls() {
            return match &server.route_name {
                Some(name) if self.merged.routes.contains_key(name) => {
                    Err(format!("another server has the same port and port name ({name}): this server is left out"))
                }
                _ => Ok(server.protocol),
            };
        }
        match self.beside_tls.entry((server.port, server.spec.bind.clone())) {
            Entry::Vacant(free) => {
                free.insert(server.protocol);
                Ok(server.protocol)
            }
            Entry::Occupied(older) if older.get().is_http() && server.protocol.is_http() => Ok(*older.get()),
            Entry::Occupied(older) => Err(taken(server, *older.get())),
        }
    }

    /// Puts a server behind those of its port, address and protocol.
    fn push(&mut self, server: &Arc<GatewayServer>, protocol: Protocol) {
        let bind = &server.spec.bind;
        let same = |port: &&mut GatewayPort| port.number == server.port && port.bind == *bind && port.protocol == protocol;
        match self.merged.ports.iter_mut().find(same) {
            Some(port) => port.servers.push(server.clone()),
            None => {
                let servers = vec![server.clone()];
                self.merged.ports.push(GatewayPort { number: server.port, bind: bind.clone(), protocol, servers });
            }
        }
        if let Some(name) = &server.route_name {
            self.merged.routes.entry(name.clone()).or_default().push(server.clone());
        }
    }
}
