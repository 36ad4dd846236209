//! What the kubelet and Prometheus are answered, and what the application is asked for them.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use weir_proxy::DataPlane;
use weir_proxy::status::{Application, Probers, Role, Scraped, Status, Subject, serve};

use crate::support::{Authority, Proxy, SecureUpstream, Upstream, Wire, in_time, routes, to};

const PORT: u16 = 15020;
const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine";

/// A status port, which is served until this is dropped.
struct Served {
    address: std::net::SocketAddr,
    serving: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Served {
    async fn of(plane: Arc<DataPlane>, role: Role, probers: Value, scraped: &str) -> Self {
        let application = Application { address: [127, 0, 0, 1].into(), from: None };
        let probers = Probers::parse(&probers.to_string()).unwrap();
        let status =
            Arc::new(Status { proxy: Subject::Hosted(plane), application, probers, scraped: Scraped::parse(scraped).unwrap(), port: PORT });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { address, serving: tokio::spawn(serve(listener, role, status)) }
    }

    /// One with probes of an application, beside a proxy that hosts nobody.
    async fn probing(probers: Value) -> Self {
        Self::of(DataPlane::start(1, None).unwrap(), Role::Status, probers, "").await
    }

    /// Asks; the status and the body.
    async fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: 10.0.0.1:{PORT}\r\nconnection: close\r\n\r\n")).await
    }

    async fn ask(&self, request: &str) -> (u16, String) {
        let mut wire = Wire::new(TcpStream::connect(self.address).await.unwrap());
        wire.say(request).await;
        let (status, _) = wire.answer().await;
        (status.split(' ').nth(1).unwrap().parse().unwrap(), wire.end().await)
    }
}

fn path(end: &str) -> String {
    format!("/app-health/app/{end}")
}

/// A probe of this kind, about a port.
fn probe(kind: &str, action: Value) -> Value {
    json!({ path("readyz"): { kind: action, "timeoutSeconds": 5 } })
}

#[tokio::test]
async fn an_application_is_asked_by_http_as_the_kubelet_would() {
    let app = Upstream::start().await;
    let served = Served::probing(probe("httpGet", json!({"path": "/ready?full=1", "port": app.address().port()}))).await;
    let head = format!(
        "GET {} HTTP/1.1\r\nhost: 10.0.0.1:{PORT}\r\nuser-agent: kube-probe/1.36\r\nx-own: a\r\nconnection: close\r\n\r\n",
        path("readyz")
    );
    let application = async {
        let mut asked = app.accept().await;
        let lines = asked.head().await;
        asked.say(FINE).await;
        lines
    };
    let (answer, lines) = tokio::join!(served.ask(&head), application);
    assert_eq!(answer, (200, "fine".to_owned()));
    assert_eq!(lines[0], "GET /ready?full=1 HTTP/1.1");
    // The application's port stands where the kubelet named the status port.
    let host = format!("host: 10.0.0.1:{}", app.address().port());
    for line in [host.as_str(), "user-agent: kube-probe/1.36", "x-own: a"] {
        assert!(lines.iter().any(|known| known.eq_ignore_ascii_case(line)), "no {line} in {lines:?}");
    }
    assert!(!lines.iter().any(|line| line.to_ascii_lowercase().starts_with("connection:")), "{lines:?}");
}

#[tokio::test]
async fn an_applications_answer_is_the_probes() {
    let big = format!("HTTP/1.1 200 OK\r\ncontent-length: 20000\r\n\r\n{}", "x".repeat(20_000));
    let answers = [
        ("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 3\r\n\r\nbad", 503, "bad".to_owned()),
        ("HTTP/1.1 302 Found\r\nlocation: http://example.com/x\r\ncontent-length: 0\r\n\r\n", 200, String::new()),
        ("HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n", 200, String::new()),
        ("HTTP/1.1 304 Not Modified\r\nlocation: /x\r\n\r\n", 200, String::new()),
        (big.as_str(), 200, "x".repeat(10 << 10)),
        ("nonsense\r\n\r\n", 500, "invalid HTTP version parsed\n".to_owned()),
    ];
    let app = Upstream::start().await;
    let served = Served::probing(probe("httpGet", json!({"path": "r", "port": app.address().port()}))).await;
    let path = path("readyz");
    for (answer, status, body) in answers {
        let application = async {
            let mut asked = app.accept().await;
            assert_eq!(asked.head().await[0], "GET /r HTTP/1.1");
            asked.say(answer).await;
            asked
        };
        let (found, _kept) = tokio::join!(served.get(&path), application);
        assert_eq!(found, (status, body), "{answer:.40}");
    }
}

/// What an application is asked, and what it answers.
async fn told(app: &Upstream, answer: &str) -> Vec<String> {
    let mut asked = app.accept().await;
    let lines = asked.head().await;
    asked.say(answer).await;
    lines
}

