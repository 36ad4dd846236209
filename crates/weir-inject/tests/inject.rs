//! What is injected: whole pods, and what each annotation does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it is wrong")]

use serde_json::{Value, json};
use weir_api::Source;
use weir_inject::{DataPlane, Mesh, Pod, Refusal, Settings, Workload, inject};

fn reviews() -> Value {
    json!({
        "metadata": {
            "generateName": "reviews-v1-6c9-",
            "labels": {"app": "reviews", "version": "v1", "pod-template-hash": "6c9"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "reviews-v1-6c9", "controller": true}],
        },
        "spec": {
            "serviceAccountName": "bookinfo-reviews",
            "initContainers": [{"name": "setup", "image": "setup"}],
            "containers": [{
                "name": "reviews", "image": "reviews:1", "ports": [{"containerPort": 9080}],
                "readinessProbe": {"httpGet": {"path": "/health", "port": 9080}},
            }],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    })
}

/// As by default, but for the image, whose version changes.
fn settings() -> Settings {
    Settings { image: "weir:test".to_owned(), envoy_image: "envoy:test".to_owned(), ..Settings::default() }
}

fn injected_with(pod: &Value, settings: &Settings) -> Result<weir_inject::Injected, Refusal> {
    inject(pod, &Workload::of_pod(Pod(pod), "shop"), settings)
}

fn injected(pod: &Value) -> Value {
    injected_with(pod, &settings()).unwrap().pod
}

/// A pod with one more annotation.
fn annotated(name: &str, value: &str) -> Value {
    let mut pod = reviews();
    pod["metadata"]["annotations"] = json!({ name: value });
    pod
}

fn container<'p>(pod: &'p Value, name: &str) -> &'p Value {
    let all = ["initContainers", "containers"].iter().flat_map(|field| pod["spec"][*field].as_array().into_iter().flatten());
    all.into_iter().find(|container| container["name"] == name).unwrap_or(&Value::Null)
}

fn names(pod: &Value, field: &str) -> Vec<String> {
    let names = pod["spec"][field].as_array().into_iter().flatten().filter_map(|container| container["name"].as_str());
    names.map(str::to_owned).collect()
}

fn args(container: &Value) -> String {
    let words: Vec<&str> = container["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    words.join(" ")
}

fn variable<'c>(container: &'c Value, name: &str) -> &'c str {
    let found = container["env"].as_array().into_iter().flatten().find(|variable| variable["name"] == name);
    found.and_then(|variable| variable["value"].as_str()).unwrap_or_default()
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

#[test]
fn a_pod_with_its_sidecar() {
    insta::assert_snapshot!(pretty(&injected(&reviews())));
}

#[test]
fn a_gateway_is_a_pod_whose_container_is_ours() {
    let pod = json!({
        "metadata": {"labels": {"istio": "ingressgateway", "sidecar.istio.io/inject": "true"},
                     "annotations": {"inject.istio.io/templates": "gateway"}, "name": "gw"},
        "spec": {"containers": [{"name": "istio-proxy", "image": "auto", "resources": {"limits": {"cpu": "4"}}}]},
    });
    insta::assert_snapshot!(pretty(&injected(&pod)));
}

#[test]
fn an_envoy_has_an_agent_beside_it() {
    let settings = Settings { data_plane: DataPlane::Envoy, native_sidecars: true, ..settings() };
    let pod = injected_with(&reviews(), &settings).unwrap().pod;
    assert_eq!(names(&pod, "initContainers"), ["istio-init", "istio-agent", "istio-proxy", "setup"]);
    insta::assert_snapshot!(pretty(&json!([container(&pod, "istio-agent"), container(&pod, "istio-proxy")])));
}

