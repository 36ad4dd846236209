//! Files: what makes pods is injected, and everything else stays, to the letter.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it is wrong")]

use proptest::prelude::*;
use serde_json::{Value, json};
use weir_api::Source;
use weir_api::syntax::yaml;
use weir_inject::{DocumentError, Documents, Policy, Settings, inject_documents};

fn settings() -> Settings {
    Settings { image: "weir:test".to_owned(), ..Settings::default() }
}

fn injected(text: &str) -> Documents {
    inject_documents(&Source::new("in.yaml", text), &settings()).unwrap()
}

fn objects(text: &str) -> Vec<Value> {
    yaml::documents(&Source::new("out.yaml", text)).into_iter().map(|node| node.unwrap().to_json()).collect()
}

/// As the manifests of bookinfo are: a Service, a ServiceAccount and a Deployment, with comments between them.
const BOOKINFO: &str = "\
# Copyright Istio Authors
apiVersion: v1
kind: Service
metadata: {name: details, labels: {app: details, service: details}}
spec:
  ports:
  - {port: 9080, name: http}   # as it is
  selector: {app: details}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: bookinfo-details
---
# version 1
apiVersion: apps/v1
kind: Deployment
metadata:
  name: details-v1
  labels:
    app: details
    version: v1
spec:
  replicas: 1
  selector:
    matchLabels: {app: details, version: v1}
  template:
    metadata:
      labels: {app: details, version: v1}
    spec:
      serviceAccountName: bookinfo-details
      containers:
      - name: details
        image: docker.io/istio/examples-bookinfo-details-v1:1.20.3
        imagePullPolicy: IfNotPresent
        env: [{name: NOTE, value: \"yes\"}, {name: LINES, value: \"a\\nb: c\\n\"}]
        ports:
        - containerPort: 9080
        securityContext:
          runAsUser: 1000
---
";

#[test]
fn bookinfo_is_injected() {
    let out = injected(BOOKINFO);
    assert_eq!(out.notes, Vec::<String>::new());
    assert!(out.text.starts_with(&BOOKINFO[..BOOKINFO.find("---\n# version").unwrap()]), "what makes no pods stays to the letter");
    insta::assert_snapshot!(out.text);
    let [before, after] = [objects(BOOKINFO), objects(&out.text)];
    assert_eq!(before.len(), after.len());
    assert_eq!(before[..2], after[..2]);
    let pod = |object: &Value| object["spec"]["template"]["spec"]["containers"].clone();
    assert_eq!(pod(&after[2])[0], pod(&before[2])[0], "the application is as it was");
    assert_eq!(pod(&after[2])[1]["name"], "istio-proxy");
    // Again it is the same.
    assert_eq!(injected(&out.text).text, out.text);
}

#[test]
fn every_kind_that_makes_pods_is_injected() {
    let template = json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "x", "image": "x"}]}});
    let workload = |api: &str, kind: &str| json!({"apiVersion": api, "kind": kind, "metadata": {"name": "x", "namespace": "shop"}, "spec": {"template": template}});
    let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "x"}, "spec": {"jobTemplate": {"spec": {"template": template}}}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": template["spec"]});
    let rows = [
        (workload("apps/v1", "Deployment"), "/spec/template", "namespaces/shop/deployments/x"),
        (workload("apps/v1", "StatefulSet"), "/spec/template", "namespaces/shop/statefulsets/x"),
        (workload("apps/v1", "DaemonSet"), "/spec/template", "namespaces/shop/daemonsets/x"),
        (workload("apps/v1", "ReplicaSet"), "/spec/template", "namespaces/shop/replicasets/x"),
        (workload("batch/v1", "Job"), "/spec/template", "namespaces/shop/jobs/x"),
        (workload("v1", "ReplicationController"), "/spec/template", "namespaces/shop/replicationcontrollers/x"),
        (cron, "/spec/jobTemplate/spec/template", "namespaces/default/cronjobs/x"),
        (pod, "", "namespaces/default/pods/x"),
    ];
    let all: Vec<Value> = rows.iter().map(|(object, ..)| object.clone()).collect();
    for (object, place, owner) in &rows {
        let out = injected(&object.to_string());
        let injected = objects(&out.text).remove(0);
        let containers = injected.pointer(&format!("{place}/spec/containers")).unwrap();
        assert_eq!(containers[1]["name"], "istio-proxy", "{object}");
        assert!(containers[1]["env"].to_string().contains(owner), "{owner}");
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": all});
    let out = objects(&injected(&list.to_string()).text).remove(0);
    assert_eq!(out["items"].to_string().matches(r#""name":"istio-proxy""#).count(), rows.len());
}

#[test]
fn what_is_not_injected_is_told_and_stays() {
    let host = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: agent}\nspec: {template: {spec: {hostNetwork: true}}}\n";
    let out = injected(host);
    assert_eq!(out.text, host);
    assert!(out.notes[0].starts_with("DaemonSet agent: not injected: it shares the machine's network"), "{:?}", out.notes);
    let no = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop, labels: {sidecar.istio.io/inject: \"false\"}}\nspec: {}\n";
    assert!(injected(no).notes[0].starts_with("Pod shop/p: not injected: it has sidecar.istio.io/inject"));
    let none = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n";
    assert_eq!(injected(none).notes, ["Deployment d is not injected: it has no spec/template"]);
    let other = "apiVersion: example.test/v1\nkind: Deployment\nspec: {template: {spec: {}}}\n";
    assert_eq!((injected(other).text.as_str(), injected(other).notes.len()), (other, 0));
    let policy = Policy { disabled: true, ..Policy::default() };
    let out = inject_documents(&Source::new("x", BOOKINFO), &Settings { policy, ..settings() }).unwrap();
    assert_eq!(out.text, BOOKINFO);
}

#[test]
fn who_is_wrong_is_named() {
    let wrong =
        BOOKINFO.replace("labels: {app: details, version: v1}\n    spec", "annotations: {sidecar.istio.io/logLevel: loud}\n    spec");
    let Err(DocumentError::Object(problem)) = inject_documents(&Source::new("x", wrong), &settings()) else { panic!("it is refused") };
    assert!(problem.starts_with("Deployment details-v1: annotation sidecar.istio.io/logLevel: "), "{problem}");
    let broken = inject_documents(&Source::new("x", "a: [\n---\nb: 1\n"), &settings());
    assert!(matches!(broken, Err(DocumentError::Syntax(_))));
}

proptest! {
    /// Whatever stands in a value is the same when it is read again.
    #[test]
    fn values_are_written_as_they_were_read(value in "[ -~\n\té']{0,40}", key in "[a-zA-Z0-9:#./-]{1,10}") {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
                         "spec": {"containers": [{"name": "c", "args": [value], "odd": {key: value}}]}});
        let out = objects(&injected(&pod.to_string()).text).remove(0);
        prop_assert_eq!(&out["spec"]["containers"][0], &pod["spec"]["containers"][0]);
    }
}
