//! A workload on a machine that has nothing of the mesh but a file: it joins by one command. In network namespaces, as root.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use weir_testkit::{Authority, DataPlane, Joined, Namespace, until};

/// Stands in what is answered: nobody between the two may read it.
const MARK: &str = "nobody-else-reads-this";
/// The server is for two accounts alone, and by mutual TLS.
const RESOURCES: &str = "apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: clients, namespace: default}
spec: {template: {serviceAccount: instance, labels: {app: clients}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: server, namespace: default}
spec: {address: 10.77.2.1, labels: {app: server}, serviceAccount: server}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: server, namespace: default}
spec:
  hosts: [server.default.svc.cluster.local]
  addresses: [10.96.0.10]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  workloadSelector: {labels: {app: server}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: server, namespace: default}
spec:
  selector: {matchLabels: {app: server}}
  action: ALLOW
  rules: [{from: [{source: {principals: [PRINCIPAL]}}]}]
";
/// The client, where it is written down.
const CLIENT: &str = "apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: client, namespace: default}
spec: {address: 10.77.1.1, labels: {app: client}, serviceAccount: client}
";
/// How a sidecar joins whose workload is captured.
const CAPTURED: [&str; 2] = ["--interception-mode", "REDIRECT"];
/// The client's machine as a gateway, with a rule of its own.
const GATEWAY: &str = "apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: edge, namespace: default}
spec: {address: 10.77.1.1, labels: {istio: edge, weir.dev/proxy-type: router}, serviceAccount: edge}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  selector: {istio: edge}
  servers:
  - {port: {number: 8443, name: https, protocol: HTTPS}, hosts: [server.example.com], tls: {mode: SIMPLE, credentialName: edge}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge, namespace: default}
spec:
  hosts: [server.example.com]
  gateways: [edge]
  http: [{route: [{destination: {host: server.default.svc.cluster.local}}]}]
";
/// The server, at the address of its service.
const URL: &str = "http://10.96.0.10/page";

/// The same mesh, whose server is for one account alone.
fn resources(account: &str) -> String {
    RESOURCES.replace("PRINCIPAL", &format!("cluster.local/ns/default/sa/{account}"))
}