#[test]
fn nobody_answers_dns_beside_an_envoy() {
    let settings = Settings { data_plane: DataPlane::Envoy, ..settings() };
    let asks = annotated("proxy.istio.io/config", "proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'true'}");
    let injected = injected_with(&asks, &settings).unwrap();
    assert!(!init_args(&injected.pod).contains("dns"), "questions would go where nobody is");
    assert!(injected.reports[0].starts_with("ISTIO_META_DNS_CAPTURE of proxyMetadata has no effect"), "{:?}", injected.reports);
}

#[test]
fn containers_stand_in_the_order_that_each_way_needs() {
    let order = |settings: &Settings| {
        let pod = injected_with(&reviews(), settings).unwrap().pod;
        [names(&pod, "initContainers").join(" "), names(&pod, "containers").join(" ")]
    };
    let classic = settings();
    let native = Settings { native_sidecars: true, ..settings() };
    let mesh = Mesh::parse(&Source::new("mesh", "defaultConfig: {holdApplicationUntilProxyStarts: true}")).unwrap().0;
    let held = Settings { mesh: mesh.clone(), ..settings() };
    let held_envoy = Settings { mesh, data_plane: DataPlane::Envoy, ..settings() };
    // Init containers run before capture, and so outside of the mesh; a native sidecar runs before them.
    assert_eq!(order(&classic), ["setup istio-init", "reviews istio-proxy"]);
    assert_eq!(order(&native), ["istio-init istio-proxy setup", "reviews"]);
    assert_eq!(order(&held), ["setup istio-init", "istio-proxy reviews"]);
    assert_eq!(order(&held_envoy), ["setup istio-init", "istio-proxy istio-agent reviews"]);
    let pod = injected_with(&reviews(), &held).unwrap().pod;
    assert_eq!(container(&pod, "istio-proxy")["lifecycle"]["postStart"]["exec"]["command"], json!(["weir", "wait", "--for", "ready"]));
    let pod = injected_with(&reviews(), &native).unwrap().pod;
    assert_eq!(container(&pod, "istio-proxy")["restartPolicy"], "Always");
    assert_eq!(container(&pod, "istio-proxy")["lifecycle"], Value::Null);
}

