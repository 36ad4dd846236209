//! What the texts of a case leave open, because it is another one in each run.
//!
//! | written | means |
//! |---|---|
//! | `$name` | a port: `$gateway`, `$http` and `$tcp` are those of the mesh, any other name is a port of its own |
//! | `@name` | a destination of a rule: the instance of the service `echo` |
//! | `<name>`, `<tcp:name>` | an endpoint of a ServiceEntry whose port is named `main`: an instance of HTTP or of TCP |

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use weir_testkit::{Certificate, Layout, Peer, free_port};

use super::table::Group;

/// The instances of the service `echo`.
const ECHO: &[&str] = &["a", "b", "c"];

/// A group's texts, settled: ports are taken, instances run.
pub(super) struct Settled {
    pub layout: Layout,
    ports: RefCell<BTreeMap<String, u16>>,
    peers: BTreeMap<String, Peer>,
    pub certificate: Option<Certificate>,
    /// The resources, one file for all.
    pub resources: String,
    pub mesh_config: String,
}

impl Settled {
    pub async fn new(group: &Group) -> Self {
        let layout = Layout::new();
        let known = [("gateway", layout.gateway), ("http", layout.http), ("tcp", layout.tcp)];
        let ports = RefCell::new(known.map(|(name, port)| (name.to_owned(), port)).into());
        let text = written(group);
        let peers = start(&text).await;
        let mesh_config = format!("{}{}", weir_testkit::MESH_CONFIG, group.mesh_config);
        let certificate = group.certificate.map(Certificate::of);
        let secret = certificate.as_ref().map(|certificate| format!("---\n{}", certificate.secret("certificate")));
        let mut settled = Self { layout, ports, peers, certificate, resources: String::new(), mesh_config };
        settled.resources = settled.text(&text) + &secret.unwrap_or_default();
        settled
    }

    /// A port by its name.
    pub fn port(&self, name: &str) -> u16 {
        *self.ports.borrow_mut().entry(name.to_owned()).or_insert_with(free_port)
    }

    /// Where an instance listens.
    pub fn address(&self, instance: &str) -> SocketAddr {
        self.peers[instance].address()
    }

    /// A text with nothing left open.
    pub fn text(&self, text: &str) -> String {
        let mut settled = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['$', '@', '<']) {
            settled.push_str(&rest[..at]);
            let (sign, after) = rest[at..].split_at(1);
            let name = name_at(after);
            let end = &after[name.len()..];
            (rest, _) = match (sign, name) {
                (_, "") => (after, settled.push_str(sign)),
                ("$", name) => (end, settled.push_str(&self.port(name).to_string())),
                ("@", name) => (end, settled.push_str(&destination(name))),
                (_, name) if end.starts_with('>') => (&end[1..], settled.push_str(&self.endpoint(name))),
                _ => (after, settled.push_str(sign)),
            };
        }
        settled + rest
    }

    fn endpoint(&self, name: &str) -> String {
        let name = name.trim_start_matches("tcp:");
        let address = self.address(name);
        format!("{{address: {}, ports: {{main: {}}}, labels: {{version: {name}}}}}", address.ip(), address.port())
    }
}

fn destination(name: &str) -> String {
    format!("{{destination: {{host: echo.default.svc.cluster.local, subset: {name}}}}}")
}

/// The name that a text begins with.
fn name_at(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-' && letter != ':');
    &text[..end.unwrap_or(text.len())]
}

/// All resources of a group, as they are written.
fn written(group: &Group) -> String {
    let own: Vec<(&str, &str)> = group.cases.iter().filter_map(|case| Some((case.name, case.rules?))).collect();
    let hosts = own.iter().map(|(host, _)| *host).collect::<Vec<_>>();
    let known = (!own.is_empty()).then(|| service_entry(&hosts));
    let rules = own.iter().map(|(host, rules)| virtual_service(host, rules));
    group.resources.iter().cloned().chain([echo()]).chain(known).chain(rules).collect::<Vec<_>>().join("---\n")
}

fn virtual_service(host: &str, rules: &str) -> String {
    let rules: String = rules.trim_matches('\n').lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {host}, namespace: default}}
spec:
  hosts: [{host}]
  gateways: [gw, mesh]
  http:
{rules}"
    )
}

/// Makes the cases' hosts known to the mesh: of others a sidecar knows nothing.
fn service_entry(names: &[&str]) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: cases, namespace: default}}
spec:
  hosts: [{}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: $http, name: main, protocol: HTTP}}]
  endpoints: [<a>]
",
        names.join(", ")
    )
}

/// The service that most rules lead to, with a subset for each instance.
fn echo() -> String {
    let endpoints: Vec<String> = ECHO.iter().map(|name| format!("<{name}>")).collect();
    let subsets: Vec<String> = ECHO.iter().map(|name| format!("{{name: {name}, labels: {{version: {name}}}}}")).collect();
    format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: echo, namespace: default}}
spec:
  hosts: [echo.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: $http, name: main, protocol: HTTP}}]
  endpoints: [{}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: echo, namespace: default}}
spec:
  host: echo
  subsets: [{}]
",
        endpoints.join(", "),
        subsets.join(", ")
    )
}

/// Starts all instances that a text names.
async fn start(text: &str) -> BTreeMap<String, Peer> {
    let pieces = text.split('<').skip(1).map(|piece| (name_at(piece), piece));
    let names: BTreeSet<&str> = pieces.filter(|(name, piece)| piece[name.len()..].starts_with('>')).map(|(name, _)| name).collect();
    let mut peers = BTreeMap::new();
    for name in names {
        let peer = match name.strip_prefix("tcp:") {
            Some(name) => Peer::tcp(name).await,
            None => Peer::http(name).await,
        };
        peers.insert(peer.name().to_owned(), peer);
    }
    peers
}
