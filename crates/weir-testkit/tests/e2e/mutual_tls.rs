//! TLS with the mesh's certificates: a workload is reached by it, takes nothing else where a policy says so, and lets in nobody whose
//! certificate does not hold. Over Envoy each proxy has `weir agent` beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use weir_testkit::{Apart, Certified, Client, DataPlane, ECHO, Layout, Made, Mesh, MeshAuthority, Peer, Protocol, free_port, until};

use crate::support::{over_each_data_plane, rotations};

over_each_data_plane!(
    a_workload_knows_its_clients_and_takes_plaintext_only_where_it_is_permitted,
    who_has_no_good_certificate_is_not_let_in,
    certificates_change_and_no_request_fails,
    traffic_goes_on_while_the_pilot_is_away,
    a_pilot_gives_way_to_another_and_no_request_fails,
);

const POLICY: &str = "policy.yaml";

fn policy(mode: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: default, namespace: default}}\nspec: {{mtls: {{mode: {mode}}}}}\n"
    )
}

/// The application `app`, which has a sidecar of its own at this port, and the route of the gateway to it.
fn application(layout: Layout, peer: &Peer, port: u16) -> String {
    let (http, address, own) = (layout.http, Certified::APPLICATION, peer.address());
    format!(
        "apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: app, namespace: default}}
spec: {{address: {address}, labels: {{app: app}}, serviceAccount: app}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: app, namespace: default}}
spec:
  workloadSelector: {{labels: {{app: app}}}}
  egress: [{{hosts: ['~/*']}}]
  ingress:
  - {{port: {{number: {port}, name: http, protocol: HTTP}}, bind: {address}, captureMode: NONE, defaultEndpoint: '127.0.0.1:{peer}'}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: app, namespace: default}}
spec:
  hosts: [app.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: {http}, name: http, protocol: HTTP, targetPort: {port}}}]
  workloadSelector: {{labels: {{app: app}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: app, namespace: default}}
spec: {{hosts: [app.test], gateways: [gw], http: [{{route: [{{destination: {{host: app.default.svc.cluster.local}}}}]}}]}}
",
        peer = own.port(),
    )
}

/// A mesh that has started.
pub(crate) struct Started {
    pub mesh: Mesh,
    /// Where the application's sidecar listens.
    pub port: u16,
    _peer: Peer,
    _authority: TempDir,
}

/// A mesh with this policy and authority, once the client's sidecar reaches the application.
pub(crate) async fn start(plane: DataPlane, mode: &str, authority: &MeshAuthority, lifetime: &'static str) -> Started {
    let (layout, folder, peer, port) = (Layout::new(), TempDir::new().unwrap(), Peer::at_loopback("a", Protocol::Http).await, free_port());
    authority.write(folder.path());
    let resources = [("app.yaml", application(layout, &peer, port)), (POLICY, policy(mode))];
    let resources: Vec<(&str, &str)> = resources.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let mesh = Mesh::start_certified(plane, layout, &Certified { authority: folder.path(), lifetime }, &resources).await;
    let mut client = mesh.inside("app");
    until("the application answers", async || client.get("/", &[]).await.is_ok_and(|answer| answer.is_from("a"))).await;
    Started { mesh, port, _peer: peer, _authority: folder }
}

/// As whom the application knows who asks.
async fn known_as(client: &mut Client) -> String {
    let answer = client.get("/", &[(ECHO, "1")]).await.unwrap();
    answer.seen().unwrap().values("x-forwarded-client-cert").join(" | ")
}

async fn a_workload_knows_its_clients_and_takes_plaintext_only_where_it_is_permitted(plane: DataPlane) {
    let started = start(plane, "PERMISSIVE", &MeshAuthority::new(), "1h").await;
    let (mesh, address) = (&started.mesh, (Certified::APPLICATION, started.port));
    let id = |of: &str| format!("URI=spiffe://cluster.local/ns/{of}");
    let seen = known_as(&mut mesh.inside("app")).await;
    assert!(seen.contains("By=spiffe://cluster.local/ns/default/sa/app;") && seen.ends_with(&id("default/sa/default")), "{seen}");
    let seen = known_as(&mut mesh.outside("app.test")).await;
    assert!(seen.ends_with(&id("istio-system/sa/default")), "{seen}");
    let mut plain = Client::to(address, "app");
    assert_eq!(plain.get("/", &[(ECHO, "1")]).await.unwrap().seen().unwrap().values("x-forwarded-client-cert"), Vec::<String>::new());
    mesh.write(POLICY, &policy("STRICT"));
    until("plaintext is refused", async || Client::to(address, "app").get("/", &[]).await.is_err()).await;
    assert!(known_as(&mut mesh.inside("app")).await.ends_with(&id("default/sa/default")));
    mesh.write(POLICY, &policy("DISABLE"));
    until("plaintext is all that there is", async || known_as(&mut mesh.inside("app")).await.is_empty()).await;
}

