//! The configurations of the pages that Weir began with route as their text says, as they stand there: only the ports of
//! this machine are exchanged for free ones.

use std::fs;
use std::path::Path;

use weir_testkit::{
    Certificate, Client, DataPlane, Layout, Mesh, Peer, Protocol, can_be_named, free_port, service_at, service_of, tcp_greeting, until,
};

use crate::support::{over_each_data_plane, until_from};

over_each_data_plane!(
    reviews_by_user,
    ratings_with_timeout_retries_and_rare_delay,
    a_rule_with_a_balancer_for_each_version,
    bookinfo_through_its_gateway,
    httpbin_over_tls,
    tcp_echo_by_weight,
    an_https_host_outside_is_looked_up,
    virtual_machines_are_instances_of_services,
    a_virtual_machine_that_has_a_name_is_looked_up,
    a_sidecar_sees_its_own_namespace_and_the_control_planes,
);

/// A document of those pages.
fn seed(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weir-api/tests/seeds");
    fs::read_to_string(folder.join(name)).unwrap()
}

async fn versions(names: &[&str]) -> Vec<Peer> {
    let mut peers = vec![];
    for name in names {
        peers.push(Peer::http(name).await);
    }
    peers
}

/// Asks until the answer has this status.
async fn until_status(client: &mut Client, path: &str, status: u16) {
    let what = format!("{path} is answered with {status}");
    until(&what, async || client.get(path, &[]).await.is_ok_and(|answer| answer.status == status)).await;
}

async fn reviews_by_user(plane: DataPlane) {
    let (layout, peers) = (Layout::new(), versions(&["v1", "v2", "v3"]).await);
    let service = layout.service("reviews", &peers.iter().collect::<Vec<_>>(), Protocol::Http);
    for name in ["000-01-virtual-service-reviews.yaml", "002-01-virtual-service-reviews.yaml"] {
        let mesh = Mesh::start(plane, layout, &[("reviews.yaml", &service), (name, &seed(name))]).await;
        let mut client = mesh.inside("reviews");
        until_from(&mut client, "v3").await;
        for (user, expected) in [("jason", "v2"), ("Jason", "v3"), ("jane", "v3")].repeat(10) {
            let answer = client.get("/", &[("end-user", user)]).await.unwrap();
            assert!(answer.is_from(expected), "{user} got {answer:?}");
        }
    }
}

async fn ratings_with_timeout_retries_and_rare_delay(plane: DataPlane) {
    let (layout, peers) = (Layout::new(), versions(&["v1", "v2"]).await);
    let service = layout.service("ratings", &[&peers[0], &peers[1]], Protocol::Http);
    for number in ["08", "09", "11"] {
        let text = seed(&format!("002-{number}-virtual-service-ratings.yaml"));
        let mesh = Mesh::start(plane, layout, &[("ratings.yaml", &service), ("rule.yaml", &text)]).await;
        let mut client = mesh.inside("ratings");
        until_from(&mut client, "v1").await;
        for _ in 0..20 {
            let answer = client.get("/ratings/0", &[]).await.unwrap();
            assert!(answer.is_from("v1"), "{number}: {answer:?}");
        }
    }
}

async fn a_rule_with_a_balancer_for_each_version(plane: DataPlane) {
    const ROUTES: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: my-svc}
spec:
  hosts: [my-svc]
  http:
  - match: [{headers: {version: {exact: v2}}}]
    route: [{destination: {host: my-svc, subset: v2}}]
  - route: [{destination: {host: my-svc}}]
";
    let (layout, peers) = (Layout::new(), versions(&["v1", "v2", "v3"]).await);
    let service = service_at("my-svc", layout.http, &peers.iter().collect::<Vec<_>>(), Protocol::Http);
    for name in ["000-02-destination-rule-my-destination-rule.yaml", "002-02-destination-rule-my-destination-rule.yaml"] {
        let mesh = Mesh::start(plane, layout, &[("svc.yaml", &service), (name, &seed(name)), ("routes.yaml", ROUTES)]).await;
        let mut client = mesh.inside("my-svc");
        for expected in ["v1", "v2", "v3"] {
            until_from(&mut client, expected).await;
        }
        for _ in 0..20 {
            let answer = client.get("/", &[("version", "v2")]).await.unwrap();
            assert!(answer.is_from("v2"), "{answer:?}");
        }
    }
}

