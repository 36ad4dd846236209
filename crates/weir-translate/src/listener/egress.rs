//! The listeners of a sidecar for what its workload sends.
//!
//! Facts: `buildSidecarOutboundListeners` in pilot/pkg/networking/core/listener.go of Istio. Services of HTTP share a
//! listener for each port, others have one for each address; where both want the same, the first bytes decide, if they
//! can be told apart.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use weir_api::FieldPath;
use weir_api::resources::protocol::Protocol;
use weir_api::resources::sidecar::CaptureMode;
use weir_model::{EgressListener, Interception, Origin, OutboundPolicy, Registry, Resolution, Service, ServicePort};
use weir_xds::core::TrafficDirection;
use weir_xds::listener::{FilterChain, FilterChainMatch, Listener};
use weir_xds::values::{UNIX, duration};

use super::chain::Chain;
use super::http::{self, Class};
use super::tcp::{self, ChainInput};
use super::{ANY_ADDRESS, access_log, additional, at, build, everywhere, inspectors, is_transparent};
use crate::context::Context;
use crate::ingress::LOOPBACK;
use crate::names;
use crate::route::destination;
use crate::virtual_host::sidecar::{self, OutboundRoute};

/// What is made for what a workload sends.
pub(crate) struct Outbound {
    pub listeners: Vec<Listener>,
    /// By the names that the listeners ask for.
    pub routes: BTreeMap<String, OutboundRoute>,
}

/// The listeners of all egress listeners.
pub(crate) fn listeners(context: &Context<'_>) -> Outbound {
    let mut collector = Collector { context, entries: BTreeMap::new(), also: BTreeSet::new(), routes: BTreeMap::new() };
    context.scope.egress.iter().for_each(|listener| collector.add_listener(listener));
    let mut listeners: Vec<Listener> = collector.entries.into_values().map(|entry| entry.build(context)).collect();
    if context.proxy.interception.is_captured() {
        listeners.push(redirected(context));
    }
    Outbound { listeners, routes: collector.routes }
}

/// A listener on its way.
struct Entry {
    bind: String,
    port: u16,
    /// Its other addresses: one service may have one of each family.
    also: Vec<String>,
    /// Whether it is bound, or only found by the address that a connection was sent to.
    is_bound: bool,
    /// Whether services without a port of their own in the Sidecar may still be added.
    is_locked: bool,
    /// What it carries; none if the first bytes decide.
    protocol: Option<Protocol>,
    chains: Vec<Chain>,
}

struct Collector<'c> {
    context: &'c Context<'c>,
    entries: BTreeMap<(String, u16), Entry>,
    /// What entries have besides the address that they are known by.
    also: BTreeSet<(String, u16)>,
    routes: BTreeMap<String, OutboundRoute>,
}

/// Where a service's listener is, when it is bound to the service's own addresses.
struct Place<'p> {
    address: Cow<'p, str>,
    also: Vec<Cow<'p, str>>,
    /// The range that its connections are sent to, if it is there for all addresses.
    range: Option<Cow<'p, str>>,
}

impl<'p> Place<'p> {
    fn at(address: impl Into<Cow<'p, str>>) -> Self {
        Self { address: address.into(), also: vec![], range: None }
    }
}

/// Where listeners are bound.
#[derive(Clone, Copy)]
struct Bind<'b> {
    /// None where each service's own address is taken.
    address: Option<&'b str>,
    is_bound: bool,
}

