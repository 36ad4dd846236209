//! A mesh whose pilot serves other machines, and an authority that signs whatever a test wants.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use tempfile::TempDir;
use tokio::net::TcpListener;
use weir_api::{Source, parse};
use weir_model::Identity;
use weir_pilot::{Authority, Grant, Pilot, PilotNames, Tokens};
use weir_registry::Catalog;

use super::client::Shows;
use crate::pilot;

pub(super) const HOUR: Duration = Duration::from_secs(3600);

const RESOURCES: &str = "apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart, namespace: shop}
spec: {address: 10.0.0.1, serviceAccount: cart, labels: {app: cart}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: till, namespace: shop}
spec: {address: 10.0.0.3, serviceAccount: till, labels: {app: till}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: bank, namespace: money}
spec: {address: 10.0.0.2, serviceAccount: bank}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: carts, namespace: shop}
spec: {template: {serviceAccount: cart}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: tills, namespace: shop}
spec: {template: {serviceAccount: till}}
";

pub(super) struct Mesh {
    pub pilot: Pilot,
    pub address: SocketAddr,
    /// The mesh's root, as PEM.
    pub root: String,
    tokens: Tokens,
    authority: Issuer<'static, KeyPair>,
    _state: TempDir,
}

/// What a certificate is to be.
pub(super) struct Signed {
    pub id: &'static str,
    /// When it begins to hold, and for how long.
    pub from: SystemTime,
    pub lasts: Duration,
    pub by_another: bool,
}

impl Default for Signed {
    fn default() -> Self {
        let from = SystemTime::now() - Duration::from_secs(60);
        Self { id: "spiffe://cluster.local/ns/shop/sa/cart", from, lasts: HOUR, by_another: false }
    }
}

/// An authority, and its own certificate as PEM.
fn authority() -> (Issuer<'static, KeyPair>, String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "mesh");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let (own, written) = (params.self_signed(&key).unwrap().pem(), key.serialize_pem());
    (Issuer::new(params, key), own, written)
}

impl Mesh {
    pub async fn start() -> Self {
        let (state, (issuer, own, key)) = (TempDir::new().unwrap(), authority());
        for (name, text) in [("ca-cert.pem", &own), ("ca-key.pem", &key), ("cert-chain.pem", &own), ("root-cert.pem", &own)] {
            std::fs::write(state.path().join(name), text).unwrap();
        }
        let kept = tempfile::tempdir_in(state.path()).unwrap();
        let tokens = || Tokens::kept_in(kept.path()).unwrap();
        let followed = Authority::of_folder(state.path()).unwrap().follow();
        let pilot = pilot(Catalog::of(parse(&Source::new("mesh.yaml", RESOURCES)).objects));
        drop(pilot.certify(&followed, None, Some(tokens())));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(pilot.secure(PilotNames::default(), &followed, 1000).serve(listener));
        Self { pilot, address, root: own, tokens: tokens(), authority: issuer, _state: state }
    }

    /// The key of another mesh.
    pub fn other() -> Tokens {
        Tokens::kept_in(tempfile::tempdir().unwrap().path()).unwrap()
    }

    /// What a token of an account says.
    pub fn grant(&self, namespace: &str, account: &str) -> Grant {
        let identity = Identity::new(namespace, account);
        Grant { trust_domain: "cluster.local".to_owned(), identity, workload: None, lifetime: HOUR }
    }

    pub fn token(&self, grant: &Grant, now: SystemTime) -> String {
        self.tokens.sign(grant, now).unwrap()
    }

    /// The same claims, signed by nobody.
    pub fn unsigned(token: &str) -> String {
        let payload = token.split('.').nth(1).unwrap();
        format!("{}.{payload}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode("none"))
    }

    pub fn certificate(&self, signed: &Signed) -> Shows {
        let (other, ..) = authority();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(signed.id.try_into().unwrap())];
        (params.not_before, params.not_after) = (signed.from.into(), (signed.from + signed.lasts).into());
        let made = params.signed_by(&key, if signed.by_another { &other } else { &self.authority }).unwrap();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let certified = CertifiedKey::new(vec![made.der().clone()], any_supported_type(&private).unwrap());
        Shows { certificate: Some(Arc::new(certified)), token: None }
    }
}
