//! What enters and leaves the mesh as bytes: the PROXY protocol, tunnels, TLS that is forwarded or begun.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use weir_testkit::{Certificate, DataPlane, Layout, Mesh, Peer, Protocol, free_port, service_at, service_of, until};

use crate::support::over_each_data_plane;

over_each_data_plane!(
    who_the_client_is_passes_by_the_proxy_protocol,
    bytes_go_through_a_tunnel,
    tls_of_the_mesh_is_forwarded_to_the_cluster_that_it_names,
    a_rule_takes_its_authorities_from_a_secret,
    hosts_of_an_entry_are_looked_up_when_they_are_asked_for,
    what_an_ingress_listener_does_not_understand_passes_as_bytes,
);

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// A TCP server of a gateway, and its route to a service.
fn entrance(port: u16, service: &str) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: entrance, namespace: default}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: tcp, protocol: TCP}}, hosts: ['*']}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: entrance, namespace: default}}
spec:
  hosts: ['*']
  gateways: [entrance]
  tcp: [{{route: [{{destination: {{host: {service}}}}}]}}]
"
    )
}

fn rule(host: &str, policy: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: own, namespace: default}}\n\
         spec: {{host: {host}, trafficPolicy: {policy}}}\n"
    )
}

/// What comes back for this, as far as `lines` go; nothing if nobody listens yet.
async fn ask(port: u16, text: &str, lines: usize) -> Vec<String> {
    let mut heard = vec![];
    let Ok(mut stream) = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await else { return heard };
    if stream.write_all(text.as_bytes()).await.is_err() {
        return heard;
    }
    let mut stream = BufReader::new(stream);
    for _ in 0..lines {
        let mut line = String::new();
        // Who waits for more says nothing.
        match timeout(PATIENCE, stream.read_line(&mut line)).await {
            Ok(Ok(1..)) => heard.push(line.trim_end().to_owned()),
            _ => break,
        }
    }
    heard
}

/// An instance that says each line that it hears.
async fn parrot() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reading, mut writing) = stream.into_split();
                tokio::io::copy(&mut reading, &mut writing).await
            });
        }
    });
    address
}

async fn who_the_client_is_passes_by_the_proxy_protocol(plane: DataPlane) {
    const HEADER: &str = "PROXY TCP4 192.0.2.1 192.0.2.2 111 222";
    let (layout, port) = (Layout::new(), free_port());
    let service = service_of("shop", layout.tcp, &[(parrot().await, "v1")], "TCP");
    let resources = service + &rule("shop", "{proxyProtocol: {version: V1}}") + &entrance(port, "shop");
    let config = "accessLogFile: ''\nenableTracing: false\ndefaultConfig: {gatewayTopology: {proxyProtocol: {}}}\n";
    let _mesh = Mesh::start_with(plane, layout, config, &[("shop.yaml", &resources)]).await;
    let said = format!("{HEADER}\r\nhello\n");
    until("the instance hears who the client is", async || ask(port, &said, 2).await == [HEADER, "hello"]).await;
    assert!(ask(port, "no header\n", 2).await.is_empty());
}

/// A proxy that opens one tunnel after the other, to a host that says what it was asked for and then each line.
async fn forward_proxy() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            let (mut asked, mut line) = (String::new(), String::new());
            while stream.read_line(&mut line).await.is_ok_and(|length| length > 2) {
                asked.push_str(line.trim_end());
                asked.push(';');
                line.clear();
            }
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{asked}\n").as_bytes()).await;
            line.clear();
            if stream.read_line(&mut line).await.is_ok() {
                let _ = stream.write_all(line.as_bytes()).await;
            }
        }
    });
    address
}

async fn bytes_go_through_a_tunnel(plane: DataPlane) {
    let (layout, port) = (Layout::new(), free_port());
    let service = service_of("shop", layout.tcp, &[(forward_proxy().await, "v1")], "TCP");
    let resources = service + &rule("shop", "{tunnel: {targetHost: far.test, targetPort: 443}}") + &entrance(port, "shop");
    let _mesh = Mesh::start(plane, layout, &[("shop.yaml", &resources)]).await;
    let through = ["CONNECT far.test:443 HTTP/1.1;host: far.test:443;", "hello"];
    until("the tunnel is open", async || ask(port, "hello\n", 2).await == through).await;
}

/// What is agreed on by ALPN with whoever has this certificate; none if nobody answers for this name.
async fn tls(port: u16, name: &str, alpn: &str, authority: &std::path::Path) -> Option<Option<Vec<u8>>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
        rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap()
    };
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_webpki_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await.ok()?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.ok()?;
    let mut said = vec![];
    let _ = stream.read_to_end(&mut said).await;
    String::from_utf8_lossy(&said).starts_with("HTTP/1.1 200").then(|| stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec))
}