impl Collector<'_> {
    fn add_listener(&mut self, listener: &EgressListener) {
        let spec = listener.spec.as_ref();
        let is_bound =
            self.context.proxy.interception == Interception::None || spec.is_some_and(|spec| spec.capture_mode == CaptureMode::None);
        let written = spec.map(|spec| spec.bind.as_str()).filter(|bind| !bind.is_empty());
        // Nobody is redirected to a socket.
        let is_bound = is_bound || listener.socket().is_some();
        let bind = Bind { address: written.or(is_bound.then_some(LOOPBACK)), is_bound };
        match (spec.and_then(|spec| spec.port.as_ref()), listener.port().or(listener.socket().map(|_| 0))) {
            (Some(written), Some(number)) => {
                let port = ServicePort { number, name: written.name.clone(), protocol: written.protocol() };
                listener.services.iter().for_each(|service| self.add(listener, service, &port, bind));
            }
            _ => {
                self.entries.values_mut().for_each(|entry| entry.is_locked = true);
                for service in listener.services.iter() {
                    service.ports.iter().for_each(|port| self.add_at_own_port(listener, service, port, bind));
                }
            }
        }
    }

    /// A service without an address of its own that is no HTTP is reached at the addresses of its instances.
    fn add_at_own_port(&mut self, listener: &EgressListener, service: &Arc<Service>, port: &ServicePort, bind: Bind<'_>) {
        let is_headless = service.resolution == Resolution::Passthrough && address_of(service) == ANY_ADDRESS;
        if bind.address.is_some() || !is_headless || port.protocol.is_some_and(Protocol::is_http) {
            return self.add(listener, service, port, bind);
        }
        let endpoints = self.context.mesh.services.endpoints(service);
        let own: Vec<&str> = endpoints.iter().filter(|own| own.service_port == port.number).map(|own| own.address.as_str()).collect();
        if own.is_empty() && service.registry == Registry::External {
            return self.add(listener, service, port, bind);
        }
        for address in own.into_iter().filter(|address| address.parse::<IpAddr>().is_ok() && *address != self.context.proxy.address()) {
            self.add(listener, service, port, Bind { address: Some(address), ..bind });
        }
    }

    fn add(&mut self, listener: &EgressListener, service: &Arc<Service>, port: &ServicePort, bind: Bind<'_>) {
        if service.resolution == Resolution::Alias || port.protocol == Some(Protocol::Udp) {
            return;
        }
        let is_http = port.protocol.is_some_and(Protocol::is_http);
        let places = match bind.address {
            Some(address) => vec![Place::at(address)],
            None if is_http => vec![Place::at(ANY_ADDRESS)],
            None => self.places(service),
        };
        places.into_iter().for_each(|place| self.add_at(listener, (service, port), place, bind.is_bound));
    }

    /// What is no HTTP has a listener for each address of a ServiceEntry; where there is one of each family for the same, both are its. At a
    /// range it is one for all addresses.
    fn places<'s>(&self, service: &'s Service) -> Vec<Place<'s>> {
        let mut addresses = self.context.addresses(service).into_iter();
        let is_of_families = service.registry == Registry::Kubernetes || service.addresses.is_empty();
        if is_of_families {
            let is_called = |address: &Cow<'_, str>| self.context.proxy.has_ipv6() || address.parse::<Ipv6Addr>().is_err();
            let first = addresses.next().unwrap_or(Cow::Borrowed(ANY_ADDRESS));
            return vec![Place { also: addresses.filter(is_called).collect(), ..Place::at(first) }];
        }
        let place = |address: Cow<'s, str>| match address.contains('/') {
            true => Place { range: Some(address), ..Place::at(ANY_ADDRESS) },
            false => Place::at(address),
        };
        addresses.map(place).collect()
    }

    fn add_at(&mut self, listener: &EgressListener, (service, port): (&Arc<Service>, &ServicePort), place: Place<'_>, is_bound: bool) {
        let is_http = port.protocol.is_some_and(Protocol::is_http);
        let Place { address, also, range } = place;
        let key = (address.clone().into_owned(), port.number);
        if self.also.contains(&key) {
            return self.context.warn(&origin_of(service), already(&key));
        }
        let current = self.entries.get(&key);
        if current.is_some_and(|entry| entry.is_locked) {
            return;
        }
        let known = current.map(|entry| entry.protocol);
        let needs_no_more =
            |protocol: Option<Protocol>| protocol.is_none_or(Protocol::is_http) && is_http || protocol.is_none() && port.protocol.is_none();
        if known.is_some_and(needs_no_more) {
            return;
        }
        if let Some(message) = known.and_then(|known| conflict(known, port.protocol, &key)) {
            return self.context.warn(&origin_of(service), message);
        }
        let input = ChainInput { service, port, bind: &address, range: range.as_deref(), rules: &listener.virtual_services };
        let (chains, protocol) = self.chains(&input, is_http);
        self.put(key, chains, protocol, is_bound, service);
        self.add_addresses(&(address.into_owned(), port.number), also, service);
    }

    /// Further addresses of a listener that has none yet. Nobody could tell which of two listeners is meant at one, so that the first has it.
    fn add_addresses(&mut self, key: &(String, u16), also: Vec<Cow<'_, str>>, service: &Service) {
        if self.entries.get(key).is_none_or(|entry| !entry.also.is_empty()) {
            return;
        }
        let places = also.into_iter().map(|address| (address.into_owned(), key.1));
        let (taken, free): (Vec<_>, Vec<_>) = places.partition(|place| self.entries.contains_key(place) || self.also.contains(place));
        taken.iter().for_each(|place| self.context.warn(&origin_of(service), already(place)));
        self.also.extend(free.iter().cloned());
        if let Some(entry) = self.entries.get_mut(key) {
            entry.also.extend(free.into_iter().map(|(address, _)| address));
        }
    }

    /// The chains of a service at a listener, and what the listener then carries.
    fn chains(&mut self, input: &ChainInput<'_>, is_http: bool) -> (Vec<Chain>, Option<Protocol>) {
        let is_shared = input.bind == ANY_ADDRESS;
        if is_http {
            let chain = self.http(input, true);
            return match is_shared && input.port.protocol != Some(Protocol::HttpProxy) {
                // What is no HTTP goes on to where it was sent.
                true => (vec![chain.only_plaintext_http()], None),
                false => (vec![chain], input.port.protocol),
            };
        }
        let mut chains = input.chains(self.context);
        if input.port.protocol.is_none() {
            chains.push(self.http(input, is_shared).only_plaintext_http());
        }
        (chains, input.port.protocol)
    }

    fn http(&mut self, input: &ChainInput<'_>, is_shared: bool) -> Chain {
        let port = input.port.number;
        let (name, route) = match is_shared {
            _ if input.bind.starts_with(UNIX) => (input.bind.to_owned(), OutboundRoute::Socket(input.bind.to_owned())),
            true => (port.to_string(), OutboundRoute::Port(port)),
            false => (format!("{}:{port}", input.service.hostname), OutboundRoute::Service(input.service.clone(), port)),
        };
        let manager =
            http::by_route_name(self.context, Class::Outbound.speaking(input.port.protocol), &names::listener(input.bind, port), &name);
        self.routes.insert(name, route);
        Chain { filters: vec![manager], ..Default::default() }
    }

    fn put(&mut self, key: (String, u16), chains: Vec<Chain>, protocol: Option<Protocol>, is_bound: bool, service: &Service) {
        let replaces = |entry: &Entry| protocol.is_none() && entry.protocol.is_some_and(Protocol::is_http);
        let (bind, port) = key.clone();
        match self.entries.get_mut(&key) {
            Some(entry) if !replaces(entry) => {
                if entry.merge(chains, protocol) {
                    let mut message =
                        format!("another service is reached at {bind}:{port} already: this one is not, as its connections look the same");
                    if bind == ANY_ADDRESS && service.automatic.is_some() {
                        message += "; a captured sidecar that answers DNS tells them apart (--dns)";
                    }
                    self.context.warn(&origin_of(service), message);
                }
            }
            _ => {
                self.entries.insert(key, Entry { bind, port, also: vec![], is_bound, is_locked: false, protocol, chains });
            }
        }
    }
}

