//! Who is injected: every row of Istio's rules.
#![allow(clippy::unwrap_used, reason = "a test ends where it is wrong")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_api::resources::mesh_config::LabelSelector;
use weir_inject::{Decision, Pod, Policy, Webhooks};

/// Labels as a person writes them: `a=b,c=d`.
fn labels(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(',').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap()).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn webhooks(revision: &str, tags: &[&str]) -> Webhooks {
    Webhooks {
        revision: revision.to_owned(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        every_namespace: false,
        own_namespace: "istio-system".to_owned(),
    }
}

const YES: &str = "sidecar.istio.io/inject=true";
const NO: &str = "sidecar.istio.io/inject=false";

/// Namespace's labels, pod's labels, and whether the webhooks of the default revision, of `canary`, and of `canary` with the tags
/// `prod` and `default` are sent the pod.
const SENT: &[(&str, &str, [bool; 3])] = &[
    ("", "", [false, false, false]),
    ("", YES, [true, false, true]),
    ("", NO, [false, false, false]),
    ("", "sidecar.istio.io/inject=yes", [false, false, false]),
    ("", "istio.io/rev=default", [true, false, true]),
    ("", "istio.io/rev=canary", [false, true, true]),
    ("", "istio.io/rev=prod", [false, false, true]),
    ("", "istio.io/rev=other", [false, false, false]),
    ("", "istio.io/rev=canary,sidecar.istio.io/inject=true", [false, true, true]),
    ("", "istio.io/rev=canary,sidecar.istio.io/inject=false", [false, false, false]),
    ("", "istio.io/rev=other,sidecar.istio.io/inject=true", [false, false, false]),
    ("istio-injection=enabled", "", [true, false, true]),
    ("istio-injection=enabled", YES, [true, false, true]),
    ("istio-injection=enabled", NO, [false, false, false]),
    // The pod's revision counts only where its namespace says nothing.
    ("istio-injection=enabled", "istio.io/rev=canary", [true, false, true]),
    ("istio-injection=disabled", "", [false, false, false]),
    ("istio-injection=disabled", YES, [false, false, false]),
    ("istio-injection=disabled", "istio.io/rev=canary", [false, false, false]),
    ("istio-injection=on", YES, [false, false, false]),
    ("istio.io/rev=default", "", [true, false, true]),
    ("istio.io/rev=canary", "", [false, true, true]),
    ("istio.io/rev=canary", YES, [false, true, true]),
    ("istio.io/rev=canary", NO, [false, false, false]),
    ("istio.io/rev=canary", "istio.io/rev=other", [false, true, true]),
    ("istio.io/rev=prod", "", [false, false, true]),
    ("istio.io/rev=other", YES, [false, false, false]),
    // istio-injection beats istio.io/rev.
    ("istio-injection=enabled,istio.io/rev=canary", "", [true, false, true]),
    ("istio-injection=disabled,istio.io/rev=canary", "", [false, false, false]),
];

#[test]
fn the_labels_of_pod_and_namespace_choose_the_webhook() {
    let all = [webhooks("", &[]), webhooks("canary", &[]), webhooks("canary", &["prod", "default"])];
    for (namespace, pod, expected) in SENT {
        let sent = all.each_ref().map(|hooks| hooks.send("shop", &labels(namespace), &labels(pod)).injects());
        assert_eq!(sent, *expected, "namespace [{namespace}], pod [{pod}]");
    }
}

#[test]
fn every_namespace_may_be_injected_that_does_not_say_otherwise() {
    let hooks = Webhooks { every_namespace: true, ..webhooks("default", &[]) };
    let sent = |name: &str, namespace: &str, pod: &str| hooks.send(name, &labels(namespace), &labels(pod)).injects();
    assert!(sent("shop", "", ""));
    assert!(!sent("shop", "istio-injection=disabled", ""));
    assert!(!sent("shop", "", NO));
    assert!(!sent("shop", "istio.io/rev=other", ""));
    assert!(!sent("kube-system", "", "") && !sent("istio-system", "", ""), "namespaces of the system are left out");
    let canary = Webhooks { every_namespace: true, ..webhooks("canary", &[]) };
    assert!(!canary.send("shop", &labels(""), &labels("")).injects(), "only the default revision does so");
}

fn pod(labels: Value, annotations: Value, spec: Value) -> Value {
    json!({"metadata": {"labels": labels, "annotations": annotations}, "spec": spec})
}

fn selectors(written: Value) -> Vec<LabelSelector> {
    serde_json::from_value(written).unwrap()
}

#[test]
fn the_policy_decides_in_istios_order() {
    let yes = json!({"sidecar.istio.io/inject": "true"});
    let no = json!({"sidecar.istio.io/inject": "false"});
    let job = json!({"job": "x"});
    let rows = [
        // policy disabled?, namespace, pod, injected, why
        (false, "shop", pod(json!({}), json!({}), json!({})), true, "the policy is enabled"),
        (true, "shop", pod(json!({}), json!({}), json!({})), false, "the policy is disabled"),
        (true, "shop", pod(yes.clone(), json!({}), json!({})), true, "inject: \"true\""),
        (true, "shop", pod(json!({}), yes.clone(), json!({})), true, "inject: \"true\""),
        (false, "shop", pod(no.clone(), json!({}), json!({})), false, "inject: \"false\""),
        (false, "shop", pod(json!({}), no.clone(), json!({})), false, "inject: \"false\""),
        // The label is the newer way, and counts.
        (false, "shop", pod(yes.clone(), no.clone(), json!({})), true, "inject: \"true\""),
        (false, "shop", pod(no.clone(), yes.clone(), json!({})), false, "inject: \"false\""),
        (false, "shop", pod(yes.clone(), json!({}), json!({"hostNetwork": true})), false, "hostNetwork"),
        (false, "kube-system", pod(yes.clone(), json!({}), json!({})), false, "kube-system is a namespace of Kubernetes"),
        (false, "kube-public", pod(json!({}), json!({}), json!({})), false, "kube-public"),
        (false, "kube-node-lease", pod(json!({}), json!({}), json!({})), false, "kube-node-lease"),
        (false, "local-path-storage", pod(json!({}), json!({}), json!({})), false, "local-path-storage"),
        (false, "shop", pod(job.clone(), json!({}), json!({})), false, "neverInjectSelector[1]"),
        (true, "shop", pod(json!({"always": "1"}), json!({}), json!({})), true, "alwaysInjectSelector[0]"),
        (true, "shop", pod(json!({"always": "1", "job": "x"}), json!({}), json!({})), false, "neverInjectSelector[1]"),
        // Who says yes himself is asked first.
        (true, "shop", pod(json!({"job": "x", "sidecar.istio.io/inject": "true"}), json!({}), json!({})), true, "inject: \"true\""),
    ];
    for (disabled, namespace, pod, injected, why) in rows {
        let policy = Policy {
            disabled,
            // The first is empty, and selects nobody.
            never: selectors(json!([{}, {"matchExpressions": [{"key": "job", "operator": "Exists"}]}])),
            always: selectors(json!([{"matchLabels": {"always": "1"}}])),
        };
        let (decision, warning) = policy.decide(namespace, Pod(&pod));
        assert_eq!((decision.injects(), warning), (injected, None), "{pod}");
        assert!(decision.to_string().contains(why), "{decision} does not say {why}");
    }
}

#[test]
fn a_word_that_is_neither_yes_nor_no_is_passed_over_and_told() {
    let pod = pod(json!({"sidecar.istio.io/inject": "maybe"}), json!({}), json!({}));
    let (decision, warning) = Policy::default().decide("shop", Pod(&pod));
    assert_eq!(decision, Decision::Inject(weir_inject::Reason::PolicyEnabled));
    assert!(warning.unwrap().contains("\"maybe\" is neither"));
}

#[test]
fn what_is_no_pod_at_all_is_decided_as_an_empty_one() {
    for odd in [json!(null), json!([]), json!("x"), json!({"metadata": 1, "spec": []}), json!({"spec": {"hostNetwork": "true"}})] {
        assert!(Policy::default().decide("shop", Pod(&odd)).0.injects(), "{odd}");
    }
}