async fn tls_of_the_mesh_is_forwarded_to_the_cluster_that_it_names(plane: DataPlane) {
    let (layout, port, files) = (Layout::new(), free_port(), TempDir::new().unwrap());
    let name = format!("outbound_.{}_._.shop.default.svc.cluster.local", layout.tcp);
    let certificate = Certificate::of(&name);
    let authority = certificate.write(files.path(), "ca.pem");
    let peer = Peer::https("a", &certificate, &["istio"]).await;
    let service = service_of("shop", layout.tcp, &[(peer.address(), "v1, security.istio.io/tlsMode: istio")], "TLS");
    let gateway = format!(
        "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: east, namespace: default}}\nspec: {{selector: {{istio: \
         ingressgateway}}, servers: [{{port: {{number: {port}, name: tls, protocol: TLS}}, hosts: ['*.local'], tls: {{mode: AUTO_PASSTHROUGH}}}}]}}\n"
    );
    let _mesh = Mesh::start(plane, layout, &[("shop.yaml", &(service + &gateway))]).await;
    until("TLS comes through", async || tls(port, &name, "istio", &authority).await.is_some()).await;
    // Who does not say that it is of the mesh is not let in, nor who names another cluster.
    assert_eq!(tls(port, &name, "http/1.1", &authority).await, None);
    assert_eq!(tls(port, "shop.default.svc.cluster.local", "istio", &authority).await, None);
}

async fn a_rule_takes_its_authorities_from_a_secret(plane: DataPlane) {
    let (layout, files, certificate) = (Layout::new(), TempDir::new().unwrap(), Certificate::of("own.test"));
    let peer = Peer::https("a", &certificate, &[]).await;
    let pem = std::fs::read_to_string(certificate.write(files.path(), "ca.pem")).unwrap();
    let indented: String = pem.lines().map(|line| format!("    {line}\n")).collect();
    let secret = format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: shop, namespace: istio-system}}\nstringData:\n  ca.crt: |\n{indented}"
    );
    let route = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: shop, namespace: default}\n\
                 spec: {hosts: [shop.test], gateways: [gw], http: [{route: [{destination: {host: shop}}]}]}\n";
    let policy = rule("shop", "{tls: {mode: SIMPLE, sni: own.test, credentialName: shop}}");
    let service = service_at("shop", layout.http, &[&peer], Protocol::Http);
    let resources = service + &policy + route;
    let mesh = Mesh::start(plane, layout, &[("shop.yaml", &resources)]).await;
    let mut client = mesh.outside("shop.test");
    // Without the Secret nobody is trusted, and nothing is sent in clear.
    until("the route is in force", async || client.get("/", &[]).await.is_ok_and(|answer| answer.status == 503)).await;
    mesh.write("secret.yaml", &secret);
    until("the instance answers", async || client.get("/", &[]).await.is_ok_and(|answer| answer.is_from("a"))).await;
}

async fn hosts_of_an_entry_are_looked_up_when_they_are_asked_for(plane: DataPlane) {
    let layout = Layout::new();
    let entry = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: far, namespace: default}}\nspec: {{hosts: ['*.invalid'], \
         location: MESH_EXTERNAL, resolution: DYNAMIC_DNS, ports: [{{number: {}, name: http, protocol: HTTP}}]}}\n",
        layout.http
    );
    let _mesh = Mesh::start(plane, layout, &[("far.yaml", &entry)]).await;
    let mut client = Mesh::at(layout.http, "nobody.invalid");
    until("the host is looked for", async || {
        client.get("/", &[]).await.is_ok_and(|answer| (answer.status, answer.body.as_str()) == (503, "DNS resolution failure"))
    })
    .await;
}

async fn what_an_ingress_listener_does_not_understand_passes_as_bytes(plane: DataPlane) {
    let (layout, port, instance) = (Layout::new(), free_port(), parrot().await);
    // Of two Sidecars for one workload the first by name counts.
    let sidecar = format!(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: any, namespace: default}}
spec:
  workloadSelector: {{labels: {{app: client}}}}
  ingress:
  - {{port: {{number: {port}, name: any}}, bind: 127.0.0.1, captureMode: NONE, defaultEndpoint: '127.0.0.1:{}'}}
  egress: [{{hosts: ['~/*']}}]
",
        instance.port()
    );
    let _mesh = Mesh::start(plane, layout, &[("any.yaml", &sidecar)]).await;
    until("bytes come back", async || ask(port, "hello\n", 1).await == ["hello"]).await;
}