async fn bookinfo_through_its_gateway(plane: DataPlane) {
    let (layout, page, port) = (Layout::new(), Peer::http("productpage").await, free_port());
    let service = service_at("productpage", 9080, &[&page], Protocol::Http);
    let gateway = seed("002-13-gateway-bookinfo-gateway.yaml").replace("number: 80\n", &format!("number: {port}\n"));
    let rule = seed("002-15-virtual-service-bookinfo.yaml");
    let mesh = Mesh::start(plane, layout, &[("page.yaml", &service), ("gateway.yaml", &gateway), ("rule.yaml", &rule)]).await;
    let mut client = Mesh::at(port, "any.test");
    until_status(&mut client, "/productpage", 200).await;
    for (path, status) in [
        ("/productpage?u=normal", 200),
        ("/static/bootstrap/css/bootstrap.min.css", 200),
        ("/login", 200),
        ("/logout", 200),
        ("/api/v1/products/0/reviews", 200),
        ("/", 404),
        ("/productpage/", 404),
        ("/api/v1", 404),
    ] {
        let answer = client.get(path, &[]).await.unwrap();
        assert_eq!((answer.status, answer.instance.is_empty()), (status, status == 404), "{path}");
    }
    drop(mesh);
}

async fn httpbin_over_tls(plane: DataPlane) {
    const HOST: &str = "httpbin.example.com";
    let (layout, peer, port, certificate) = (Layout::new(), Peer::http("httpbin").await, free_port(), Certificate::of(HOST));
    let service = service_at("httpbin", 8000, &[&peer], Protocol::Http);
    let gateway = seed("002-14-gateway-mygateway.yaml").replace("number: 443\n", &format!("number: {port}\n"));
    let resources = [
        ("service.yaml", service),
        ("gateway.yaml", gateway),
        ("rule.yaml", seed("002-17-virtual-service-httpbin.yaml")),
        ("secret.yaml", certificate.secret("httpbin-credential")),
    ];
    let mesh = Mesh::start(plane, layout, &resources.each_ref().map(|(name, text)| (*name, text.as_str()))).await;
    let mut client = Mesh::at(port, HOST).trusting(&certificate);
    until_status(&mut client, "/status/418", 200).await;
    for (path, status) in [("/delay/1", 200), ("/status/200", 200), ("/headers", 404), ("/", 404)] {
        assert_eq!(client.get(path, &[]).await.unwrap().status, status, "{path}");
    }
    // Who does not speak TLS gets nothing.
    assert!(Mesh::at(port, HOST).get("/status/200", &[]).await.is_err());
    drop(mesh);
}

async fn tcp_echo_by_weight(plane: DataPlane) {
    const CONNECTIONS: u32 = 1_000;
    let (layout, one, two, port) = (Layout::new(), Peer::tcp("v1").await, Peer::tcp("v2").await, free_port());
    let at = |name: &str| seed(name).replace("31400", &port.to_string());
    let resources = [
        ("service.yaml", service_at("tcp-echo", 9000, &[&one, &two], Protocol::Tcp)),
        ("gateway.yaml", at("002-18-gateway-tcp-echo-gateway.yaml")),
        ("rule.yaml", at("002-19-virtual-service-tcp-echo.yaml")),
        ("destination.yaml", seed("002-20-destination-rule-tcp-echo-destination.yaml")),
    ];
    let mesh = Mesh::start(plane, layout, &resources.each_ref().map(|(name, text)| (*name, text.as_str()))).await;
    let address = ([127, 0, 0, 1], port).into();
    until("the gateway takes connections", async || !tcp_greeting(address).await.is_empty()).await;
    let mut first = 0;
    for _ in 0..CONNECTIONS {
        let name = tcp_greeting(address).await;
        assert!(name == "v1" || name == "v2", "nobody was reached: {name:?}");
        first += u32::from(name == "v1");
    }
    // The standard deviation is 12.6.
    assert!((740..=860).contains(&first), "{first} of {CONNECTIONS} instead of 800");
    drop(mesh);
}

async fn an_https_host_outside_is_looked_up(plane: DataPlane) {
    const HOST: &str = "ext-svc.example.com";
    if !can_be_named() {
        return;
    }
    let (layout, certificate) = (Layout::new(), Certificate::of(HOST));
    let peer = Peer::https_at(layout.tcp, "outside", &certificate, &["http/1.1"]).await;
    let entry = seed("002-05-service-entry-svc-entry.yaml").replace("number: 443\n", &format!("number: {}\n", layout.tcp));
    let mesh = Mesh::start_knowing(plane, layout, &[(HOST, peer.address().ip())], &[("entry.yaml", &entry)]).await;
    // The application speaks TLS itself; where that goes is told by its server name.
    let mut client = Mesh::at(layout.tcp, HOST).trusting(&certificate);
    until_from(&mut client, "outside").await;
    drop(mesh);
}