/// Who was on both sides of requests, as this reporter counts them: source, destination, and how the connection was secured.
async fn counted(mesh: &Mesh, reporter: &str) -> BTreeSet<[String; 3]> {
    let label = |line: &str, name: &str| line.split_once(&format!("{name}=\""))?.1.split_once('"').map(|(value, _)| value.to_owned());
    let of = |line: &String| {
        let [source, destination, policy] = ["source_principal", "destination_principal", "connection_security_policy"];
        Some([label(line, source)?, label(line, destination)?, label(line, policy)?])
    };
    let metrics = mesh.metrics().await;
    let counts = |line: &&String| {
        line.starts_with("istio_requests_total{") && label(line, "reporter").as_deref() == Some(reporter) && line.contains(r#"code="200""#)
    };
    metrics.iter().filter(counts).filter_map(of).collect()
}

#[tokio::test]
async fn both_sides_count_who_has_called_whom() {
    let authority = MeshAuthority::new();
    let started = start(DataPlane::Weir, "PERMISSIVE", &authority, "1h").await;
    let address = (Certified::APPLICATION, started.port);
    let id = |of: &str| format!("spiffe://cluster.local/ns/{of}");
    let bob = Made { id: Some("spiffe://cluster.local/ns/other/sa/bob"), from: -1, until: 1, by_revoked: false };
    started.mesh.outside("app.test").get("/", &[]).await.unwrap();
    Client::to(address, "app").get("/", &[]).await.unwrap();
    Client::to(address, "app").showing(authority.make(bob)).get("/", &[]).await.unwrap();
    let (sidecar, gateway, app) = (id("default/sa/default"), id("istio-system/sa/default"), id("default/sa/app"));
    let all = |sources: &[&str], policy: &str| -> BTreeSet<[String; 3]> {
        sources.iter().map(|source| [(*source).to_owned(), app.clone(), policy.to_owned()]).collect()
    };
    let mut expected = all(&[&sidecar, &gateway, &id("other/sa/bob")], "mutual_tls");
    expected.insert(["unknown", "unknown", "none"].map(str::to_owned));
    until("the application's sidecar counts all of its clients", async || counted(&started.mesh, "destination").await == expected).await;
    let expected = all(&[&sidecar, &gateway], "unknown");
    until("the clients' proxies count whom they have reached", async || counted(&started.mesh, "source").await == expected).await;
}

async fn who_has_no_good_certificate_is_not_let_in(plane: DataPlane) {
    let authority = MeshAuthority::new();
    let started = start(plane, "STRICT", &authority, "1h").await;
    let good = Made { id: Some("spiffe://cluster.local/ns/other/sa/bob"), from: -1, until: 1, by_revoked: false };
    let attempts = [
        ("another trust domain", &authority, Made { id: Some("spiffe://evil.local/ns/default/sa/app"), ..good }),
        ("a trust domain that begins alike", &authority, Made { id: Some("spiffe://cluster.local.evil/ns/default/sa/app"), ..good }),
        ("expired", &authority, Made { from: -3, until: -2, ..good }),
        ("not yet valid", &authority, Made { from: 2, until: 3, ..good }),
        ("no SPIFFE id", &authority, Made { id: None, ..good }),
        ("another scheme", &authority, Made { id: Some("https://cluster.local/ns/default/sa/app"), ..good }),
        ("signed by a revoked intermediate", &authority, Made { by_revoked: true, ..good }),
        ("signed by a stranger", &MeshAuthority::new(), good),
    ];
    let ask = async |shown| Client::to((Certified::APPLICATION, started.port), "app").showing(shown).get("/", &[(ECHO, "1")]).await;
    let seen = ask(authority.make(good)).await.unwrap().seen().unwrap().values("x-forwarded-client-cert").join("");
    assert!(seen.ends_with("URI=spiffe://cluster.local/ns/other/sa/bob"), "{seen}");
    for (attempt, by, made) in attempts {
        let answered = ask(by.make(made)).await;
        assert!(answered.is_err(), "{attempt}: {answered:?}");
    }
    assert!(Client::to((Certified::APPLICATION, started.port), "app").get("/", &[]).await.is_err(), "plaintext");
    assert!(ask(authority.make(good)).await.is_ok(), "the others go on");
}

/// Each request needs a new connection, and so certificates that hold now.
const ONE_EACH: &str = "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: app, namespace: default}
spec: {host: app.default.svc.cluster.local, trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}}
";

/// The client's certificate, as the application is told of it.
async fn shown(client: &mut Client) -> String {
    let answer = client.get("/", &[(ECHO, "1")]).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = answer.seen().unwrap().values("x-forwarded-client-cert").join("");
    told.split(';').find_map(|part| part.strip_prefix("Hash=").map(str::to_owned)).unwrap()
}