#[tokio::test]
async fn a_probe_goes_where_it_is_sent_within_the_pod() {
    let (app, other) = (Upstream::start().await, Upstream::start().await);
    let served = Served::probing(probe("httpGet", json!({"path": "/a/r", "port": app.address().port()}))).await;
    let path = path("readyz");
    let away =
        format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: http://10.0.0.1:{}/y\r\ncontent-length: 0\r\n\r\n", other.address().port());
    let application = async {
        let first = told(&app, "HTTP/1.1 302 Found\r\nlocation: x?z\r\ncontent-length: 0\r\n\r\n").await;
        let second = told(&app, &away).await;
        let third = told(&other, "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 3\r\n\r\nbad").await;
        [first, second, third].map(|lines| lines[0].clone())
    };
    let (found, asked) = tokio::join!(served.get(&path), application);
    assert_eq!(asked, ["GET /a/r HTTP/1.1", "GET /a/x?z HTTP/1.1", "GET /y HTTP/1.1"]);
    assert_eq!(found, (503, "bad".to_owned()), "what it finds there counts");
    let ring = async {
        for _ in 0..10 {
            told(&app, "HTTP/1.1 302 Found\r\nlocation: /a/r\r\ncontent-length: 0\r\n\r\n").await;
        }
    };
    let (found, ()) = tokio::join!(served.get(&path), ring);
    assert_eq!(found, (500, "it was still sent on after 10 redirects\n".to_owned()));
}

#[tokio::test]
async fn an_application_of_https_need_not_be_known() {
    let credentials = Authority::new().credentials("nobody.example");
    let app = SecureUpstream::start(&credentials, &[]).await;
    let port = app.upstream.address().port();
    let served = Served::probing(probe("httpGet", json!({"path": "/", "port": port, "scheme": "HTTPS"}))).await;
    let path = path("readyz");
    let (answer, ()) = tokio::join!(served.get(&path), async {
        let mut asked = app.accept().await;
        asked.head().await;
        asked.say(FINE).await;
    });
    assert_eq!(answer, (200, "fine".to_owned()));
}

#[tokio::test]
async fn a_connection_is_enough_for_tcp() {
    let app = Upstream::start().await;
    let served = Served::probing(probe("tcpSocket", json!({"port": app.address().port()}))).await;
    assert_eq!(served.get(&path("readyz")).await, (200, String::new()));
    let gone = app.address().port();
    drop(app);
    let (status, said) = served.get(&path("readyz")).await;
    assert!(status == 500 && said.starts_with(&format!("port {gone} of the application: ")), "{status} {said}");
}

/// A server of gRPC's health protocol that answers one question so.
async fn answer_health(app: &Upstream, status: u8) -> Vec<u8> {
    let mut connection = h2::server::handshake(app.accept().await.into_stream()).await.unwrap();
    let (request, mut respond) = connection.accept().await.unwrap().unwrap();
    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
    let mut body = request.into_body();
    let driver = tokio::spawn(async move { while connection.accept().await.is_some() {} });
    let mut message = vec![];
    while let Some(data) = body.data().await {
        message.extend_from_slice(&data.unwrap());
    }
    let response = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut body = respond.send_response(response, false).unwrap();
    body.send_data(Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, status]), false).unwrap();
    body.send_trailers(http::HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), "0".parse().unwrap())])).unwrap();
    driver.await.unwrap();
    message
}

#[tokio::test]
async fn a_server_of_grpc_is_asked_for_its_health() {
    let app = Upstream::start().await;
    let served = Served::probing(probe("grpc", json!({"port": app.address().port(), "service": "shop"}))).await;
    let path = path("readyz");
    for (health, status, body) in [(1, 200, ""), (2, 500, "it answers NotServing\n")] {
        let (answer, message) = tokio::join!(served.get(&path), answer_health(&app, health));
        assert_eq!(answer, (status, body.to_owned()));
        assert_eq!(message, b"\0\0\0\0\x06\x0a\x04shop");
    }
}

#[tokio::test]
async fn an_application_that_does_not_answer_is_not_waited_for() {
    let app = Upstream::start().await;
    let served = Served::probing(json!({ path("livez"): {"httpGet": {"port": app.address().port()}} })).await;
    let path = path("livez");
    let (answer, _silent) = in_time("the probe's own second ends", async { tokio::join!(served.get(&path), app.accept()) }).await;
    assert_eq!(answer, (500, format!("no answer from port {} within 1 s\n", app.address().port())));
}