fn already((bind, port): &(String, u16)) -> String {
    format!("another service is reached at {bind}:{port} already: this one is not")
}

/// A server that speaks first cannot share a port with another protocol: nobody would say the first word.
fn conflict(known: Option<Protocol>, new: Option<Protocol>, (bind, port): &(String, u16)) -> Option<String> {
    let speaks_first = |protocol: Option<Protocol>| matches!(protocol, Some(Protocol::Mongo | Protocol::Mysql));
    let clashes = known != new && (speaks_first(known) || speaks_first(new));
    clashes.then(|| {
        format!(
            "another protocol is spoken at {bind}:{port} already, and this one cannot be told from it: the service is not reached there"
        )
    })
}

fn origin_of(service: &Service) -> Origin {
    Origin::new(&service.object, FieldPath::default().key("spec"))
}

/// The address that a service has, or the range; all addresses if it has none.
pub(crate) fn address_of(service: &Service) -> &str {
    service.addresses.first().map_or(ANY_ADDRESS, String::as_str)
}

impl Entry {
    /// Adds chains whose conditions are new; says whether any was not.
    fn merge(&mut self, chains: Vec<Chain>, protocol: Option<Protocol>) -> bool {
        let mut conflicts = false;
        for chain in chains {
            if self.chains.iter().any(|known| known.conflicts_with(&chain)) {
                conflicts = true;
            } else {
                self.chains.push(chain);
            }
        }
        if self.protocol.is_some_and(Protocol::is_tcp) != protocol.is_some_and(Protocol::is_tcp) {
            self.protocol = None;
        }
        conflicts
    }

