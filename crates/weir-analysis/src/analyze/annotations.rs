//! Istio's annotations: known, at the right kind of object, and with a value that makes sense.
//!
//! Facts: `annotation/annotations.gen.go` of Istio's API, `AnnotationValidation` in pkg/kube/inject of Istio.

use weir_api::{Document, FieldPath};

use super::Input;
use super::codes::{ALPHA_ANNOTATION, DEPRECATED_ANNOTATION, INVALID_ANNOTATION, MISPLACED_ANNOTATION, UNKNOWN_ANNOTATION};
use super::finding::{Report, path};
use super::in_mesh::INJECT;
use super::index::Index;
use super::tree::{items, text};
use super::values;

/// Which annotations the objects of which kinds may have.
const KNOWN: &[(&[&str], &[&str])] = &[
    (&["Any"], &["galley.istio.io/analyze-suppress", "gateway.istio.io/controller-version"]),
    (&["Service"], &["alpha.istio.io/canonical-serviceaccounts", "alpha.istio.io/kubernetes-serviceaccounts"]),
    (&["Service"], &["networking.istio.io/exportTo", "traffic.istio.io/nodeSelector"]),
    (&["Service", "ServiceEntry", "Namespace"], &["istio.io/use-waypoint-canary-weight", "networking.istio.io/traffic-distribution"]),
    (&["Namespace"], &["topology.istio.io/controlPlaneClusters"]),
    (&["Ingress"], &["kubernetes.io/ingress.class"]),
    (&["AuthorizationPolicy"], &["istio.io/dry-run"]),
    (&["Gateway"], &["gateway.istio.io/name-override", "gateway.istio.io/service-account", "networking.istio.io/service-type"]),
    (&["GatewayClass", "Gateway"], &["ambient.istio.io/waypoint-inbound-binding"]),
    (&["WorkloadEntry"], &["istio.io/autoRegistrationGroup", "istio.io/connectedAt", "istio.io/disconnectedAt"]),
    (&["WorkloadEntry"], &["istio.io/workloadController"]),
    (
        &["Pod"],
        &[
            "ambient.istio.io/bypass-inbound-capture",
            "ambient.istio.io/dns-capture",
            "ambient.istio.io/redirection",
            "inject.istio.io/templates",
            "istio.io/reroute-virtual-interfaces",
            "istio.io/rev",
            "prometheus.istio.io/merge-metrics",
            "proxy.istio.io/config",
            "proxy.istio.io/overrides",
            "readiness.status.sidecar.istio.io/applicationPorts",
            "readiness.status.sidecar.istio.io/failureThreshold",
            "readiness.status.sidecar.istio.io/initialDelaySeconds",
            "readiness.status.sidecar.istio.io/periodSeconds",
            "sidecar.istio.io/agentLogLevel",
            "sidecar.istio.io/bootstrapOverride",
            "sidecar.istio.io/componentLogLevel",
            "sidecar.istio.io/discoveryAddress",
            "sidecar.istio.io/extraStatTags",
            "sidecar.istio.io/inject",
            "sidecar.istio.io/interceptionMode",
            "sidecar.istio.io/logLevel",
            "sidecar.istio.io/nativeSidecar",
            "sidecar.istio.io/proxyCPU",
            "sidecar.istio.io/proxyCPULimit",
            "sidecar.istio.io/proxyImage",
            "sidecar.istio.io/proxyImageType",
            "sidecar.istio.io/proxyMemory",
            "sidecar.istio.io/proxyMemoryLimit",
            "sidecar.istio.io/rewriteAppHTTPProbers",
            "sidecar.istio.io/statsCompression",
            "sidecar.istio.io/statsEvictionInterval",
            "sidecar.istio.io/statsFlushInterval",
            "sidecar.istio.io/statsHistogramBins",
            "sidecar.istio.io/statsHistogramBuckets",
            "sidecar.istio.io/statsInclusionPrefixes",
            "sidecar.istio.io/statsInclusionRegexps",
            "sidecar.istio.io/statsInclusionSuffixes",
            "sidecar.istio.io/status",
            "sidecar.istio.io/userVolume",
            "sidecar.istio.io/userVolumeMount",
            "status.sidecar.istio.io/port",
            "traffic.sidecar.istio.io/excludeInboundPorts",
            "traffic.sidecar.istio.io/excludeInterfaces",
            "traffic.sidecar.istio.io/excludeOutboundIPRanges",
            "traffic.sidecar.istio.io/excludeOutboundPorts",
            "traffic.sidecar.istio.io/includeInboundPorts",
            "traffic.sidecar.istio.io/includeOutboundIPRanges",
            "traffic.sidecar.istio.io/includeOutboundPorts",
            "traffic.sidecar.istio.io/kubevirtInterfaces",
        ],
    ),
];
/// Those that Istio gives up.
const DEPRECATED: &[&str] = &[
    "alpha.istio.io/canonical-serviceaccounts",
    "alpha.istio.io/kubernetes-serviceaccounts",
    "sidecar.istio.io/discoveryAddress",
    "sidecar.istio.io/extraStatTags",
    "sidecar.istio.io/inject",
    "sidecar.istio.io/statsCompression",
    "sidecar.istio.io/statsInclusionPrefixes",
    "sidecar.istio.io/statsInclusionRegexps",
    "sidecar.istio.io/statsInclusionSuffixes",
    "traffic.sidecar.istio.io/kubevirtInterfaces",
];
/// Those that are beyond their first phase.
const MATURE: &[&str] = &[
    "ambient.istio.io/redirection",
    "kubernetes.io/ingress.class",
    "proxy.istio.io/config",
    "sidecar.istio.io/inject",
    "traffic.istio.io/nodeSelector",
];
/// Those that programs write, which nobody has to be told of.
const WRITTEN_BY_PROGRAMS: &[&str] = &["gateway.istio.io/controller-version", "istio.io/rev", "sidecar.istio.io/status"];
/// Those that the network plug-in writes into pods that have no `istio-init`.
const WRITTEN_BY_PLUGIN: &[&str] = &[
    "sidecar.istio.io/interceptionMode",
    "traffic.sidecar.istio.io/excludeInboundPorts",
    "traffic.sidecar.istio.io/includeInboundPorts",
    "traffic.sidecar.istio.io/includeOutboundIPRanges",
];
/// The kinds whose annotations are looked at, by group.
const KINDS: &[(&str, &str)] = &[("", "Namespace"), ("", "Service"), ("", "Pod"), ("apps", "Deployment")];

