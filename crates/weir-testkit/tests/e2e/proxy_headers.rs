//! Which headers a mesh's proxies add (`proxyHeaders` of MeshConfig's `defaultConfig`), as both sides see them on the wire.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use weir_testkit::{DataPlane, Layout, Mesh, service_of, until};

use crate::support::{HOST, over_each_data_plane};

over_each_data_plane!(a_mesh_says_which_headers_its_proxies_add);

const CONFIG: &str = "accessLogFile: ''\nenableTracing: false\ndefaultConfig: {proxyHeaders: {attemptCount: {disabled: true}, \
    envoyDebugHeaders: {disabled: true}, preserveHttp1HeaderCase: true, xForwardedHost: {enabled: true}, \
    xForwardedPort: {enabled: true}, server: {value: shop-edge}}}\n";

/// An instance whose answer's body is the head that it heard.
async fn mirror() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (mut stream, mut heard) = (BufReader::new(stream), String::new());
            while !heard.ends_with("\r\n\r\n") && stream.read_line(&mut heard).await.is_ok_and(|length| length > 0) {}
            let head = format!("HTTP/1.1 200 OK\r\nX-Said-By: Instance\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", heard.len());
            let _ = stream.write_all((head + &heard).as_bytes()).await;
        }
    });
    address
}

/// The lines of the answer's head, and those of the head that the instance heard.
async fn ask(port: u16) -> Option<(Vec<String>, Vec<String>)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Camel-Case: Kept\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.ok()?;
    let lines = |text: &str| text.lines().map(str::to_owned).collect();
    let (answer, request) = heard.split_once("\r\n\r\n").filter(|(head, _)| head.starts_with("HTTP/1.1 200"))?;
    Some((lines(answer), lines(request)))
}

async fn a_mesh_says_which_headers_its_proxies_add(plane: DataPlane) {
    let (layout, instance) = (Layout::new(), mirror().await);
    let resources = service_of("shop", layout.http, &[(instance, "v1")], "HTTP")
        + &format!(
            "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: shop, namespace: default}}
spec:
  hosts: [{HOST}]
  gateways: [gw]
  http: [{{rewrite: {{authority: inside.test}}, route: [{{destination: {{host: shop}}}}]}}]
"
        );
    let _mesh = Mesh::start_with(plane, layout, CONFIG, &[("shop.yaml", &resources)]).await;
    let mut heard = None;
    until("the instance answers", async || {
        heard = ask(layout.gateway).await;
        heard.is_some()
    })
    .await;
    let (answer, request) = heard.unwrap();
    let has = |lines: &[String], line: &str| lines.iter().any(|known| known == line);
    let names = |lines: &[String], start: &str| lines.iter().any(|line| line.to_ascii_lowercase().starts_with(start));
    assert!(has(&answer, "X-Said-By: Instance") && has(&answer, "server: shop-edge"), "{answer:?}");
    assert!(!names(&answer, "x-envoy-"), "{answer:?}");
    assert!(has(&request, "X-Camel-Case: Kept"), "{request:?}");
    assert!(has(&request, &format!("x-forwarded-host: {HOST}")), "{request:?}");
    assert!(has(&request, &format!("x-forwarded-port: {}", layout.gateway)), "{request:?}");
    assert!(!["x-envoy-attempt-count", "x-envoy-expected-rq-timeout-ms"].iter().any(|name| names(&request, name)), "{request:?}");
}
