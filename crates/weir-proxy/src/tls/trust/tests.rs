use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use serde_json::{Value, json};
use weir_xds::tls::CertificateValidationContext;

use super::*;

/// An authority and what it vouches for; its own certificate, and those above it.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    chain: Vec<rcgen::Certificate>,
}

impl Authority {
    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    fn root(name: &str) -> Self {
        let (params, key) = (Self::params(name), KeyPair::generate().unwrap());
        let certificate = params.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(params, key), chain: vec![certificate] }
    }

    fn below(&self, name: &str) -> Self {
        let (params, key) = (Self::params(name), KeyPair::generate().unwrap());
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Self { issuer: Issuer::new(params, key), chain: [certificate].into_iter().chain(self.chain.iter().cloned()).collect() }
    }

    /// For this host; `change` says what is special of it.
    fn vouches_for(&self, host: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        change(&mut params);
        params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap().der().clone()
    }

    fn pem(&self) -> Value {
        json!({"inlineString": self.chain.last().unwrap().pem()})
    }

    /// Between what it vouches for and the root.
    fn others(&self) -> Vec<CertificateDer<'static>> {
        self.chain.iter().take(self.chain.len() - 1).map(|certificate| certificate.der().clone()).collect()
    }

    fn revoking(&self, serials: &[u64]) -> Value {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        json!({"inlineString": list.signed_by(&self.issuer).unwrap().pem().unwrap()})
    }
}

fn trust(context: Value) -> Trust {
    let context: CertificateValidationContext = weir_xds::json::from_value(context).unwrap();
    Trust::new(&Validation::compile(&context).unwrap().check().unwrap()).unwrap()
}

fn verdict_of(trust: &Trust, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>], side: Side, host: Option<&str>) -> String {
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_900_000_000));
    match trust.verify(&Shown { leaf, others }, now, side, host) {
        Ok(()) => "holds".to_owned(),
        Err(refusal) => refusal.to_string(),
    }
}

fn verdict(context: Value, leaf: &CertificateDer<'_>) -> String {
    verdict_of(&trust(context), leaf, &[], Side::Server, None)
}

/// How it begins where the chain does not hold.
const CHAIN: &str = "verify cert failed: X509_verify_cert: ";

const EXPIRED: fn(&mut CertificateParams) = |params| params.not_after = date_time_ymd(2021, 1, 1);

#[test]
fn somebody_who_is_trusted_must_vouch_for_it() {
    let (root, other) = (Authority::root("root"), Authority::root("other"));
    let good = root.vouches_for("a.test", |_| {});
    assert_eq!(verdict(json!({"trustedCa": root.pem()}), &good), "holds");
    assert_eq!(verdict(json!({"trustedCa": other.pem()}), &good), format!("{CHAIN}unable to get local issuer certificate"));
    let untrusted = json!({"trustedCa": other.pem(), "trustChainVerification": "ACCEPT_UNTRUSTED"});
    assert_eq!(verdict(untrusted, &good), "holds");
    assert_eq!(verdict(json!({}), &good), "holds");
    // One that vouches for itself, as `openssl req -x509` makes them, and as rcgen does.
    let own = other.chain[0].der().clone();
    assert_eq!(verdict(json!({"trustedCa": other.pem()}), &own), "holds");
    assert_eq!(
        verdict(json!({"trustedCa": root.pem()}), &own),
        format!("{CHAIN}an authority's own certificate, which is not trusted itself")
    );
}

#[test]
fn its_time_must_have_come_and_not_be_over_unless_that_is_allowed() {
    let root = Authority::root("root");
    let old = root.vouches_for("a.test", EXPIRED);
    let new = root.vouches_for("a.test", |params| params.not_before = date_time_ymd(3000, 1, 1));
    let (plain, lenient) = (json!({"trustedCa": root.pem()}), json!({"trustedCa": root.pem(), "allowExpiredCertificate": true}));
    assert_eq!(verdict(plain.clone(), &old), format!("{CHAIN}certificate has expired"));
    assert_eq!(verdict(plain, &new), format!("{CHAIN}certificate is not yet valid"));
    assert_eq!(verdict(lenient.clone(), &old), "holds");
    assert_eq!(verdict(lenient.clone(), &new), "holds");
    let other = Authority::root("other").vouches_for("a.test", EXPIRED);
    assert_eq!(verdict(lenient, &other), format!("{CHAIN}unable to get local issuer certificate"));
}