/// Looks at the annotations of namespaces, Services, pods and Deployments.
pub(super) fn check(index: &Index<'_>, input: &Input<'_>, report: &mut Report) {
    for document in KINDS.iter().flat_map(|(group, kind)| index.of(group, kind)) {
        for (name, value) in &document.meta.annotations {
            if is_of_istio(name) && !WRITTEN_BY_PROGRAMS.contains(&name.as_str()) {
                check_one(document, name, value, report);
                if input.alpha_annotations {
                    check_maturity(document, name, report);
                }
            }
        }
    }
}

fn is_of_istio(name: &str) -> bool {
    name == "kubernetes.io/ingress.class" || name.split('/').next().is_some_and(|domain| domain.ends_with("istio.io"))
}

fn at(name: &str) -> FieldPath {
    path("metadata.annotations").key(name.to_owned())
}

fn check_one(document: &Document, name: &str, value: &str, report: &mut Report) {
    let Some((kinds, _)) = KNOWN.iter().find(|(_, names)| names.contains(&name)) else {
        return report.say(UNKNOWN_ANNOTATION, document, at(name), format!("Istio knows no annotation `{name}`: it has no effect"));
    };
    if DEPRECATED.contains(&name) && !(name == INJECT && document.meta.labels.contains_key(INJECT)) {
        let help = (name == INJECT).then(|| format!("use the label `{INJECT}`"));
        let message = format!("the annotation `{name}` is deprecated and may be without effect in a later version of Istio");
        report.say_help(DEPRECATED_ANNOTATION, document, at(name), message, help);
    }
    if kinds.contains(&"Any") {
        return;
    }
    if !kinds.contains(&document.kind.as_str()) {
        let message = format!("the annotation `{name}` has no effect at a {}", document.kind);
        return report.say_help(MISPLACED_ANNOTATION, document, at(name), message, right_place(document, kinds));
    }
    if let Err(reason) = values::check(name, value) {
        report.say(INVALID_ANNOTATION, document, at(name), format!("`{name}`: {reason}"));
    }
}

fn right_place(document: &Document, kinds: &[&str]) -> String {
    match document.kind.as_str() {
        "Deployment" if kinds.contains(&"Pod") => "write it below `spec.template.metadata.annotations`, for the pods".to_owned(),
        _ => format!("it belongs to objects of kind {}", kinds.join(", ")),
    }
}

fn check_maturity(document: &Document, name: &str, report: &mut Report) {
    let is_alpha = KNOWN.iter().any(|(_, names)| names.contains(&name)) && !MATURE.contains(&name);
    let by_plugin = || {
        let mut before = items(document.node(), "spec.initContainers");
        document.kind == "Pod" && WRITTEN_BY_PLUGIN.contains(&name) && !before.any(|(_, container)| text(container, "name") == "istio-init")
    };
    if is_alpha && !by_plugin() {
        let message = format!("the annotation `{name}` belongs to a feature in its first phase (alpha)");
        report.say(ALPHA_ANNOTATION, document, at(name), message);
    }
}
