//! Applications that know nothing of the mesh: the kernel hands their traffic to sidecars. In network namespaces of the test's own, as root.

mod demo;
mod names;

use std::process::Output;

use weir_testkit::{Captured, DataPlane, Namespace, until};

/// Stands in what is asked and in what is answered: nobody between the two may read it.
const MARK: &str = "nobody-else-reads-this";
const POLICY: &str = "policy.yaml";
const RESOURCES: &str = "apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: client, namespace: default}
spec: {address: 10.77.1.1, labels: {app: client}, serviceAccount: client}
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
  addresses: [10.96.0.10, 'fd96::10']
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  workloadSelector: {labels: {app: server}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: server, namespace: default}
spec:
  hosts: [server.default.svc.cluster.local]
  http:
  - match: [{uri: {exact: /old/nobody-else-reads-this}}]
    rewrite: {uri: /page}
    headers: {response: {set: {x-rule: moved}}}
    route: [{destination: {host: server.default.svc.cluster.local}}]
  - route: [{destination: {host: server.default.svc.cluster.local}}]
";
/// What the client asks for: a path that only the rule knows, at the address of the service.
const OLD: &str = "http://10.96.0.10/old/nobody-else-reads-this";
const OLD_IPV6: &str = "http://[fd96::10]/old/nobody-else-reads-this";
/// The server itself.
const DIRECT: &str = "http://10.77.2.1:8080/page";
const DIRECT_IPV6: &str = "http://[fd77:2::1]:8080/page";

/// Two sidecars, each of any kind.
macro_rules! over_each_pair {
    ($name:ident: $($case:ident($client:ident, $server:ident)),+ $(,)?) => {
        mod $name {
            use weir_testkit::DataPlane;
            $(
                #[tokio::test]
                async fn $case() {
                    if DataPlane::$client.is_available() && DataPlane::$server.is_available() {
                        super::$name(DataPlane::$client, DataPlane::$server).await;
                    }
                }
            )+
        }
    };
}

over_each_pair!(an_application_with_no_change_is_in_the_mesh:
    weir_to_weir(Weir, Weir), weir_to_envoy(Weir, Envoy), envoy_to_weir(Envoy, Weir), envoy_to_envoy(Envoy, Envoy));
over_each_pair!(an_application_sees_who_calls_it:
    weir_to_weir(Weir, Weir), weir_to_envoy(Weir, Envoy), envoy_to_weir(Envoy, Weir), envoy_to_envoy(Envoy, Envoy));

fn policy(mode: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: default, namespace: default}}\nspec: {{mtls: {{mode: {mode}}}}}\n"
    )
}

async fn curl(machine: &Namespace, url: &str) -> Output {
    machine.run(&["curl", "-sSi", "--max-time", "10", url]).await
}

