//! A mesh as its operator has it: `weir install`, a labelled namespace, bookinfo. While somebody reads reviews, an application and the control
//! plane are rolled, one of its pods is killed, the API server is away, and the control plane is taken away.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use weir_testkit::{Cluster, until};

use crate::bookinfo::{ask_reviewer, is_routed, reviewer};
use crate::webhooks::make_namespace;

/// Between two requests of one who reads.
const PAUSE: Duration = Duration::from_millis(20);
/// Where the control plane is.
const HOME: &str = "istio-system";
/// How long it may take until all pods of a Deployment are new, on a busy machine.
const ROLLED: &str = "--timeout=180s";
/// Three pods that are ready once they listen, and listen until everybody has heard that they end: without a probe they would be ready before,
/// and without a pause they would refuse what is on its way, in any mesh.
const THREE: &str = r#"{"spec": {"replicas": 3, "template": {"spec": {"containers": [{
    "name": "reviews",
    "readinessProbe": {"tcpSocket": {"port": 9080}, "periodSeconds": 1},
    "lifecycle": {"preStop": {"sleep": {"seconds": 5}}}
}]}}}}"#;
/// So many seconds the API server is away, unless `WEIR_TEST_AWAY` says otherwise.
const AWAY: u64 = 5;

/// A Pod of Python's own server with probes of two kinds, which begins only once an init container was answered by a service of the mesh.
fn probed(name: &str, has_native_sidecar: bool) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, annotations: {{sidecar.istio.io/nativeSidecar: "{has_native_sidecar}"}}}}
spec:
  initContainers:
  - name: ask
    image: host/curl
    args: [--silent, --fail, --retry, "30", --retry-delay, "1", --retry-all-errors, "http://details:9080/details/0"]
  containers:
  - name: app
    image: host/python3
    args: [-u, -m, http.server, "8000"]
    startupProbe: {{httpGet: {{path: /, port: 8000}}, periodSeconds: 1, failureThreshold: 60}}
    readinessProbe: {{httpGet: {{path: /, port: 8000}}, periodSeconds: 1}}
    livenessProbe: {{tcpSocket: {{port: 8000}}, periodSeconds: 1}}
    securityContext: {{runAsUser: 1000}}
"#
    )
}

/// Runs a command of `weir` that must do its work; gives back what it printed.
async fn weir(cluster: &Cluster, arguments: &[&str]) -> String {
    let ended = cluster.run_weir(arguments).await;
    assert_eq!(ended.code, Some(0), "weir {arguments:?}: {ended:?}");
    ended.result
}

/// Somebody reads reviews until told to stop. Gives back how many there were, and when and how those failed that could not be read.
async fn read(productpage: SocketAddr, over: Arc<AtomicBool>) -> (usize, Vec<(Duration, String)>) {
    let (begin, mut read, mut failed) = (Instant::now(), 0, vec![]);
    while !over.load(Ordering::Relaxed) {
        match ask_reviewer(productpage, None).await {
            Ok(_) => read += 1,
            Err(reason) => failed.push((begin.elapsed(), reason)),
        }
        tokio::time::sleep(PAUSE).await;
    }
    (read, failed)
}

/// Has all pods of a Deployment replaced, and waits until they are.
async fn roll(cluster: &Cluster, namespace: &str, deployment: &str) {
    cluster.kubectl(&["rollout", "restart", "-n", namespace, deployment], "").await;
    cluster.kubectl(&["rollout", "status", "-n", namespace, deployment, ROLLED], "").await;
}

