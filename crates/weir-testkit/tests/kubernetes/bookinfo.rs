//! Bookinfo as Istio's users apply it: its manifests unchanged in a labelled namespace, or as `weir kube-inject` makes them, over sidecars
//! that capture, with the rules that every tutorial begins with.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hyper::{Request, Version};
use serde_json::{Value, json};
use weir_testkit::{Cluster, Content, DataPlane, converse, until};

use crate::node::{pods, ready};
use crate::webhooks;

/// Its applications.
const PODS: usize = 6;
/// So long may it take until all of them are ready: half a minute where nothing else is done, on a busy machine this.
const BOUND: Duration = Duration::from_secs(120);
const PILOT: [&str; 10] = [
    "--xds",
    "127.0.0.1:15010",
    "--admin",
    "127.0.0.1:15000",
    "--tls-xds",
    "10.244.0.1:15012",
    "--tls-name",
    "istiod.istio-system.svc",
    "--webhooks",
    "127.0.0.1:15017",
];
/// How Pods find the pilot, which is outside: a Service without a selector, and its slice.
const ISTIOD: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: istio-system}
---
apiVersion: v1
kind: Service
metadata: {name: istiod, namespace: istio-system}
spec:
  ports: [{name: https-dns, port: 15012}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: istiod, namespace: istio-system, labels: {kubernetes.io/service-name: istiod}}
addressType: IPv4
ports: [{name: https-dns, port: 15012}]
endpoints: [{addresses: [10.244.0.1], conditions: {ready: true}}]
"#;
/// The seed's rule: jason has version 2, of all others three in four have version 1.
const SEED: &str = r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {end-user: {exact: jason}}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - route:
    - {destination: {host: reviews, subset: v1}, weight: 75}
    - {destination: {host: reviews, subset: v3}, weight: 25}
";

/// Asks productpage's API for reviews, which it asks its sidecar for; gives back who answered, or what came instead.
pub async fn ask_reviewer(productpage: SocketAddr, user: Option<&str>) -> Result<String, String> {
    let request = Request::get(format!("http://{productpage}/api/v1/products/0/reviews"));
    let request = user.iter().fold(request, |request, user| request.header("end-user", *user));
    let told = converse(productpage, Version::HTTP_11, request.body(Content::default()).unwrap()).await?;
    let text = told.text();
    let answer: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
    answer["podname"].as_str().map(str::to_owned).ok_or(text)
}

/// Asks productpage's API for reviews, which it asks its sidecar for; gives back who answered.
pub async fn reviewer(productpage: SocketAddr, user: Option<&str>) -> Option<String> {
    ask_reviewer(productpage, user).await.ok()
}

/// How often each version answers.
async fn shares(productpage: SocketAddr, user: Option<&str>, asked: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..asked {
        *shares.entry(reviewer(productpage, user).await.unwrap_or_else(|| "nobody".to_owned())).or_default() += 1;
    }
    shares
}

/// Applies bookinfo to a namespace, as this is in it, and routes it. Gives back where productpage is.
pub async fn is_routed(cluster: &Cluster, namespace: &str, manifest: &str) -> SocketAddr {
    let sample = |path: &str| cluster.istio("samples/bookinfo").join(path).display().to_string();
    let apply = async |file: &str, text: &str| cluster.kubectl(&["apply", "-n", namespace, "-f", file], text).await;
    let begin = Instant::now();
    apply("-", manifest).await;
    until("bookinfo's Pods are there", async || pods(cluster, namespace).await.len() == PODS).await;
    let patience = format!("--timeout={}s", BOUND.as_secs());
    cluster.kubectl(&["wait", "-n", namespace, "--for=condition=Ready", "pod", "--all", &patience], "").await;
    let took = begin.elapsed();
    eprintln!("bookinfo over {namespace} sidecars: ready {took:?} after it was applied");

    apply(&sample("networking/destination-rule-all.yaml"), "").await;
    let pods = ready(cluster, namespace).await;
    assert!(pods.iter().all(|pod| pod.to_string().contains("\"istio-proxy\"")), "all are injected");
    let page = pods.iter().find(|pod| pod["metadata"]["labels"]["app"] == "productpage").unwrap();
    let page: SocketAddr = format!("{}:9080", page["status"]["podIP"].as_str().unwrap()).parse().unwrap();
    until("all versions take turns", async || shares(page, None, 9).await.keys().eq(["reviews-v1", "reviews-v2", "reviews-v3"])).await;
    apply(&sample("networking/virtual-service-all-v1.yaml"), "").await;
    until("version 1 alone answers", async || shares(page, None, 9).await == [("reviews-v1".to_owned(), 9)].into()).await;
    apply("-", SEED).await;
    until("jason has version 2", async || shares(page, Some("jason"), 9).await == [("reviews-v2".to_owned(), 9)].into()).await;
    let shares = shares(page, None, 200).await;
    let (first, third) = (shares.get("reviews-v1").copied().unwrap_or_default(), shares.get("reviews-v3").copied().unwrap_or_default());
    // Five standard deviations about 150.
    assert!(first + third == 200 && (120..=180).contains(&first), "{shares:?}");
    let table = cluster.kubectl(&["get", "virtualservice", "-n", namespace, "reviews", "--no-headers"], "").await;
    assert!(table.split_whitespace().take(2).eq(["reviews", "[\"reviews\"]"]), "{table}");
    page
}

/// Its Pods have asked for more than half of a processor.
async fn delete(cluster: &Cluster, namespace: &str) {
    cluster.kubectl(&["delete", "namespace", namespace, "--wait=false"], "").await;
}

/// Has the API server ask the pilot about Pods.
async fn ask_pilot_of_pods(cluster: &Cluster) {
    let paths =
        webhooks::apply_all(cluster, webhooks::MUTATING, webhooks::plane("default", &[]).injectors(&webhooks::at(webhooks::PORT))).await;
    webhooks::until_known(cluster, &paths).await;
}

#[tokio::test]
async fn bookinfo_is_injected_and_routed() {
    let Some(cluster) = Cluster::start_with_node(vec![]).await else { return };
    cluster.kubectl(&["apply", "-f", "-"], ISTIOD).await;
    let _pilot = cluster.run_pilot("pilot", &PILOT).await;
    let manifest = cluster.istio("samples/bookinfo/platform/kube/bookinfo.yaml").display().to_string();

    ask_pilot_of_pods(&cluster).await;
    webhooks::make_namespace(&cluster, "webhook", &json!({"istio-injection": "enabled"})).await;
    is_routed(&cluster, "webhook", &fs::read_to_string(&manifest).unwrap()).await;
    delete(&cluster, "webhook").await;

    let with_envoy: &[&str] = &["--data-plane", "envoy", "--native-sidecars"];
    for (name, options) in [("classic", &[][..]), ("envoy", with_envoy)] {
        if name == "envoy" && !DataPlane::Envoy.is_available() {
            continue;
        }
        let injected = cluster.run_weir(&[&["kube-inject", "-f", &manifest], options].concat()).await;
        assert_eq!(injected.code, Some(0), "{}", injected.said);
        webhooks::make_namespace(&cluster, name, &json!({})).await;
        is_routed(&cluster, name, &injected.result).await;
        delete(&cluster, name).await;
    }
}
