//! Certificates that are none of this mesh, or no longer.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, SanType};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::log;
use crate::support::{Authority, Credentials, Proxy, SecureClient, Told, Upstream, cluster, routes, secure, to};

const HOUR: Duration = Duration::from_secs(3600);
const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/web";
const VERIFY: &str = "envoy_listener_ssl_fail_verify_error";
const NAMES: &str = "envoy_listener_ssl_fail_verify_san";

/// A mesh's root, the authority below it, and another one below it that it has revoked.
struct Mesh {
    root: Authority,
    own: Authority,
    revoked: Authority,
}

impl Mesh {
    fn new() -> Self {
        let root = Authority::new();
        let (own, revoked) = (root.below(2), root.below(3));
        Self { root, own, revoked }
    }

    /// What a sidecar asks of its clients: a certificate of this mesh.
    fn chain(&self) -> Value {
        let names = json!([{"sanType": "URI", "matcher": {"prefix": "spiffe://cluster.local/"}}]);
        let lists = self.root.revokes(&[3]) + &self.own.revokes(&[]);
        let validation =
            json!({"trustedCa": {"inlineString": self.root.pem()}, "crl": {"inlineString": lists}, "matchTypedSubjectAltNames": names});
        let own = self.root.credentials("a.test");
        let common = json!({"tlsCertificates": [own.certificate()], "validationContext": validation});
        json!({"transportSocket": secure("Downstream", json!({"commonTlsContext": common, "requireClientCertificate": true}))})
    }

    /// A certificate of an authority, and that authority's own.
    fn credentials(by: &Authority, change: impl FnOnce(&mut CertificateParams)) -> Credentials {
        let own = by.credentials_with("client.test", change);
        Credentials { chain: own.chain + &by.pem(), key: own.key }
    }
}

fn called(params: &mut CertificateParams, id: &str) {
    params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
}

/// What is shown of a mesh, the statistic that counts its refusal, and what the log says of it. None is let in.
type Attempt = (&'static str, fn(&Mesh) -> Option<Credentials>, &'static str, &'static str);

const ATTEMPTS: [Attempt; 9] = [
    (
        "a certificate of another trust domain",
        |mesh| Some(Mesh::credentials(&mesh.own, |params| called(params, "spiffe://other.test/ns/shop/sa/web"))),
        NAMES,
        "certificate SANs are [spiffe://other.test/ns/shop/sa/web]",
    ),
    (
        "a certificate of another mesh with the same trust domain",
        |_| Some(Mesh::credentials(&Authority::new(), |params| called(params, CLIENT))),
        VERIFY,
        "unable to get local issuer certificate",
    ),
    (
        "an expired certificate",
        |mesh| {
            Some(Mesh::credentials(&mesh.own, |params| {
                called(params, CLIENT);
                params.not_before = (SystemTime::now() - 2 * HOUR).into();
                params.not_after = (SystemTime::now() - HOUR).into();
            }))
        },
        VERIFY,
        "certificate has expired",
    ),
    (
        "a certificate that is not yet valid",
        |mesh| {
            Some(Mesh::credentials(&mesh.own, |params| {
                called(params, CLIENT);
                params.not_before = (SystemTime::now() + HOUR).into();
                params.not_after = (SystemTime::now() + 2 * HOUR).into();
            }))
        },
        VERIFY,
        "certificate is not yet valid",
    ),
    (
        "a wrong SPIFFE id: a trust domain that begins like the mesh's",
        |mesh| Some(Mesh::credentials(&mesh.own, |params| called(params, "spiffe://cluster.local.evil.test/ns/shop/sa/web"))),
        NAMES,
        "certificate SANs are [spiffe://cluster.local.evil.test/ns/shop/sa/web]",
    ),
    (
        "a wrong SPIFFE id: the mesh's in a URI of another scheme",
        |mesh| Some(Mesh::credentials(&mesh.own, |params| called(params, "https://spiffe//cluster.local/ns/shop/sa/web"))),
        NAMES,
        "certificate SANs are [https://spiffe//cluster.local/ns/shop/sa/web]",
    ),
    ("a certificate without a SPIFFE id", |mesh| Some(Mesh::credentials(&mesh.own, |_| {})), NAMES, "certificate SANs are [client.test]"),
    (
        "a certificate signed by a revoked intermediate",
        |mesh| Some(Mesh::credentials(&mesh.revoked, |params| called(params, CLIENT))),
        VERIFY,
        "certificate revoked",
    ),
    ("no certificate at all", |_| None, "envoy_listener_ssl_fail_verify_no_cert", "peer sent no certificates"),
];

/// What a client of a mesh hears that shows this, and its address.
async fn heard(proxy: &Proxy, mesh: &Mesh, shown: Option<&Credentials>) -> (String, SocketAddr) {
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    let address = stream.local_addr().unwrap();
    let client = SecureClient { authority: &mesh.root, shown };
    // The refusal may come with the handshake's end, or behind it.
    let Ok(mut client) = client.shake_hands(stream, "a.test").await else { return (String::new(), address) };
    client.say_or_end("GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n").await;
    (client.end().await, address)
}

#[tokio::test]
async fn a_certificate_that_is_none_of_the_mesh_is_refused_counted_and_named() {
    log::keep();
    for (attempt, make, statistic, said) in ATTEMPTS {
        // Each has a proxy of its own, which tells of one client in a second.
        let (mesh, instance) = (Mesh::new(), Upstream::start().await);
        let clusters = vec![cluster("a", &[&instance], json!({}))];
        let told = Told { chain: mesh.chain(), routes: routes(json!([to("a")])), clusters, ..Told::default() };
        let proxy = Proxy::told(told).await;
        let (answer, address) = heard(&proxy, &mesh, make(&mesh).as_ref()).await;
        assert_eq!(answer, "", "{attempt}");
        proxy.counts(statistic, 1).await;
        let line = log::line_about(&format!("remote={address} ")).await;
        assert!(line.contains("a client is not let in") && line.contains(said), "{attempt}: {line}");
        assert!(instance.was_left_alone(), "{attempt}");
    }
}

#[tokio::test]
async fn a_certificate_of_the_mesh_is_let_in() {
    let (mesh, instance) = (Mesh::new(), Upstream::start().await);
    let clusters = vec![cluster("a", &[&instance], json!({}))];
    let told = Told { chain: mesh.chain(), routes: routes(json!([to("a")])), clusters, ..Told::default() };
    let proxy = Proxy::told(told).await;
    instance.answer_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let own = Mesh::credentials(&mesh.own, |params| called(params, CLIENT));
    let (answer, _) = heard(&proxy, &mesh, Some(&own)).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}
