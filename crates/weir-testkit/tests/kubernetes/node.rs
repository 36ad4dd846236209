//! Pods run: the real kubelet has our runtime start what a Deployment says, in the order and with the probes of a real node.

use std::net::SocketAddr;
use std::time::Instant;

use hyper::{Request, Version};
use serde_json::{Value, json};
use weir_testkit::{Cluster, Content, converse, until};

/// Two Pods of Python's own server, which no signal ends that can be ignored; before it a native sidecar and what waits for the Service's
/// name. Each writes its name when it begins, and the probes are of three kinds.
const SHOP: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: page, namespace: shop}
data: {page: "from a ConfigMap"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, finalizers: [weir.dev/seen]}
    spec:
      terminationGracePeriodSeconds: 2
      initContainers:
      - name: sidecar
        image: host/sh
        restartPolicy: Always
        args: [-c, "trap 'exit 3' TERM; echo sidecar >>/steps/begun; while :; do sleep 0.1; done"]
        startupProbe: {exec: {command: [grep, sidecar, /steps/begun]}, periodSeconds: 1}
        volumeMounts: [{name: steps, mountPath: /steps}]
      - name: init
        image: host/sh
        args: [-c, "until getent hosts web >/dev/null; do sleep 0.1; done; echo init >>/steps/begun"]
        volumeMounts: [{name: steps, mountPath: /steps}]
      containers:
      - name: web
        image: host/python3
        command: [sh, -c]
        args: ["exec 2>&1; cat /steps/begun; id; echo $POD_NAME; touch /own; exec python3 -u -m http.server 8080 -d /pages"]
        env: [{name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /page, port: http}, periodSeconds: 1}
        livenessProbe: {tcpSocket: {port: http}}
        securityContext: {runAsUser: 1337, runAsGroup: 1337, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
        volumeMounts:
        - {name: pages, mountPath: /pages}
        - {name: steps, mountPath: /steps}
      volumes:
      - {name: pages, configMap: {name: page}}
      - {name: steps, emptyDir: {}}
"#;

pub async fn pods(cluster: &Cluster, namespace: &str) -> Vec<Value> {
    let mut all = cluster.ask("GET", &format!("/api/v1/namespaces/{namespace}/pods"), None).await.unwrap();
    all["items"].as_array_mut().map(std::mem::take).unwrap_or_default()
}

/// The Pods of a namespace of which all containers are ready.
pub async fn ready(cluster: &Cluster, namespace: &str) -> Vec<Value> {
    let is_ready = |pod: &Value| {
        pod["status"]["conditions"].as_array().into_iter().flatten().any(|told| told["type"] == "Ready" && told["status"] == "True")
    };
    pods(cluster, namespace).await.into_iter().filter(is_ready).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

async fn page(address: &str) -> String {
    let address: SocketAddr = address.parse().unwrap();
    let request = Request::get(format!("http://{address}/page")).body(Content::default()).unwrap();
    converse(address, Version::HTTP_11, request).await.unwrap().text()
}

#[tokio::test]
async fn pods_run_as_they_do_in_a_cluster() {
    let begin = Instant::now();
    let Some(cluster) = Cluster::start_with_node(vec![]).await else { return };
    let there = begin.elapsed();
    cluster.kubectl(&["apply", "-f", "-"], SHOP).await;
    let applied = Instant::now();
    until("the Deployment's Pods are ready", async || ready(&cluster, "shop").await.len() == 2).await;
    eprintln!("a cluster with a node is there after {there:?}, two Pods of three steps {:?} after they were applied", applied.elapsed());
    for pod in ready(&cluster, "shop").await {
        assert_eq!(page(&format!("{}:8080", text(&pod["status"]["podIP"]))).await, "from a ConfigMap");
        let name = text(&pod["metadata"]["name"]);
        let log = cluster.kubectl(&["logs", "-n", "shop", name, "-c", "web"], "").await;
        assert!(log.starts_with(&format!("sidecar\ninit\nuid=1337 gid=1337 groups=1337\n{name}\n")), "{log}");
        assert!(log.contains("Read-only file system") && log.contains("GET /page"), "{log}");
    }
    let service = cluster.ask("GET", "/api/v1/namespaces/shop/services/web", None).await.unwrap();
    assert_eq!(page(&format!("{}:80", text(&service["spec"]["clusterIP"]))).await, "from a ConfigMap");

    let deleted = Instant::now();
    cluster.kubectl(&["delete", "deployment", "-n", "shop", "web", "--wait=false"], "").await;
    let mut ends = vec![];
    until("all containers have ended", async || {
        ends = pods(&cluster, "shop").await.iter().map(end).collect();
        ends.iter().all(|[web, sidecar]| web.is_some() && sidecar.is_some())
    })
    .await;
    eprintln!("they have ended {:?} after they were deleted", deleted.elapsed());
    // The application was told to end, then made to; the sidecar went after it, by itself.
    assert_eq!(ends, [[Some(137), Some(3)]; 2]);
    for pod in pods(&cluster, "shop").await {
        let path = format!("/api/v1/namespaces/shop/pods/{}", text(&pod["metadata"]["name"]));
        cluster.merge(&path, json!({"metadata": {"finalizers": null}})).await;
    }
    until("the Pods are gone", async || pods(&cluster, "shop").await.is_empty()).await;
}

/// How a Pod's application and its sidecar have ended.
fn end(pod: &Value) -> [Option<i64>; 2] {
    let code = |of: &str| pod["status"][of][0]["state"]["terminated"]["exitCode"].as_i64();
    [code("containerStatuses"), code("initContainerStatuses")]
}
