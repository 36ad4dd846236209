//! The webhook's answers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it is wrong")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};
use weir_inject::{LARGEST_BODY, Pod, Settings, Workload, inject, review};

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "x-", "labels": {"app": "x"}, "annotations": {"a/b~c": "1", "prometheus.io/port": "9080"}},
        "spec": {"containers": [{"name": "x", "image": "x", "livenessProbe": {"tcpSocket": {"port": 1}}}],
                 "initContainers": [{"name": "i", "image": "i"}]},
    })
}

fn asked(pod: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "u-1", "operation": "CREATE", "namespace": "shop", "kind": {"group": "", "version": "v1", "kind": "Pod"},
                    "object": pod},
    })
}

/// The status, and the response of the answer's review.
fn answered_at(path: &str, review_: &Value) -> (u16, Value) {
    let answer = review(path, Some("application/json"), review_.to_string().as_bytes(), &Settings::default());
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    (answer.status, body["response"].clone())
}

fn answered(review: &Value) -> Value {
    let (status, response) = answered_at("/inject", review);
    assert_eq!(status, 200);
    response
}

fn patch_of(response: &Value) -> Value {
    serde_json::from_slice(&STANDARD.decode(response["patch"].as_str().unwrap()).unwrap()).unwrap()
}

/// Applies a patch as RFC 6902 says.
fn patched(mut value: Value, patch: &Value) -> Value {
    for operation in patch.as_array().unwrap() {
        let path = operation["path"].as_str().unwrap();
        if path.is_empty() {
            value = operation["value"].clone();
            continue;
        }
        let (parent, last) = path.rsplit_once('/').unwrap();
        let last = last.replace("~1", "/").replace("~0", "~");
        match (value.pointer_mut(parent).unwrap(), operation["op"].as_str().unwrap()) {
            (Value::Array(items), "add") if last == "-" => items.push(operation["value"].clone()),
            (Value::Array(items), "replace") => items[last.parse::<usize>().unwrap()] = operation["value"].clone(),
            (Value::Object(map), "remove") => assert!(map.shift_remove(&last).is_some()),
            (Value::Object(map), _) => drop(map.insert(last, operation["value"].clone())),
            (other, operation) => panic!("{operation} {last} at {other}"),
        }
    }
    value
}

#[test]
fn a_pod_is_answered_with_the_patch_that_injects_it() {
    let response = answered(&asked(&pod()));
    assert_eq!((&response["uid"], &response["allowed"], &response["patchType"]), (&json!("u-1"), &json!(true), &json!("JSONPatch")));
    let expected = inject(&pod(), &Workload::of_pod(Pod(&pod()), "shop"), &Settings::default()).unwrap().pod;
    assert_eq!(patched(pod(), &patch_of(&response)), expected);
}

#[test]
fn a_pod_that_is_not_injected_is_allowed() {
    let mut quiet = pod();
    quiet["metadata"]["labels"]["sidecar.istio.io/inject"] = "false".into();
    assert_eq!(answered(&asked(&quiet)), json!({"uid": "u-1", "allowed": true}));
    let once = patched(pod(), &patch_of(&answered(&asked(&pod()))));
    assert_eq!(answered(&asked(&once)), json!({"uid": "u-1", "allowed": true}), "one that has its sidecar");
    let mut deployment = asked(&pod());
    deployment["request"]["kind"] = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
    assert_eq!(answered(&deployment), json!({"uid": "u-1", "allowed": true}));
    let mut update = asked(&pod());
    update["request"]["operation"] = "UPDATE".into();
    assert_eq!(answered(&update), json!({"uid": "u-1", "allowed": true}));
    let mut exec = asked(&pod());
    exec["request"]["subResource"] = "exec".into();
    assert_eq!(answered(&exec), json!({"uid": "u-1", "allowed": true}));
}

#[test]
fn what_cannot_be_read_refuses_the_pod_in_words() {
    let mut wrong = pod();
    wrong["metadata"]["annotations"]["sidecar.istio.io/proxyCPU"] = "lots".into();
    let response = answered(&asked(&wrong));
    assert_eq!((&response["allowed"], &response["patch"]), (&json!(false), &Value::Null));
    let said = response["status"]["message"].as_str().unwrap();
    assert!(said.contains("annotation sidecar.istio.io/proxyCPU: the value \"lots\" cannot be read: write an amount"), "{said}");
    for object in [json!(null), json!([]), json!({"metadata": {}}), json!({"spec": {}})] {
        let response = answered(&asked(&object));
        assert_eq!(response["allowed"], false, "{object}");
        assert!(response["status"]["message"].as_str().unwrap().contains("no pod"));
    }
}

