//! Who may: AuthorizationPolicies at a gateway and at a sidecar, for requests and for bytes.

use std::net::SocketAddr;

use hyper::{Response, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weir_testkit::{Content, DataPlane, ECHO, Layout, Mesh, Peer, Protocol, Recorder, free_port, service_of, until};
use weir_xds::auth::{CheckRequest, CheckResponse};

use crate::http_filters::grpc;
use crate::support::{all_to, over_each_data_plane, until_from};

over_each_data_plane!(
    policies_at_a_gateway,
    a_path_written_otherwise_is_refused_where_it_is_the_same,
    a_service_decides_about_what_a_policy_is_about,
    policies_at_a_sidecar_and_for_bytes,
    a_service_decides_about_connections,
);

/// A policy of the root namespace.
fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: istio-system}}\nspec: {spec}\n"
    )
}

const OF_GATEWAY: &str = "selector: {matchLabels: {istio: ingressgateway}}";

async fn policies_at_a_gateway(plane: DataPlane) {
    let (layout, one) = (Layout::new(), Peer::http("v1").await);
    let service = layout.service("shop", &[&one], Protocol::Http);
    let policies = [
        policy("audit", &format!("{{{OF_GATEWAY}, action: AUDIT, rules: [{{}}]}}")),
        policy(
            "deny",
            &format!(
                "{{{OF_GATEWAY}, action: DENY, rules: [{{to: [{{operation: {{paths: ['/admin/*', '*.php'], notMethods: [OPTIONS]}}}}]}}]}}"
            ),
        ),
        policy(
            "allow",
            &format!(
                "{{{OF_GATEWAY}, rules: [{{to: [{{operation: {{methods: [GET, OPTIONS], hosts: [shop.test]}}}}]}}, {{when: [{{key: 'request.headers[x-may]', values: ['yes*'], notValues: [yes-not]}}]}}]}}"
            ),
        ),
        policy("others", "{selector: {matchLabels: {istio: other}}, action: DENY, rules: [{}]}"),
    ];
    let mesh =
        Mesh::start(plane, layout, &[("shop.yaml", &service), ("routes.yaml", &all_to("v1")), ("policies.yaml", &policies.concat())]).await;
    let mut client = mesh.outside("shop.test");
    until_from(&mut client, "v1").await;
    let cases = [
        ("GET", "/", None, 200),
        ("POST", "/", None, 403),
        ("POST", "/", Some("yes-1"), 200),
        ("POST", "/", Some("yes-not"), 403),
        ("POST", "/", Some("no"), 403),
        ("GET", "/admin", None, 200),
        ("GET", "/admin/", None, 403),
        ("OPTIONS", "/admin/x", None, 200),
        ("GET", "/a.php", Some("yes"), 403),
        ("GET", "/a.php?x", None, 403),
        ("GET", "/a?x.php", None, 200),
    ];
    for (method, path, may, expected) in cases {
        let headers: Vec<_> = may.map(|may| ("x-may", may)).into_iter().collect();
        let answer = client.ask(method, path, &headers).await.unwrap();
        assert_eq!(answer.status, expected, "{method} {path} {headers:?}");
        if expected == 403 {
            assert_eq!(answer.body, "RBAC: access denied");
        }
    }
}

/// The status that comes for this, written as it is.
async fn status(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut heard = vec![];
    let _ = stream.read_to_end(&mut heard).await;
    String::from_utf8_lossy(&heard).split(' ').nth(1).unwrap_or_default().to_owned()
}