#[test]
fn it_must_be_for_those_who_are_asked_for() {
    let root = Authority::root("root");
    let leaf = root.vouches_for("a.test", |_| {});
    let names =
        |text: &str| json!({"trustedCa": root.pem(), "matchTypedSubjectAltNames": [{"sanType": "DNS", "matcher": {"exact": text}}]});
    assert_eq!(verdict(names("a.test"), &leaf), "holds");
    assert_eq!(verdict(names("b.test"), &leaf), "verify cert failed: SAN matcher, certificate SANs are [a.test]");
    let of_host = |host: &str| verdict_of(&trust(json!({"trustedCa": root.pem()})), &leaf, &[], Side::Server, Some(host));
    assert_eq!(of_host("a.test"), "holds");
    assert_eq!(
        verdict_of(&trust(json!({})), &leaf, &[], Side::Server, Some("a.test")),
        "verify cert failed: no trusted CA for the SAN list"
    );
    assert_eq!(of_host("b.test"), "verify cert failed: verify SAN list, expected SANs: [b.test], certificate SANs: [a.test]");
}

#[test]
fn it_may_be_known_by_its_hash_or_that_of_its_key() {
    use base64::Engine as _;
    let root = Authority::root("root");
    let (leaf, other) = (root.vouches_for("a.test", |_| {}), root.vouches_for("a.test", |_| {}));
    let hexadecimal: String = sha256(&leaf).iter().map(|byte| format!("{byte:02x}")).collect();
    let key = base64::engine::general_purpose::STANDARD.encode(sha256(Certificate::read(&leaf).unwrap().key));
    for context in [json!({"verifyCertificateHash": [hexadecimal]}), json!({"verifyCertificateSpki": [key]})] {
        assert_eq!(verdict(context.clone(), &leaf), "holds");
        assert_eq!(verdict(context, &other), "verify cert failed: cert hash and spki");
    }
    let wrong = json!({"verifyCertificateHash": ["00".repeat(32)], "verifyCertificateSpki": [key]});
    assert_eq!(verdict(wrong, &leaf), "holds");
}

#[test]
fn what_was_revoked_does_not_hold() {
    let root = Authority::root("root");
    let numbered = |serial: u64| root.vouches_for("a.test", |params| params.serial_number = Some(SerialNumber::from(serial)));
    let context = json!({"trustedCa": root.pem(), "crl": root.revoking(&[7])});
    assert_eq!(verdict(context.clone(), &numbered(7)), format!("{CHAIN}certificate revoked"));
    assert_eq!(verdict(context, &numbered(8)), "holds");
    // A list of every authority is needed, unless only the leaf matters.
    let middle = root.below("middle");
    let leaf = middle.vouches_for("a.test", |_| {});
    let of = |more: Value| {
        let mut context = json!({"trustedCa": root.pem(), "crl": middle.revoking(&[])});
        context.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        verdict_of(&trust(context), &leaf, &middle.others(), Side::Server, None)
    };
    assert_eq!(of(json!({})), format!("{CHAIN}unable to get certificate CRL"));
    assert_eq!(of(json!({"onlyVerifyLeafCertCrl": true})), "holds");
}

#[test]
fn its_chain_may_not_be_longer_than_is_allowed() {
    let root = Authority::root("root");
    let low = root.below("middle").below("low");
    let leaf = low.vouches_for("a.test", |_| {});
    let at_most = |depth: u32| {
        verdict_of(&trust(json!({"trustedCa": root.pem(), "maxVerifyDepth": depth})), &leaf, &low.others(), Side::Server, None)
    };
    assert_eq!((at_most(2), at_most(1)), ("holds".to_owned(), format!("{CHAIN}certificate chain too long")));
}

#[test]
fn it_must_be_meant_for_its_side() {
    let root = Authority::root("root");
    let server = root.vouches_for("a.test", |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let of = |side: Side| verdict_of(&trust(json!({"trustedCa": root.pem()})), &server, &[], side, None);
    assert_eq!((of(Side::Server), of(Side::Client)), ("holds".to_owned(), format!("{CHAIN}unsupported certificate purpose")));
}