    fn build(self, context: &Context<'_>) -> Listener {
        let mut listener = Listener {
            listener_filters: inspectors(&self.chains),
            listener_filters_timeout: Some(duration(context.mesh.config.protocol_detection_timeout.to_std())),
            continue_on_listener_filters_timeout: true,
            bind_to_port: (!self.is_bound).then_some(false),
            access_log: access_log::of_listener(&context.mesh.config),
            ..match self.bind == ANY_ADDRESS {
                true => everywhere(context, self.port, TrafficDirection::Outbound),
                false => Listener {
                    additional_addresses: self.also.iter().map(|address| additional(address, self.port)).collect(),
                    ..at(&self.bind, self.port, TrafficDirection::Outbound)
                },
            }
        };
        for chain in self.chains {
            // What matches everything must not keep others from being looked at first.
            match chain.matches_all() {
                true => listener.default_filter_chain = Some(build(chain)),
                false => listener.filter_chains.push(build(chain)),
            }
        }
        if listener.filter_chains.is_empty() {
            listener.filter_chains.extend(listener.default_filter_chain.take());
        } else if listener.default_filter_chain.is_none() {
            listener.default_filter_chain = Some(everything_else(context, "PassthroughFilterChain"));
        }
        listener
    }
}

/// The chain for connections that nothing else is for.
fn everything_else(context: &Context<'_>, name: &str) -> FilterChain {
    let cluster = match &context.scope.outbound_policy {
        OutboundPolicy::RegistryOnly => names::BLACK_HOLE.to_owned(),
        OutboundPolicy::AllowAny | OutboundPolicy::AllowAnyDynamicDns => names::PASSTHROUGH.to_owned(),
        OutboundPolicy::EgressProxy(proxy) => destination::cluster(proxy, None, 0),
    };
    FilterChain {
        filter_chain_match: Some(FilterChainMatch::default()),
        filters: vec![tcp::to_cluster(context, &cluster)],
        name: name.to_owned(),
        ..Default::default()
    }
}

/// The listener that the kernel redirects everything to that a workload sends. From here a connection goes on to the
/// listener of the address that it was sent to.
fn redirected(context: &Context<'_>) -> Listener {
    let port = u16::try_from(context.mesh.config.proxy_listen_port).unwrap_or(15001);
    let itself = FilterChain {
        filter_chain_match: Some(FilterChainMatch { destination_port: Some(port.into()), ..Default::default() }),
        filters: vec![tcp::to_cluster(context, names::BLACK_HOLE)],
        name: "virtualOutbound-blackhole".to_owned(),
        ..Default::default()
    };
    let http = unknown_http(context);
    let inspectors = inspectors(http.as_slice());
    let http = http.map(|chain| FilterChain { name: "virtualOutbound-catchall-http".to_owned(), ..build(chain) });
    let rest = FilterChain { filter_chain_match: None, ..everything_else(context, "virtualOutbound-catchall-tcp") };
    // Beside a chain for plaintext HTTP, other plaintext would match none: what has no condition is no fallback, the default is.
    let (rest, default) = if http.is_some() { (None, Some(rest)) } else { (Some(rest), None) };
    Listener {
        name: "virtualOutbound".to_owned(),
        transparent: is_transparent(context),
        use_original_dst: Some(true),
        listener_filters: inspectors,
        filter_chains: [Some(itself), http, rest].into_iter().flatten().collect(),
        default_filter_chain: default,
        listener_filters_timeout: Some(duration(Duration::ZERO)),
        max_connections_to_accept_per_socket_event: Some(1),
        access_log: access_log::of_listener(&context.mesh.config),
        ..everywhere(context, port, TrafficDirection::Outbound)
    }
}

/// The chain for plaintext HTTP to unknown addresses, where the host that a request names decides, and not the address.
fn unknown_http(context: &Context<'_>) -> Option<Chain> {
    if context.scope.outbound_policy != OutboundPolicy::AllowAnyDynamicDns {
        return None;
    }
    let manager = http::with_routes(context, Class::Outbound.speaking(None), "outbound_virtualOutbound;", sidecar::unknown(context));
    Some(Chain { filters: vec![manager], ..Default::default() }.only_plaintext_http())
}