/// An instance of a service on a virtual machine without a sidecar, as
/// <https://istio.io/latest/docs/reference/config/networking/workload-entry/> has it: its `serviceAccount` there says that it has one,
/// which takes mutual TLS.
fn virtual_machine(name: &str, address: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: {name}
  annotations:
    sidecar.istio.io/inject: 'false'
spec:
  address: {address}
  labels:
    app: details-legacy
    instance-id: {name}
"
    )
}

/// The service of these machines from the same page.
fn details_svc(port: u16, target_port: u16, resolution: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: details-svc
spec:
  hosts:
  - details.bookinfo.com
  location: MESH_INTERNAL
  ports:
  - number: {port}
    name: http
    protocol: HTTP
    targetPort: {target_port}
  resolution: {resolution}
  workloadSelector:
    labels:
      app: details-legacy
"
    )
}

async fn virtual_machines_are_instances_of_services(plane: DataPlane) {
    let (layout, target) = (Layout::new(), free_port());
    let (one, two) = (Peer::http_at(target, "vm1").await, Peer::http_at(target, "vm2").await);
    let at = |peer: &Peer| peer.address().ip().to_string();
    // A Service of Kubernetes may have the same ones.
    let service = format!(
        "apiVersion: v1
kind: Service
metadata: {{name: details}}
spec: {{clusterIP: 10.96.0.10, ports: [{{port: {}, targetPort: {target}, name: http}}], selector: {{app: details-legacy}}}}
",
        layout.http
    );
    let resources = [
        ("entry.yaml", details_svc(layout.http, target, "STATIC")),
        ("service.yaml", service),
        ("vm1.yaml", virtual_machine("vm1", &at(&one))),
        ("vm2.yaml", virtual_machine("vm2", &at(&two))),
    ];
    let mesh = Mesh::start(plane, layout, &resources.each_ref().map(|(name, text)| (*name, text.as_str()))).await;
    let mut clients = [mesh.inside("details.bookinfo.com"), mesh.inside("details")];
    for client in &mut clients {
        until_from(client, "vm1").await;
        until_from(client, "vm2").await;
    }
    mesh.write("vm1.yaml", "");
    for client in &mut clients {
        // Neither comes at once, and which instance is asked is left to chance.
        let only_the_other = async || {
            for _ in 0..20 {
                if !client.get("/", &[]).await.is_ok_and(|answer| answer.is_from("vm2")) {
                    return false;
                }
            }
            true
        };
        until("the machine that is left answers alone", only_the_other).await;
    }
}

async fn a_virtual_machine_that_has_a_name_is_looked_up(plane: DataPlane) {
    const NAME: &str = "vm1.vpc01.corp.net";
    if !can_be_named() {
        return;
    }
    let (layout, peer) = (Layout::new(), Peer::http("vm1").await);
    let entry = details_svc(layout.http, peer.address().port(), "DNS");
    let resources = [("entry.yaml", entry.as_str()), ("vm.yaml", &virtual_machine("vm1", NAME))];
    let mesh = Mesh::start_knowing(plane, layout, &[(NAME, peer.address().ip())], &resources).await;
    until_from(&mut mesh.inside("details.bookinfo.com"), "vm1").await;
}

async fn a_sidecar_sees_its_own_namespace_and_the_control_planes(plane: DataPlane) {
    const ADDRESS: &str = "127.0.0.11";
    let (layout, port) = (Layout::new(), free_port());
    let mut services = vec![];
    let mut peers = vec![];
    for namespace in ["bookinfo", "istio-system", "default"] {
        let peer = Peer::http(namespace).await;
        let service = service_of("s", port, &[(peer.address(), "v1")], "HTTP");
        services.push(
            service.replace("namespace: default", &format!("namespace: {namespace}")).replace(".default.", &format!(".{namespace}.")),
        );
        peers.push(peer);
    }
    services.push(format!(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: productpage, namespace: bookinfo}}\nspec: {{address: \
         {ADDRESS}, labels: {{app: productpage}}}}\n"
    ));
    let mut mesh = Mesh::start(plane, layout, &[("services.yaml", &services.join("---\n"))]).await;
    mesh.add_sidecar("productpage", "bookinfo", ADDRESS).await;
    let mut clients = ["bookinfo", "istio-system", "default"]
        .map(|namespace| (namespace, Mesh::at(port, &format!("s.{namespace}.svc.cluster.local:{port}"))));
    // Without the resource it sees all.
    for (namespace, client) in &mut clients {
        until_from(client, namespace).await;
    }
    mesh.write("sidecar.yaml", &seed("002-07-sidecar-default.yaml"));
    let [own, system, foreign] = &mut clients;
    until_status(&mut foreign.1, "/", 503).await;
    for (namespace, client) in [own, system] {
        assert!(client.get("/", &[]).await.unwrap().is_from(namespace), "{namespace}");
    }
}
