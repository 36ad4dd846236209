//! The names that Istio and Kubernetes have given: labels, annotations, containers.

/// The proxy's container, which people find in logs and dashboards by this name.
pub const PROXY: &str = "istio-proxy";
/// The init container that sets the capture.
pub const INIT: &str = "istio-init";
/// Beside a stock Envoy: what gives it its certificates.
pub const AGENT: &str = "istio-agent";

/// Label and annotation of a pod: whether it is injected.
pub const INJECT: &str = "sidecar.istio.io/inject";
/// Label of a namespace: whether its pods are injected.
pub const NAMESPACE_INJECTION: &str = "istio-injection";
/// Label of a namespace or a pod: which control plane, or the tag of one, injects it. Annotation of a pod: which one has done so.
pub const REVISION: &str = "istio.io/rev";
/// Label of a webhook's configuration: the tag that it is for.
pub const TAG: &str = "istio.io/tag";
/// Annotation: what was injected.
pub const STATUS: &str = "sidecar.istio.io/status";
/// Annotation: what of the user's own containers lies over the template.
pub const OVERRIDES: &str = "proxy.istio.io/overrides";
/// Annotation: which templates.
pub const TEMPLATES: &str = "inject.istio.io/templates";
/// Annotation: a ProxyConfig for this pod.
pub const PROXY_CONFIG: &str = "proxy.istio.io/config";
/// Label: the network that a pod is in.
pub const NETWORK: &str = "topology.istio.io/network";

/// Where the proxy serves its health and the merged metrics, unless configuration says otherwise.
pub const STATUS_PORT: u16 = 15020;
/// Where the readiness of the proxy is asked for.
pub const HEALTH_PORT: u16 = 15021;
/// Where the proxy serves its own metrics.
pub const METRICS_PORT: u16 = 15090;

/// The ports that a sidecar has for itself, and what for.
pub const RESERVED_PORTS: [(u16, &str); 9] = [
    (15000, "the proxy's administration"),
    (15001, "what the workload sends"),
    (15004, "the control plane's debug interface"),
    (15006, "what is sent to the workload"),
    (15008, "HBONE tunnels"),
    (STATUS_PORT, "status and merged metrics"),
    (HEALTH_PORT, "the proxy's health"),
    (15053, "DNS"),
    (METRICS_PORT, "the proxy's own metrics, which are merged already"),
];
