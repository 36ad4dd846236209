//! `weir install`, `upgrade`, `check` and `uninstall` over a real API server. There is no node, so the control plane's pods never run.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_testkit::{Cluster, Ended, until};

use crate::{named, object};

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/istio-system/deployments/istiod";
const CANARY: &str = "/apis/apps/v1/namespaces/istio-system/deployments/istiod-canary";
const VALIDATOR: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/istio-validator-istio-system";
const TAG: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/istio-revision-tag-prod";

/// Runs a command that must end with this code.
async fn weir(cluster: &Cluster, code: i32, arguments: &str) -> Ended {
    let ended = cluster.run_weir(&arguments.split(' ').collect::<Vec<_>>()).await;
    assert_eq!(ended.code, Some(code), "weir {arguments}: {ended:?}");
    ended
}

/// Everything in the cluster by its path, with its version, but what comes and goes by itself.
async fn everything(cluster: &Cluster) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let groups = cluster.ask("GET", "/apis", None).await.unwrap();
    let groups = groups["groups"].as_array().unwrap().iter();
    let versions = groups.map(|group| format!("/apis/{}", group["preferredVersion"]["groupVersion"].as_str().unwrap()));
    for root in std::iter::once("/api/v1".to_owned()).chain(versions) {
        for resource in cluster.ask("GET", &root, None).await.unwrap()["resources"].as_array().unwrap() {
            let (name, verbs) = (resource["name"].as_str().unwrap(), resource["verbs"].as_array().unwrap());
            // Leases are renewed all the time.
            if !verbs.contains(&json!("list")) || ["events", "leases", "componentstatuses"].contains(&name) {
                continue;
            }
            let list = cluster.ask("GET", &format!("{root}/{name}"), None).await.unwrap();
            for item in list["items"].as_array().unwrap() {
                let metadata = &item["metadata"];
                let namespace = metadata["namespace"].as_str().unwrap_or_default();
                let version = metadata["resourceVersion"].as_str().unwrap_or_default();
                found.insert(format!("{root}/{name} {namespace}/{}", metadata["name"].as_str().unwrap()), version.to_owned());
            }
        }
    }
    found
}

/// What is there that was not there before, and the other way round.
fn changed(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let missing = before.keys().filter(|path| !after.contains_key(*path)).map(|path| format!("- {path}"));
    missing.chain(after.keys().filter(|path| !before.contains_key(*path)).map(|path| format!("+ {path}"))).collect()
}

/// A namespace with these labels.
async fn namespace(cluster: &Cluster, name: &str, labels: Value) {
    let mut namespace = object("v1", "Namespace", name, json!({}));
    namespace["metadata"]["labels"] = labels;
    cluster.apply(&format!("/api/v1/namespaces/{name}"), namespace).await;
    // What the controllers put into it is a part of it.
    let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
    until("there is a service account", async || cluster.exists_by_now(&account).await).await;
    let root = format!("/api/v1/namespaces/{name}/configmaps/kube-root-ca.crt");
    until("there is the API server's root", async || cluster.exists_by_now(&root).await).await;
}

/// A pod with a sidecar of this revision, as injection marks it.
async fn injected(cluster: &Cluster, namespace: &str, name: &str, revision: &str) {
    let mut pod = object("v1", "Pod", name, json!({"spec": {"containers": [{"name": "app", "image": "app"}]}}));
    pod["metadata"]["annotations"] = json!({"istio.io/rev": revision});
    cluster.apply(&format!("/api/v1/namespaces/{namespace}/pods/{name}"), pod).await;
}