/// Asks until it is over; how often. All that is asked is answered.
async fn ask_until(mut client: Client, over: Arc<AtomicBool>) -> usize {
    let mut requests = 0;
    while !over.load(Ordering::Relaxed) {
        shown(&mut client).await;
        requests += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    requests
}

async fn certificates_change_and_no_request_fails(plane: DataPlane) {
    // Each is renewed when nearly half of its time is gone: every five seconds.
    let started = start(plane, "STRICT", &MeshAuthority::new(), "10s").await;
    started.mesh.write("rule.yaml", ONE_EACH);
    let over = Arc::new(AtomicBool::new(false));
    let others: Vec<_> = (0..3).map(|_| tokio::spawn(ask_until(started.mesh.inside("app"), over.clone()))).collect();
    let mut client = started.mesh.inside("app");
    let (mut requests, mut known) = (0, shown(&mut client).await);
    for _ in 0..rotations() {
        let mut last = known.clone();
        until("there is another certificate", async || {
            requests += 1;
            last = shown(&mut client).await;
            last != known
        })
        .await;
        known = last;
    }
    over.store(true, Ordering::Relaxed);
    for other in others {
        requests += other.await.unwrap();
    }
    eprintln!("{plane:?}: {requests} requests while certificates changed {} times, none failed", rotations());
    assert!(requests > 100, "{requests}");
}

/// So many seconds certificates last where the pilot goes away. They are to be renewed when half of them is gone.
const LIFE: &str = "12s";
/// So many are left at least when the log says that this cannot be done.
const WELL_BEFORE: u64 = 3;

/// How long the certificate still lasts of a proxy that says for the first time that it cannot renew it.
fn ends_in(said: &str) -> Option<Duration> {
    let (_, rest) = said.split_once("its certificate cannot be renewed, and ends in ")?;
    rest.split_once(" s:")?.0.parse().ok().map(Duration::from_secs)
}

async fn traffic_goes_on_while_the_pilot_is_away(plane: DataPlane) {
    let (layout, folder, peer, port) = (Layout::new(), TempDir::new().unwrap(), Peer::at_loopback("a", Protocol::Http).await, free_port());
    MeshAuthority::new().write(folder.path());
    let (application, strict) = (application(layout, &peer, port), policy("STRICT"));
    let resources = [("app.yaml", application.as_str()), (POLICY, strict.as_str()), ("rule.yaml", ONE_EACH)];
    let mut mesh = Apart::start(plane, layout, &Certified { authority: folder.path(), lifetime: LIFE }, &resources).await;
    let mut client = mesh.inside("app");
    let mut answers = async || client.get("/", &[]).await.is_ok_and(|answer| answer.is_from("a"));
    until("the application answers", &mut answers).await;
    let mut looked = Instant::now();
    mesh.stop_pilot().await;

    // The first time that is told of each proxy, and the moment before which its certificate has not ended.
    let mut told = BTreeMap::new();
    let refused = loop {
        let now = Instant::now();
        for (proxy, said) in mesh.said().iter().enumerate() {
            if let Some(left) = ends_in(said) {
                told.entry(proxy).or_insert((left, looked + left));
            }
        }
        looked = now;
        if !answers().await {
            break Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let (left, end) = told.values().min_by_key(|(_, end)| *end).unwrap();
    assert!(left.as_secs() >= WELL_BEFORE, "told only {left:?} before");
    assert!(refused >= *end, "refused {:?} before its end", *end - refused);
    until("it is said that a certificate has ended", async || mesh.said().iter().any(|said| said.contains("its certificate has ended")))
        .await;

    mesh.start_pilot().await;
    until("the application answers again", &mut answers).await;
}

async fn a_pilot_gives_way_to_another_and_no_request_fails(plane: DataPlane) {
    let (layout, folder, peer, port) = (Layout::new(), TempDir::new().unwrap(), Peer::at_loopback("a", Protocol::Http).await, free_port());
    MeshAuthority::new().write(folder.path());
    let (application, strict) = (application(layout, &peer, port), policy("STRICT"));
    let resources = [("app.yaml", application.as_str()), (POLICY, strict.as_str()), ("rule.yaml", ONE_EACH)];
    let mut mesh = Apart::start(plane, layout, &Certified { authority: folder.path(), lifetime: "1h" }, &resources).await;
    let mut client = mesh.inside("app");
    until("the application answers", async || client.get("/", &[]).await.is_ok_and(|answer| answer.is_from("a"))).await;
    let over = Arc::new(AtomicBool::new(false));
    let asking = tokio::spawn(ask_until(mesh.inside("app"), over.clone()));

    let said = mesh.roll_pilot().await;
    assert!(said.contains("proxies leave, within"), "{said}");
    over.store(true, Ordering::Relaxed);
    let requests = asking.await.unwrap();
    assert!(requests > 10, "{requests}");

    // Who serves now tells of changes.
    mesh.write("fault.yaml", FAULT);
    until("what the other pilot says is in force", async || client.get("/", &[]).await.is_ok_and(|answer| answer.status == 418)).await;
}

const FAULT: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: fault, namespace: default}
spec: {hosts: [app.default.svc.cluster.local], http: [{directResponse: {status: 418}}]}
";