/// Whether somebody gets the page.
async fn gets(machine: &Namespace, url: &str) -> bool {
    let output = curl(machine, url).await;
    output.status.success() && text(&output.stdout).contains(MARK)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether these bytes pass in any frame.
fn passes(frames: &[Vec<u8>], wanted: &str) -> bool {
    frames.iter().any(|frame| frame.windows(wanted.len()).any(|bytes| bytes == wanted.as_bytes()))
}

async fn an_application_with_no_change_is_in_the_mesh(client: DataPlane, server: DataPlane) {
    let Some(seen) = is_in_the_mesh(&["--interception-mode", "REDIRECT"], client, server).await else { return };
    assert!(seen.contains("127.0.0.6 ") && !seen.contains("10.77.1.1 "), "its sidecar is its client: {seen}");
}

/// The sidecar hands over in the client's name: of the other sidecar's machine, of this very one where the workload calls itself, and
/// of whoever comes without a sidecar.
async fn an_application_sees_who_calls_it(client: DataPlane, server: DataPlane) {
    let Some(seen) = is_in_the_mesh(&["--interception-mode", "TPROXY"], client, server).await else { return };
    for address in ["10.77.1.1 ", "10.77.2.1 ", "10.77.2.254 ", "fd77:2::fe "] {
        assert!(seen.contains(address), "{address}: {seen}");
    }
    assert!(!seen.contains("127.0.0.6 "), "{seen}");
}

/// What nft does otherwise, iptables does as well.
#[tokio::test]
async fn iptables_captures_in_the_clients_name_as_well() {
    let capture = ["--interception-mode", "TPROXY", "--tool", "iptables"];
    let Some(seen) = is_in_the_mesh(&capture, DataPlane::Weir, DataPlane::Weir).await else { return };
    assert!(seen.contains("10.77.1.1 ") && !seen.contains("127.0.0.6 "), "{seen}");
}

/// Two workloads that are captured in this way are in the mesh. What the server wrote of its clients meanwhile; none where this user can
/// make no namespaces.
async fn is_in_the_mesh(capture: &[&str], client: DataPlane, server: DataPlane) -> Option<String> {
    let resources = [("mesh.yaml", RESOURCES), (POLICY, &policy("STRICT"))];
    let mut mesh = Captured::start_by(capture, client, server, &resources, &format!("{MARK}\n")).await?;

    // Routed by the rule, and encrypted: who sits between them sees an Istio handshake to the server's port, and never what is said.
    let wire = mesh.stranger.listen();
    until("the client reaches the server", async || gets(&mesh.client, OLD).await).await;
    for url in [OLD, OLD_IPV6] {
        let answer = text(&curl(&mesh.client, url).await.stdout);
        assert!(answer.contains("x-rule: moved") && answer.contains(MARK), "{url}: {answer}");
    }
    let frames = wire.heard();
    assert!(passes(&frames, "istio") && !passes(&frames, MARK) && !passes(&frames, "HTTP/1."), "{} frames", frames.len());

    // A workload that calls itself passes its sidecar twice.
    let itself = text(&curl(&mesh.server, OLD).await.stdout);
    assert!(itself.contains("x-rule: moved") && itself.contains(MARK), "{itself}");

    // Who has no certificate is refused, and served where that is permitted.
    for url in [DIRECT, DIRECT_IPV6] {
        assert!(!gets(&mesh.stranger, url).await, "STRICT takes no plaintext");
    }
    mesh.write(POLICY, &policy("PERMISSIVE"));
    until("plaintext is permitted", async || gets(&mesh.stranger, DIRECT).await).await;
    let answer = text(&curl(&mesh.stranger, DIRECT_IPV6).await.stdout);
    assert!(answer.contains(MARK) && answer.contains("x-envoy-upstream-service-time"), "by the sidecar, over IPv6: {answer}");
    assert!(gets(&mesh.client, OLD).await);
    mesh.write(POLICY, &policy("STRICT"));
    until("plaintext is refused", async || !gets(&mesh.stranger, DIRECT).await).await;
    assert!(gets(&mesh.client, OLD).await);

    // Whoever asks for the sidecar's own ports gets nowhere, at once.
    let (ipv4, ipv6) = (Captured::SERVER.to_owned(), format!("[{}]", Captured::SERVER_IPV6));
    for (from, host, port) in [
        (&mesh.stranger, &ipv4, 15006),
        (&mesh.stranger, &ipv4, 15001),
        (&mesh.client, &ipv4, 15001),
        (&mesh.stranger, &ipv6, 15006),
        (&mesh.stranger, &ipv6, 15001),
    ] {
        let output = curl(from, &format!("http://{host}:{port}/")).await;
        let late = 28;
        assert!(!output.status.success() && output.status.code() != Some(late), "{host}:{port}: {}", text(&output.stderr));
    }
    let seen = mesh.application_log();

    // Without its sidecar a workload is reached by nobody; nor would it be before that has started.
    mesh.kill_server_sidecar().await;
    for (from, url) in [(&mesh.stranger, DIRECT), (&mesh.stranger, DIRECT_IPV6), (&mesh.client, OLD)] {
        assert!(!gets(from, url).await, "{url}");
    }
    ends(&mesh, capture).await;
    Some(seen)
}

/// The capture ends: no rule stays, and what the two say is anybody's again.
async fn ends(mesh: &Captured, capture: &[&str]) {
    let check = [&["capture", "--check"], capture].concat();
    for machine in [&mesh.client, &mesh.server] {
        assert!(machine.weir(&check).await.status.success(), "it is as it was set");
        assert!(machine.weir(&["capture", "--remove"]).await.status.success());
        let rules = machine.must(&["nft", "list", "ruleset"]).await;
        // The tables of iptables stay, as it has them, and empty.
        assert!(rules.is_empty() || capture.contains(&"iptables") && !rules.contains("WEIR") && !rules.contains("counter"), "{rules}");
        assert!(!machine.must(&["ip", "address"]).await.contains("::6/128"));
        assert!(!machine.must(&["ip", "rule"]).await.contains("fwmark"));
        assert_eq!(machine.weir(&check).await.status.code(), Some(1));
    }
    let wire = mesh.stranger.listen();
    assert!(gets(&mesh.client, DIRECT).await);
    assert!(passes(&wire.heard(), MARK), "listening does hear what is said in plain text");
}
