//! The tools of a person at a cluster: they print what kubectl does, and explain what its pods would get.

use std::process::{Command, Output};

use serde_json::{Value, json};
use weir_testkit::Cluster;

use crate::{RULE, cluster, object, rule};

const OTHER: &str = "/apis/networking.istio.io/v1/namespaces/shop/destinationrules/web";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/shop/deployments/web";

/// What a command printed, what it said, and how it ended.
fn run(mut command: Command, arguments: &[&str]) -> (String, String, Option<i32>) {
    let Output { stdout, stderr, status } = command.args(arguments).output().expect("weir can be started");
    (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap(), status.code())
}

/// The words of a table's lines; ages, which are told with their units, stand for themselves.
fn table(text: &str) -> Vec<String> {
    let is_age = |word: &str| word.ends_with(['s', 'm']) && word.starts_with(|first: char| first.is_ascii_digit());
    let word = |word: &str| if is_age(word) { "AGE".to_owned() } else { word.to_owned() };
    text.lines().map(|line| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")).collect()
}

/// A Deployment whose pods are those that are there; nobody is to make others.
async fn deploy(cluster: &Cluster) {
    let labels = json!({"app": "web"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "app"}]}});
    let spec = json!({"replicas": 0, "selector": {"matchLabels": labels}, "template": template});
    cluster.apply(DEPLOYMENT, object("apps/v1", "Deployment", "web", json!({"spec": spec}))).await;
}

#[tokio::test]
async fn a_person_at_a_cluster_is_told_what_kubectl_tells_and_why_a_request_goes_where() {
    let Some(mut cluster) = cluster().await else { return };
    deploy(&cluster).await;
    cluster.apply(OTHER, object("networking.istio.io/v1", "DestinationRule", "web", json!({"spec": {"host": "web"}}))).await;

    lists(&cluster);
    one_object(&cluster);
    explains(&cluster);
    validates(&cluster).await;

    let (_, said, code) = run(cluster.weir_of_nobody(), &["get", "vs", "-A", "--kubernetes"]);
    assert!(code == Some(2) && said.contains("forbidden") && said.contains("nobody"), "{code:?} {said}");
    let (_, said, code) = run(cluster.weir(), &["get", "vs", "--context", "elsewhere"]);
    assert!(code == Some(2) && said.contains("elsewhere"), "{code:?} {said}");
    cluster.kill_api_server().await;
    let (_, said, code) = run(cluster.weir(), &["get", "vs", "--kubernetes"]);
    assert!(code == Some(2) && said.contains("the API server https://10.244.0.1:6443/ cannot be asked"), "{code:?} {said}");
}

/// Tables, in all namespaces and in one, as the API server makes them for kubectl.
fn lists(cluster: &Cluster) {
    let get = |arguments: &[&str]| {
        let (text, said, code) = run(cluster.plugin(), &[&["get"], arguments].concat());
        assert_eq!((code, said.as_str()), (Some(0), ""), "{arguments:?}");
        table(&text)
    };
    for words in [["vs", "-A"], ["virtualservices.networking.istio.io", "-A"]] {
        assert_eq!(get(&words), ["NAMESPACE NAME GATEWAYS HOSTS AGE", "shop web [\"web\"] AGE"]);
    }
    assert_eq!(get(&["dr", "-n", "shop"]), ["NAME HOST AGE", "web web AGE"]);
    assert_eq!(get(&["dr/web", "-n", "shop"]), ["NAME HOST AGE", "web web AGE"]);
    assert_eq!(get(&["dr", "-n", "shop", "-o", "name"]), ["destinationrule.networking.istio.io/web"]);
    assert_eq!(get(&["pods", "-n", "shop"])[0], "NAME READY STATUS RESTARTS AGE");
    let services = get(&["svc", "-n", "shop"]);
    assert_eq!(services[0], "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE");
    assert!(services[1].starts_with("web ClusterIP 10.96.") && services[1].ends_with("<none> 80/TCP AGE"), "{services:?}");
    let services = get(&["svc", "-n", "shop", "-o", "wide"]);
    assert!(services[0].ends_with("AGE SELECTOR") && services[1].ends_with("AGE app=web"), "{services:?}");

    let (text, said, code) = run(cluster.weir(), &["get", "vs", "--kubernetes"]);
    assert_eq!((text.as_str(), said.trim_end(), code), ("", "No resources found in default namespace.", Some(0)));
    let (_, said, code) = run(cluster.weir(), &["get", "vs", "other", "-n", "shop", "--kubernetes"]);
    assert_eq!((said.trim_end(), code), ("there is no VirtualService \"other\" in namespace shop", Some(1)));
}

fn one_object(cluster: &Cluster) {
    let (text, _, code) = run(cluster.weir(), &["get", "vs", "web", "-n", "shop", "-o", "json", "--kubernetes"]);
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &found["kind"], &found["metadata"]["managedFields"]), (Some(0), &json!("VirtualService"), &Value::Null));
    assert!(found["metadata"]["uid"].is_string() && found["spec"] == rule("first")["spec"], "{text}");
}

/// From a pod's point of view, however it is named.
fn explains(cluster: &Cluster) {
    let explain = |arguments: &[&str]| run(cluster.weir(), &[&["explain", "--kubernetes", "-n", "shop"], arguments].concat());
    for from in ["deploy/web", "pod/web-a", "web-a", "svc/web", "sa/default"] {
        let (text, said, code) = explain(&["--from", from, "http://web/"]);
        assert_eq!(code, Some(0), "{from}: {said}");
        assert!(text.starts_with("GET http://web/, sent to port 80, at the sidecar of web-a in namespace shop\n"), "{from}: {text}");
        assert!(text.contains("VirtualService/shop/web:") && text.contains("outbound|80||web.shop.svc.cluster.local"), "{from}: {text}");
    }
    let (_, said, code) = explain(&["--from", "deploy/other", "http://web/"]);
    assert!(code == Some(2) && said.contains("there is no deploy/other"), "{said}");
    let (_, said, code) = explain(&["--from", "sts/web", "http://web/"]);
    assert!(code == Some(2) && said.contains("there is no sts/web"), "{said}");
}

/// Of what stands in the cluster; a schema lets pass what is no regular expression.
async fn validates(cluster: &Cluster) {
    let (text, _, code) = run(cluster.weir(), &["validate", "--kubernetes", "-n", "shop"]);
    assert_eq!((text.as_str(), code), ("3 good resources, 0 errors, 0 warnings\n", Some(0)));
    let mut broken = rule("broken");
    broken["spec"]["http"][0]["match"] = json!([{"uri": {"regex": "("}}]);
    cluster.apply(RULE, broken).await;
    let (_, said, code) = run(cluster.weir(), &["validate", "--kubernetes", "-n", "shop"]);
    assert!(code == Some(1) && said.contains("--> VirtualService/shop/web:") && said.contains("regex: \"(\""), "{said}");
    let (_, said, code) = run(cluster.weir(), &["validate", "--kubernetes"]);
    assert!(code == Some(0), "nothing of it is in the context's namespace: {said}");
    cluster.apply(RULE, rule("first")).await;
}