async fn curl(machine: &Namespace, url: &str) -> Output {
    machine.run(&["curl", "-sSi", "--max-time", "10", url]).await
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn gets(machine: &Namespace, url: &str) -> bool {
    text(&curl(machine, url).await.stdout).contains(MARK)
}

/// Changes a word of a file by which a machine joins, which stays its owner's alone.
fn change(file: &Path, from: &str, to: &str) {
    let before = fs::read_to_string(file).unwrap();
    assert!(before.contains(from), "{from}");
    fs::write(file, before.replace(from, to)).unwrap();
}

/// How many certificates the pilot has issued since it was started.
async fn issued(mesh: &Joined) -> u64 {
    const NAME: &str = "citadel_server_success_cert_issuance_count ";
    let metrics = text(&curl(&mesh.stranger, "http://127.0.0.1:15014/metrics").await.stdout);
    metrics.lines().find_map(|line| line.strip_prefix(NAME)?.trim().parse().ok()).unwrap_or_default()
}

async fn joins_as(name: &str, account: &str, more: &str) {
    let Some(mut mesh) = Joined::start(&[("mesh.yaml", &resources(account)), ("client.yaml", more)], &format!("{MARK}\n")).await else {
        return;
    };
    let (file, written) = mesh.token(name, &["--pilot", Joined::PILOT]).await;
    assert!(written.status.success(), "{}", text(&written.stderr));
    let mut joined = mesh.join(&file, &[&CAPTURED[..], &["--lifetime", "20s"]].concat());
    mesh.capture_client().await;
    let wire = mesh.stranger.listen();
    until("the client reaches the server", async || gets(&mesh.client, URL).await).await;
    let frames = wire.heard();
    assert!(!frames.iter().any(|frame| frame.windows(MARK.len()).any(|bytes| bytes == MARK.as_bytes())), "{} frames", frames.len());

    // From now on its certificate alone says who it is: by that it has the next ones.
    mesh.exchange_token_key().await;
    until("its certificate is renewed", async || issued(&mesh).await > 0).await;
    until("the client reaches the server", async || gets(&mesh.client, URL).await).await;
    assert!(joined.is_running(), "{}", joined.said());

    // Another account is not let in, so that it was this one.
    mesh.write("mesh.yaml", &resources("somebody-else"));
    until("the client is not let in", async || text(&curl(&mesh.client, URL).await.stdout).starts_with("HTTP/1.1 403")).await;
}

#[tokio::test]
async fn a_workload_that_is_written_down_joins_by_one_command() {
    joins_as("client", "client", CLIENT).await;
}

#[tokio::test]
async fn a_workload_that_registers_itself_joins_by_one_command() {
    joins_as("clients", "instance", "").await;
}

/// A gateway at the edge: what it serves by, its routes and the certificate of its host, comes from another machine, and it reaches the
/// server by mutual TLS.
#[tokio::test]
async fn a_gateway_of_another_machine_joins_by_one_command() {
    // In its own namespace, where alone a proxy may look.
    let secret = Authority::new().certify(&["server.example.com"]).secret("edge").replace("istio-system", "default");
    let files = [("mesh.yaml", &*resources("edge")), ("edge.yaml", GATEWAY), ("secret.yaml", &*secret)];
    let Some(mesh) = Joined::start(&files, &format!("{MARK}\n")).await else { return };
    let (file, written) = mesh.token("edge", &["--pilot", Joined::PILOT]).await;
    assert!(written.status.success(), "{}", text(&written.stderr));
    let output = mesh.client.weir(&[&["workload", "join", &*file.display().to_string()], &CAPTURED[..]].concat()).await;
    assert!(text(&output.stderr).contains("edge is a gateway, of which nothing is captured"), "{}", text(&output.stderr));
    let joined = mesh.join(&file, &[]);
    let ask =
        ["curl", "-sSik", "--max-time", "10", "--resolve", "server.example.com:8443:10.77.1.1", "https://server.example.com:8443/page"];
    until("the gateway leads to the server", async || text(&mesh.stranger.run(&ask).await.stdout).contains(MARK)).await;
    // What it is, is not its to say: as a sidecar it is nobody.
    drop(joined);
    change(&file, "router", "sidecar");
    let refused = mesh.join(&file, &[]);
    until("it is told that it is no sidecar", async || refused.said().contains("its workload has a router")).await;
}

/// A stock Envoy has its key and its first certificate from the command beside it, which has them by the token; and follows the pilot by that
/// certificate alone. Others may ask it whether it is ready, and what it counts, and nothing else.
#[tokio::test]
async fn an_envoy_of_another_machine_joins_by_one_command() {
    if !DataPlane::Envoy.is_available() {
        return;
    }
    let Some(mesh) = Joined::start(&[("mesh.yaml", &resources("client")), ("client.yaml", CLIENT)], &format!("{MARK}\n")).await else {
        return;
    };
    let (file, _) = mesh.token("client", &["--pilot", Joined::PILOT]).await;
    let processes = mesh.join_with_envoy(&file).await;
    mesh.capture_client().await;
    let wire = mesh.stranger.listen();
    until("the client reaches the server", async || gets(&mesh.client, URL).await).await;
    let frames = wire.heard();
    assert!(!frames.iter().any(|frame| frame.windows(MARK.len()).any(|bytes| bytes == MARK.as_bytes())), "{} frames", frames.len());

    let ask = async |page: &str| text(&curl(&mesh.stranger, &format!("http://10.77.1.1:{page}")).await.stdout);
    until("it is ready", async || ask("15021/healthz/ready").await.starts_with("HTTP/1.1 200")).await;
    let metrics = ask("15090/stats/prometheus").await;
    assert!(metrics.contains("envoy_cluster_upstream_cx_total"), "{metrics}");
    for page in ["15090/config_dump", "15090/stats/prometheus/../../config_dump", "15021/quitquitquit", "15021/ready", "15000/config_dump"]
    {
        let told = ask(page).await;
        assert!(!told.starts_with("HTTP/1.1 200"), "{page}: {told}");
    }
    drop(processes);
}

/// What a machine is told that cannot join.
async fn told(mesh: &Joined, file: &Path) -> String {
    let output = mesh.client.weir(&["workload", "join", &file.display().to_string(), "--workers", "1", "--admin", "127.0.0.1:0"]).await;
    assert!(!output.status.success(), "it joins");
    text(&output.stderr)
}

#[tokio::test]
async fn who_cannot_join_is_told_why() {
    let Some(mesh) = Joined::start(&[("mesh.yaml", &resources("client")), ("client.yaml", CLIENT)], MARK).await else { return };
    let pilot = ["--pilot", Joined::PILOT];
    let (file, _) = mesh.token("client", &pilot).await;
    let good = fs::read_to_string(&file).unwrap();
    let again = || fs::write(&file, &good).unwrap();
    let word = |name: &str| serde_json::from_str::<serde_json::Value>(&good).unwrap()[name].as_str().unwrap().to_owned();

    change(&file, Joined::PILOT, "10.77.1.254:1");
    let said = told(&mesh, &file).await;
    assert!(said.contains("the pilot at 10.77.1.254:1 cannot be reached"), "{said}");
    again();
    change(&file, "\"serverName\": \"10.77.1.254\"", "\"serverName\": \"pilot.example\"");
    let said = told(&mesh, &file).await;
    assert!(said.contains("has no certificate for \"pilot.example\"") && said.contains("--tls-name pilot.example"), "{said}");
    again();
    let other = Authority::new().pem();
    change(&file, &serde_json::to_string(&word("root")).unwrap(), &serde_json::to_string(&other).unwrap());
    let said = told(&mesh, &file).await;
    assert!(said.contains("is not of this mesh"), "{said}");
    again();
    change(&file, &word("issued"), "2999-01-01T00:00:00Z");
    change(&file, &word("expires"), "2999-01-01T01:00:00Z");
    let said = told(&mesh, &file).await;
    assert!(said.contains("set the clock"), "{said}");
    again();
    change(&file, &word("expires"), "2020-01-01T01:00:00Z");
    let said = told(&mesh, &file).await;
    assert!(said.contains("the token ended at 2020-01-01T01:00:00Z"), "{said}");
    again();
    let token = word("token");
    change(&file, &token, &token[..token.len() - 8]);
    let said = told(&mesh, &file).await;
    assert!(said.contains("the pilot at 10.77.1.254:15012 refuses") && said.contains("not one of this mesh"), "{said}");
    again();
    // The machine's own idea of when the token ends does not count.
    let written = Instant::now();
    let (short, _) = mesh.token("clients", &[&pilot[..], &["--duration", "1s"]].concat()).await;
    let expires =
        serde_json::from_str::<serde_json::Value>(&fs::read_to_string(&short).unwrap()).unwrap()["expires"].as_str().unwrap().to_owned();
    change(&short, &expires, "2999-01-01T01:00:00Z");
    until("the token has ended", async || written.elapsed() > Duration::from_secs(2)).await;
    let said = told(&mesh, &short).await;
    assert!(said.contains("refuses") && said.contains("has ended"), "{said}");
    let (_, refused) = mesh.token("nobody", &pilot).await;
    assert!(text(&refused.stderr).contains("there is no WorkloadEntry and no WorkloadGroup default/nobody"));

    // From other machines, what is asked in plain text at the pilot's admin interface is whether it is ready, and what it has counted.
    for (path, status) in [("ready", "200"), ("metrics", "200"), ("config_dump", "403"), ("weir/resources?kind=workloadentries", "403")] {
        let answer = text(&curl(&mesh.client, &format!("http://10.77.1.254:15014/{path}")).await.stdout);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
    }
}
