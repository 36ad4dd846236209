//! Which pods are injected, and by whom: all labels of namespaces and pods, annotations, revisions and tags through the real API server, against
//! Istio's rules as they are written in the documentation of its webhooks and of its handler.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use weir_inject::configuration::Reach;
use weir_testkit::{Cluster, until};

use super::*;
use crate::{ADMIN, XDS};

/// The values that a label may have, if it is there.
const INJECTION: &[&str] = &["enabled", "disabled", "on"];
const REVISIONS: &[&str] = &["default", "canary", "prod", "other"];
const INJECT: &[&str] = &["true", "false", "maybe"];
/// So many pods are tried at once.
const AT_ONCE: usize = 8;

/// What decides of one pod.
#[derive(Debug, Clone, Copy)]
struct Case {
    namespace_injection: Option<&'static str>,
    namespace_revision: Option<&'static str>,
    inject: Option<&'static str>,
    revision: Option<&'static str>,
    annotation: Option<&'static str>,
}

/// Who answers to which name: revisions, and tags of them.
type Names = &'static [(&'static str, &'static str)];

/// A revision `default`, and a `canary` with the tag `prod`.
const BOTH: Names = &[("default", "default"), ("canary", "canary"), ("prod", "canary")];
/// A `canary` alone, which is the default one by a tag.
const TAGGED: Names = &[("canary", "canary"), ("prod", "canary"), ("default", "canary")];

/// Which revision injects, by Istio's rules: the selectors of the webhooks' table first, the handler's order then.
fn expected(case: Case, names: Names) -> Option<&'static str> {
    let called = |name: &str| names.iter().find(|(known, _)| *known == name).map(|(_, revision)| *revision);
    let willing = case.inject != Some("false");
    let asked = match (case.namespace_injection, case.namespace_revision, case.inject, case.revision) {
        // rev.namespace.
        (None, Some(revision), _, _) if willing => called(revision),
        // rev.object.
        (None, None, _, Some(revision)) if willing => called(revision),
        // namespace.
        (Some("enabled"), _, _, _) if willing => called("default"),
        // object.
        (None, None, Some("true"), None) => called("default"),
        _ => None,
    }?;
    // The label, else the annotation; what is neither yes nor no leaves it to the policy, which is enabled.
    let says = if case.inject.is_some() { case.inject } else { case.annotation };
    (says != Some("false")).then_some(asked)
}

fn optional(values: &'static [&'static str]) -> Vec<Option<&'static str>> {
    std::iter::once(None).chain(values.iter().copied().map(Some)).collect()
}

/// All cases, by the number of their namespace.
fn cases() -> Vec<(usize, Case)> {
    let mut all = vec![];
    for (index, (namespace_injection, namespace_revision)) in namespaces().into_iter().enumerate() {
        for inject in optional(INJECT) {
            for revision in optional(REVISIONS) {
                for annotation in optional(&["true", "false"]) {
                    all.push((index, Case { namespace_injection, namespace_revision, inject, revision, annotation }));
                }
            }
        }
    }
    all
}

fn namespaces() -> Vec<(Option<&'static str>, Option<&'static str>)> {
    let revisions = optional(REVISIONS);
    optional(INJECTION).into_iter().flat_map(|injection| revisions.iter().map(move |revision| (injection, *revision))).collect()
}

fn labels(pairs: &[(&str, Option<&str>)]) -> Value {
    let said = pairs.iter().filter_map(|(name, value)| Some(((*name).to_owned(), json!((*value)?))));
    Value::Object(said.collect::<Map<_, _>>())
}

/// The revision that has injected a pod.
fn injected_by(pod: &Value) -> Option<&str> {
    let is_injected = has(pod, "containers", "istio-proxy") || has(pod, "initContainers", "istio-proxy");
    assert_eq!(is_injected, pod["metadata"]["annotations"]["istio.io/rev"].is_string(), "{pod}");
    pod["metadata"]["annotations"]["istio.io/rev"].as_str()
}

