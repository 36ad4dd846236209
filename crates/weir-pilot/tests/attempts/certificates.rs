//! Certificates of somebody else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair};
use tonic::Code;
use weir_ads::certificates::{self, Caller, IstioCertificateRequest};
use weir_api::{Source, parse};
use weir_pilot::{Authority, Secret};
use weir_registry::Catalog;

use crate::{counted, log, pilot};

const MESH: &str = "apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart, namespace: shop}
spec: {address: 10.0.0.1, serviceAccount: cart}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: bank, namespace: money}
spec: {address: 10.0.0.2, serviceAccount: bank}
";

const NOT_KNOWN: &str = "citadel_server_authentication_failure_count";
const NO_IDENTITY: &str = "citadel_server_id_extraction_err_count";
const NO_REQUEST: &str = "citadel_server_csr_parsing_err_count";

fn cart() -> String {
    node("10.0.0.1", "cart", "shop")
}

fn node(address: &str, name: &str, namespace: &str) -> String {
    format!("sidecar~{address}~{name}.{namespace}~{namespace}.svc.cluster.local")
}

fn csr() -> String {
    CertificateParams::default().serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

/// A request of which the signature is not by its key.
fn forged() -> String {
    let (_, der) = x509_parser::pem::parse_x509_pem(csr().as_bytes()).unwrap();
    let mut der = der.contents;
    *der.last_mut().unwrap() ^= 1;
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n", STANDARD.encode(der))
}

fn request(node: &str, csr: String) -> IstioCertificateRequest {
    IstioCertificateRequest::new(node, csr, 60)
}

/// The same request with its proof, but of another node.
fn of_another(mut signed: IstioCertificateRequest, node: &str) -> IstioCertificateRequest {
    let named = request(node, String::new()).metadata.unwrap();
    signed.metadata.as_mut().unwrap().fields.extend(named.fields);
    signed
}

/// What is asked, from which address, the statistic that counts its refusal, the status, and what the log names.
type Attempt = (&'static str, fn(&Secret) -> IstioCertificateRequest, &'static str, &'static str, Code, &'static str);

const HERE: &str = "127.0.0.1:40001";
const ELSEWHERE: &str = "192.0.2.1:40002";

const ATTEMPTS: [Attempt; 9] = [
    (
        "a stolen token of another service account",
        |secret| {
            let stolen = secret.sign_request(request(&cart(), csr())).unwrap().proof().unwrap().to_owned();
            request(&node("10.0.0.2", "bank", "money"), csr()).with_proof(&stolen)
        },
        HERE,
        NOT_KNOWN,
        Code::Unauthenticated,
        "sidecar~10.0.0.2~bank.money~money.svc.cluster.local at 127.0.0.1:40001",
    ),
    (
        "a stolen token of another service account, with the request that it was for",
        |secret| {
            let signed = secret.sign_request(request(&cart(), csr())).unwrap();
            of_another(signed, &node("10.0.0.2", "bank", "money"))
        },
        HERE,
        NOT_KNOWN,
        Code::Unauthenticated,
        "bank.money",
    ),
    (
        "a stolen token, for another key",
        |secret| {
            let signed = secret.sign_request(request(&cart(), csr())).unwrap();
            IstioCertificateRequest { csr: csr(), ..signed }
        },
        HERE,
        NOT_KNOWN,
        Code::Unauthenticated,
        "cart.shop",
    ),
    ("no token", |_| request(&cart(), csr()), HERE, NOT_KNOWN, Code::Unauthenticated, "cart.shop"),
    (
        "a good token, from a non-local address",
        |secret| secret.sign_request(request(&cart(), csr())).unwrap(),
        ELSEWHERE,
        NOT_KNOWN,
        Code::Unauthenticated,
        "at 192.0.2.1:40002",
    ),
    (
        "a node that claims a namespace not its own",
        |secret| secret.sign_request(request(&node("10.0.0.1", "cart", "money"), csr())).unwrap(),
        HERE,
        NO_IDENTITY,
        Code::FailedPrecondition,
        "cart.money",
    ),
    (
        "a node that claims the address of another",
        |secret| secret.sign_request(request(&node("10.0.0.2", "cart", "shop"), csr())).unwrap(),
        HERE,
        NO_IDENTITY,
        Code::FailedPrecondition,
        "sidecar~10.0.0.2~cart.shop",
    ),
    (
        "a namespace that could be read as another identity",
        |secret| secret.sign_request(request("router~0.0.0.0~gw.money/sa/bank~x.svc.cluster.local", csr())).unwrap(),
        HERE,
        NO_IDENTITY,
        Code::InvalidArgument,
        "gw.money/sa/bank",
    ),
    (
        "a request that is not signed by its key",
        |secret| secret.sign_request(request(&cart(), forged())).unwrap(),
        HERE,
        NO_REQUEST,
        Code::InvalidArgument,
        "cart.shop",
    ),
];

#[tokio::test]
async fn who_is_somebody_else_gets_no_certificate_and_is_counted_and_named() {
    let _alone = log::alone().await;
    let catalog = || Catalog::of(parse(&Source::new("mesh.yaml", MESH)).objects);
    for (attempt, make, from, statistic, code, named) in ATTEMPTS {
        // Each has a pilot of its own, which tells of one in ten seconds.
        let (state, pilot) = (tempfile::tempdir().unwrap(), pilot(catalog()));
        let asked = pilot.certificates(Authority::in_memory("cluster.local").unwrap(), Some(Secret::kept_in(state.path()).unwrap()));
        log::forget();
        let request = make(&Secret::read(state.path()).unwrap());
        let refused = certificates::call(&asked, Caller::Connected(from.parse().unwrap()), request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{attempt}: {refused}");
        for (name, count) in [(statistic, 1), ("citadel_server_csr_count", 1), ("citadel_server_success_cert_issuance_count", 0)] {
            counted(&pilot, name, count);
        }
        let line = log::line_about("no certificate is issued to").await;
        assert!(line.contains(named) && line.contains(refused.message()), "{attempt}: {line}");
        let good = Secret::read(state.path()).unwrap().sign_request(request_of_cart()).unwrap();
        certificates::call(&asked, Caller::Connected(HERE.parse().unwrap()), good).await.unwrap();
        counted(&pilot, "citadel_server_success_cert_issuance_count", 1);
    }
}

fn request_of_cart() -> IstioCertificateRequest {
    request(&cart(), csr())
}
