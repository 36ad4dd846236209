#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it is wrong, in its helpers too")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, SanType};
use tonic::Code;
use weir_ads::certificates::{Caller, IstioCertificateRequest};
use weir_api::{Source, parse};
use weir_model::{DEFAULT_DOMAIN, MeshSnapshot};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::*;

/// A request for a key, which asks for names of its own.
fn request() -> String {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI("spiffe://cluster.local/ns/a/sa/somebody-else".try_into().unwrap())];
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

/// What is in the certificate of an answer: its URIs, how long it lasts, and whether it has no subject.
fn seen(answer: &[String]) -> (Vec<String>, Duration, bool) {
    let own = pem::certificates(answer[0].as_bytes(), "".as_ref()).unwrap();
    let (_, read) = parse_x509_certificate(&own[0]).unwrap();
    let names = read.subject_alternative_name().unwrap().unwrap();
    assert!(names.critical);
    let uri = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => (*uri).to_owned(),
        other => panic!("{other:?}"),
    };
    let validity = read.validity();
    let lasts = u64::try_from(validity.not_after.timestamp() - validity.not_before.timestamp()).unwrap();
    (names.value.general_names.iter().map(uri).collect(), Duration::from_secs(lasts), read.subject().iter().next().is_none())
}

#[test]
fn what_is_signed_says_who_it_is_for_and_nothing_that_the_request_says() {
    let authority = Authority::in_memory("td").unwrap();
    let now = SystemTime::now();
    let (hour, skew) = (Duration::from_secs(3600), Duration::from_secs(120));
    for (asked, lasts) in [(None, hour * 24), (Some(hour), hour), (Some(hour * 24 * 365), hour * 24 * 90)] {
        let answer = authority.certify(&request(), "spiffe://td/ns/shop/sa/cart", asked, now).unwrap();
        assert_eq!(seen(&answer), (vec!["spiffe://td/ns/shop/sa/cart".to_owned()], lasts + skew, true));
        assert_eq!(answer.len(), 2, "the root stands at the end, and only there");
    }
}

#[test]
fn a_request_that_is_none_or_not_signed_by_its_key_is_refused() {
    let authority = Authority::in_memory("td").unwrap();
    let good = request();
    let other = request();
    // The end of another request: its signature.
    let (good_lines, other_lines): (Vec<&str>, Vec<&str>) = (good.lines().collect(), other.lines().collect());
    let forged = [&good_lines[..4], &other_lines[4..]].concat().join("\n");
    for text in ["", "nonsense", &forged, &good.replace("CERTIFICATE REQUEST", "CERTIFICATE")[..40]] {
        assert!(authority.certify(text, "spiffe://td/a", None, SystemTime::now()).is_err(), "{text}");
    }
    assert!(authority.certify(&good, "spiffe://td/ü", None, SystemTime::now()).is_err());
}

/// A folder in Istio's layout: an authority below a root.
fn folder(revoked: Option<&str>) -> tempfile::TempDir {
    let ca = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name = Default::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let root = ca("root").self_signed(&root_key).unwrap().pem();
    let own = ca("mesh").signed_by(&key, &Issuer::new(ca("root"), root_key)).unwrap().pem();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("ca-cert.pem", &own);
    write("ca-key.pem", &key.serialize_pem());
    write("cert-chain.pem", &format!("{own}{root}"));
    write("root-cert.pem", &root);
    revoked.into_iter().for_each(|text| write("ca-crl.pem", text));
    folder
}

#[test]
fn an_authority_is_read_from_istios_layout() {
    let folder = folder(Some("-----BEGIN X509 CRL-----\n"));
    let authority = Authority::of_folder(folder.path()).unwrap();
    let answer = authority.certify(&request(), "spiffe://td/a", None, SystemTime::now()).unwrap();
    assert_eq!(answer.len(), 3, "the certificate, the authority's own, the root");
    assert!(answer[2].contains("BEGIN CERTIFICATE") && answer[2].contains("X509 CRL"));
}

/// What is done to a folder.
type Change = fn(&Path);

