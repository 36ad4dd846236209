//! A VirtualService as it counts: names in full, visibility known, each rule with its place.

use std::sync::Arc;

use weir_api::resources::MeshConfig;
use weir_api::resources::virtual_service::{Destination, HttpRoute, RouteDestination, TcpRoute, TlsRoute, VirtualService as Written};
use weir_api::{FieldPath, Object};

use crate::host::expand;
use crate::rule::Origin;
use crate::visibility::Visibility;

/// Stands for all sidecars among the gateways of a rule.
pub const MESH: &str = "mesh";

/// A VirtualService.
#[derive(Debug, Clone, PartialEq)]
pub struct VirtualService {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The hosts that it is about, in full.
    pub hosts: Vec<String>,
    /// The gateways that it applies to, as `namespace/name`, and [`MESH`].
    pub gateways: Vec<String>,
    /// Its HTTP rules, in order.
    pub http: Vec<HttpRule>,
    /// Its TLS rules, in order.
    pub tls: Vec<TlsRule>,
    /// Its TCP rules, in order.
    pub tcp: Vec<TcpRule>,
    /// Who may see it.
    pub visibility: Visibility,
    /// Whether it was made of an Ingress: the rules of all that are for one host are then [ordered](crate::ingress::Precedence) together.
    pub of_ingress: bool,
    /// The object that defines it.
    pub object: Arc<Object>,
}

/// A rule for requests.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpRule {
    /// What it says, with all names in full.
    pub spec: HttpRoute,
    /// Where it stands.
    pub origin: Origin,
}

impl HttpRule {
    /// Whether it may match requests of a namespace.
    pub fn is_for_sources_of(&self, namespace: &str) -> bool {
        let from_here = |source: &str| source.is_empty() || source == namespace;
        let conditions = &self.spec.r#match;
        conditions.is_empty() || conditions.iter().any(|condition| from_here(&condition.source_namespace))
    }
}

/// A rule for connections that begin with TLS.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsRule {
    /// What it says, with all names in full.
    pub spec: TlsRoute,
    /// Where it stands.
    pub origin: Origin,
}

/// A rule for connections.
#[derive(Debug, Clone, PartialEq)]
pub struct TcpRule {
    /// What it says, with all names in full.
    pub spec: TcpRoute,
    /// Where it stands.
    pub origin: Origin,
}

impl VirtualService {
    pub(crate) fn read(object: &Arc<Object>, written: &Written, mesh: &MeshConfig, domain: &str) -> Self {
        let namespace = &object.meta.namespace;
        let names = Names { namespace, domain };
        let rule = |field: &'static str, index: usize| Origin::new(object, FieldPath::default().key("spec").key(field).index(index));
        let http = written.http.iter().enumerate().map(|(i, spec)| HttpRule { spec: names.http(spec), origin: rule("http", i) });
        let tls = written.tls.iter().enumerate().map(|(i, spec)| TlsRule { spec: names.tls(spec), origin: rule("tls", i) });
        let tcp = written.tcp.iter().enumerate().map(|(i, spec)| TcpRule { spec: names.tcp(spec), origin: rule("tcp", i) });
        Self {
            name: object.meta.name.clone(),
            namespace: namespace.clone(),
            hosts: written.hosts.iter().map(|host| names.host(host)).collect(),
            gateways: match written.gateways.as_slice() {
                [] => vec![MESH.to_owned()],
                gateways => gateways.iter().map(|gateway| names.gateway(gateway)).collect(),
            },
            http: http.collect(),
            tls: tls.collect(),
            tcp: tcp.collect(),
            visibility: Visibility::parse(&written.export_to, namespace, &mesh.default_virtual_service_export_to),
            of_ingress: written.of_ingress,
            object: object.clone(),
        }
    }

    /// Whether it applies to sidecars.
    pub fn applies_to_mesh(&self) -> bool {
        self.gateways.iter().any(|gateway| gateway == MESH)
    }

    /// Every destination that it names, mirrors included, but for rules that only sources of other namespaces
    /// match.
    pub fn destinations_for(&self, namespace: &str) -> impl Iterator<Item = &Destination> {
        let http = self.http.iter().filter(move |rule| rule.is_for_sources_of(namespace));
        let http = http.flat_map(|rule| {
            let routes = rule.spec.route.iter().filter_map(|route| route.destination.as_ref());
            let mirrors = rule.spec.mirrors.iter().filter_map(|mirror| mirror.destination.as_ref());
            routes.chain(&rule.spec.mirror).chain(mirrors)
        });
        let routes = self.tls.iter().map(|rule| &rule.spec.route).chain(self.tcp.iter().map(|rule| &rule.spec.route));
        http.chain(routes.flatten().filter_map(|route| route.destination.as_ref()))
    }
}

/// Writes names in full.
struct Names<'n> {
    namespace: &'n str,
    domain: &'n str,
}

impl Names<'_> {
    fn host(&self, host: &str) -> String {
        expand(host, self.namespace, self.domain)
    }

    /// `name` is of the own namespace; the host name of a gateway's service, which begins with its name
    /// and namespace, stands for the gateway as well.
    fn gateway(&self, gateway: &str) -> String {
        if gateway == MESH || gateway.contains('/') {
            return gateway.to_owned();
        }
        match gateway.split_once('.') {
            Some((name, rest)) => format!("{}/{name}", rest.split_once('.').map_or(rest, |(namespace, _)| namespace)),
            None => format!("{}/{gateway}", self.namespace),
        }
    }

    fn gateways(&self, gateways: &mut [String]) {
        gateways.iter_mut().for_each(|gateway| *gateway = self.gateway(gateway));
    }

    fn destination(&self, destination: &mut Option<Destination>) {
        if let Some(destination) = destination {
            destination.host = self.host(&destination.host);
        }
    }

    fn destinations(&self, routes: &mut [RouteDestination]) {
        routes.iter_mut().for_each(|route| self.destination(&mut route.destination));
    }

    fn http(&self, written: &HttpRoute) -> HttpRoute {
        let mut spec = written.clone();
        spec.r#match.iter_mut().for_each(|condition| self.gateways(&mut condition.gateways));
        spec.route.iter_mut().for_each(|route| self.destination(&mut route.destination));
        self.destination(&mut spec.mirror);
        spec.mirrors.iter_mut().for_each(|mirror| self.destination(&mut mirror.destination));
        spec
    }

    fn tls(&self, written: &TlsRoute) -> TlsRoute {
        let mut spec = written.clone();
        spec.r#match.iter_mut().for_each(|condition| self.gateways(&mut condition.gateways));
        self.destinations(&mut spec.route);
        spec
    }

    fn tcp(&self, written: &TcpRoute) -> TcpRoute {
        let mut spec = written.clone();
        spec.r#match.iter_mut().for_each(|condition| self.gateways(&mut condition.gateways));
        self.destinations(&mut spec.route);
        spec
    }
}
