//! Proxies of other machines that show what is not theirs, by TLS: streams and requests for certificates.

mod client;
mod mesh;

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair, SanType};
use tonic::Code;
use weir_ads::certificates::IstioCertificateRequest;
use weir_pilot::{Bound, Grant};
use weir_xds::core::Node;
use weir_xds::values::structure;

use crate::{counted, log};
use client::{Connection, Shows};
use mesh::{HOUR, Mesh, Signed};

const CREDENTIAL: &str = "weir_xds_refused_streams_total{reason=\"credential\"}";
const IDENTITY: &str = "weir_xds_refused_streams_total{reason=\"identity\"}";
const NODE: &str = "weir_xds_refused_streams_total{reason=\"node\"}";
const NOT_KNOWN: &str = "citadel_server_authentication_failure_count";
const NO_IDENTITY: &str = "citadel_server_id_extraction_err_count";

const CART: &str = "sidecar~10.0.0.1~cart.shop~shop.svc.cluster.local";
const BANK: &str = "sidecar~10.0.0.2~bank.money~money.svc.cluster.local";

/// A node that says this of its namespace and labels.
fn node(id: &str, metadata: &serde_json::Value) -> Node {
    let metadata = metadata.as_object().map(structure);
    Node { id: id.to_owned(), metadata: Some(metadata.unwrap_or_default()), ..Node::default() }
}

