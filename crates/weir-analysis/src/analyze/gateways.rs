//! Gateways: the pods that they select, the ports of the Services before these, and other Gateways beside them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use weir_api::Document;
use weir_api::resources::Gateway;
use weir_api::resources::gateway::ServerTlsSettings;
use weir_api::resources::kubernetes::{IntOrString, Service};
use weir_api::resources::meta::Labels;

use super::Input;
use super::codes::{CONFLICTING_GATEWAYS, DUPLICATE_CERTIFICATE, GATEWAY_PORT, NOT_FOUND};
use super::credentials;
use super::finding::{Report, listed, path};
use super::index::Index;
use super::selection::{selects, written};

/// Looks at all Gateways.
pub(super) fn check(index: &Index<'_>, input: &Input<'_>, report: &mut Report) {
    let beside = Beside::new(index);
    // Many Gateways have few selectors.
    let mut ports: HashMap<&Labels, BTreeSet<u32>> = HashMap::new();
    for (document, gateway) in index.gateways() {
        beside.check(index, document, gateway, report);
        let pod = index.pods.selected(&gateway.selector, None).next();
        let Some(pod) = pod else {
            let message = format!("no pod has the labels {}: nobody opens its ports", written(&gateway.selector));
            report.say(NOT_FOUND, document, path("spec.selector"), message);
            continue;
        };
        credentials::check(index, document, gateway, &pod.document.meta.namespace, input.now, report);
        let open = ports.entry(&gateway.selector).or_insert_with(|| ports_before(index, &gateway.selector));
        check_ports(document, gateway, open, report);
    }
}

fn check_ports(document: &Document, gateway: &Gateway, open: &BTreeSet<u32>, report: &mut Report) {
    for (number, server) in gateway.servers.iter().enumerate() {
        let Some(port) = server.port.as_ref().filter(|port| !open.contains(&port.number)) else { continue };
        let message = format!("no Service before the pods with the labels {} leads to port {}", written(&gateway.selector), port.number);
        let help = "add it to the Service of the gateway, or use one of the Service's ports".to_owned();
        report.say_help(GATEWAY_PORT, document, path("spec.servers").index(number).key("port").key("number"), message, help);
    }
}

/// The ports of the pods that a selector selects to which Services lead, and the Services' own numbers for them.
fn ports_before(index: &Index<'_>, selector: &Labels) -> BTreeSet<u32> {
    let mut ports = BTreeSet::new();
    for pod in index.pods.selected(selector, None) {
        for (_, service) in index.services.selecting(&pod.document.meta.namespace, &pod.labels) {
            ports.extend(ports_of(service));
        }
    }
    ports
}

fn ports_of(service: &Service) -> impl Iterator<Item = u32> {
    let over_tcp = service.spec.ports.iter().filter(|port| matches!(port.protocol.as_str(), "" | "TCP"));
    let both = over_tcp.flat_map(|port| {
        let target = match port.target_port {
            Some(IntOrString::Int(number)) => number,
            _ => port.port,
        };
        [port.port, target]
    });
    both.filter_map(|number| u32::try_from(number).ok()).filter(|number| *number != 0)
}

/// A port, and a host and address on it.
type Claim<'i> = (u32, &'i str, &'i str);
/// The Gateways that have something in common, by their selectors.
type BySelector<'i> = BTreeMap<&'i Labels, Vec<&'i Document>>;

/// What several Gateways may have in common.
struct Beside<'i> {
    claims: HashMap<Claim<'i>, BySelector<'i>>,
    certificates: HashMap<Certificate<'i>, BySelector<'i>>,
}

#[derive(PartialEq, Eq, Hash, PartialOrd, Ord, Clone, Copy)]
enum Certificate<'i> {
    Credential(&'i str),
    Files(&'i str, &'i str),
}

impl<'i> Certificate<'i> {
    fn of(tls: &'i ServerTlsSettings) -> Option<Self> {
        match (tls.credential_name.as_str(), tls.server_certificate.as_str(), tls.private_key.as_str()) {
            ("", "", _) | ("", _, "") => None,
            ("", certificate, key) => Some(Self::Files(certificate, key)),
            (name, ..) => Some(Self::Credential(name)),
        }
    }
}