/// Tries all cases, and says which are decided otherwise than they should be, and how many were injected.
async fn go_through(cluster: &Cluster, names: Names) -> (Vec<String>, usize) {
    let (mut wrong, mut injected) = (vec![], 0);
    for together in cases().chunks(AT_ONCE) {
        let tries = together.iter().map(async |(namespace, case)| {
            let pod = pod(
                &labels(&[("sidecar.istio.io/inject", case.inject), ("istio.io/rev", case.revision)]),
                &labels(&[("sidecar.istio.io/inject", case.annotation)]),
            );
            let made = try_pod(cluster, &format!("n{namespace}"), &pod).await;
            (*case, made)
        });
        for (case, made) in all(tries).await {
            let found = made.as_ref().map(injected_by);
            injected += usize::from(found.as_ref().is_ok_and(|by| by.is_some()));
            if found != Ok(expected(case, names)) {
                wrong.push(format!("{case:?}: expected {:?}, found {found:?}", expected(case, names)));
            }
        }
    }
    (wrong, injected)
}

/// Waits for all at once.
async fn all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, done) in &mut waiting {
            if done.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *done = Some(value);
            }
        }
        let is_done = waiting.iter().all(|(_, done)| done.is_some());
        if is_done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|(_, done)| done).collect()
}

async fn make_namespaces(cluster: &Cluster) {
    for (index, (injection, revision)) in namespaces().into_iter().enumerate() {
        let labels = labels(&[("istio-injection", injection), ("istio.io/rev", revision)]);
        make_namespace(cluster, &format!("n{index}"), &labels).await;
    }
    for index in 0..namespaces().len() {
        // A controller makes the account that a Pod runs as.
        let account = format!("/api/v1/namespaces/n{index}/serviceaccounts/default");
        until("there is a service account", async || cluster.exists_by_now(&account).await).await;
    }
}

#[tokio::test]
async fn pods_are_injected_by_istios_rules() {
    let Some(cluster) = Cluster::start().await else { return };
    make_service(&cluster, "istiod").await;
    make_namespaces(&cluster).await;
    // Two control planes: one by its Service, one at an address.
    let mut first = cluster.start_pilot_with(XDS, ADMIN, &arguments_of_service(&format!("10.244.0.1:{PORT}"))).await;
    let second = arguments("canary", "127.0.0.1:15018");
    let mut second = cluster.start_pilot_with("127.0.0.1:15011", "127.0.0.1:15001", &second).await;
    let mut paths = apply_all(&cluster, MUTATING, plane("default", &[]).injectors(&Reach::Service)).await;
    paths.extend(apply_all(&cluster, MUTATING, plane("canary", &["prod"]).injectors(&at("15018"))).await);
    until_known(&cluster, &paths).await;
    until_asked(&cluster, BOTH).await;
    let (wrong, injected) = go_through(&cluster, BOTH).await;
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases().len(), wrong.join("\n"));
    eprintln!("{} combinations, {injected} of them injected, as Istio's rules say, by two revisions and a tag", cases().len());
    check_what_no_label_decides(&cluster).await;

    for path in &paths {
        cluster.delete(path).await;
    }
    let paths = apply_all(&cluster, MUTATING, plane("canary", &["prod", "default"]).injectors(&at("15018"))).await;
    until_known(&cluster, &paths).await;
    until_asked(&cluster, TAGGED).await;
    let (wrong, injected) = go_through(&cluster, TAGGED).await;
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases().len(), wrong.join("\n"));
    eprintln!("{} combinations, {injected} of them injected, as Istio's rules say, by one revision with two tags", cases().len());
    assert!(first.is_running() && second.is_running());
}

/// Waits until the API server has heard of the webhooks.
async fn until_asked(cluster: &Cluster, names: Names) {
    let names: BTreeSet<_> = names.iter().collect();
    for (name, revision) in names {
        let asking = pod(&json!({"istio.io/rev": name}), &json!({}));
        until(&format!("{revision} is asked"), async || {
            try_pod(cluster, "n0", &asking).await.is_ok_and(|pod| injected_by(&pod) == Some(revision))
        })
        .await;
    }
}