/// What somebody shows, the node that he says he is, the statistic that counts the refusal, its status, and what the log names.
type Attempt = (&'static str, fn(&Mesh) -> Shows, fn() -> Node, &'static str, Code, &'static str);

fn cart() -> Node {
    node(CART, &serde_json::json!({}))
}

fn token(mesh: &Mesh) -> Shows {
    Shows::token(&mesh.token(&mesh.grant("shop", "cart"), SystemTime::now()))
}

fn certificate(mesh: &Mesh) -> Shows {
    mesh.certificate(&Signed::default())
}

/// An instance that registers itself in the group of carts, at this address and in this network.
fn registers(address: &str, network: &str) -> Node {
    let entry = weir_pilot::node::name_of_instance("carts", address, network);
    let metadata = serde_json::json!({"AUTO_REGISTER_GROUP": "carts", "INSTANCE_IPS": address, "NETWORK": network});
    node(&format!("sidecar~10.0.0.9~{entry}.shop~shop.svc.cluster.local"), &metadata)
}

const STREAMS: [Attempt; 25] = [
    (
        "nothing at all",
        |_| Shows::default(),
        cart,
        CREDENTIAL,
        Code::Unauthenticated,
        "shows neither a certificate of the mesh nor a token",
    ),
    (
        "a stolen token of another account",
        |mesh| Shows::token(&mesh.token(&mesh.grant("money", "bank"), SystemTime::now())),
        cart,
        IDENTITY,
        Code::PermissionDenied,
        "is not of ns/money/sa/bank",
    ),
    (
        "a stolen token of another account of the namespace",
        |mesh| Shows::token(&mesh.token(&mesh.grant("shop", "till"), SystemTime::now())),
        cart,
        IDENTITY,
        Code::PermissionDenied,
        "its workload is ns/shop/sa/cart",
    ),
    (
        "a stolen token of another workload of the account",
        |mesh| {
            let grant = Grant { workload: Some(Bound::Entry("cart-2".to_owned())), ..mesh.grant("shop", "cart") };
            Shows::token(&mesh.token(&grant, SystemTime::now()))
        },
        cart,
        IDENTITY,
        Code::PermissionDenied,
        "its token is for WorkloadEntry cart-2",
    ),
    (
        "a token that has ended",
        |mesh| Shows::token(&mesh.token(&mesh.grant("shop", "cart"), SystemTime::now() - 2 * HOUR)),
        cart,
        CREDENTIAL,
        Code::Unauthenticated,
        "the token of \"spiffe://cluster.local/ns/shop/sa/cart\" has ended",
    ),
    (
        "a token of another mesh",
        |mesh| Shows::token(&Mesh::other().sign(&mesh.grant("shop", "cart"), SystemTime::now()).unwrap()),
        cart,
        CREDENTIAL,
        Code::Unauthenticated,
        "the token is not one of this mesh",
    ),
    (
        "a token of another trust domain",
        |mesh| {
            let grant = Grant { trust_domain: "other".to_owned(), ..mesh.grant("shop", "cart") };
            Shows::token(&mesh.token(&grant, SystemTime::now()))
        },
        cart,
        CREDENTIAL,
        Code::Unauthenticated,
        "the token of \"spiffe://other/ns/shop/sa/cart\" is of another trust domain",
    ),
    (
        "a token with `none`",
        |mesh| Shows::token(&Mesh::unsigned(&mesh.token(&mesh.grant("shop", "cart"), SystemTime::now()))),
        cart,
        CREDENTIAL,
        Code::Unauthenticated,
        "the token is not one of this mesh",
    ),
    ("a token that is none", |_| Shows::token("cart"), cart, CREDENTIAL, Code::Unauthenticated, "the token is not one of this mesh"),
    (
        "a node that claims a namespace not its own",
        token,
        || node("sidecar~10.0.0.1~cart.money~money.svc.cluster.local", &serde_json::json!({})),
        IDENTITY,
        Code::PermissionDenied,
        "claims the namespace \"money\"",
    ),
    ("a node that is another workload", token, || node(BANK, &serde_json::json!({})), IDENTITY, Code::PermissionDenied, "bank.money"),
    (
        "a node that claims labels not its own",
        token,
        || node(CART, &serde_json::json!({"LABELS": {"app": "till"}})),
        IDENTITY,
        Code::PermissionDenied,
        "label app=till",
    ),
    (
        "a node that claims the address of another, too",
        token,
        || node(CART, &serde_json::json!({"INSTANCE_IPS": "10.0.0.1,10.0.0.2"})),
        IDENTITY,
        Code::PermissionDenied,
        "10.0.0.1,10.0.0.2",
    ),
    (
        "a node that registers itself in a group of others",
        token,
        || node("sidecar~10.0.0.9~tills-10.0.0.9.shop~shop.svc.cluster.local", &serde_json::json!({"AUTO_REGISTER_GROUP": "tills"})),
        IDENTITY,
        Code::PermissionDenied,
        "its workload is ns/shop/sa/till",
    ),
    (
        "an instance at the address of another account",
        token,
        || registers("10.0.0.3", ""),
        IDENTITY,
        Code::PermissionDenied,
        "its address is that of WorkloadEntry shop/till",
    ),
    (
        "the same, in a network that no entry can have",
        token,
        || registers("10.0.0.3", "n !"),
        IDENTITY,
        Code::PermissionDenied,
        "its address is that of WorkloadEntry shop/till",
    ),
    (
        "an instance in a network that no entry can have",
        token,
        || registers("10.0.0.9", "n !"),
        NODE,
        Code::InvalidArgument,
        "its WorkloadEntry would be none",
    ),
    (
        "an instance at the address of every machine itself",
        token,
        || registers("127.0.0.1", ""),
        IDENTITY,
        Code::PermissionDenied,
        "its address 127.0.0.1 leads to no other machine",
    ),
    (
        "an instance where clouds tell of their secrets",
        certificate,
        || registers("169.254.169.254", ""),
        IDENTITY,
        Code::PermissionDenied,
        "its address 169.254.169.254 leads to no other machine",
    ),
    ("an instance at a socket", token, || registers("unix:///run/docker.sock", ""), IDENTITY, Code::PermissionDenied, "is no IP address"),
    (
        "a gateway",
        certificate,
        || node("router~10.0.0.1~cart.shop~shop.svc.cluster.local", &serde_json::json!({})),
        IDENTITY,
        Code::PermissionDenied,
        "its workload has a sidecar",
    ),
    (
        "a certificate of another authority",
        |mesh| mesh.certificate(&Signed { by_another: true, ..Signed::default() }),
        cart,
        CREDENTIAL,
        Code::Unauthenticated,
        "the certificate of \"spiffe://cluster.local/ns/shop/sa/cart\" is of another authority",
    ),
    (
        "a certificate of another trust domain",
        |mesh| mesh.certificate(&Signed { id: "spiffe://other/ns/shop/sa/cart", ..Signed::default() }),
        cart,
        CREDENTIAL,
        Code::Unauthenticated,
        "the certificate of \"spiffe://other/ns/shop/sa/cart\" is of another trust domain",
    ),
    (
        "a certificate that has ended",
        |mesh| mesh.certificate(&Signed { from: SystemTime::now() - 2 * HOUR, ..Signed::default() }),
        cart,
        CREDENTIAL,
        Code::Unauthenticated,
        "the certificate of \"spiffe://cluster.local/ns/shop/sa/cart\" has ended",
    ),
    (
        "a certificate that does not hold yet, with a good token beside it",
        |mesh| Shows { token: token(mesh).token, ..mesh.certificate(&Signed { from: SystemTime::now() + HOUR, ..Signed::default() }) },
        cart,
        CREDENTIAL,
        Code::Unauthenticated,
        "the certificate of \"spiffe://cluster.local/ns/shop/sa/cart\" does not hold yet",
    ),
];

#[tokio::test]
async fn who_is_somebody_else_follows_from_no_other_machine_and_is_counted_and_named() {
    let _alone = log::alone().await;
    for (attempt, shows, node, statistic, code, named) in STREAMS {
        // Each has a pilot of its own, which tells of one in ten seconds.
        let mesh = Mesh::start().await;
        log::forget();
        let status = client::follow(mesh.address, &mesh.root, shows(&mesh), node()).await.unwrap_err();
        assert_eq!(status.code(), code, "{attempt}: {status:?}");
        assert!(status.message().contains(named), "{attempt}: {}", status.message());
        counted(&mesh.pilot, statistic, 1);
        let line = log::line_about("an xDS stream is refused").await;
        assert!(line.contains(named), "{attempt}: {line}");
    }
}

#[tokio::test]
async fn who_shows_who_he_is_follows_from_another_machine() {
    let labels = serde_json::json!({"NAMESPACE": "shop", "LABELS": {"app": "cart"}});
    for (attempt, shows, node) in [
        ("a token", token as fn(&Mesh) -> Shows, cart()),
        ("a certificate", certificate, cart()),
        ("a node that says what is so", token, node(CART, &labels)),
        (
            "an instance of a group",
            token,
            node("sidecar~10.0.0.9~carts-10.0.0.9.shop~shop.svc.cluster.local", &serde_json::json!({"AUTO_REGISTER_GROUP": "carts"})),
        ),
    ] {
        let mesh = Mesh::start().await;
        let followed = client::follow(mesh.address, &mesh.root, shows(&mesh), node).await;
        assert!(followed.is_ok_and(|bytes| bytes > 0), "{attempt}");
        for statistic in [CREDENTIAL, IDENTITY] {
            counted(&mesh.pilot, statistic, 0);
        }
    }
}

fn csr(names: &[&str]) -> String {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names.iter().map(|name| SanType::URI((*name).try_into().unwrap())).collect();
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

/// A request as Istio's agents make it: they name no node.
fn of_istio(names: &[&str]) -> IstioCertificateRequest {
    IstioCertificateRequest { csr: csr(names), validity_duration: 60, metadata: None }
}

fn named(id: &str) -> IstioCertificateRequest {
    IstioCertificateRequest::new(id, csr(&[]), 60)
}

type Request = (&'static str, fn(&Mesh) -> Shows, fn() -> IstioCertificateRequest, &'static str, Code, &'static str);

const REQUESTS: [Request; 9] = [
    ("nothing at all", |_| Shows::default(), || named(CART), NOT_KNOWN, Code::Unauthenticated, "neither a certificate"),
    (
        "a token that has ended",
        |mesh| Shows::token(&mesh.token(&mesh.grant("shop", "cart"), SystemTime::now() - 2 * HOUR)),
        || named(CART),
        NOT_KNOWN,
        Code::Unauthenticated,
        "has ended",
    ),
    (
        "a token with `none`",
        |mesh| Shows::token(&Mesh::unsigned(&mesh.token(&mesh.grant("shop", "cart"), SystemTime::now()))),
        || named(CART),
        NOT_KNOWN,
        Code::Unauthenticated,
        "not one of this mesh",
    ),
    ("a token for another node", token, || named(BANK), NO_IDENTITY, Code::PermissionDenied, "bank.money"),
    (
        "a token for the request of another identity",
        token,
        || of_istio(&["spiffe://cluster.local/ns/money/sa/bank"]),
        NO_IDENTITY,
        Code::PermissionDenied,
        "spiffe://cluster.local/ns/money/sa/bank",
    ),
    (
        "a token for the request of two identities",
        token,
        || of_istio(&["spiffe://cluster.local/ns/shop/sa/cart", "spiffe://cluster.local/ns/money/sa/bank"]),
        NO_IDENTITY,
        Code::PermissionDenied,
        "spiffe://cluster.local/ns/money/sa/bank",
    ),
    (
        "a token of an account that the mesh knows no more",
        |mesh| Shows::token(&mesh.token(&mesh.grant("shop", "gone"), SystemTime::now())),
        || of_istio(&[]),
        NO_IDENTITY,
        Code::PermissionDenied,
        "no workload of ns/shop/sa/gone",
    ),
    (
        "a certificate for another node",
        certificate,
        || named("sidecar~10.0.0.3~till.shop~shop.svc.cluster.local"),
        NO_IDENTITY,
        Code::PermissionDenied,
        "is not ns/shop/sa/cart",
    ),
    (
        "a certificate of another authority",
        |mesh| mesh.certificate(&Signed { by_another: true, ..Signed::default() }),
        || named(CART),
        NOT_KNOWN,
        Code::Unauthenticated,
        "of another authority",
    ),
];

#[tokio::test]
async fn who_is_somebody_else_gets_no_certificate_from_another_machine_and_is_counted_and_named() {
    let _alone = log::alone().await;
    for (attempt, shows, request, statistic, code, named) in REQUESTS {
        let mesh = Mesh::start().await;
        log::forget();
        let status = client::certify(mesh.address, &mesh.root, shows(&mesh), request()).await.unwrap_err();
        assert_eq!(status.code(), code, "{attempt}: {status:?}");
        assert!(status.message().contains(named), "{attempt}: {}", status.message());
        counted(&mesh.pilot, statistic, 1);
        counted(&mesh.pilot, "citadel_server_success_cert_issuance_count", 0);
        let line = log::line_about("no certificate is issued to").await;
        assert!(line.contains("127.0.0.1"), "{attempt}: {line}");
    }
}

#[tokio::test]
async fn who_shows_who_he_is_gets_his_certificate_and_no_proof_of_ours() {
    for (attempt, shows, request) in [
        ("a token", token as fn(&Mesh) -> Shows, named(CART)),
        ("a certificate", certificate, named(CART)),
        ("as Istio's agents ask", token, of_istio(&["spiffe://cluster.local/ns/shop/sa/cart"])),
    ] {
        let mesh = Mesh::start().await;
        let answer = client::certify(mesh.address, &mesh.root, shows(&mesh), request).await.unwrap();
        let issued = x509_parser::pem::parse_x509_pem(answer.cert_chain[0].as_bytes()).unwrap().1;
        let issued = String::from_utf8_lossy(&issued.contents).into_owned();
        assert!(issued.contains("spiffe://cluster.local/ns/shop/sa/cart"), "{attempt}");
        assert_eq!(answer.proof, "", "{attempt}: what shows that we are of a user is for his processes alone");
    }
}

#[tokio::test]
async fn a_stream_ends_with_what_was_shown() {
    let _alone = log::alone().await;
    let mesh = Mesh::start().await;
    let grant = Grant { lifetime: Duration::from_secs(2), ..mesh.grant("shop", "cart") };
    let shows = Shows::token(&mesh.token(&grant, SystemTime::now()));
    let status = client::stay(mesh.address, &mesh.root, shows, cart()).await;
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    assert!(status.message().contains("has ended"), "{}", status.message());
}

#[tokio::test]
async fn a_connection_ends_with_its_certificate() {
    let mesh = Mesh::start().await;
    let mut left = Duration::from_secs(3);
    let connection = loop {
        let signed = Signed::default();
        let lasts = Duration::from_secs(60) + left;
        let mut connection = Connection::open(mesh.address, &mesh.root, mesh.certificate(&Signed { lasts, ..signed })).await;
        if connection.certify(named(CART)).await.is_ok() {
            break connection;
        }
        // It had ended before it was looked at: this machine is slow.
        left *= 4;
        assert!(left < HOUR, "no certificate is accepted");
    };
    assert!(tokio::time::timeout(left + Duration::from_secs(120), connection.ended()).await.is_ok());
}

#[tokio::test]
async fn who_speaks_no_tls_is_not_served() {
    let _alone = log::alone().await;
    let mesh = Mesh::start().await;
    log::forget();
    let plain = weir_ads::grpc::client::create_certificate(&mesh.address.to_string(), named(CART)).await;
    assert!(plain.is_err());
    log::line_about("a proxy of another machine cannot connect").await;
    counted(&mesh.pilot, "weir_xds_failed_handshakes_total", 1);
}
