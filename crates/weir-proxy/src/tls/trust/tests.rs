use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
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

#[test]
fn a_file_without_a_list_takes_the_place_of_none() {
    use crate::tls::secrets::Secrets;
    use weir_config::tls::SecretSource;
    let (root, folder) = (Authority::root("root"), tempfile::tempdir().unwrap());
    let path = folder.path().join("crl.pem");
    let list = root.revoking(&[7])["inlineString"].as_str().unwrap().to_owned();
    std::fs::write(&path, &list).unwrap();
    let context = json!({"trustedCa": root.pem(), "crl": {"filename": path}});
    let context: CertificateValidationContext = weir_xds::json::from_value(context).unwrap();
    let source = SecretSource::Validation(Box::new(Validation::compile(&context).unwrap()));
    let mut secrets = Secrets::default();
    secrets.put("roots", &source).unwrap();
    let leaf = root.vouches_for("a.test", |params| params.serial_number = Some(SerialNumber::from(7)));
    let der = rustls::pki_types::CertificateRevocationListDer::from_pem_slice(list.as_bytes()).unwrap();
    let (empty, cut, whole) = (&b""[..], &list.as_bytes()[..list.len() / 2], list.as_bytes());
    for (number, (content, is_good)) in
        [(empty, false), (whole, true), (cut, false), (&*der, false), (b"none", false)].into_iter().enumerate()
    {
        std::fs::write(&path, content).unwrap();
        // Files that are written within one tick of the clock could not be told apart by it.
        let time = std::time::SystemTime::now() + Duration::from_secs(number as u64 + 1);
        std::fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
        let read = secrets.read_again();
        assert_eq!(read.iter().map(|(_, read)| read.is_ok()).collect::<Vec<_>>(), [is_good], "{number}: {read:?}");
        let known = secrets.validation("roots").get().unwrap();
        let verdict = verdict_of(&Trust::new(&known).unwrap(), &leaf, &[], Side::Server, None);
        assert_eq!(verdict, format!("{CHAIN}certificate revoked"), "{number}");
        // Nor is it taken where it is the first.
        assert_eq!(Secrets::default().put("roots", &source).is_ok(), is_good, "{number}");
    }
}

#[test]
fn what_is_taken_though_it_does_not_hold_is_not_said_to() {
    let (root, other) = (Authority::root("root"), Authority::root("other"));
    let leaf = root.vouches_for("a.test", |params| params.serial_number = Some(SerialNumber::from(7)));
    let (expired, untrusted) = (root.vouches_for("a.test", EXPIRED), "ACCEPT_UNTRUSTED");
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_900_000_000));
    let b = json!([{"sanType": "DNS", "matcher": {"exact": "b.test"}}]);
    let cases = [
        (json!({"trustedCa": root.pem()}), &leaf, true),
        (json!({"trustedCa": root.pem(), "trustChainVerification": untrusted}), &leaf, true),
        (json!({"trustedCa": other.pem(), "trustChainVerification": untrusted}), &leaf, false),
        (json!({"trustedCa": root.pem(), "trustChainVerification": untrusted}), &expired, false),
        (json!({"trustedCa": root.pem(), "crl": root.revoking(&[7]), "trustChainVerification": untrusted}), &leaf, false),
        (json!({"trustedCa": root.pem(), "matchTypedSubjectAltNames": b, "trustChainVerification": untrusted}), &leaf, false),
        (json!({}), &leaf, false),
    ];
    for (number, (context, leaf, wanted)) in cases.into_iter().enumerate() {
        let trust = trust(context);
        let shown = Shown { leaf, others: &[] };
        // All of them are let in.
        assert!(trust.verify(&shown, now, Side::Client, None).is_ok(), "{number}");
        assert_eq!(trust.holds(&shown, now, Side::Client), wanted, "{number}");
    }
}

#[test]
fn what_a_file_and_a_secret_revoke_is_revoked_and_the_file_is_watched() {
    use crate::tls::secrets::Secrets;
    use crate::tls::verifier::Peer;
    use weir_config::tls::{Parameters, SecretSource, ValidationSource, Versions};
    let (root, folder) = (Authority::root("root"), tempfile::tempdir().unwrap());
    let path = folder.path().join("crl.pem");
    let compiled = |context: Value| {
        let context: CertificateValidationContext = weir_xds::json::from_value(context).unwrap();
        Box::new(Validation::compile(&context).unwrap())
    };
    let (mut secrets, mut tick) = (Secrets::default(), 0);
    let written = compiled(json!({"crl": {"filename": path}}));
    let source = ValidationSource::Combined { written, name: "roots".into() };
    let versions = Versions { tls12: true, tls13: true };
    let parameters = Parameters { versions, cipher_suites: vec![], groups: vec![], signature_schemes: vec![] };
    let peer = Peer::new(&source, &parameters, &mut secrets).unwrap();
    let from_secret = compiled(json!({"trustedCa": root.pem(), "crl": root.revoking(&[8])}));
    secrets.put("roots", &SecretSource::Validation(from_secret)).unwrap();
    let leaves: Vec<_> =
        (7..10).map(|serial| root.vouches_for("a.test", |params| params.serial_number = Some(SerialNumber::from(serial)))).collect();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_900_000_000));
    let held = || -> Vec<bool> {
        let verify = |leaf| peer.verify(&Shown { leaf, others: &[] }, now, Side::Client, None).is_ok();
        leaves.iter().map(verify).collect()
    };
    let mut write = |secrets: &mut Secrets, list: &str| {
        std::fs::write(&path, list).unwrap();
        tick += 1;
        let time = std::time::SystemTime::now() + Duration::from_secs(tick);
        std::fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
        // What is in use stays watched.
        secrets.keep(|name| &**name == "roots");
        secrets.read_again();
    };
    let list = |serials: &[u64]| root.revoking(serials)["inlineString"].as_str().unwrap().to_owned();
    // Nobody is let in before the file is there.
    assert!(peer.missing().is_some());
    assert_eq!(held(), [false, false, false]);
    write(&mut secrets, &list(&[7]));
    assert_eq!(held(), [false, false, true]);
    write(&mut secrets, "");
    assert_eq!(held(), [false, false, true]);
    write(&mut secrets, &list(&[9]));
    assert_eq!(held(), [true, false, false]);
    drop(peer);
    secrets.keep(|_| false);
    assert!(!secrets.are_in_files());
}
