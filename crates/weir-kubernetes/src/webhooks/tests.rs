//! The webhooks as the API server calls them: by HTTPS, with a certificate that it must be able to follow to the mesh's root.

use std::net::SocketAddr;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weir_pilot::Authority;

use super::*;

const HOST: &str = "istiod-canary.istio-system.svc";

/// Webhooks that no API server knows of, and the way to them.
struct Served {
    webhooks: Webhooks,
    address: SocketAddr,
    tls: TlsConnector,
}

async fn serve() -> Served {
    let authority = Authority::in_memory("cluster.local").unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.roots().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let settings = Settings { revision: "canary".to_owned(), ..Settings::default() };
    let options = Options {
        names: vec![],
        addresses: vec![],
        has_services: true,
        settings: settings.clone(),
        follows_mesh: false,
        native: Native::Always(false),
    };
    let (certificate, renewal) = certificate::follow(authority.follow(), Arc::new(called(&options))).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(renewal);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, settings) = watch::channel(Arc::new(settings));
    // Settings that nobody changes any more still count.
    drop(sender);
    let webhooks = Webhooks::serve(tasks, listener, certificate, settings).unwrap();
    Served { webhooks, address, tls: Arc::new(config).into() }
}

impl Served {
    async fn connect(&self, host: &'static str) -> std::io::Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(self.address).await?;
        self.tls.connect(ServerName::try_from(host).unwrap(), socket).await
    }

    /// The status, and the body.
    async fn post(&self, path: &str, body: &str) -> (u16, String) {
        let mut stream = self.connect(HOST).await.unwrap();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // Who refuses it need not read it to its end.
        let _ = stream.write_all(body.as_bytes()).await;
        let mut answer = vec![];
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {answer:?}")).parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }
}

fn review(kind: &Value, object: &Value) -> String {
    let request = json!({"uid": "u", "operation": "CREATE", "namespace": "shop", "kind": kind, "object": object});
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).to_string()
}

fn pod() -> String {
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "p", "image": "p"}]}});
    review(&json!({"group": "", "version": "v1", "kind": "Pod"}), &pod)
}

#[tokio::test]
async fn pods_and_resources_are_answered_at_istios_paths() {
    let served = serve().await;
    let (status, body) = served.post("/inject/cluster/c/net/n?timeout=10s", &pod()).await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &answer["response"]["patchType"]), (200, &json!("JSONPatch")));
    let gateway = json!({"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "g"}, "spec": {"servers": 7}});
    let (status, body) = served.post("/validate?timeout=10s", &review(&json!({"kind": "Gateway"}), &gateway)).await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &answer["response"]["allowed"]), (200, &json!(false)), "{answer}");
    assert_eq!(served.post("/other", "{}").await.0, 404);
    assert_eq!(served.post("/inject", "{}").await.0, 400);
    assert_eq!(served.post("/inject", &" ".repeat(weir_inject::LARGEST_BODY + 1)).await.0, 413);
    let statistics = served.webhooks.statistics()();
    for line in ["sidecar_injection_success_total 1\n", "galley_validation_failed 1\n"] {
        assert!(statistics.contains(line), "no {line:?} in {statistics}");
    }
}

#[tokio::test]
async fn it_is_known_by_its_services_names_and_no_others() {
    let served = serve().await;
    for host in [HOST, "istiod.istio-system.svc", "weir-canary.istio-system.svc"] {
        assert!(served.connect(host).await.is_ok(), "{host}");
    }
    assert!(served.connect("istiod-other.istio-system.svc").await.is_err());
    assert!(served.webhooks.statistics()().contains("weir_webhooks_refused_connections_total 0\n"));
}

#[tokio::test]
async fn what_is_under_way_is_answered_before_the_end() {
    let served = serve().await;
    let mut stream = served.connect(HOST).await.unwrap();
    let body = pod();
    let head = format!("POST /inject HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut idle = served.connect(HOST).await.unwrap();
    // Both are served by now: the server has answered one question on the idle one.
    idle.write_all(b"GET /ready HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(idle.read(&mut [0; 1024]).await.unwrap() > 0);
    let address = served.address;
    let ending = tokio::spawn(served.webhooks.end());
    assert_eq!(idle.read(&mut [0; 1024]).await.unwrap_or_default(), 0, "an idle one is closed at once");
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    ending.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn one_peer_has_not_all_connections() {
    let served = serve().await;
    let mut held = vec![];
    for _ in 0..server::CONNECTIONS / 8 {
        held.push(TcpStream::connect(served.address).await.unwrap());
    }
    let mut more = TcpStream::connect(served.address).await.unwrap();
    assert_eq!(more.read(&mut [0]).await.unwrap_or_default(), 0, "it is closed");
    assert!(served.webhooks.statistics()().contains("weir_webhooks_refused_connections_total 1\n"));
    // Another one is answered all the same.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let socket = socket.connect(served.address).await.unwrap();
    let mut other = served.tls.connect(ServerName::try_from(HOST).unwrap(), socket).await.unwrap();
    other.write_all(b"GET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let _ = other.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn who_has_a_root_of_its_own_takes_over_no_service_that_it_was_not_told_of() {
    let names = vec!["weir.test".to_owned()];
    let addresses = vec!["192.0.2.1".parse().unwrap()];
    let settings = Settings { revision: "canary".to_owned(), ..Settings::default() };
    let mut options = Options { names, addresses, has_services: false, settings, follows_mesh: false, native: Native::Always(false) };
    let is_kept = |options: &Options| [HOST, "weir.test", "192.0.2.1"].map(|host| kept(options).is_us(host));
    assert_eq!(is_kept(&options), [false, true, true]);
    assert!(called(&options).is_us(HOST), "its certificate has the name all the same");
    options.names.push(HOST.to_owned());
    assert_eq!(is_kept(&options), [true; 3]);
    (options.names, options.has_services) = (vec![], true);
    assert_eq!(is_kept(&options), [true, false, true]);
}
