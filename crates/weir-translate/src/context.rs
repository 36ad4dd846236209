//! What every part of the translation looks at: the mesh, the proxy and what that proxy knows of the mesh; and
//! where findings go.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use weir_api::resources::proxy_config::ConnectionSettings;
use weir_api::{Diagnostic, FieldPath, ObjectName, Severity};
use weir_model::{AutomaticAddresses, DestinationRule, EffectivePolicy, MeshSnapshot, Origin, Proxy, ProxyKind, Scope, Service};
use weir_xds::core::Metadata;
use weir_xds::values::{set_metadata, text};

use crate::{connection_settings, names};

/// What has been said, each thing once: what makes a part of an object useless may be met at several ports.
#[derive(Default)]
struct Findings {
    all: Vec<Diagnostic>,
    known: HashSet<(Option<ObjectName>, FieldPath, String)>,
}

impl Findings {
    fn add(&mut self, finding: Diagnostic) {
        if self.known.insert((finding.object.clone(), finding.path.clone(), finding.message.clone())) {
            self.all.push(finding);
        }
    }
}

/// A proxy in its mesh.
pub(crate) struct Context<'m> {
    pub mesh: &'m MeshSnapshot,
    pub proxy: &'m Proxy,
    pub scope: Arc<Scope>,
    /// Where the proxy runs, `region/zone/subzone`.
    pub locality: String,
    /// Its labels, and those that say where it runs.
    pub labels: BTreeMap<String, String>,
    /// Buffers, times and limits of clients' connections.
    pub connections: ConnectionSettings,
    /// Whether the proxy is a gateway that forwards TLS by clusters' names.
    pub passes_by_cluster_names: bool,
    /// Whether the proxy gets certificates of the mesh: one that is not Weir's needs an agent beside it.
    pub has_certificates: bool,
    /// Whether the proxy answers its workload's questions of DNS with what the mesh knows.
    pub answers_dns: bool,
    /// Whether the proxy tells others of its workload, and hears them: Weir's do, which have Istio's filter for it.
    pub exchanges_metadata: bool,
    findings: RefCell<Findings>,
}

impl<'m> Context<'m> {
    pub fn new(mesh: &'m MeshSnapshot, proxy: &'m Proxy) -> Self {
        Self {
            mesh,
            proxy,
            scope: mesh.scope(proxy),
            locality: mesh.locality_of(proxy),
            labels: mesh.labels_of(proxy),
            connections: connection_settings::of_proxy(mesh.config.default_config.connection_settings.as_ref(), proxy.kind),
            passes_by_cluster_names: false,
            has_certificates: true,
            answers_dns: false,
            exchanges_metadata: false,
            findings: RefCell::default(),
        }
    }

    /// The same for all proxies that are alike, where they run and what labels of theirs count being known.
    pub fn of_class(mesh: &'m MeshSnapshot, proxy: &'m Proxy, scope: Arc<Scope>, labels: BTreeMap<String, String>) -> Self {
        Self {
            mesh,
            proxy,
            scope,
            locality: proxy.locality.clone(),
            labels,
            connections: connection_settings::of_proxy(mesh.config.default_config.connection_settings.as_ref(), proxy.kind),
            passes_by_cluster_names: false,
            has_certificates: true,
            answers_dns: false,
            exchanges_metadata: false,
            findings: RefCell::default(),
        }
    }

    /// The same of a proxy that gets certificates of the mesh, or gets none.
    pub fn with_certificates(self, has_certificates: bool) -> Self {
        Self { has_certificates, ..self }
    }

    /// The same of a proxy that answers questions of DNS, or does not.
    pub fn answering_dns(self, answers_dns: bool) -> Self {
        Self { answers_dns, ..self }
    }

    /// The same of a proxy that exchanges metadata with others, or does not.
    pub fn exchanging_metadata(self, exchanges_metadata: bool) -> Self {
        Self { exchanges_metadata, ..self }
    }

    /// The addresses that stand for a service as a whole, single ones and ranges, as the proxy's workload knows them: those that it has, else
    /// those that it is given.
    ///
    /// Facts: `getAllAddressesForProxy` in pilot/pkg/model/service.go of Istio.
    pub fn addresses<'s>(&self, service: &'s Service) -> Vec<Cow<'s, str>> {
        if !service.addresses.is_empty() {
            return service.addresses.iter().map(|address| Cow::Borrowed(address.as_str())).collect();
        }
        let given = self.automatic(service).into_iter().flat_map(AutomaticAddresses::all);
        let is_reached = |address: &IpAddr| if address.is_ipv4() { self.proxy.has_ipv4() } else { self.proxy.has_ipv6() };
        given.filter(is_reached).map(|address| Cow::Owned(address.to_string())).collect()
    }

    /// The addresses that a service is given, for a workload that learns of them from its sidecar, and whose connections to them it takes:
    /// to all others they lead nowhere.
    fn automatic(&self, service: &Service) -> Option<AutomaticAddresses> {
        let takes_them = self.answers_dns && self.proxy.kind == ProxyKind::Sidecar && self.proxy.interception.is_captured();
        service.automatic.filter(|_| takes_them)
    }

    /// The rule that this proxy follows towards a service.
    pub fn destination_rule(&self, service: &Service) -> Option<&'m Arc<DestinationRule>> {
        self.mesh.destination_rules.find(self.proxy, &service.hostname, &service.namespace)
    }

    /// What counts for a port of a service, or of a subset of it.
    pub fn policy(&self, service: &Service, subset: &str, port: u16) -> EffectivePolicy {
        let rule = self.destination_rule(service);
        let subset = rule.and_then(|rule| rule.subset(subset));
        EffectivePolicy::new(rule.map(|rule| &**rule), subset, port, &self.mesh.config)
    }

    /// Says that a part of an object has no effect, or not the expected one.
    pub fn warn(&self, origin: &Origin, message: impl Into<String>) {
        self.tell([origin.object.diagnostic(Severity::Warning, origin.path.clone(), message.into())]);
    }

    /// Says what was found before, where something is kept and not made anew.
    pub fn tell(&self, found: impl IntoIterator<Item = Diagnostic>) {
        let mut findings = self.findings.borrow_mut();
        found.into_iter().for_each(|finding| findings.add(finding));
    }

    /// Makes something, with what is found while it is made.
    pub fn listen<T>(&self, make: impl FnOnce() -> T) -> (T, Vec<Diagnostic>) {
        let before = self.findings.take();
        let made = make();
        (made, self.findings.replace(before).all)
    }

    pub fn into_findings(self) -> Vec<Diagnostic> {
        self.findings.into_inner().all
    }
}

/// Says of what rule something was made: its place in Kubernetes' API for Istio's tools, and in its file for people.
pub(crate) fn metadata_of(origin: &Origin, kind: &str) -> Metadata {
    let meta = &origin.object.meta;
    let mut metadata = Metadata::default();
    set_metadata(&mut metadata, "istio", "config", text(names::config_path(kind, &meta.namespace, &meta.name)));
    if let Some(place) = origin.place() {
        set_metadata(&mut metadata, "weir", "source", text(place.line()));
    }
    metadata
}