#[tokio::test]
async fn what_is_installed_can_be_installed_again_changed_and_taken_away_without_a_trace() {
    let Some(cluster) = Cluster::start().await else { return };
    namespace(&cluster, "shop", json!({})).await;
    cluster.apply("/apis/networking.istio.io/v1/namespaces/shop/virtualservices/other", named("other", "first")).await;
    let before = everything(&cluster).await;
    let told = weir(&cluster, 0, "check").await.result;
    assert!(told.contains("to be done\nnothing"), "{told}");
    let told = weir(&cluster, 0, "install --dry-run").await.result;
    assert!(
        told.contains("Namespace istio-system: would be created") && told.contains("ClusterRole weir-pilot-istio-system: would"),
        "{told}"
    );
    assert_eq!(changed(&before, &everything(&cluster).await), Vec::<String>::new(), "a dry run changes nothing");
    weir(&cluster, 2, "upgrade --no-wait").await;

    let first = weir(&cluster, 0, "install --no-wait").await.said;
    assert!(first.contains("Deployment istio-system/istiod is created"), "{first}");
    let service = "/api/v1/namespaces/istio-system/services/istiod";
    assert_eq!(cluster.ask("GET", service, None).await.unwrap()["spec"]["ports"][2]["targetPort"], 15017);
    // The control plane has seen its webhook work.
    let working = json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Fail"}]);
    cluster.ask("PATCH", VALIDATOR, Some(("application/json-patch+json", working))).await.unwrap();
    let installed = everything(&cluster).await;
    let again = weir(&cluster, 0, "install --no-wait").await.said;
    assert!(again.contains("all is there already") && !again.contains("is changed"), "{again}");
    let versions = |all: &BTreeMap<String, String>| {
        let of_ours = |(path, _): &(&String, &String)| {
            path.contains("istio")
                && !["deployments", "replicasets", "pods", "horizontal", "budgets"].iter().any(|kind| path.contains(kind))
        };
        all.iter().filter(of_ours).map(|(path, version)| format!("{path} {version}")).collect::<Vec<_>>()
    };
    assert_eq!(versions(&installed), versions(&everything(&cluster).await), "nothing is written where nothing changes");
    let told = weir(&cluster, 1, "check").await.result;
    assert!(told.contains("Deployment istio-system/istiod is not ready"), "{told}");

    let told = weir(&cluster, 0, "install --image weir:2 --replicas 3 --dry-run").await.result;
    assert!(told.contains("  ~ spec.template.spec.containers[discovery].image: weir:0.1.0 -> weir:2\n"), "{told}");
    assert!(told.contains("HorizontalPodAutoscaler istio-system/istiod: would be deleted\n"), "{told}");
    let late = weir(&cluster, 2, "upgrade --image weir:2 --replicas 3 --timeout 10ms").await.said;
    assert!(late.contains("Deployment istio-system/istiod is not ready after 0s") && late.contains("the same command goes on"), "{late}");
    let image = &cluster.ask("GET", DEPLOYMENT, None).await.unwrap()["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(image, "weir:2");
    weir(&cluster, 0, "upgrade --image weir:2 --replicas 3 --no-wait").await;
    assert!(!cluster.exists("/apis/autoscaling/v2/namespaces/istio-system/horizontalpodautoscalers/istiod").await);

    // What a control plane gives to each namespace.
    let written = [
        ("/api/v1/namespaces/shop/configmaps", object("v1", "ConfigMap", "istio-ca-root-cert", json!({"data": {"root-cert.pem": "x"}}))),
        ("/api/v1/namespaces/istio-system/secrets", object("v1", "Secret", "istio-ca-secret", json!({}))),
        (
            "/apis/coordination.k8s.io/v1/namespaces/istio-system/leases",
            object("coordination.k8s.io/v1", "Lease", "weir-leader-default", json!({})),
        ),
    ];
    for (path, object) in written {
        cluster.ask("POST", &format!("{path}?fieldManager=weir"), Some(("application/json", object))).await.unwrap();
    }
    // Istiod has written this one, too.
    let mut shared = object("v1", "ConfigMap", "istio-ca-root-cert", json!({"data": {"root-cert.pem": "x"}}));
    shared["metadata"]["namespace"] = json!("default");
    cluster
        .ask("POST", "/api/v1/namespaces/default/configmaps?fieldManager=pilot-discovery", Some(("application/json", shared.clone())))
        .await
        .unwrap();
    injected(&cluster, "shop", "web", "default").await;
    let told = weir(&cluster, 0, "uninstall --dry-run").await;
    assert!(told.result.contains("ConfigMap shop/istio-ca-root-cert: would be deleted"), "{told:?}");
    assert!(!told.result.contains("default/istio-ca-root-cert"), "{told:?}");
    let told = weir(&cluster, 0, "uninstall").await.said;
    assert!(told.contains("of shop 1 pods follow this revision, and go on with what they know"), "{told}");
    for gone in ["Lease istio-system/weir-leader-default", "Secret istio-system/istio-ca-secret", "Namespace istio-system"] {
        assert!(told.contains(&format!("{gone} is deleted")), "{gone}: {told}");
    }
    assert!(cluster.exists("/api/v1/namespaces/shop/pods/web").await, "pods go on");
    cluster.delete("/api/v1/namespaces/shop/pods/web").await;
    cluster.delete("/api/v1/namespaces/default/configmaps/istio-ca-root-cert").await;
    let mut left = vec![];
    until("nothing is left", async || {
        left = changed(&before, &everything(&cluster).await);
        left.is_empty()
    })
    .await;
    let told = weir(&cluster, 0, "uninstall").await.said;
    assert!(told.contains("nothing of revision default is in istio-system"), "{told}");
}

#[tokio::test]
async fn revisions_stand_side_by_side_and_beside_istiod() {
    let Some(cluster) = Cluster::start().await else { return };
    namespace(&cluster, "istio-system", json!({})).await;
    // Istio's own, as its chart labels it.
    let spec = json!({"selector": {"matchLabels": {"istio": "pilot"}}, "template": {
        "metadata": {"labels": {"app": "istiod", "istio": "pilot"}}, "spec": {"containers": [{"name": "discovery", "image": "pilot"}]},
    }});
    let mut istiod = object("apps/v1", "Deployment", "istiod", json!({"spec": spec}));
    istiod["metadata"]["labels"] = json!({"app": "istiod", "istio": "pilot", "istio.io/rev": "default"});
    cluster.apply(DEPLOYMENT, istiod).await;
    let refused = weir(&cluster, 1, "install --no-wait").await.said;
    assert!(refused.contains("Deployment istio-system/istiod: it is there, and not installed by Weir"), "{refused}");
    assert!(!cluster.exists("/api/v1/namespaces/istio-system/serviceaccounts/istiod").await, "nothing is changed then");
    let told = weir(&cluster, 1, "check").await.result;
    assert!(told.contains("istio-system/istiod is there, and not Weir's: another revision can stand beside it"), "{told}");

    let mut injector = object("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "istio-sidecar-injector", json!({}));
    injector["metadata"]["labels"] = json!({"istio.io/rev": "default"});
    cluster.apply("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/istio-sidecar-injector", injector).await;
    let refused = weir(&cluster, 1, "install --revision stable --tag default --no-wait").await.said;
    assert!(refused.contains("MutatingWebhookConfiguration istio-sidecar-injector: it answers to default already"), "{refused}");
    weir(&cluster, 0, "install --revision stable --tag prod --no-wait").await;
    // Once a namespace is labelled, the API server waits for who would inject its pods.
    for (name, revision, label, value) in [("shop", "stable", "istio.io/rev", "prod"), ("old", "default", "istio-injection", "enabled")] {
        namespace(&cluster, name, json!({})).await;
        injected(&cluster, name, "web", revision).await;
        cluster.merge(&format!("/api/v1/namespaces/{name}"), json!({"metadata": {"labels": {label: value}}})).await;
    }
    weir(&cluster, 0, "install --revision canary --tag prod --no-wait").await;
    let tag = cluster.ask("GET", TAG, None).await.unwrap();
    assert_eq!(tag["webhooks"][0]["clientConfig"]["service"]["name"], "istiod-canary");
    // The tag is the canary's now, and stays so when that is installed again without a word of it.
    weir(&cluster, 0, "install --revision canary --no-wait").await;
    assert!(cluster.exists(TAG).await);
    let told = weir(&cluster, 1, "check --revision canary -o json").await.result;
    let told: Value = serde_json::from_str(&told).unwrap();
    let shop = told["following"].as_array().unwrap().iter().find(|row| row["namespace"] == "shop").unwrap();
    assert_eq!(*shop, json!({"namespace": "shop", "asks": "istio.io/rev=prod", "revision": "canary", "pods": {"stable": ["web"]}}));
    let findings = told["findings"].to_string();
    assert!(findings.contains("namespace shop asks for istio.io/rev=prod, and pods web still follow revision stable"), "{findings}");
    let planes: Vec<(&Value, &Value)> =
        told["controlPlanes"].as_array().unwrap().iter().map(|plane| (&plane["revision"], &plane["managedBy"])).collect();
    assert_eq!(
        planes,
        [("default", "-"), ("canary", "weir"), ("stable", "weir")]
            .map(|(a, b)| (json!(a), json!(b)))
            .iter()
            .map(|(a, b)| (a, b))
            .collect::<Vec<_>>()
    );

    let told = weir(&cluster, 0, "uninstall --revision stable").await.said;
    assert!(told.contains("Deployment istio-system/istiod-canary stays: it is another control plane's of Weir"), "{told}");
    assert!(told.contains("Namespace istio-system stays: it was not made for Weir"), "{told}");
    assert!(cluster.exists(CANARY).await && cluster.exists(TAG).await && cluster.exists(DEPLOYMENT).await);
    let told = weir(&cluster, 0, "uninstall --revision canary").await.said;
    assert!(told.contains("the tag prod means nothing any more"), "{told}");
    let left = everything(&cluster).await;
    assert!(cluster.exists(DEPLOYMENT).await && !left.keys().any(|path| path.contains("canary") || path.contains("weir")), "{left:?}");
}

#[tokio::test]
async fn what_is_anothers_is_named_and_the_pods_are_admitted_as_restricted() {
    let Some(cluster) = Cluster::start().await else { return };
    namespace(&cluster, "mesh", json!({"pod-security.kubernetes.io/enforce": "restricted"})).await;
    let deployment = "/apis/apps/v1/namespaces/mesh/deployments/istiod-canary";
    weir(&cluster, 0, "install -n mesh --revision canary --no-wait").await;
    let pods = "/api/v1/namespaces/mesh/pods?labelSelector=istio.io/rev=canary";
    until("a pod is admitted", async || {
        cluster.ask("GET", pods, None).await.is_ok_and(|pods| pods["items"].as_array().is_some_and(|pods| !pods.is_empty()))
    })
    .await;

    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "discovery", "image": "mine"}]}}}});
    let patch = Some(("application/strategic-merge-patch+json", image));
    cluster.ask("PATCH", &format!("{deployment}?fieldManager=somebody"), patch).await.unwrap();
    let refused = weir(&cluster, 1, "install -n mesh --revision canary --tag prod --no-wait").await.said;
    let conflict = "Deployment mesh/istiod-canary: spec.template.spec.containers[name=\"discovery\"].image: conflict with \"somebody\"";
    assert!(refused.contains(conflict), "{refused}");
    assert!(!cluster.exists(&format!("{TAG}-mesh")).await, "nothing is changed then");
    weir(&cluster, 0, "install -n mesh --revision canary --tag prod --no-wait --force-conflicts").await;
    let live = cluster.ask("GET", deployment, None).await.unwrap();
    assert_eq!(live["spec"]["template"]["spec"]["containers"][0]["image"], "weir:0.1.0");
    assert!(cluster.exists(&format!("{TAG}-mesh")).await);

    // What is printed is what is applied.
    let printed = weir(&cluster, 0, "install -n mesh --revision canary --tag prod -o json").await.result;
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(printed["items"].as_array().unwrap().len(), 14);
    let told = weir(&cluster, 0, "install -n mesh --revision canary --dry-run").await.result;
    assert!(told.lines().all(|line| line.ends_with("stays as it is") || line == "Namespace mesh: is there, and somebody else's"), "{told}");
    // Whoever puts something of his own into the namespace keeps it.
    cluster.merge("/api/v1/namespaces/mesh", json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "weir"}}})).await;
    cluster.apply("/api/v1/namespaces/mesh/secrets/cacerts", object("v1", "Secret", "cacerts", json!({}))).await;
    let told = weir(&cluster, 0, "uninstall -n mesh --revision canary").await.said;
    assert!(told.contains("Namespace mesh stays: in it is Secret mesh/cacerts\n"), "{told}");
    assert!(cluster.exists("/api/v1/namespaces/mesh/secrets/cacerts").await);
}
