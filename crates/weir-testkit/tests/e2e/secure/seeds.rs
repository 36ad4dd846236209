//! The edges of the pages that Weir began with: a host with its certificate in files, and a service outside that is spoken to by
//! mutual TLS. Ports, files and addresses are those of this machine.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Stdio;

use tokio::process::{Child, Command};
use weir_testkit::{DataPlane, Layout, Mesh, can_be_named, free_port, until};

use super::{Files, said};
use crate::support::over_each_data_plane;

over_each_data_plane!(
    a_host_whose_certificate_stands_in_files,
    a_service_outside_is_spoken_to_by_mutual_tls,
    a_service_outside_that_is_looked_up_is_spoken_to_by_mutual_tls,
);

const EXTERNAL: &str = "ext-svc.example.com";

/// A document of those pages.
fn seed(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weir-api/tests/seeds");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// A route of the gateway to a service outside.
fn route_to(port: u16) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: out, namespace: default}}
spec: {{hosts: [{EXTERNAL}], gateways: [gw], http: [{{route: [{{destination: {{host: {EXTERNAL}, port: {{number: {port}}}}}}}]}}]}}
"
    )
}

async fn a_host_whose_certificate_stands_in_files(plane: DataPlane) {
    const HOST: &str = "ext-host.example.com";
    let (layout, port, files) = (Layout::new(), free_port(), Files::new());
    files.certify(HOST);
    let folder = files.path().display().to_string();
    for (gateway, rule) in [
        ("000-03-gateway-ext-host-gwy.yaml", "000-04-virtual-service-virtual-svc.yaml"),
        ("002-03-gateway-ext-host-gwy.yaml", "002-04-virtual-service-virtual-svc.yaml"),
    ] {
        let gateway = seed(gateway).replace("number: 443\n", &format!("number: {port}\n"));
        let gateway = gateway.replace("app: my-gateway-controller", "istio: ingressgateway");
        let gateway =
            gateway.replace("/tmp/tls.crt", &format!("{folder}/ext-host.pem")).replace("/tmp/tls.key", &format!("{folder}/ext-host.key"));
        let _mesh = Mesh::start(plane, layout, &[("gateway.yaml", &gateway), ("rule.yaml", &seed(rule))]).await;
        // The page's rule says where nothing goes.
        let mut client = Mesh::at(port, HOST).trusting_all_of(&files.authority);
        until("the host is served", async || client.get("/", &[]).await.is_ok_and(|answer| answer.status == 404)).await;
    }
}

/// A server that lets in whom the authority vouches for, and says whom.
fn asking(files: &Files, port: u16) -> Child {
    let path = |name: &str| files.path().join(name).display().to_string();
    let port = port.to_string();
    let (own, key, ca) = (path("ext-svc.pem"), path("ext-svc.key"), path("ca.pem"));
    let arguments =
        ["s_server", "-accept", &port, "-cert", &own, "-key", &key, "-CAfile", &ca, "-Verify", "1", "-verify_return_error", "-www"];
    let mut command = Command::new("openssl");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().unwrap()
}

async fn a_service_outside_is_spoken_to_by_mutual_tls(plane: DataPlane) {
    let entry = seed("004-04-service-entry-xx.yaml").replace("static", "STATIC");
    spoken_to_by_mutual_tls(plane, &entry.replace("2.2.2.2", "127.0.0.1").replace("3.3.3.3", "127.0.0.1"), &[]).await;
}

async fn a_service_outside_that_is_looked_up_is_spoken_to_by_mutual_tls(plane: DataPlane) {
    if can_be_named() {
        let named = [(EXTERNAL, Ipv4Addr::LOCALHOST.into())];
        spoken_to_by_mutual_tls(plane, &seed("002-05-service-entry-svc-entry.yaml"), &named).await;
    }
}

/// The page's rule for a service, defined so, where these hosts are known.
async fn spoken_to_by_mutual_tls(plane: DataPlane, entry: &str, named: &[(&str, IpAddr)]) {
    let (layout, port, files) = (Layout::new(), free_port(), Files::new());
    files.certify(EXTERNAL);
    files.certify("myclientcert.test");
    let _server = asking(&files, port);
    let entry = entry.replace("number: 443", &format!("number: {port}"));
    let rule = seed("002-06-destination-rule-ext-res-dr.yaml");
    let folder = files.path().display().to_string();
    let rule = rule.replace("/etc/certs/myclientcert.pem", &format!("{folder}/myclientcert.pem"));
    let rule = rule.replace("/etc/certs/client_private_key.pem", &format!("{folder}/myclientcert.key"));
    let rule = rule.replace("/etc/certs/rootcacerts.pem", &format!("{folder}/ca.pem"));
    let resources = [("entry.yaml", entry), ("rule.yaml", rule), ("route.yaml", route_to(port))];
    let resources = resources.each_ref().map(|(name, text)| (*name, text.as_str()));
    let mesh = match named {
        [] => Mesh::start(plane, layout, &resources).await,
        named => Mesh::start_knowing(plane, layout, named, &resources).await,
    };
    let to = format!("{EXTERNAL}:80:{}", mesh.gateway());
    let (url, mut heard) = (format!("http://{EXTERNAL}/"), String::new());
    until("the service answers", async || {
        heard = said("curl", &["-sS", "-i", "--connect-to", &to, &url], "").await;
        heard.contains("200 OK")
    })
    .await;
    assert!(heard.contains("Client certificate"), "{heard}");
}
