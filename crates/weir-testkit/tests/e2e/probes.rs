//! Workloads that are probed by their sidecars, as their WorkloadGroup says, and take no requests while they are not well.
//!
//! Only over Weir's proxies: in Istio an agent beside Envoy probes and tells, and there is none here. What Weir's sidecars
//! are told is the same for Envoy, which checks too, but tells nobody.

use std::collections::BTreeSet;
use std::time::Instant;

use weir_testkit::{Certificate, Client, DataPlane, HEALTH, Layout, Mesh, Peer, until};

use crate::support::{HOST, ROUTES, gateway_routes};

/// As many requests reach each of two instances that are used, but for one case in 2^50.
const REQUESTS: usize = 50;

/// The service `shop`, of whatever has its label; its sidecars need no listeners.
const SHOP: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop, namespace: default}
spec:
  hosts: [shop.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: main, protocol: HTTP}]
  workloadSelector: {labels: {app: shop}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: shop, namespace: default}
spec:
  workloadSelector: {labels: {app: shop}}
  egress: [{hosts: ['~/*']}]
---
";

/// The group of all that has the label, with a template's ports and a probe.
fn group(port: u16, probe: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {{name: shop, namespace: default}}
spec:
  metadata: {{labels: {{app: shop}}}}
  template: {{ports: {{main: {port}}}}}
  probe: {{{probe}, periodSeconds: 1, failureThreshold: 1}}
---
"
    )
}

fn entry(peer: &Peer) -> String {
    let (name, address) = (peer.name(), peer.address());
    format!(
        "apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}, namespace: default}}
spec: {{address: {}, ports: {{main: {}}}, labels: {{app: shop}}}}
---
",
        address.ip(),
        address.port()
    )
}

async fn start(resources: &str) -> (Mesh, Client) {
    let routes = gateway_routes("    - {destination: {host: shop}}\n");
    let mesh = Mesh::start(DataPlane::Weir, Layout::new(), &[("shop.yaml", resources), (ROUTES, &routes)]).await;
    let client = mesh.outside(HOST);
    (mesh, client)
}

/// Waits until requests are answered by just these.
async fn until_only(client: &mut Client, wanted: &[&str]) {
    let wanted: BTreeSet<String> = wanted.iter().map(|&name| name.to_owned()).collect();
    until(&format!("{wanted:?} answer"), async || {
        let mut seen = BTreeSet::new();
        for _ in 0..REQUESTS {
            match client.get("/", &[]).await {
                Ok(answer) if answer.status == 200 => drop(seen.insert(answer.instance)),
                Ok(answer) if answer.status == 503 => {}
                _ => return false,
            }
        }
        seen == wanted
    })
    .await;
}

#[tokio::test]
async fn a_workload_that_is_not_well_leaves_within_its_interval_and_comes_back() {
    let (a, b) = (Peer::http("a").await, Peer::http("b").await);
    // Each has its own port: the group's probe is for one, so both get a group.
    let groups = [&a, &b].map(|peer| {
        let port = peer.address().port();
        let probe = format!("httpGet: {{path: {HEALTH}, port: {port}}}");
        let own = |text: String, from: &str| text.replace(from, &format!("{from}{}", peer.name()));
        let group =
            own(group(port, &probe), "name: shop").replace("labels: {app: shop}", &format!("labels: {{app: shop, own: {}}}", peer.name()));
        group + &entry(peer).replace("labels: {app: shop}", &format!("labels: {{app: shop, own: {}}}", peer.name()))
    });
    let (_mesh, mut client) = start(&(SHOP.to_owned() + &groups.concat())).await;
    until_only(&mut client, &["a", "b"]).await;

    let since = Instant::now();
    a.set_ill(true);
    until_only(&mut client, &["b"]).await;
    let took = since.elapsed();
    eprintln!("a workload probed every second left after {took:?}");
    assert!(took.as_secs() < 5, "{took:?}");

    b.set_ill(true);
    until_only(&mut client, &[]).await;
    a.set_ill(false);
    until_only(&mut client, &["a"]).await;
    b.set_ill(false);
    until_only(&mut client, &["a", "b"]).await;
}

#[tokio::test]
async fn a_probe_goes_by_https_and_looks_at_no_certificate() {
    let (peer, probed) = (Peer::http("a").await, Peer::https("probed", &Certificate::of("nobody.test"), &[]).await);
    let at = probed.address();
    let probe = format!("httpGet: {{path: {HEALTH}, host: {}, port: {}, scheme: HTTPS}}", at.ip(), at.port());
    let (_mesh, mut client) = start(&(SHOP.to_owned() + &group(peer.address().port(), &probe) + &entry(&peer))).await;
    until_only(&mut client, &["a"]).await;
    probed.set_ill(true);
    until_only(&mut client, &[]).await;
    probed.set_ill(false);
    until_only(&mut client, &["a"]).await;
}

#[tokio::test]
async fn an_instance_that_registers_itself_is_probed_and_goes_with_its_proxy() {
    for more in [&[][..], &["--state-of-the-world"]] {
        let peer = Peer::http("vm").await;
        let (ip, port) = (peer.address().ip().to_string(), peer.address().port());
        let probe = format!("httpGet: {{path: {HEALTH}, port: {port}}}");
        let (mesh, mut client) = start(&(SHOP.to_owned() + &group(port, &probe))).await;
        until_only(&mut client, &[]).await;

        let options = ["--type", "sidecar", "--id", "vm.default", "--address", &ip, "--workload-group", "shop"];
        let proxy = mesh.proxy("vm", &[&options, more].concat());
        until_only(&mut client, &["vm"]).await;
        peer.set_ill(true);
        until_only(&mut client, &[]).await;
        peer.set_ill(false);
        until_only(&mut client, &["vm"]).await;

        drop(proxy);
        until_only(&mut client, &[]).await;
    }
}

#[tokio::test]
async fn a_command_is_a_probe_only_for_a_proxy_that_is_allowed_to_run_it() {
    let peer = Peer::http("vm").await;
    let (ip, port) = (peer.address().ip().to_string(), peer.address().port());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("well");
    std::fs::write(&file, "").unwrap();
    let probe = format!("exec: {{command: [test, -e, {}]}}", file.display());
    let (mesh, mut client) = start(&(SHOP.to_owned() + &group(port, &probe))).await;
    let options = ["--type", "sidecar", "--id", "vm.default", "--address", &ip, "--workload-group", "shop"];
    let forbidden = mesh.proxy("forbidden", &options);
    until("it is refused", async || forbidden.said().contains("--allow-exec-probes allows it")).await;
    until_only(&mut client, &[]).await;
    drop(forbidden);

    let _allowed = mesh.proxy("allowed", &[&options[..], &["--allow-exec-probes"]].concat());
    until_only(&mut client, &["vm"]).await;
    std::fs::remove_file(&file).unwrap();
    until_only(&mut client, &[]).await;
}
