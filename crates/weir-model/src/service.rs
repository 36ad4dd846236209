//! Services and their instances, whatever platform they come from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use weir_api::resources::protocol::Protocol;
use weir_api::{Object, Spec};

use crate::identity::Identity;
use crate::visibility::Visibility;

/// A service.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// The name that clients use: full, in lower case; may be a wildcard.
    pub hostname: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its short name, where its platform has one; else the host name.
    pub name: Arc<str>,
    /// Addresses that stand for the service as a whole, as they are written: single ones or ranges.
    pub addresses: Vec<String>,
    /// Those that it is given as it has none, for clients whose sidecars answer questions of DNS with them.
    pub automatic: Option<AutomaticAddresses>,
    /// Its ports, in the order of the definition.
    pub ports: Vec<ServicePort>,
    /// How its instances are found.
    pub resolution: Resolution,
    /// Whether it is outside of the mesh.
    pub external: bool,
    /// Who may see it.
    pub visibility: Visibility,
    /// Where it is registered.
    pub registry: Registry,
    /// Which instances are preferred by where they run, unless a DestinationRule says it.
    pub traffic_distribution: TrafficDistribution,
    /// Whether only instances on a client's own node are for it.
    pub node_local: bool,
    /// Whether clients keep to the instance that they had, also while that is being stopped.
    pub keeps_sessions: bool,
    /// The host name that it is but another name for.
    pub alias_of: Option<Arc<str>>,
    /// The host names that are but other names for it.
    pub aliases: Vec<Arc<str>>,
    /// The names of which an instance's certificate must have one, unless a DestinationRule names others.
    pub subject_alt_names: Vec<String>,
    /// The object that defines it.
    pub object: Arc<Object>,
}

/// The addresses of a host that nobody gave any, which no other host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AutomaticAddresses {
    /// One of 240.240.0.0/16, as Istio's are.
    pub ipv4: Ipv4Addr,
    /// One of 2001:2::/48, as Istio's are.
    pub ipv6: Ipv6Addr,
}

impl AutomaticAddresses {
    /// Both, that of IPv4 first.
    pub fn all(self) -> [IpAddr; 2] {
        [self.ipv4.into(), self.ipv6.into()]
    }
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Its number.
    pub number: u16,
    /// Its name.
    pub name: String,
    /// What it speaks; none where that must be found out.
    pub protocol: Option<Protocol>,
}

/// How the instances of a service are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// They are known.
    Static,
    /// By name; all addresses are used.
    Dns,
    /// By name; the first address is used.
    DnsRoundRobin,
    /// By the name of each request.
    DynamicDns,
    /// The address that the client connects to.
    Passthrough,
    /// As another service's, whose name this one stands for.
    Alias,
}

/// Where a service is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Registry {
    /// It is a Kubernetes Service.
    Kubernetes,
    /// It is a ServiceEntry.
    External,
}

/// Which instances of a service are preferred by where they run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum TrafficDistribution {
    /// None.
    #[default]
    Any,
    /// Those of the client's zone, then those of its region.
    PreferSameZone,
    /// Those of the client's node, then those of its subzone, zone and region.
    PreferSameNode,
}

impl TrafficDistribution {
    /// What an annotation says that a service or its namespace may have, in any case; an unknown word is [`Any`](Self::Any).
    pub const ANNOTATION: &str = "networking.istio.io/traffic-distribution";

    fn named(word: &str) -> Option<Self> {
        match word {
            "preferclose" | "prefersamezone" => Some(Self::PreferSameZone),
            "prefersamenode" => Some(Self::PreferSameNode),
            _ => None,
        }
    }

    /// What the field of a Kubernetes Service says, else its annotation; none if neither says anything.
    ///
    /// Facts: `GetTrafficDistribution` in pilot/pkg/model/service.go of Istio.
    pub fn of_service(field: &str, annotations: &BTreeMap<String, String>) -> Option<Self> {
        let of_field = match field {
            "PreferClose" | "PreferSameZone" | "PreferSameNode" => Self::named(&field.to_ascii_lowercase()),
            _ => None,
        };
        of_field.or_else(|| Self::of_annotation(annotations))
    }