async fn a_path_written_otherwise_is_refused_where_it_is_the_same(plane: DataPlane) {
    let (layout, one) = (Layout::new(), Peer::http("v1").await);
    let service = layout.service("shop", &[&one], Protocol::Http);
    let policies = [
        policy("path", &format!("{{{OF_GATEWAY}, action: DENY, rules: [{{to: [{{operation: {{paths: [/admin]}}}}]}}]}}")),
        policy("host", &format!("{{{OF_GATEWAY}, action: DENY, rules: [{{to: [{{operation: {{hosts: [closed.test]}}}}]}}]}}")),
    ];
    let routes = all_to("v1").replace("[shop.test]", "['*']");
    let mesh =
        Mesh::start(plane, layout, &[("shop.yaml", &service), ("routes.yaml", &routes), ("policies.yaml", &policies.concat())]).await;
    until_from(&mut mesh.outside("shop.test"), "v1").await;
    let cases = [
        ("/admin", "shop.test", "403"),
        ("/admin?x", "shop.test", "403"),
        ("/admin#x", "shop.test", "400"),
        ("//admin", "shop.test", "200"),
        ("/./admin", "shop.test", "403"),
        ("/x/../admin", "shop.test", "403"),
        ("/x/%2e%2e/admin", "shop.test", "403"),
        ("/%61dmin", "shop.test", "403"),
        ("/admin%3fx", "shop.test", "200"),
        ("/x%2f..%2fadmin", "shop.test", "200"),
        ("/x\\..\\admin", "shop.test", "403"),
        ("/admin/", "shop.test", "200"),
        ("/admin.", "shop.test", "200"),
        ("/admin;x", "shop.test", "200"),
        ("/admin%00", "shop.test", "400"),
        ("/ADMIN", "shop.test", "200"),
        ("http://shop.test/admin", "shop.test", "403"),
        ("http://shop.test/", "closed.test", "200"),
        ("http://closed.test/", "shop.test", "403"),
        ("/", "closed.test", "403"),
        ("/", "CLOSED.test", "403"),
        ("/", "closed.test.", "200"),
        ("/", "closed.test:80", "200"),
    ];
    for (path, host, expected) in cases {
        let heard = status(mesh.gateway(), &format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")).await;
        assert_eq!(heard, expected, "{path} of {host}");
    }
}

async fn a_service_decides_about_what_a_policy_is_about(plane: DataPlane) {
    let (layout, one, mut asked) = (Layout::new(), Peer::http("v1").await, Recorder::start(Version::HTTP_11).await);
    let port = free_port();
    let service = layout.service("shop", &[&one], Protocol::Http) + "---\n" + &service_of("auth", port, &[(asked.address(), "v1")], "HTTP");
    let custom =
        format!("{{{OF_GATEWAY}, action: CUSTOM, provider: {{name: NAME}}, rules: [{{to: [{{operation: {{paths: [/ask*]}}}}]}}]}}");
    let deny = policy("deny", &format!("{{{OF_GATEWAY}, action: DENY, rules: [{{to: [{{operation: {{paths: ['*no']}}}}]}}]}}"));
    let config = format!(
        "accessLogFile: ''\nenableTracing: false\nextensionProviders:\n- name: auth\n  envoyExtAuthzHttp: {{service: auth.default.svc.cluster.local, port: {port}, timeout: 5s, pathPrefix: /check, includeRequestHeadersInCheck: [x-key], headersToUpstreamOnAllow: [x-user]}}\n"
    );
    let policies = policy("custom", &custom.replace("NAME", "auth")) + &deny;
    let resources = [("shop.yaml", service.as_str()), ("routes.yaml", &all_to("v1")), ("policies.yaml", &policies)];
    let mesh = Mesh::start_with(plane, layout, &config, &resources).await;
    let mut client = mesh.outside("shop.test");
    until_from(&mut client, "v1").await;
    asked.set_answer(Response::builder().status(401).body(Content::of("who?")).unwrap());
    let answer = client.get("/ask/x?y", &[("x-key", "1")]).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (401, "who?"));
    let question = asked.asked().await;
    assert_eq!((question.path.as_str(), question.header("x-key")), ("/check/ask/x?y", "1".to_owned()));
    asked.set_answer(Response::builder().status(200).header("x-user", "jane").body(Content::default()).unwrap());
    let answer = client.get("/ask", &[(ECHO, "")]).await.unwrap();
    assert_eq!((answer.status, answer.seen().unwrap().values("x-user")), (200, vec!["jane".to_owned()]));
    asked.asked().await;
    // A policy that denies has the last word, and nobody is asked about the rest.
    for (path, expected, is_asked) in [("/ask/no", 403, true), ("/no", 403, false), ("/other", 200, false)] {
        assert_eq!(client.get(path, &[]).await.unwrap().status, expected, "{path}");
        assert_eq!(asked.has_been_asked(), is_asked, "{path}");
    }
    // Of a service that nobody knows, all that the policy is about is refused.
    mesh.write("policies.yaml", &policy("custom", &custom.replace("NAME", "unknown")));
    until("what it is about is refused", async || client.get("/ask", &[]).await.is_ok_and(|answer| answer.status == 403)).await;
    while asked.has_been_asked() {}
    for (path, expected) in [("/ask", 403), ("/no", 200)] {
        assert_eq!(client.get(path, &[]).await.unwrap().status, expected, "{path}");
    }
    assert!(!asked.has_been_asked());
}

/// The application beside a sidecar, at its own address: it says this to whoever says something.
async fn application(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                stream.write_all(answer.as_bytes()).await
            });
        }
    });
    address
}

/// What an instance of bytes says to who comes to this port, and is let in.
async fn greeting(port: u16) -> String {
    let Ok(mut stream) = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await else { return String::new() };
    let _ = stream.write_all(b"hello\n").await;
    let mut heard = vec![0; 64];
    let length = stream.read(&mut heard).await.unwrap_or_default();
    String::from_utf8_lossy(&heard[..length]).trim_end().to_owned()
}

const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

async fn policies_at_a_sidecar_and_for_bytes(plane: DataPlane) {
    let (layout, web, bytes) = (Layout::new(), application(EMPTY).await, application("bytes").await);
    let (port, open, closed) = (free_port(), free_port(), free_port());
    // Of two Sidecars for one workload the first by name counts.
    let sidecar = format!(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: a, namespace: default}}
