//! From YAML to a mesh, and from a mesh to facts that are short enough to be compared.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_api::diagnostic::Severity;
use weir_api::resources::MeshConfig;
use weir_api::{Diagnostic, Object, Source, parse};
use weir_model::{DEFAULT_DOMAIN, Endpoint, Interception, MeshSnapshot, Origin, Proxy, ProxyKind, Service, VirtualService};

/// The mesh of these documents.
pub fn mesh(documents: &[String]) -> MeshSnapshot {
    mesh_with("", documents)
}

/// The same with a mesh's configuration.
pub fn mesh_with(config: &str, documents: &[String]) -> MeshSnapshot {
    let (config, diagnostics) = MeshConfig::parse(&Source::new("mesh-config.yaml", config));
    check(&diagnostics);
    MeshSnapshot::new(&objects(&documents.concat()), Arc::new(config), DEFAULT_DOMAIN)
}

fn objects(text: &str) -> Vec<Arc<Object>> {
    let parsed = parse(&Source::new("mesh.yaml", text));
    check(&parsed.diagnostics);
    parsed.objects
}

fn check(diagnostics: &[Diagnostic]) {
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    let errors: Vec<String> = errors.map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

/// A resource of Istio's. More metadata may follow its name: `shop/a, labels: {app: a}`.
pub fn istio(kind: &str, name: &str, spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!("{}spec:\n{spec}", head("networking.istio.io/v1", kind, name))
}

/// A resource of Kubernetes', with all that follows its metadata.
pub fn kubernetes(kind: &str, name: &str, content: &str) -> String {
    let version = if kind == "EndpointSlice" { "discovery.k8s.io/v1" } else { "v1" };
    format!("{}{content}\n", head(version, kind, name))
}

fn head(version: &str, kind: &str, name: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    format!("---\napiVersion: {version}\nkind: {kind}\nmetadata: {{namespace: {namespace}, name: {name}}}\n")
}

/// The name of something that was made in that year.
pub fn made(year: u16, name: &str) -> String {
    format!("{name}, creationTimestamp: '{year}-01-01T00:00:00Z'")
}

/// A ServiceEntry for HTTP that says nothing of its instances; `more` are further fields, such as `, exportTo: ['.']`.
pub fn entry(name: &str, hosts: &str, ports: &[u16], more: &str) -> String {
    let port = |number: &u16| format!("{{number: {number}, name: http-{number}, protocol: HTTP}}");
    let ports: Vec<String> = ports.iter().map(port).collect();
    istio("ServiceEntry", name, &format!("{{hosts: [{hosts}], ports: [{}]{more}}}", ports.join(", ")))
}

/// A VirtualService that sends all requests for some hosts to one; `more` are further fields.
pub fn rule(name: &str, hosts: &str, to: &str, more: &str) -> String {
    istio("VirtualService", name, &format!("{{hosts: [{hosts}], http: [{{route: [{{destination: {{{to}}}}}]}}]{more}}}"))
}

/// A sidecar of a workload with these labels, `app=a,version=v1`.
pub fn sidecar(namespace: &str, labels: &str) -> Proxy {
    proxy(ProxyKind::Sidecar, namespace, labels, "10.0.0.1")
}

/// A gateway proxy.
pub fn router(labels: &str, address: &str) -> Proxy {
    proxy(ProxyKind::Router, "istio-system", labels, address)
}

fn proxy(kind: ProxyKind, namespace: &str, labels: &str, address: &str) -> Proxy {
    let labels = labels.split(',').filter_map(|label| label.split_once('='));
    Proxy {
        id: Proxy::make_id(kind, address, "test", namespace, DEFAULT_DOMAIN),
        kind,
        name: "test".to_owned(),
        namespace: namespace.to_owned(),
        labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        addresses: vec![address.to_owned()],
        locality: String::new(),
        interception: Interception::None,
    }
}

/// The only service of a host.
pub fn service(mesh: &MeshSnapshot, hostname: &str) -> Arc<Service> {
    let services = mesh.services.of_host(hostname).unwrap_or_else(|| panic!("no service {hostname}"));
    assert_eq!(services.len(), 1, "{hostname}");
    services.values().next().unwrap().clone()
}

/// Every service, as it is defined.
pub fn all(mesh: &MeshSnapshot) -> Vec<Arc<Service>> {
    mesh.services.all().cloned().collect()
}

/// Every VirtualService that has hosts, from the oldest to the youngest.
pub fn all_rules(mesh: &MeshSnapshot) -> Vec<Arc<VirtualService>> {
    mesh.virtual_services.all().cloned().collect()
}

/// The oldest VirtualService.
pub fn first_rule(mesh: &MeshSnapshot) -> &Arc<VirtualService> {
    mesh.virtual_services.all().next().unwrap()
}

/// Services as `namespace/host 80,443`, in the order of the alphabet.
pub fn names(services: &[Arc<Service>]) -> Vec<String> {
    let name = |service: &Arc<Service>| format!("{}/{} {}", service.namespace, service.hostname, ports(service));
    let mut names: Vec<String> = services.iter().map(name).collect();
    names.sort();
    names
}

/// The numbers of a service's ports.
pub fn ports(service: &Service) -> String {
    service.ports.iter().map(|port| port.number.to_string()).collect::<Vec<_>>().join(",")
}

/// The instances of a host's only service, as `80: 10.0.0.1:8080`; a `!` follows one that takes no requests.
pub fn endpoints(mesh: &MeshSnapshot, hostname: &str) -> Vec<String> {
    mesh.services.endpoints(&service(mesh, hostname)).iter().map(endpoint).collect()
}

fn endpoint(endpoint: &Endpoint) -> String {
    let state = if endpoint.is_healthy() { "" } else { "!" };
    format!("{}: {}:{}{state}", endpoint.service_port, endpoint.address, endpoint.port)
}

/// Labels as `app=a,version=v1`.
pub fn labels(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

/// VirtualServices by name, in order.
pub fn rules<'r>(rules: impl IntoIterator<Item = &'r Arc<VirtualService>>) -> Vec<String> {
    rules.into_iter().map(|rule| format!("{}/{}", rule.namespace, rule.name)).collect()
}

/// The line of text that something begins with.
pub fn written(origin: &Origin) -> String {
    let place = origin.place().unwrap();
    let text = &place.source.text[place.span.offset as usize..];
    text.lines().next().unwrap_or_default().to_owned()
}