    /// What an annotation says; none if there is none.
    pub fn of_annotation(annotations: &BTreeMap<String, String>) -> Option<Self> {
        let word = annotations.get(Self::ANNOTATION).filter(|word| !word.is_empty())?;
        Some(Self::named(&word.to_ascii_lowercase()).unwrap_or_default())
    }
}

impl Service {
    /// The port of that number.
    pub fn port(&self, number: u32) -> Option<&ServicePort> {
        self.ports.iter().find(|port| u32::from(port.number) == number)
    }

    /// The same service with only these of its ports.
    pub fn with_ports(&self, keep: impl Fn(&ServicePort) -> bool) -> Option<Self> {
        let ports: Vec<ServicePort> = self.ports.iter().filter(|port| keep(port)).cloned().collect();
        (!ports.is_empty()).then(|| Self { ports, ..self.clone() })
    }

    /// Whether it is to be given addresses. If all that it may have are taken, it still has none.
    pub fn wants_addresses(&self) -> bool {
        let Spec::ServiceEntry(entry) = &self.object.spec else { return false };
        entry.is_given_addresses(&self.object.meta.labels, &self.hostname)
    }

    /// Whether two definitions of one host name are of one service, so that each adds to the other.
    pub fn is_one_with(&self, other: &Self) -> bool {
        self.namespace == other.namespace
            && self.resolution == other.resolution
            && self.registry == other.registry
            && self.object.meta.labels == other.object.meta.labels
    }

    /// Which service: its host name and namespace.
    pub fn key(&self) -> ServiceKey {
        (self.hostname.clone(), self.namespace.clone())
    }
}

/// A service's host name and namespace.
pub type ServiceKey = (Arc<str>, Arc<str>);

impl ServicePort {
    /// Whether its requests are seen, or it may turn out that they are.
    pub fn is_http_or_sniffed(&self) -> bool {
        self.protocol.is_none_or(Protocol::is_http)
    }
}

/// An instance of a service at one of its ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is: an IP address in its [`canonical`](crate::canonical) form, a name, or `unix://` and a path.
    pub address: String,
    /// Where it accepts.
    pub port: u16,
    /// The number of the service's port that it serves.
    pub service_port: u16,
    /// Its labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// `region/zone/subzone`; may be empty.
    pub locality: String,
    /// Its share of the requests, relative to the others'; 0 counts as 1.
    pub weight: u32,
    /// The name of its workload.
    pub workload: String,
    /// The namespace of its workload.
    pub namespace: String,
    /// The service account that its workload names; may be empty.
    pub service_account: String,
    /// Whether its workload's proxy takes TLS with the mesh's certificates.
    pub takes_mutual_tls: bool,
    /// Its own name below that of a service without an address, `HOSTNAME.SUBDOMAIN`; may be empty.
    pub own_name: String,
    /// Whether it takes requests.
    pub health: Health,
}

/// Whether an instance takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Healthy,
    /// It is being stopped, and takes those of clients that know it.
    Draining,
    /// It does not, and may again.
    Unhealthy,
    /// It is being stopped, and takes none.
    Terminating,
}

impl Health {
    /// That of an instance which is ready, or is not.
    pub fn of_ready(ready: bool) -> Self {
        if ready { Self::Healthy } else { Self::Unhealthy }
    }
}

/// By this label a workload says that it is about to stop.
const DRAINING: &str = "istio.io/draining";

impl Endpoint {
    /// Whether it takes requests of anybody.
    pub fn is_healthy(&self) -> bool {
        self.health == Health::Healthy
    }

    /// As what it is told to the proxies of a service's clients; none if they are not told of it.
    ///
    /// Those that are not ready are of use only where others take over by where they run, which needs to be known. Who drains is one for
    /// clients that keep to it.
    ///
    /// Facts: `filterIstioEndpoint` in pilot/pkg/xds/endpoints of Istio.
    pub fn told(&self, service: &Service) -> Option<Health> {
        let drains = self.labels.get(DRAINING).is_some_and(|word| !word.is_empty());
        let health = if drains && self.is_healthy() { Health::Draining } else { self.health };
        let is_told = match health {
            Health::Healthy => true,
            Health::Draining => service.keeps_sessions,
            Health::Unhealthy => service.traffic_distribution != TrafficDistribution::Any && !drains,
            Health::Terminating => false,
        };
        is_told.then_some(health)
    }