spec:
  workloadSelector: {{labels: {{app: client}}}}
  ingress:
  - {{port: {{number: {port}, name: http, protocol: HTTP}}, bind: 127.0.0.1, captureMode: NONE, defaultEndpoint: '127.0.0.1:{}'}}
  - {{port: {{number: {open}, name: tcp-open, protocol: TCP}}, bind: 127.0.0.1, captureMode: NONE, defaultEndpoint: '127.0.0.1:{bytes}'}}
  - {{port: {{number: {closed}, name: tcp-closed, protocol: TCP}}, bind: 127.0.0.1, captureMode: NONE, defaultEndpoint: '127.0.0.1:{bytes}'}}
  egress: [{{hosts: ['~/*']}}]
",
        web.port(),
        bytes = bytes.port(),
    );
    let allow = |ports: &[u16]| {
        let ports: Vec<String> = ports.iter().map(|port| format!("'{port}'")).collect();
        policy(
            "ports",
            &format!("{{selector: {{matchLabels: {{app: client}}}}, rules: [{{to: [{{operation: {{ports: [{}]}}}}]}}]}}", ports.join(", ")),
        )
    };
    let deny = policy(
        "paths",
        "{selector: {matchLabels: {app: client}}, action: DENY, rules: [{from: [{source: {ipBlocks: [127.0.0.1]}}], to: [{operation: {paths: [/no]}}]}]}",
    );
    // For bytes a rule that denies paths denies all, unless it names ports.
    let deny = deny.replace("paths: [/no]", &format!("paths: [/no], ports: ['{port}']"));
    let mesh = Mesh::start(plane, layout, &[("a.yaml", &sidecar), ("policies.yaml", &(allow(&[port, open]) + &deny))]).await;
    let mut client = Mesh::at(port, "web.test");
    until("requests are let in", async || client.get("/", &[]).await.is_ok_and(|answer| answer.status == 200)).await;
    assert_eq!(client.get("/no", &[]).await.unwrap().status, 403);
    until("bytes come", async || greeting(open).await == "bytes").await;
    assert_eq!(greeting(closed).await, "");
    // A change holds for the connections that come after it.
    mesh.write("policies.yaml", &allow(&[port, closed]));
    until("another port is open", async || greeting(closed).await == "bytes").await;
    assert_eq!(greeting(open).await, "");
    assert_eq!(Mesh::at(port, "web.test").get("/no", &[]).await.unwrap().status, 200);
}

async fn a_service_decides_about_connections(plane: DataPlane) {
    let (layout, bytes, mut asked) = (Layout::new(), application("bytes").await, Recorder::start(Version::HTTP_2).await);
    let (port, open, auth) = (free_port(), free_port(), free_port());
    let ingress = |port: u16, name: &str| {
        let at = bytes.port();
        format!(
            "  - {{port: {{number: {port}, name: tcp-{name}, protocol: TCP}}, bind: 127.0.0.1, captureMode: NONE, defaultEndpoint: '127.0.0.1:{at}'}}\n"
        )
    };
    let sidecar = format!(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: a, namespace: default}}
spec:
  workloadSelector: {{labels: {{app: client}}}}
  ingress:
{}{}",
        ingress(port, "asked"),
        ingress(open, "open"),
    );
    let service = service_of("auth", auth, &[(asked.address(), "v1")], "GRPC");
    let config = format!(
        "accessLogFile: ''\nenableTracing: false\nextensionProviders:\n- name: auth\n  envoyExtAuthzGrpc: {{service: auth.default.svc.cluster.local, port: {auth}, timeout: 5s}}\n"
    );
    let custom = policy(
        "custom",
        &format!(
            "{{selector: {{matchLabels: {{app: client}}}}, action: CUSTOM, provider: {{name: auth}}, rules: [{{to: [{{operation: {{ports: ['{port}']}}}}]}}]}}"
        ),
    );
    let resources = [("a.yaml", sidecar.as_str()), ("auth.yaml", &service), ("policies.yaml", &custom)];
    let says = |code: i32| grpc::answer::<CheckResponse>(serde_json::json!({"status": {"code": code}}));
    asked.set_answer(says(0));
    let mesh = Mesh::start_with(plane, layout, &config, &resources).await;
    until("bytes come", async || greeting(open).await == "bytes").await;
    until("bytes come of whom a service lets in", async || greeting(port).await == "bytes").await;
    let question = grpc::message::<CheckRequest>(&asked.asked().await.body).attributes.unwrap();
    assert!(question.source.unwrap().address.is_some() && question.destination.unwrap().address.is_some());
    while asked.has_been_asked() {}
    asked.set_answer(says(7));
    assert_eq!(greeting(port).await, "");
    assert!(asked.has_been_asked());
    // Nobody is asked about what the policy is not about, and who fails lets nobody in.
    assert_eq!(greeting(open).await, "bytes");
    assert!(!asked.has_been_asked());
    asked.set_answer(Response::builder().status(503).body(Content::default()).unwrap());
    assert_eq!(greeting(port).await, "");
    drop(mesh);
}