#[tokio::test]
async fn what_is_not_asked_for_is_not_asked() {
    let served = Served::probing(json!({})).await;
    for end in ["readyz", "../../stats"] {
        let (status, said) = served.get(&path(end)).await;
        assert!(status == 400 && said.contains("ISTIO_KUBE_APP_PROBERS"), "{status} {said}");
    }
    assert_eq!(served.get("/config_dump").await.0, 404);
    assert_eq!(served.ask("POST /healthz/ready HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.0, 405);
}

#[tokio::test]
async fn each_port_answers_what_it_is_for() {
    let plane = DataPlane::start(1, None).unwrap();
    for (role, expected) in [(Role::Status, [200, 200, 400]), (Role::Health, [200, 404, 404]), (Role::Metrics, [404, 200, 404])] {
        let served = Served::of(plane.clone(), role, json!({}), "").await;
        for (path, status) in ["/healthz/ready", "/stats/prometheus", "/app-health/a/readyz"].into_iter().zip(expected) {
            assert_eq!(served.get(path).await.0, status, "{role:?} {path}");
        }
    }
}

#[tokio::test]
async fn a_proxy_that_drains_is_not_ready() {
    let proxy = Proxy::start(routes(json!([to("a")])), &[]).await;
    let served = Served::of(proxy.plane(), Role::Health, json!({}), "").await;
    assert_eq!(served.get("/healthz/ready").await, (200, String::new()));
    proxy.stop().await;
    assert_eq!(served.get("/healthz/ready").await, (503, "not ready: DRAINING\n".to_owned()));
}

#[tokio::test]
async fn the_applications_metrics_are_merged_with_the_proxys() {
    let app = Upstream::start().await;
    let annotations = json!({"scrape": "true", "path": "/m", "port": app.address().port().to_string()}).to_string();
    let served = Served::of(DataPlane::start(1, None).unwrap(), Role::Status, json!({}), &annotations).await;
    let (answer, lines) = tokio::join!(served.get("/stats/prometheus"), async {
        let mut asked = app.accept().await;
        let lines = asked.head().await;
        asked.say("HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\norders 7\n# EOF\n").await;
        lines
    });
    assert_eq!(lines[0], "GET /m HTTP/1.1");
    assert!(answer.0 == 200 && answer.1.ends_with("\norders 7\n") && answer.1.starts_with("# TYPE"), "{answer:?}");
    // Without the application's there are still the proxy's.
    let (answer, ()) = tokio::join!(served.get("/metrics"), async {
        let mut asked = app.accept().await;
        asked.head().await;
        asked.say("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n").await;
    });
    assert!(answer.0 == 200 && !answer.1.contains("orders"), "{answer:?}");
}

#[tokio::test]
async fn an_envoy_is_asked_at_its_administration() {
    let envoy = Upstream::start().await;
    let application = Application { address: [127, 0, 0, 1].into(), from: None };
    let proxy = Subject::Envoy(envoy.address());
    let status = Arc::new(Status { proxy, application, probers: Probers::default(), scraped: None, port: PORT });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let served = Served { address: listener.local_addr().unwrap(), serving: tokio::spawn(serve(listener, Role::Status, status)) };
    let said = format!("Envoy at {}: ", envoy.address());
    for (path, asked, answer, expected) in [
        ("/healthz/ready", "GET /ready HTTP/1.1", "200 OK\r\ncontent-length: 5\r\n\r\nLIVE\n", (200, String::new())),
        ("/healthz/ready", "GET /ready HTTP/1.1", "503 No\r\ncontent-length: 4\r\n\r\nINIT", (503, format!("not ready: {said}INIT\n"))),
        ("/metrics", "GET /stats/prometheus HTTP/1.1", "200 OK\r\ncontent-length: 4\r\n\r\na 1\n", (200, "a 1\n".to_owned())),
        ("/metrics", "GET /stats/prometheus HTTP/1.1", "500 No\r\ncontent-length: 0\r\n\r\n", (503, format!("{said}\n"))),
    ] {
        let (found, line) = tokio::join!(served.get(path), async {
            let mut wire = envoy.accept().await;
            let line = wire.head().await.remove(0);
            wire.say(&format!("HTTP/1.1 {answer}")).await;
            line
        });
        assert_eq!((found, line.as_str()), (expected, asked));
    }
}

/// Who holds many connections, and says nothing or does not read, does not keep the kubelet out.
#[tokio::test]
async fn one_client_has_not_all_connections() {
    let served = Served::probing(json!({})).await;
    let mut held = vec![];
    for _ in 0..64 {
        held.push(TcpStream::connect(served.address).await.unwrap());
    }
    let mut refused = Wire::new(TcpStream::connect(served.address).await.unwrap());
    assert_eq!(refused.end().await, "");
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut kubelet = Wire::new(socket.connect(served.address).await.unwrap());
    kubelet.say("GET /healthz/ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let (status, _) = kubelet.answer().await;
    assert!(status.starts_with("HTTP/1.1 "), "{status}");
    drop(held);
}