fn certificates(gateway: &Gateway) -> BTreeSet<Certificate<'_>> {
    gateway.servers.iter().filter_map(|server| Certificate::of(server.tls.as_ref()?)).collect()
}

fn claims(gateway: &Gateway) -> BTreeSet<Claim<'_>> {
    let of_server = |server: &'_ weir_api::resources::gateway::Server| server.port.as_ref().map(|port| port.number);
    let all = gateway.servers.iter().filter_map(|server| Some((of_server(server)?, server)));
    all.flat_map(|(port, server)| server.hosts.iter().map(move |host| (port, host.as_str(), server.bind.as_str()))).collect()
}

impl<'i> Beside<'i> {
    fn new(index: &Index<'i>) -> Self {
        let mut beside = Self { claims: HashMap::new(), certificates: HashMap::new() };
        for (document, gateway) in index.gateways() {
            for claim in claims(gateway) {
                beside.claims.entry(claim).or_default().entry(&gateway.selector).or_default().push(document);
            }
            for certificate in certificates(gateway) {
                beside.certificates.entry(certificate).or_default().entry(&gateway.selector).or_default().push(document);
            }
        }
        beside
    }

    fn check(&self, index: &Index<'_>, document: &Document, gateway: &Gateway, report: &mut Report) {
        self.check_claims(index, document, gateway, report);
        let is_within = |other: &Labels| selects(&gateway.selector, other);
        let sharing: BTreeSet<String> = certificates(gateway)
            .iter()
            .filter_map(|certificate| self.certificates.get(certificate))
            .flat_map(|gateways| others(gateways, document, &is_within))
            .collect();
        if !sharing.is_empty() {
            let sharing: Vec<String> = sharing.into_iter().collect();
            let message = format!("{} has the same certificate", listed(&sharing));
            let help = "clients that keep an HTTP/2 connection for all hosts of a certificate get 404 for those of the other Gateway: \
                        serve them by one Gateway, or by certificates for each"
                .to_owned();
            report.say_help(DUPLICATE_CERTIFICATE, document, path("metadata.name"), message, help);
        }
    }

    fn check_claims(&self, index: &Index<'_>, document: &Document, gateway: &Gateway, report: &mut Report) {
        let common = |other: &Labels| {
            let mut both = gateway.selector.clone();
            both.extend(other.iter().map(|(name, value)| (name.clone(), value.clone())));
            *other == gateway.selector || (selects(&gateway.selector, &both) && index.pods.any(&both, None))
        };
        for (number, server) in gateway.servers.iter().enumerate() {
            let Some(port) = &server.port else { continue };
            let claims = server.hosts.iter().map(|host| (port.number, host.as_str(), server.bind.as_str()));
            let claimed = claims.filter_map(|claim| self.claims.get(&claim));
            let found: BTreeSet<String> = claimed.flat_map(|gateways| others(gateways, document, &common)).collect();
            if !found.is_empty() {
                let found: Vec<String> = found.into_iter().collect();
                let message = format!(
                    "{} opens port {} of the same pods for the same hosts ({})",
                    listed(&found),
                    port.number,
                    listed(&server.hosts)
                );
                let help = "let one Gateway serve them".to_owned();
                report.say_help(CONFLICTING_GATEWAYS, document, path("spec.servers").index(number), message, help);
            }
        }
    }
}

/// The first few of other Gateways whose selectors are of a certain kind: more would not be read.
fn others(gateways: &BySelector<'_>, document: &Document, is_meant: &dyn Fn(&Labels) -> bool) -> Vec<String> {
    const ENOUGH: usize = 6;
    let meant = gateways.iter().filter(|(selector, _)| is_meant(selector)).flat_map(|(_, gateways)| gateways);
    let others = meant.filter(|other| !std::ptr::eq(**other, document));
    others.take(ENOUGH).map(|other| format!("{}/{}", other.meta.namespace, other.meta.name)).collect()
}
