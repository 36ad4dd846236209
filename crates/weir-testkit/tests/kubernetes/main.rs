//! `weir pilot` over a real cluster: what its API server holds, proxies are told.
#![allow(clippy::print_stderr, reason = "what a test has measured is told")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod bookinfo;
mod follower;
mod health;
mod identity;
mod install;
mod installed;
mod kubectl;
mod leaders;
mod mesh_config;
mod node;
mod scale;
mod status;
mod traces;
mod webhooks;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use follower::Follower;
use serde_json::{Value, json};
use weir_testkit::{Cluster, until};

const XDS: &str = "127.0.0.1:15010";
const ADMIN: &str = "127.0.0.1:15000";
const WEB: &str = "outbound|80||web.shop.svc.cluster.local";
const SERVICE: &str = "/api/v1/namespaces/shop/services/web";
const RULE: &str = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices/web";

/// So many changes are made one after the other. Of all but one in a hundred proxies are told within a tenth of a second where nothing else
/// is done; on a busy machine in this time.
const CHANGES: usize = 200;
const BOUND: Duration = Duration::from_secs(5);

fn object(version: &str, kind: &str, name: &str, content: Value) -> Value {
    let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}});
    object.as_object_mut().unwrap().extend(content.as_object().unwrap().clone());
    object
}

/// The Service `web`, whose port leads to one that Pods have a name for.
fn service() -> Value {
    let port = json!({"name": "http", "port": 80, "targetPort": "serving"});
    object("v1", "Service", "web", json!({"spec": {"selector": {"app": "web"}, "ports": [port]}}))
}

/// A VirtualService for it, whose only route has this name.
fn rule(route: &str) -> Value {
    let http = json!({"name": route, "route": [{"destination": {"host": "web"}}]});
    object("networking.istio.io/v1", "VirtualService", "web", json!({"spec": {"hosts": ["web"], "http": [http]}}))
}

/// A cluster with two Pods behind a Service, on nodes of two zones.
async fn cluster() -> Option<Cluster> {
    let cluster = Cluster::start().await?;
    cluster.apply("/api/v1/namespaces/shop", object("v1", "Namespace", "shop", json!({}))).await;
    for (index, zone) in ["a", "b"].into_iter().enumerate() {
        let (node, pod) = (format!("node-{zone}"), format!("web-{zone}"));
        let labels = json!({"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": zone});
        let mut object = object("v1", "Node", &node, json!({}));
        object["metadata"]["labels"] = labels;
        cluster.apply(&format!("/api/v1/nodes/{node}"), object).await;
        cluster.run_pod("shop", &pod, &json!({"app": "web"}), &node, &format!("10.244.1.{index}")).await;
    }
    cluster.apply(SERVICE, service()).await;
    cluster.apply(RULE, rule("first")).await;
    Some(cluster)
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[tokio::test]
async fn proxies_are_told_what_the_cluster_says_and_lose_nothing_with_the_api_server() {
    let Some(mut cluster) = cluster().await else { return };
    let mut pilot = cluster.start_pilot(XDS, ADMIN).await;
    let both = set(&["10.244.1.0:8080 a", "10.244.1.1:8080 b"]);
    let mut follower = Follower::connect(XDS, WEB, "80").await;
    follower.until("both Pods are endpoints", |told| told.endpoints(WEB) == both && told.routes("80").contains("first")).await;
    assert!(follower.clusters().contains(WEB), "{:?}", follower.clusters());

    cluster.report_pod("shop", "web-a", "10.244.1.0", false).await;
    follower.until("one is not ready", |told| told.endpoints(WEB) == set(&["10.244.1.1:8080 b"])).await;
    cluster.report_pod("shop", "web-a", "10.244.1.0", true).await;
    follower.until("it is again", |told| told.endpoints(WEB) == both).await;

    // What Istio's schema allows, and no regular expression is: the last version stays in force.
    let mut broken = rule("broken");
    broken["spec"]["http"][0]["match"] = json!([{"uri": {"regex": "("}}]);
    cluster.apply(RULE, broken).await;
    cluster.apply(&RULE.replace("/web", "/other"), named("other", "second")).await;
    follower.until("the other rule is in force", |told| told.routes("80").contains("second")).await;
    assert!(follower.routes("80").contains("first") && !follower.routes("80").contains("broken"), "{:?}", follower.routes("80"));
    until("the place is shown", async || pilot.said().contains("--> VirtualService/shop/web:") && pilot.said().contains("regex: \"(\""))
        .await;

    cluster.kill_api_server().await;
    let mut late = Follower::connect(XDS, WEB, "80").await;
    late.until("a newcomer is told all", |told| told.endpoints(WEB) == both && told.routes("80").contains("second")).await;
    cluster.start_api_server().await;
    let back = Instant::now();
    cluster.apply(RULE, rule("third")).await;
    follower.until("a change is told", |told| told.routes("80").contains("third")).await;
    eprintln!("the first change of an API server that came back: told after {:?}", back.elapsed());
    cluster.delete(RULE).await;
    follower.until("a rule is gone", |told| !told.routes("80").contains("third")).await;
    cluster.delete(SERVICE).await;
    follower.until("a service is gone", |told| !told.clusters().contains(WEB)).await;
    assert!(pilot.is_running());
}

/// A VirtualService of another name and host.
fn named(name: &str, route: &str) -> Value {
    let mut rule = rule(route);
    rule["metadata"]["name"] = json!(name);
    rule["spec"]["hosts"] = json!(["other.example.com"]);
    rule
}

#[tokio::test]
async fn a_change_is_told_soon() {
    let Some(cluster) = cluster().await else { return };
    let mut pilot = cluster.start_pilot(XDS, ADMIN).await;
    let mut follower = Follower::connect(XDS, WEB, "80").await;
    follower.until("the rule is in force", |told| told.routes("80").contains("first")).await;
    let (mut from_request, mut from_answer) = (vec![], vec![]);
    for index in 0..CHANGES {
        let route = format!("change-{index}");
        let asked = Instant::now();
        cluster.apply(RULE, rule(&route)).await;
        let answered = Instant::now();
        follower.until("the change is told", |told| told.routes("80").contains(&route)).await;
        from_request.push(asked.elapsed());
        from_answer.push(answered.elapsed());
    }
    let p99 = quantile(&mut from_request, 99);
    eprintln!(
        "{CHANGES} changes of a VirtualService, told to a proxy: after kubectl's request p50 {:?}, p99 {p99:?}; after its answer p50 {:?}, p99 {:?}",
        quantile(&mut from_request, 50),
        quantile(&mut from_answer, 50),
        quantile(&mut from_answer, 99),
    );
    assert!(p99 < BOUND, "{p99:?}");
    assert!(pilot.is_running());
}

fn quantile(all: &mut [Duration], percent: usize) -> Duration {
    all.sort();
    all[(all.len() - 1) * percent / 100]
}