#[test]
fn a_folder_that_does_not_fit_together_is_refused_with_the_file() {
    let cases: [(Change, &str); 5] = [
        (|at| fs::remove_file(at.join("ca-key.pem")).unwrap(), "ca-key.pem: No such file"),
        (|at| fs::write(at.join("ca-key.pem"), "nonsense").unwrap(), "ca-key.pem: "),
        (|at| fs::write(at.join("ca-key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap(), "does not lead to root-cert.pem"),
        (
            |at| assert!(fs::copy(folder(None).path().join("root-cert.pem"), at.join("root-cert.pem")).unwrap() > 0),
            "does not lead to root-cert.pem",
        ),
        (|at| fs::write(at.join("root-cert.pem"), "").unwrap(), "root-cert.pem: holds no certificate"),
    ];
    for (change, expected) in cases {
        let folder = folder(None);
        change(folder.path());
        let error = Authority::of_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_root_is_made_once_and_kept_where_only_its_owner_reads_it() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path().join("weir");
    let roots = |opened: Result<Authority, AuthorityError>| opened.unwrap().roots;
    let first = roots(Authority::kept_in(&state, "td"));
    assert_eq!(roots(Authority::kept_in(&state, "td")), first);
    let key = state.join("ca/ca-key.pem");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&key), mode(&state.join("ca")), mode(&state)), (0o600, 0o700, 0o700));
    fs::set_permissions(&key, PermissionsExt::from_mode(0o640)).unwrap();
    let error = Authority::kept_in(&state, "td").unwrap_err().to_string();
    assert!(error.contains("others may read it"), "{error}");
}

#[test]
fn a_root_that_is_lost_or_broken_is_an_error_and_never_a_new_root() {
    let cases: [(Change, &str); 3] = [
        (|state| fs::remove_dir_all(state.join("ca")).unwrap(), "the mesh's root is lost"),
        (|state| fs::remove_file(state.join("ca/ca-key.pem")).unwrap(), "ca-key.pem: No such file"),
        (|state| fs::write(state.join("ca/ca-cert.pem"), "nonsense").unwrap(), "ca-cert.pem: holds no certificate"),
    ];
    for (change, expected) in cases {
        let state = tempfile::tempdir().unwrap();
        Authority::kept_in(state.path(), "td").unwrap();
        change(state.path());
        let error = Authority::kept_in(state.path(), "td").unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(Authority::kept_in(state.path(), "td").is_err(), "it stays an error");
    }
}

const MESH: &str = "apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart, namespace: shop}
spec: {address: 10.0.0.1, serviceAccount: cart}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: plain, namespace: shop}
spec: {address: 10.0.0.2}
";

#[test]
fn a_caller_gets_who_the_mesh_says_it_is() {
    let mesh = MeshSnapshot::new(&parse(&Source::new("mesh.yaml", MESH)).objects, Arc::default(), DEFAULT_DOMAIN);
    let authority = Authority::in_memory("cluster.local").unwrap();
    let of = |node: &str, caller| {
        let request = IstioCertificateRequest::new(node, request(), 60);
        let answered = service::answer_to(&authority, &mesh, caller, &request, SystemTime::now());
        answered.map(|answer| seen(&answer.cert_chain).0.concat()).map_err(|status| status.code())
    };
    let sidecar = |address: &str, name: &str| format!("sidecar~{address}~{name}.shop~shop.svc.cluster.local");
    for (node, expected) in [
        (sidecar("10.0.0.1", "cart"), "spiffe://cluster.local/ns/shop/sa/cart"),
        (sidecar("10.0.0.2", "plain"), "spiffe://cluster.local/ns/shop/sa/default"),
        ("router~0.0.0.0~gw.istio-system~istio-system.svc.cluster.local".to_owned(), "spiffe://cluster.local/ns/istio-system/sa/default"),
    ] {
        assert_eq!(of(&node, Caller::Hosted), Ok(expected.to_owned()));
    }
    let stranger = Caller::Connected { peer: "192.0.2.1:1".parse().unwrap(), local: "192.0.2.2:2".parse().unwrap() };
    assert_eq!(of(&sidecar("10.0.0.1", "cart"), stranger), Err(Code::Unauthenticated));
    assert_eq!(of("nobody", Caller::Hosted), Err(Code::Unauthenticated));
}