/// What decides besides labels: the machine's network, namespaces of Kubernetes itself, and what cannot be read.
async fn check_what_no_label_decides(cluster: &Cluster) {
    let asking = pod(&json!({"sidecar.istio.io/inject": "true"}), &json!({}));
    let mut host = asking.clone();
    host["spec"]["hostNetwork"] = json!(true);
    assert_eq!(injected_by(&try_pod(cluster, "n0", &host).await.unwrap()), None);
    until("there is a service account", async || cluster.exists_by_now("/api/v1/namespaces/kube-system/serviceaccounts/default").await)
        .await;
    assert_eq!(injected_by(&try_pod(cluster, "kube-system", &asking).await.unwrap()), None);
    let wrong = pod(&json!({"sidecar.istio.io/inject": "true"}), &json!({"sidecar.istio.io/proxyCPU": "lots"}));
    let refused = try_pod(cluster, "n0", &wrong).await.unwrap_err();
    let expected =
        "admission webhook \"object.sidecar-injector.istio.io\" denied the request: annotation sidecar.istio.io/proxyCPU: the value";
    assert!(refused.contains(expected), "{refused}");
    // One that is known by its controller.
    let mut owned = asking.clone();
    owned["metadata"]["generateName"] = json!("reviews-v1-5b8c-");
    owned["metadata"]["labels"]["pod-template-hash"] = json!("5b8c");
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "reviews-v1-5b8c", "uid": "u", "controller": true});
    owned["metadata"]["ownerReferences"] = json!([owner]);
    let made = try_pod(cluster, "n0", &owned).await.unwrap();
    assert_eq!(made["metadata"]["labels"]["service.istio.io/canonical-name"], "reviews-v1");
}

/// A node whose kubelet says that it is of this version.
async fn make_node(cluster: &Cluster, name: &str, version: &str) {
    let path = format!("/api/v1/nodes/{name}");
    cluster.apply(&path, json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})).await;
    let words = ["machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion", "kubeProxyVersion"];
    let mut info: Map<String, Value> = words.iter().map(|word| ((*word).to_owned(), json!("x"))).collect();
    info.insert("kubeletVersion".to_owned(), json!(version));
    info.insert("operatingSystem".to_owned(), json!("linux"));
    info.insert("architecture".to_owned(), json!("amd64"));
    cluster.merge(&format!("{path}/status"), json!({"status": {"nodeInfo": info}})).await;
}

#[tokio::test]
async fn the_nodes_and_the_operator_say_how_pods_are_injected() {
    let Some(cluster) = Cluster::start().await else { return };
    make_namespace(&cluster, "shop", &json!({"istio-injection": "enabled"})).await;
    until("there is a service account", async || cluster.exists_by_now("/api/v1/namespaces/shop/serviceaccounts/default").await).await;
    make_node(&cluster, "new", "v1.36.3").await;
    let _pilot = cluster.start_pilot_with(XDS, ADMIN, &arguments("default", &format!("127.0.0.1:{PORT}"))).await;
    let paths = apply_all(&cluster, MUTATING, plane("default", &[]).injectors(&at(PORT))).await;
    until_known(&cluster, &paths).await;
    let is_native = async |pod: &Value| {
        let made = try_pod(&cluster, "shop", pod).await.ok()?;
        let native = has(&made, "initContainers", "istio-proxy");
        (native || has(&made, "containers", "istio-proxy")).then_some(native)
    };
    let plain = pod(&json!({}), &json!({}));
    until("it is native", async || is_native(&plain).await == Some(true)).await;
    make_node(&cluster, "old", "v1.32.9").await;
    until("it is not", async || is_native(&plain).await == Some(false)).await;
    let wish = |wish: &str| pod(&json!({}), &json!({"sidecar.istio.io/nativeSidecar": wish}));
    assert_eq!([is_native(&wish("true")).await, is_native(&wish("false")).await], [Some(true), Some(false)]);
    let mut placed = plain.clone();
    placed["spec"]["nodeName"] = json!("new");
    assert_eq!(is_native(&placed).await, Some(true), "its own node can");
    cluster.delete("/api/v1/nodes/old").await;
    until("it is native again", async || is_native(&plain).await == Some(true)).await;

    // What the operator says counts at once, too.
    let config = "policy: enabled\nneverInjectSelector: [{matchLabels: {job: once}}]\ninjectedAnnotations: {team: mesh}\n";
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio-sidecar-injector"}, "data": {"config": config}});
    cluster.apply("/api/v1/namespaces/istio-system/configmaps/istio-sidecar-injector", map).await;
    let job = pod(&json!({"job": "once"}), &json!({}));
    until("a job is left alone", async || try_pod(&cluster, "shop", &job).await.is_ok_and(|pod| injected_by(&pod).is_none())).await;
    assert_eq!(try_pod(&cluster, "shop", &plain).await.unwrap()["metadata"]["annotations"]["team"], "mesh");
}
