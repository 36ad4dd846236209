//! The control plane's pods, how many there are, and how they are reached.

use serde_json::{Value, json};
use weir_inject::names::{INJECT, REVISION};

use super::manifest::{labels, object};
use super::settings::InstallSettings;

/// Plain xDS, without certificates.
const XDS: u16 = 15010;
/// xDS and certificates by TLS.
const TLS_XDS: u16 = 15012;
/// Readiness and metrics.
const MONITORING: u16 = 15014;
/// What the API server asks.
const WEBHOOKS: u16 = 15017;
/// As whom it runs: not as root, and with an id so that the kubelet knows without looking into the image. Istio's.
const USER: u32 = 1337;

/// By which of its labels a pod is the revision's: never istiod's beside it.
fn selector(settings: &InstallSettings) -> Value {
    json!({"app.kubernetes.io/name": "weir", REVISION: settings.revision})
}

/// The Service, by Istio's name and with its ports.
pub(super) fn service(settings: &InstallSettings) -> Value {
    let port = |name: &str, port: u16, target: u16| json!({"name": name, "port": port, "protocol": "TCP", "targetPort": target});
    let mut service = object(settings, "v1", "Service", &settings.service());
    service["spec"] = json!({
        "ports": [
            port("grpc-xds", XDS, XDS),
            port("https-dns", TLS_XDS, TLS_XDS),
            port("https-webhook", 443, WEBHOOKS),
            port("http-monitoring", MONITORING, MONITORING),
        ],
        "selector": selector(settings),
    });
    service
}

/// The Deployment.
pub(super) fn deployment(settings: &InstallSettings) -> Value {
    let mut deployment = object(settings, "apps/v1", "Deployment", &settings.service());
    let mut labels = labels(settings);
    labels[INJECT] = "false".into();
    let annotations = json!({"prometheus.io/port": MONITORING.to_string(), "prometheus.io/scrape": "true"});
    deployment["spec"] = json!({
        "selector": {"matchLabels": selector(settings)},
        // A new pod is ready before an old one ends.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod(settings)},
    });
    if !settings.autoscale.enabled {
        // Else their number is the autoscaler's.
        deployment["spec"]["replicas"] = settings.replicas.into();
    }
    deployment
}

fn pod(settings: &InstallSettings) -> Value {
    let apart = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": selector(settings)}});
    let mut pod = json!({
        "serviceAccountName": settings.service(),
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": apart}]}},
        "containers": [container(settings)],
    });
    if !settings.node_selector.is_empty() {
        pod["nodeSelector"] = json!(settings.node_selector);
    }
    if !settings.tolerations.is_empty() {
        pod["tolerations"] = settings.tolerations.clone().into();
    }
    if !settings.priority_class.is_empty() {
        pod["priorityClassName"] = settings.priority_class.clone().into();
    }
    pod
}

fn container(settings: &InstallSettings) -> Value {
    let port = |name: &str, port: u16| json!({"name": name, "containerPort": port, "protocol": "TCP"});
    let mut container = json!({
        // As Istio's is called.
        "name": "discovery",
        "image": settings.image,
        "args": arguments(settings),
        "ports": [port("grpc-xds", XDS), port("tls-xds", TLS_XDS), port("https-webhooks", WEBHOOKS), port("http-monitoring", MONITORING)],
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        // It answers once every list has been read, however long an API server takes for that.
        "startupProbe": probe(1, 600),
        "readinessProbe": probe(3, 3),
        "livenessProbe": probe(10, 6),
        "resources": {"requests": settings.resources.requests, "limits": settings.resources.limits},
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
        },
    });
    if !settings.image_pull_policy.is_empty() {
        container["imagePullPolicy"] = settings.image_pull_policy.clone().into();
    }
    container
}

/// What `weir` is told.
fn arguments(settings: &InstallSettings) -> Vec<String> {
    let (service, namespace) = (settings.service(), &settings.namespace);
    let mut arguments = vec![
        "pilot".to_owned(),
        "--in-cluster".to_owned(),
        format!("--revision={}", settings.revision),
        format!("--namespace={namespace}"),
        format!("--log={}", settings.log),
        // Sidecars are of the same image.
        format!("--image={}", settings.image),
        format!("--data-plane={}", settings.data_plane),
        // At an address that is none of loopback's it tells readiness and metrics alone.
        format!("--admin=0.0.0.0:{MONITORING}"),
        format!("--xds=0.0.0.0:{XDS}"),
        format!("--tls-xds=0.0.0.0:{TLS_XDS}"),
    ];
    arguments.extend(["", ".svc", ".svc.cluster.local"].map(|end| format!("--tls-name={service}.{namespace}{end}")));
    arguments.extend((!settings.envoy_image.is_empty()).then(|| format!("--envoy-image={}", settings.envoy_image)));
    arguments.extend(settings.plaintext_xds.then(|| "--plaintext-xds".to_owned()));
    arguments
}

fn probe(period: u32, failures: u32) -> Value {
    json!({"httpGet": {"path": "/ready", "port": MONITORING}, "periodSeconds": period, "failureThreshold": failures, "timeoutSeconds": 3})
}

/// A node that is emptied takes one pod at a time.
pub(super) fn disruption_budget(settings: &InstallSettings) -> Value {
    let mut budget = object(settings, "policy/v1", "PodDisruptionBudget", &settings.service());
    budget["spec"] = json!({"maxUnavailable": 1, "selector": {"matchLabels": selector(settings)}});
    budget
}

/// As many pods as the load asks for.
pub(super) fn autoscaler(settings: &InstallSettings) -> Value {
    let scale = &settings.autoscale;
    let mut autoscaler = object(settings, "autoscaling/v2", "HorizontalPodAutoscaler", &settings.service());
    let target = json!({"type": "Utilization", "averageUtilization": scale.cpu});
    autoscaler["spec"] = json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": settings.service()},
        "minReplicas": scale.min,
        "maxReplicas": scale.max,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    });
    autoscaler
}