/// Two Pods with probes, with a sidecar of either kind, whose init containers call a service of the mesh.
async fn probe(cluster: &Cluster) {
    for (name, has_native_sidecar) in [("native", true), ("classic", false)] {
        cluster.kubectl(&["apply", "-n", "shop", "-f", "-"], &probed(name, has_native_sidecar)).await;
    }
    let begin = Instant::now();
    cluster.kubectl(&["wait", "-n", "shop", "--for=condition=Ready", "pod/native", "pod/classic", "--timeout=120s"], "").await;
    eprintln!("two Pods with probes and init containers that call a service: ready after {:?}", begin.elapsed());
    let pod = cluster.ask("GET", "/api/v1/namespaces/shop/pods/native", None).await.unwrap();
    assert_eq!(pod["spec"]["containers"][0]["readinessProbe"]["httpGet"]["path"], "/app-health/app/readyz", "{pod}");
    cluster.kubectl(&["delete", "-n", "shop", "pod/native", "pod/classic", "--wait=false"], "").await;
}

/// One that dies without a word; the other goes on, and a new one comes.
async fn kill_one(cluster: &Cluster) {
    let pods = cluster.kubectl(&["get", "pods", "-n", HOME, "-l", "app=istiod", "-o", "name"], "").await;
    let first = pods.lines().next().unwrap().to_owned();
    cluster.kubectl(&["delete", "-n", HOME, &first, "--grace-period=0", "--force"], "").await;
    cluster.kubectl(&["rollout", "status", "-n", HOME, "deployment/istiod", ROLLED], "").await;
}

fn away() -> Duration {
    let written = std::env::var("WEIR_TEST_AWAY").ok().and_then(|written| written.parse().ok());
    Duration::from_secs(written.unwrap_or(AWAY))
}

#[tokio::test]
async fn what_is_installed_serves_bookinfo_and_no_request_fails_whatever_is_rolled_killed_or_taken_away() {
    let Some(mut cluster) = Cluster::start_with_node(vec![]).await else { return };
    let begin = Instant::now();
    weir(&cluster, &["install", "--image", "weir:test", "--replicas", "2", "--timeout", "180s"]).await;
    eprintln!("a control plane of two pods is ready {:?} after `weir install`", begin.elapsed());

    make_namespace(&cluster, "shop", &json!({"istio-injection": "enabled"})).await;
    let manifest = fs::read_to_string(cluster.istio("samples/bookinfo/platform/kube/bookinfo.yaml")).unwrap();
    let page = is_routed(&cluster, "shop", &manifest).await;
    probe(&cluster).await;
    let report = weir(&cluster, &["check", "-o", "json"]).await;
    assert!(report.contains("shop"), "{report}");

    // An application of three pods, then the control plane.
    cluster.kubectl(&["patch", "-n", "shop", "deployment/reviews-v1", "-p", THREE], "").await;
    cluster.kubectl(&["rollout", "status", "-n", "shop", "deployment/reviews-v1", ROLLED], "").await;
    let over = Arc::new(AtomicBool::new(false));
    let reading = tokio::spawn(read(page, over.clone()));
    let begin = Instant::now();
    roll(&cluster, "shop", "deployment/reviews-v1").await;
    eprintln!("an application of three pods was rolled after {:?}", begin.elapsed());
    roll(&cluster, HOME, "deployment/istiod").await;
    eprintln!("the control plane was rolled after {:?}", begin.elapsed());
    kill_one(&cluster).await;
    eprintln!("one of its pods was killed after {:?}", begin.elapsed());
    cluster.kill_api_server().await;
    tokio::time::sleep(away()).await;
    cluster.start_api_server().await;
    // Who is there now tells proxies of changes.
    cluster.kubectl(&["delete", "virtualservice", "-n", "shop", "--all"], "").await;
    until("all versions take turns again", async || reviewer(page, None).await.as_deref() == Some("reviews-v2")).await;

    weir(&cluster, &["uninstall", "--timeout", "60s"]).await;
    assert!(!cluster.exists("/apis/apps/v1/namespaces/istio-system/deployments/istiod").await);
    // Pods go on without it.
    for _ in 0..20 {
        assert!(reviewer(page, None).await.is_some(), "a Pod does without the control plane");
    }
    over.store(true, Ordering::Relaxed);
    let (read, failed) = reading.await.unwrap();
    eprintln!("{read} reviews were read meanwhile, {} could not be", failed.len());
    assert!(failed.is_empty(), "of {read}: {failed:?}");
}