#[test]
fn what_has_no_effect_comes_back_as_warnings() {
    let mut pod = pod();
    pod["metadata"]["annotations"]["sidecar.istio.io/bootstrapOverride"] = "x".into();
    pod["metadata"]["labels"]["sidecar.istio.io/inject"] = "maybe".into();
    let warnings = answered(&asked(&pod))["warnings"].clone();
    assert_eq!(warnings.as_array().unwrap().len(), 2, "{warnings}");
    // However many there are, and however long.
    for number in 0..50 {
        pod["metadata"]["annotations"][format!("sidecar.istio.io/{number}-{}", "é".repeat(300))] = "x".into();
    }
    let warnings = answered(&asked(&pod))["warnings"].clone();
    assert_eq!(warnings.as_array().unwrap().len(), 16);
    assert!(warnings.as_array().unwrap().iter().all(|warning| warning.as_str().unwrap().chars().count() <= 256));
}

#[test]
fn what_is_no_review_is_refused_before_it_is_one() {
    let settings = Settings::default();
    let status = |content: Option<&str>, body: &[u8]| review("/inject", content, body, &settings).status;
    let json = Some("application/json");
    let good = asked(&pod()).to_string();
    assert_eq!(status(Some("application/json; charset=utf-8"), good.as_bytes()), 200);
    assert_eq!((status(None, good.as_bytes()), status(Some("text/yaml"), good.as_bytes())), (415, 415));
    assert_eq!(status(json, &vec![b' '; LARGEST_BODY + 1]), 413);
    for (body, said) in [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[]", "no AdmissionReview"),
        (r#"{"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "request": {"uid": "u"}}"#, "v1beta1"),
        (r#"{"apiVersion": "admission.k8s.io/v1", "kind": "Pod"}"#, "no AdmissionReview"),
        (r#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}"#, "no request"),
        (r#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": ""}}"#, "no request with a uid"),
    ] {
        let answer = review("/inject", json, body.as_bytes(), &settings);
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.body.contains(said), "{body}: {}", answer.body);
    }
    // Deep enough to end a stack, if it were followed.
    assert_eq!(status(json, "[".repeat(100_000).as_bytes()), 400);
}

#[test]
fn the_path_says_where_a_call_comes_from() {
    let (_, response) = answered_at("/inject/cluster/c1/net/n1/my_key/a--slash--b/odd", &asked(&pod()));
    let pod = patched(pod(), &patch_of(&response)).to_string();
    for expected in [
        r#"{"name":"ISTIO_META_CLUSTER_ID","value":"c1"}"#,
        r#"{"name":"ISTIO_META_NETWORK","value":"n1"}"#,
        r#""topology.istio.io/network":"n1""#,
        r#"{"name":"MY_KEY","value":"a/b"}"#,
    ] {
        assert!(pod.contains(expected), "no {expected} in {pod}");
    }
}

/// Something where something else should be.
fn odd() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        Just(json!(true)),
        Just(json!(-1)),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[null], {"name": 1}])),
        "[ -~]{0,12}".prop_map(Value::from),
    ]
}

/// All places of a value.
fn places(value: &Value, path: String, found: &mut Vec<String>) {
    let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(map) => map.iter().for_each(|(name, below)| places(below, format!("{path}/{}", escaped(name)), found)),
        Value::Array(items) => items.iter().enumerate().for_each(|(place, below)| places(below, format!("{path}/{place}"), found)),
        _ => {}
    }
    found.push(path);
}

proptest! {
    /// Whatever is put where, there is an answer, and a patch that can be applied.
    #[test]
    fn every_review_is_answered(changes in proptest::collection::vec((any::<prop::sample::Index>(), odd()), 1..4)) {
        let mut review = asked(&pod());
        for (place, odd) in changes {
            let mut found = vec![];
            places(&review, String::new(), &mut found);
            *review.pointer_mut(place.get(found.as_slice()).as_str()).unwrap() = odd;
        }
        let (status, response) = answered_at("/inject", &review);
        prop_assert!(status == 200 || status == 400);
        if response["patch"].is_string() {
            let after = patched(review["request"]["object"].clone(), &patch_of(&response));
            prop_assert!(Pod(&after).has_container("istio-proxy"));
        }
    }

    #[test]
    fn every_body_is_answered(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(review("/inject", Some("application/json"), &body, &Settings::default()).status, 400);
    }
}