/// Annotation, value, where its effect is seen, and what is seen there.
type Row = (&'static str, &'static str, fn(&Value) -> String, &'static str);

fn init_args(pod: &Value) -> String {
    args(container(pod, "istio-init"))
}
fn proxy_args(pod: &Value) -> String {
    args(container(pod, "istio-proxy"))
}
fn proxy(pod: &Value) -> String {
    container(pod, "istio-proxy").to_string()
}
fn whole(pod: &Value) -> String {
    pod.to_string()
}

const EFFECTS: &[Row] = &[
    ("proxy.istio.io/config", "{discoveryAddress: 'pilot.mesh:15012', concurrency: 3}", proxy_args, "--xds=pilot.mesh:15012"),
    ("proxy.istio.io/config", "concurrency: 3", proxy_args, "--workers=3"),
    ("proxy.istio.io/config", "proxyMetadata:\n  ISTIO_META_DNS_CAPTURE: 'true'", proxy_args, "--dns=127.0.0.1:15053"),
    ("proxy.istio.io/config", "proxyMetadata:\n  ISTIO_META_DNS_CAPTURE: 'true'", init_args, "--redirect-dns"),
    ("proxy.istio.io/config", "interceptionMode: TPROXY", init_args, "-m TPROXY"),
    ("proxy.istio.io/config", "statusPort: 15999", init_args, "-d 15090,15021,15999"),
    ("sidecar.istio.io/interceptionMode", "TPROXY", init_args, "-m TPROXY"),
    ("sidecar.istio.io/interceptionMode", "TPROXY", proxy, r#""add":["NET_ADMIN"]"#),
    ("sidecar.istio.io/interceptionMode", "TPROXY", proxy, r#""runAsUser":0"#),
    ("sidecar.istio.io/interceptionMode", "NONE", proxy_args, "--interception-mode=NONE"),
    ("traffic.sidecar.istio.io/includeOutboundIPRanges", "10.0.0.0/8", init_args, "-i 10.0.0.0/8"),
    ("traffic.sidecar.istio.io/excludeOutboundIPRanges", "10.1.0.0/16", init_args, "-x 10.1.0.0/16"),
    ("traffic.sidecar.istio.io/includeInboundPorts", "80,443", init_args, "-b 80,443"),
    ("traffic.sidecar.istio.io/excludeInboundPorts", "22", init_args, "-d 15090,15021,22,15020"),
    ("traffic.sidecar.istio.io/includeOutboundPorts", "3306", init_args, "-q 3306"),
    ("traffic.sidecar.istio.io/excludeOutboundPorts", "5432", init_args, "-o 5432"),
    ("traffic.sidecar.istio.io/excludeInterfaces", "net1", init_args, "-c net1"),
    ("traffic.sidecar.istio.io/kubevirtInterfaces", "tap0", init_args, "-k tap0"),
    ("istio.io/reroute-virtual-interfaces", "tap0", init_args, "-k tap0"),
    ("status.sidecar.istio.io/port", "15999", proxy_args, "--status-port=15999"),
    ("status.sidecar.istio.io/port", "15999", init_args, "-d 15090,15021,15999"),
    ("status.sidecar.istio.io/port", "15999", whole, r#""port":15999"#),
    ("readiness.status.sidecar.istio.io/initialDelaySeconds", "7", proxy, r#""initialDelaySeconds":7,"periodSeconds":15"#),
    ("readiness.status.sidecar.istio.io/periodSeconds", "8", proxy, r#""periodSeconds":8"#),
    ("readiness.status.sidecar.istio.io/failureThreshold", "9", proxy, r#""failureThreshold":9"#),
    ("sidecar.istio.io/proxyCPU", "50m", proxy, r#""resources":{"requests":{"cpu":"50m"}}"#),
    ("sidecar.istio.io/proxyMemory", "64Mi", proxy, r#""resources":{"requests":{"memory":"64Mi"}}"#),
    ("sidecar.istio.io/proxyCPULimit", "3", proxy, r#""resources":{"limits":{"cpu":"3"}}"#),
    ("sidecar.istio.io/proxyMemoryLimit", "2Gi", proxy, r#""resources":{"limits":{"memory":"2Gi"}}"#),
    ("sidecar.istio.io/proxyImage", "hub.test/weir:2", proxy, r#""image":"hub.test/weir:2""#),
    ("sidecar.istio.io/logLevel", "debug", proxy_args, "--log=debug"),
    ("sidecar.istio.io/logLevel", "critical", proxy_args, "--log=error"),
    ("sidecar.istio.io/nativeSidecar", "true", proxy, r#""restartPolicy":"Always""#),
    (
        "sidecar.istio.io/userVolume",
        r#"{"certs": {"secret": {"secretName": "s"}}}"#,
        whole,
        r#"{"secret":{"secretName":"s"},"name":"certs"}"#,
    ),
    ("sidecar.istio.io/userVolumeMount", r#"{"certs": {"mountPath": "/certs"}}"#, proxy, r#"{"mountPath":"/certs","name":"certs"}"#),
    ("sidecar.istio.io/capNetBindService", "true", proxy, r#""add":["NET_BIND_SERVICE"]"#),
    ("sidecar.istio.io/discoveryAddress", "pilot.mesh:15012", proxy_args, "--xds=pilot.mesh:15012"),
    ("prometheus.io/port", "9080", whole, r#""prometheus.io/port":"15020""#),
];

#[test]
fn every_annotation_has_its_effect() {
    for (name, value, seen, expected) in EFFECTS {
        let pod = injected(&annotated(name, value));
        let found = seen(&pod);
        assert!(found.contains(expected), "{name}={value}: no {expected} in\n{found}");
    }
}

#[test]
fn some_annotations_take_something_away() {
    let none = injected(&annotated("sidecar.istio.io/interceptionMode", "NONE"));
    assert_eq!(names(&none, "initContainers"), ["setup"]);
    let unprobed = injected(&annotated("status.sidecar.istio.io/port", "0"));
    let proxy = container(&unprobed, "istio-proxy");
    assert_eq!((&proxy["readinessProbe"], &proxy["startupProbe"]), (&Value::Null, &Value::Null));
    assert!(init_args(&unprobed).contains("-d 15090,15021 ") || init_args(&unprobed).ends_with("-d 15090,15021"));
    for (name, value) in [("sidecar.istio.io/rewriteAppHTTPProbers", "false"), ("status.sidecar.istio.io/port", "0")] {
        let pod = injected(&annotated(name, value));
        assert_eq!(container(&pod, "reviews")["readinessProbe"], reviews()["spec"]["containers"][0]["readinessProbe"], "{name}");
        assert_eq!(variable(container(&pod, "istio-proxy"), "ISTIO_KUBE_APP_PROBERS"), "");
    }
    let pod = injected(&annotated("prometheus.istio.io/merge-metrics", "false"));
    assert_eq!(pod["metadata"]["annotations"]["prometheus.io/port"], Value::Null);
}

#[test]
fn a_value_that_cannot_be_read_refuses_the_pod_and_names_the_annotation() {
    let wrong = [
        ("proxy.istio.io/config", "concurency: 3"),
        ("proxy.istio.io/config", "concurrency: many"),
        ("proxy.istio.io/config", "[a"),
        ("sidecar.istio.io/interceptionMode", "redirect"),
        ("traffic.sidecar.istio.io/includeOutboundIPRanges", "10.0.0.0/40"),
        ("traffic.sidecar.istio.io/excludeOutboundIPRanges", "*"),
        ("traffic.sidecar.istio.io/includeInboundPorts", "http"),
        ("traffic.sidecar.istio.io/excludeInboundPorts", "70000"),
        ("traffic.sidecar.istio.io/includeOutboundPorts", "x"),
        ("traffic.sidecar.istio.io/excludeOutboundPorts", "1-2"),
        ("traffic.sidecar.istio.io/excludeInterfaces", "a b"),
        ("traffic.sidecar.istio.io/kubevirtInterfaces", "a;b"),
        ("istio.io/reroute-virtual-interfaces", "a/b"),
        ("status.sidecar.istio.io/port", "-1"),
        ("readiness.status.sidecar.istio.io/initialDelaySeconds", "-1"),
        ("readiness.status.sidecar.istio.io/periodSeconds", "0"),
        ("readiness.status.sidecar.istio.io/failureThreshold", "often"),
        ("sidecar.istio.io/proxyCPU", "lots"),
        ("sidecar.istio.io/proxyMemory", "1 Gi"),
        ("sidecar.istio.io/proxyCPULimit", "-1"),
        ("sidecar.istio.io/proxyMemoryLimit", "1gb"),
        ("sidecar.istio.io/proxyImage", "a b"),
        ("sidecar.istio.io/logLevel", "loud"),
        ("sidecar.istio.io/rewriteAppHTTPProbers", "maybe"),
        ("sidecar.istio.io/nativeSidecar", "yes"),
        ("sidecar.istio.io/userVolume", "[]"),
        ("sidecar.istio.io/userVolumeMount", "{\"a\": 1}"),
        ("sidecar.istio.io/capNetBindService", "2"),
        ("sidecar.istio.io/discoveryAddress", "pilot"),
        ("prometheus.istio.io/merge-metrics", "on"),
        ("prometheus.io/port", "15090"),
        ("inject.istio.io/templates", "sidecar,mine"),
    ];
    for (name, value) in wrong {
        let refused = injected_with(&annotated(name, value), &settings()).expect_err(name).to_string();
        assert!(refused.starts_with(&format!("annotation {name}: ")), "{name}={value}: {refused}");
    }
    // All of them are told at once.
    let mut pod = annotated("sidecar.istio.io/logLevel", "loud");
    pod["metadata"]["annotations"]["sidecar.istio.io/nativeSidecar"] = "yes".into();
    let Err(Refusal::Annotations(errors)) = injected_with(&pod, &settings()) else { panic!("it is refused") };
    assert_eq!(errors.len(), 2);
}

#[test]
fn what_has_no_effect_is_reported_by_name() {
    for name in [
        "sidecar.istio.io/agentLogLevel",
        "sidecar.istio.io/componentLogLevel",
        "sidecar.istio.io/proxyImageType",
        "sidecar.istio.io/bootstrapOverride",
        "sidecar.istio.io/statsInclusionPrefixes",
        "sidecar.istio.io/extraStatTags",
        "sidecar.istio.io/rewriteAppHTTPProbes",
        "traffic.sidecar.istio.io/excludeOutboundPort",
    ] {
        let reports = injected_with(&annotated(name, "x"), &settings()).unwrap().reports;
        assert!(reports.len() == 1 && reports[0].starts_with(&format!("annotation {name} has no effect: ")), "{name}: {reports:?}");
    }
    for name in ["example.test/x", "sidecar.istio.io/inject", "kubectl.kubernetes.io/restartedAt"] {
        assert_eq!(injected_with(&annotated(name, "true"), &settings()).unwrap().reports, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn nobody_waits_for_what_nobody_tells() {
    let mut pod = annotated("proxy.istio.io/config", "holdApplicationUntilProxyStarts: true");
    let held = injected_with(&pod, &settings()).unwrap();
    assert!(container(&held.pod, "istio-proxy")["lifecycle"]["postStart"].is_object() && held.reports.is_empty());
    pod["metadata"]["annotations"]["status.sidecar.istio.io/port"] = "0".into();
    let free = injected_with(&pod, &settings()).unwrap();
    assert!(container(&free.pod, "istio-proxy")["lifecycle"].is_null());
    let expected = "holdApplicationUntilProxyStarts has no effect: without a status port nobody tells whether the proxy is ready";
    assert_eq!(free.reports, [expected]);
}

#[test]
fn what_of_a_proxys_configuration_is_not_for_one_pod_is_reported() {
    let config = "{concurrency: 3, extraStatTags: [a], proxyMetadata: {A: b}, terminationDrainDuration: 7s}";
    let reports = injected_with(&annotated("proxy.istio.io/config", config), &settings()).unwrap().reports;
    assert_eq!(reports.len(), 2, "{reports:?}");
    for (report, field) in reports.iter().zip(["extraStatTags", "terminationDrainDuration"]) {
        assert!(report.starts_with(&format!("{field} of annotation proxy.istio.io/config has no effect on one pod alone: ")), "{report}");
    }
}

#[test]
fn the_node_of_a_pod_decides_whether_its_sidecar_is_native() {
    let nodes = [("old".to_owned(), false), ("new".to_owned(), true)].into_iter().collect();
    let settings = Settings { native_nodes: std::sync::Arc::new(nodes), ..settings() };
    let mut pod = reviews();
    for (node, native) in [("old", false), ("new", true), ("unknown", false)] {
        pod["spec"]["nodeName"] = node.into();
        assert_eq!(
            names(&injected_with(&pod, &settings).unwrap().pod, "initContainers").iter().any(|name| name == "istio-proxy"),
            native,
            "{node}"
        );
    }
}

#[test]
fn the_users_own_container_lies_over_the_template() {
    let mut pod = reviews();
    let own =
        json!({"name": "istio-proxy", "image": "auto", "securityContext": {"runAsUser": 2000}, "env": [{"name": "CA_ADDR", "value": "x"}]});
    pod["spec"]["containers"].as_array_mut().unwrap().push(own);
    let classic = injected(&pod);
    let proxy = container(&classic, "istio-proxy");
    assert_eq!((&proxy["securityContext"]["runAsUser"], variable(proxy, "CA_ADDR")), (&json!(2000), "x"));
    assert_eq!(proxy["image"], container(&injected(&reviews()), "istio-proxy")["image"]);
    assert!(init_args(&classic).contains("-u 2000"), "the kernel knows the sidecar by that user");
    let overrides: Value = serde_json::from_str(classic["metadata"]["annotations"]["proxy.istio.io/overrides"].as_str().unwrap()).unwrap();
    assert_eq!(overrides["containers"][0]["securityContext"]["runAsUser"], 2000);
    // It is written among the usual containers, wherever ours goes.
    let settings = Settings { native_sidecars: true, ..settings() };
    let native = injected_with(&pod, &settings).unwrap().pod;
    assert_eq!(names(&native, "containers"), ["reviews"]);
    assert_eq!(container(&native, "istio-proxy")["securityContext"]["runAsUser"], 2000);
    // One that keeps its clients' addresses must be root.
    pod["metadata"]["annotations"] = json!({"sidecar.istio.io/interceptionMode": "TPROXY"});
    let transparent = injected(&pod);
    assert_eq!(container(&transparent, "istio-proxy")["securityContext"]["runAsUser"], 0);
    assert!(init_args(&transparent).contains("-u 1337"));
}

#[test]
fn a_pod_that_has_its_sidecar_is_left_alone() {
    for settings in [settings(), Settings { native_sidecars: true, data_plane: DataPlane::Envoy, ..settings() }] {
        let once = injected_with(&reviews(), &settings).unwrap();
        let twice = injected_with(&once.pod, &settings).unwrap();
        assert!(once.changed && !twice.changed);
        assert_eq!(once.pod, twice.pod);
    }
    // Who only says so has none.
    let liar = annotated("sidecar.istio.io/status", "{}");
    assert!(injected_with(&liar, &settings()).unwrap().changed);
}

#[test]
fn the_proxy_learns_what_it_is_to_ask() {
    let pod = injected(&annotated("prometheus.io/port", "9080"));
    let proxy = container(&pod, "istio-proxy");
    let probers: Value = serde_json::from_str(variable(proxy, "ISTIO_KUBE_APP_PROBERS")).unwrap();
    assert_eq!(probers, json!({"/app-health/reviews/readyz": {"httpGet": {"path": "/health", "port": 9080}}}));
    assert_eq!(variable(proxy, "ISTIO_PROMETHEUS_ANNOTATIONS"), r#"{"port":"9080"}"#);
}

#[test]
fn a_proxys_configuration_lies_over_the_meshs() {
    let text = "defaultConfig: {proxyMetadata: {A: '1', B: '1'}, concurrency: 1}";
    let mesh = Mesh::parse(&Source::new("mesh", text)).unwrap().0;
    let settings = Settings { mesh, revision: "canary".to_owned(), network: "n1".to_owned(), ..settings() };
    let pod = injected_with(&annotated("proxy.istio.io/config", "proxyMetadata: {B: '2'}"), &settings).unwrap().pod;
    let proxy = container(&pod, "istio-proxy");
    let config: Value = serde_json::from_str(variable(proxy, "PROXY_CONFIG")).unwrap();
    assert_eq!(config, json!({"proxyMetadata": {"A": "1", "B": "2"}, "concurrency": 1}));
    assert_eq!((variable(proxy, "A"), variable(proxy, "B")), ("1", "2"));
    assert!(args(proxy).contains("--xds=istiod-canary.istio-system.svc:15012"), "{}", args(proxy));
    assert_eq!(pod["metadata"]["labels"]["topology.istio.io/network"], "n1");
    assert_eq!(pod["metadata"]["annotations"]["istio.io/rev"], "canary");
}

#[test]
fn what_is_no_pod_does_no_harm() {
    for odd in [json!(null), json!([]), json!({"metadata": [], "spec": 1}), json!({"spec": {"containers": {}, "volumes": "x"}})] {
        assert!(injected_with(&odd, &settings()).unwrap().changed, "{odd}");
    }
}
