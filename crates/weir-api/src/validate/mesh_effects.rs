//! What of a mesh's configuration is read and checked, and changes nothing yet: each is told, none is silently passed over.

use crate::diagnostic::{Diagnostic, Topic};
use crate::field_path::FieldPath;
use crate::node::{Node, Value};

/// Fields by their path, and what happens instead.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("proxyHttpPort", "no proxy for HTTP is opened there"),
    ("ingressClass", INGRESS),
    ("ingressService", INGRESS),
    ("ingressControllerMode", INGRESS),
    ("ingressSelector", INGRESS),
    ("enableTracing", "no request is traced"),
    ("outboundTrafficPolicy.tls", "traffic to unknown hosts goes as it comes"),
    ("ca", OWN_CA),
    ("caCertificates", OWN_CA),
    ("certificates", OWN_CA),
    ("verifyCertificateAtClient", "a DestinationRule says what is verified"),
    ("compliancePolicy", "TLS has its usual parameters"),
    ("inboundClusterStatName", STATISTICS),
    ("outboundClusterStatName", STATISTICS),
    ("serviceSettings", "all services are of one cluster"),
    ("serviceScopeConfigs", "all services are of one cluster"),
    ("discoverySelectors", "of a folder, resources of all namespaces count (of a cluster, those that are selected)"),
    ("serviceEntryVisibility", "exportTo and defaultServiceExportTo alone say who sees a service"),
    ("defaultInboundHttpRetryPolicy", "requests are sent again to a workload as they are by default"),
    ("configSources", "the folder is the only source"),
    ("enableEnvoyAccessLogService", "access logs go to accessLogFile alone"),
    ("extensionProviders", "only those that decide about requests are asked"),
    ("defaultProviders", "no provider is asked"),
    ("defaultConfig.drainDuration", "proxies of other processes than `weir run` say their own"),
    ("defaultConfig.discoveryAddress", "a proxy is told by --xds"),
    ("defaultConfig.proxyAdminPort", "a process is told by --admin"),
    ("defaultConfig.statusPort", "the admin interface serves the statistics"),
    ("defaultConfig.concurrency", "a process is told by --workers"),
    ("defaultConfig.interceptionMode", "each proxy says its own"),
    ("defaultConfig.runtimeValues", "there are no runtime values"),
    ("defaultConfig.proxyMetadata", "each proxy says its own"),
    ("defaultConfig.tracing", "no request is traced"),
    ("defaultConfig.proxyStatsMatcher", STATISTICS),
    ("defaultConfig.extraStatTags", STATISTICS),
];

const INGRESS: &str = "Ingress resources are those of the class `istio`, for the gateway of the label `istio: ingressgateway`";
const OWN_CA: &str = "the pilot issues the certificates, with the authority of --ca or its own";
const STATISTICS: &str = "statistics have their usual names";

/// A warning for each field of a mesh's configuration that has no effect. What asks for nothing (`false`, an empty list) needs none.
pub(crate) fn check(mesh: &Node) -> Vec<Diagnostic> {
    let told = |(path, instead): &(&str, &str)| {
        let path = path.split('.').fold(FieldPath::default(), |path, key| path.key(key.to_owned()));
        let is_asked = mesh.at(&path).is_some_and(|node| asks_for_something(node) && !is_carried_out(&path, node));
        let warning = || Diagnostic::warning(format!("not carried out yet: {instead}")).on(Topic::NotCarriedOut);
        is_asked.then(|| warning().at(path))
    };
    WITHOUT_EFFECT.iter().filter_map(told).collect()
}

/// Of a proxy's metadata these are carried out: whether it takes HTTP/1.0, and how long its certificates last. Of providers those that
/// decide about requests are.
fn is_carried_out(path: &FieldPath, node: &Node) -> bool {
    let has_only = |node: &Node, keys: &[&str]| node.entries().iter().all(|entry| keys.contains(&entry.key.as_str()));
    match path.to_string().as_str() {
        "defaultConfig.proxyMetadata" => has_only(node, &["ISTIO_META_HTTP10", "SECRET_TTL"]),
        "extensionProviders" => node.items().iter().all(|item| has_only(item, &["name", "envoyExtAuthzHttp", "envoyExtAuthzGrpc"])),
        _ => false,
    }
}

fn asks_for_something(node: &Node) -> bool {
    match &node.value {
        Value::Null | Value::Bool(false) | Value::Int(0) => false,
        Value::Bool(true) | Value::Int(_) | Value::Float(_) => true,
        Value::String(text) => !text.is_empty(),
        Value::List(items) => !items.is_empty(),
        Value::Map(entries) => entries.iter().any(|entry| asks_for_something(&entry.node)),
    }
}