    /// Who it is: what its certificate says, and what clients expect there.
    pub fn identity(&self) -> Identity {
        Identity::new(&self.namespace, &self.service_account)
    }
}

/// As whom clients know the instances of a service in TLS of the mesh.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peers {
    /// The accounts that they name.
    pub identities: BTreeSet<Identity>,
    /// Whether there are any, and all of them take such TLS.
    pub all_take_mutual_tls: bool,
}

impl Peers {
    /// Those of some instances. Who takes such TLS shows some account, also where it names none.
    pub fn of(instances: &[Endpoint]) -> Self {
        let named = instances.iter().filter(|instance| instance.takes_mutual_tls || !instance.service_account.is_empty());
        // Many instances have few accounts.
        let named: BTreeSet<(&str, &str)> = named.map(|instance| (&*instance.namespace, &*instance.service_account)).collect();
        Self {
            identities: named.into_iter().map(|(namespace, account)| Identity::new(namespace, account)).collect(),
            all_take_mutual_tls: !instances.is_empty() && instances.iter().all(|instance| instance.takes_mutual_tls),
        }
    }
}

/// The protocol of a port by its name and `appProtocol`, as Istio selects it
/// (<https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/>).
pub fn select_protocol(name: &str, app_protocol: Option<&str>, number: u16, transport: &str) -> Option<Protocol> {
    const WELL_KNOWN_TCP: [u16; 4] = [25, 53, 3306, 27017];
    if transport.eq_ignore_ascii_case("UDP") {
        return Some(Protocol::Udp);
    }
    let word = match app_protocol {
        Some("kubernetes.io/h2c") => return Some(Protocol::Http2),
        Some("kubernetes.io/ws") => return Some(Protocol::Http),
        Some("kubernetes.io/wss") => return Some(Protocol::Https),
        Some(word) => word,
        None => name,
    }
    .to_ascii_lowercase();
    if word == "grpc-web" || word.starts_with("grpc-web-") {
        return Some(Protocol::GrpcWeb);
    }
    let word = if app_protocol.is_some() { word.as_str() } else { word.split('-').next().unwrap_or_default() };
    let named = match word {
        "http" | "http2" | "https" | "grpc" | "tcp" | "tls" | "mongo" | "redis" | "mysql" | "udp" => Protocol::parse(word),
        _ => None,
    };
    named.or_else(|| WELL_KNOWN_TCP.contains(&number).then_some(Protocol::Tcp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_that_names_no_account_shows_the_default_one() {
        let instance = |account: &str, takes_mutual_tls| Endpoint {
            address: "10.0.0.1".to_owned(),
            port: 1,
            service_port: 1,
            labels: Arc::default(),
            locality: String::new(),
            weight: 0,
            workload: String::new(),
            namespace: "shop".to_owned(),
            service_account: account.to_owned(),
            takes_mutual_tls,
            own_name: String::new(),
            health: Health::Healthy,
        };
        let of = |instances: &[Endpoint]| Peers::of(instances).identities.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(of(&[instance("", true), instance("cart", true)]), ["ns/shop/sa/cart", "ns/shop/sa/default"]);
        assert_eq!(of(&[instance("", false), instance("cart", false)]), ["ns/shop/sa/cart"]);
    }

    #[test]
    fn protocols_are_selected_as_istio_does() {
        let cases = [
            ("http", None, 80, Some(Protocol::Http)),
            ("http-web", None, 80, Some(Protocol::Http)),
            ("HTTP2-x", None, 80, Some(Protocol::Http2)),
            ("grpc-web-x", None, 80, Some(Protocol::GrpcWeb)),
            ("grpcweb", None, 80, None),
            ("web", None, 80, None),
            ("web", Some("http"), 80, Some(Protocol::Http)),
            ("tcp", Some("kubernetes.io/h2c"), 80, Some(Protocol::Http2)),
            ("", None, 3306, Some(Protocol::Tcp)),
        ];
        for (name, app_protocol, number, expected) in cases {
            assert_eq!(select_protocol(name, app_protocol, number, "TCP"), expected, "{name} {app_protocol:?} {number}");
        }
        assert_eq!(select_protocol("http", None, 80, "UDP"), Some(Protocol::Udp));
    }
}
