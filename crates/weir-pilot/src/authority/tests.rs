#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it is wrong, in its helpers too")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, KeyIdMethod, KeyUsagePurpose, SanType, SerialNumber,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::Code;
use weir_ads::certificates::{Caller, Certificates, IstioCertificateRequest};
use weir_ads::grpc::client;
use weir_ads::grpc::server::{self, Services};
use weir_api::{Source, parse};
use weir_model::{DEFAULT_DOMAIN, MeshSnapshot};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::secret::Secret;
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
    // Who does not have the key cannot sign: the last bits of a request are its signature.
    let (_, der) = x509_parser::pem::parse_x509_pem(good.as_bytes()).unwrap();
    let mut der = der.contents;
    *der.last_mut().unwrap() ^= 1;
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &der);
    let forged = format!("-----BEGIN CERTIFICATE REQUEST-----\n{encoded}\n-----END CERTIFICATE REQUEST-----\n");
    let refusal = authority.certify(&forged, "spiffe://td/a", None, SystemTime::now()).unwrap_err();
    assert!(matches!(refusal, issue::Refusal::Request(rcgen::Error::InvalidCertificationRequestSignature)), "{refusal:?}");
    for text in ["", "nonsense", &good.replace("CERTIFICATE REQUEST", "CERTIFICATE")[..40]] {
        assert!(authority.certify(text, "spiffe://td/a", None, SystemTime::now()).is_err(), "{text}");
    }
    assert!(authority.certify(&good, "spiffe://td/ü", None, SystemTime::now()).is_err());
}

/// A list of what an authority has revoked: nothing, until so many seconds from now.
fn list(issuer: &Issuer<'_, KeyPair>, ends: i64) -> String {
    let now = SystemTime::now();
    let next_update =
        if ends < 0 { now - Duration::from_secs(ends.unsigned_abs()) } else { now + Duration::from_secs(ends.unsigned_abs()) };
    let list = CertificateRevocationListParams {
        this_update: (now - Duration::from_secs(7200)).into(),
        next_update: next_update.into(),
        crl_number: SerialNumber::from_slice(&[1]),
        issuing_distribution_point: None,
        revoked_certs: vec![],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(issuer).unwrap().pem().unwrap()
}

/// A folder in Istio's layout: an authority below a root, and what each of them has revoked, by when that list ends.
pub(super) fn folder(lists: [Option<i64>; 2]) -> tempfile::TempDir {
    let ca = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name = Default::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    };
    let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let root = ca("root").self_signed(&root_key).unwrap().pem();
    let above = Issuer::new(ca("root"), root_key);
    let own = ca("mesh").signed_by(&key, &above).unwrap().pem();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("ca-cert.pem", &own);
    write("ca-key.pem", &key.serialize_pem());
    write("cert-chain.pem", &format!("{own}{root}"));
    write("root-cert.pem", &root);
    let lists = [(&above, lists[0]), (&Issuer::new(ca("mesh"), key), lists[1])];
    let lists: String = lists.into_iter().filter_map(|(issuer, ends)| Some(list(issuer, ends?))).collect();
    if !lists.is_empty() {
        write("ca-crl.pem", &lists);
    }
    folder
}

#[test]
fn an_authority_is_read_from_istios_layout() {
    let folder = folder([Some(3600), Some(3600)]);
    let authority = Authority::of_folder(folder.path()).unwrap();
    let answer = authority.certify(&request(), "spiffe://td/a", None, SystemTime::now()).unwrap();
    assert_eq!(answer.len(), 3, "the certificate, the authority's own, the root");
    assert!(answer[2].contains("BEGIN CERTIFICATE") && answer[2].contains("X509 CRL"));
}

#[test]
fn lists_of_what_was_revoked_by_which_every_proxy_would_refuse_its_certificate_are_refused() {
    let refused = |folder: &tempfile::TempDir| Authority::of_folder(folder.path()).unwrap_err().to_string();
    for (lists, expected) in [
        ([Some(3600), None], "ca-crl.pem has no list of one of its authorities"),
        ([Some(3600), Some(-60)], "a list in ca-crl.pem has ended"),
    ] {
        let said = refused(&folder(lists));
        assert!(said.contains(expected), "{said}");
    }
    let folder = folder(NO_LISTS);
    for text in ["nonsense", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"] {
        fs::write(folder.path().join("ca-crl.pem"), text).unwrap();
        assert!(refused(&folder).contains("ca-crl.pem: "), "{text}");
    }
}

const NO_LISTS: [Option<i64>; 2] = [None; 2];

/// What is done to a folder.
type Change = fn(&Path);

#[test]
fn a_folder_that_does_not_fit_together_is_refused_with_the_file() {
    let cases: [(Change, &str); 5] = [
        (|at| fs::remove_file(at.join("ca-key.pem")).unwrap(), "ca-key.pem: No such file"),
        (|at| fs::write(at.join("ca-key.pem"), "nonsense").unwrap(), "ca-key.pem: "),
        (|at| fs::write(at.join("ca-key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap(), "does not lead to root-cert.pem"),
        (
            |at| assert!(fs::copy(folder(NO_LISTS).path().join("root-cert.pem"), at.join("root-cert.pem")).unwrap() > 0),
            "does not lead to root-cert.pem",
        ),
        (|at| fs::write(at.join("root-cert.pem"), "").unwrap(), "root-cert.pem: holds no certificate"),
    ];
    for (change, expected) in cases {
        let folder = folder(NO_LISTS);
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
    let of = |node: &str| {
        let request = IstioCertificateRequest::new(node, request(), 60);
        let subject = service::subject(&service::Known::default(), &Caller::Hosted, &request);
        let answered = subject.and_then(|subject| service::answer_to(&authority, &mesh, &subject, &request, SystemTime::now()));
        answered.map(|answer| seen(&answer.cert_chain).0.concat()).map_err(|refused| refused.status.code())
    };
    let sidecar = |address: &str, name: &str| format!("sidecar~{address}~{name}.shop~shop.svc.cluster.local");
    for (node, expected) in [
        (sidecar("10.0.0.1", "cart"), "spiffe://cluster.local/ns/shop/sa/cart"),
        (sidecar("10.0.0.2", "plain"), "spiffe://cluster.local/ns/shop/sa/default"),
        ("router~0.0.0.0~gw.istio-system~istio-system.svc.cluster.local".to_owned(), "spiffe://cluster.local/ns/istio-system/sa/default"),
    ] {
        assert_eq!(of(&node), Ok(expected.to_owned()));
    }
    assert_eq!(of("nobody"), Err(Code::Unauthenticated));
    // Of whom nothing is known, nobody says who it is: not at that address, or not in that namespace.
    assert_eq!(of(&sidecar("10.0.0.9", "cart")), Err(Code::FailedPrecondition));
    assert_eq!(of("sidecar~10.0.0.1~cart.other~other.svc.cluster.local"), Err(Code::FailedPrecondition));
    for namespace in ["a/sa/b", "A", ""] {
        assert_eq!(of(&format!("router~0.0.0.0~gw.{namespace}~x.svc.cluster.local")), Err(Code::InvalidArgument), "{namespace}");
    }
}

#[test]
fn who_has_come_from_another_machine_gets_no_certificate_of_months() {
    let mesh = MeshSnapshot::new(&parse(&Source::new("mesh.yaml", MESH)).objects, Arc::default(), DEFAULT_DOMAIN);
    let authority = Authority::in_memory("cluster.local").unwrap();
    let cart = "sidecar~10.0.0.1~cart.shop~shop.svc.cluster.local";
    let (day, skew) = (Duration::from_secs(24 * 3600), Duration::from_secs(120));
    let remote = || service::Subject::Holder(weir_model::Identity::new("shop", "cart"));
    let here = || service::Subject::Proxy(Box::new(service::proxy(cart).unwrap()));
    for (subject, asked, lasts) in [(remote(), day * 90, day), (remote(), day / 24, day / 24), (here(), day * 90, day * 90)] {
        let request = IstioCertificateRequest::new(cart, request(), i64::try_from(asked.as_secs()).unwrap());
        let answer = service::answer_to(&authority, &mesh, &subject, &request, SystemTime::now()).unwrap();
        assert_eq!(seen(&answer.cert_chain).1, lasts + skew, "{subject:?}");
    }
}

#[test]
fn who_is_only_on_this_machine_or_only_of_this_user_gets_nothing() {
    let state = tempfile::tempdir().unwrap();
    let secret = Secret::kept_in(state.path()).unwrap();
    let plain = IstioCertificateRequest::new("sidecar~10.0.0.1~cart.shop~shop.svc.cluster.local", request(), 60);
    let signed = secret.sign_request(plain.clone()).unwrap();
    let at = |address: &str| Caller::Connected(address.parse().unwrap());
    for (caller, request, has_secret, expected) in [
        (Caller::Hosted, &plain, true, true),
        (at("127.0.0.1:1"), &signed, true, true),
        (at("[::1]:1"), &signed, true, true),
        // What listens at all addresses sees those of version 4 as such.
        (at("[::ffff:127.0.0.1]:1"), &signed, true, true),
        (at("127.0.0.1:1"), &plain, true, false),
        (at("127.0.0.6:1"), &plain, true, false),
        (at("192.0.2.1:1"), &signed, true, false),
        (at("127.0.0.1:1"), &signed, false, false),
    ] {
        let admitted = service::admit(has_secret.then_some(&secret), &caller, request);
        assert_eq!(admitted.map_err(|status| status.code()), if expected { Ok(()) } else { Err(Code::Unauthenticated) }, "{caller:?}");
    }
}

#[tokio::test]
async fn a_stranger_is_answered_without_a_signature_and_who_has_gone_not_at_all() {
    let state = tempfile::tempdir().unwrap();
    let secret = || Secret::kept_in(state.path()).unwrap();
    let mesh = MeshSnapshot::new(&parse(&Source::new("mesh.yaml", MESH)).objects, Arc::default(), DEFAULT_DOMAIN);
    let (_keep, mesh) = tokio::sync::watch::channel(Arc::new(mesh));
    let asked = service::start(&Authority::in_memory("td").unwrap().follow(), knowing(secret()), mesh, Arc::default());
    let caller = Caller::Connected("127.0.0.1:1".parse().unwrap());
    let plain = IstioCertificateRequest::new("sidecar~10.0.0.1~cart.shop~shop.svc.cluster.local", request(), 60);
    let (gone, _) = tokio::sync::oneshot::channel();
    asked.send(weir_ads::certificates::Call { caller: caller.clone(), request: plain.clone(), answer: gone }).await.unwrap();
    let refused = weir_ads::certificates::call(&asked, caller.clone(), plain.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let signed = secret().sign_request(plain).unwrap();
    let answer = weir_ads::certificates::call(&asked, caller, signed.clone()).await.unwrap();
    assert!(secret().vouches_for_answer(&signed, &answer));
}

/// Who is known by this secret alone.
fn knowing(secret: Secret) -> service::Known {
    service::Known { secret: Some(Arc::new(secret)) }
}

/// Who answers at a port of this machine.
async fn serve(certificates: Certificates) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(server::serve(listener, Services { certificates: Some(certificates), ..Services::default() }));
    address
}

/// The state that somebody is told there who knows the secret. Where nothing changes, that would take longer.
async fn told(server: &str, secret: &Secret, request: IstioCertificateRequest) -> String {
    let request = secret.sign_request(request).unwrap();
    let answer = timeout(Duration::from_secs(10), client::create_certificate(server, request.clone())).await.unwrap().unwrap();
    assert!(secret.vouches_for_answer(&request, &answer));
    answer.state
}

/// Changes something once there is a call that waits for that, which follows the mesh besides who answers calls.
async fn change(meshes: &watch::Sender<Arc<MeshSnapshot>>, change: impl FnOnce()) {
    while meshes.receiver_count() < 2 {
        tokio::task::yield_now().await;
    }
    change();
}

#[tokio::test]
async fn another_process_hears_of_another_account_and_of_another_root_while_it_waits() {
    const CART: &str = "sidecar~10.0.0.1~cart.shop~shop.svc.cluster.local";
    let state = tempfile::tempdir().unwrap();
    let secret = Secret::kept_in(state.path()).unwrap();
    let mesh_of = |text: &str| Arc::new(MeshSnapshot::new(&parse(&Source::new("mesh.yaml", text)).objects, Arc::default(), DEFAULT_DOMAIN));
    let authority = || Arc::new(Authority::in_memory("td").unwrap());
    let (meshes, mesh) = watch::channel(mesh_of(MESH));
    let (authorities, followed) = watch::channel(authority());
    let kept = Secret::read(state.path()).unwrap();
    let server = serve(service::serve(changes::Changes::new(mesh, followed), knowing(kept), Arc::default())).await;

    let first = told(&server, &secret, IstioCertificateRequest::new(CART, request(), 60)).await;
    let changed = mesh_of(&MESH.replace("serviceAccount: cart", "serviceAccount: other"));
    let account = change(&meshes, || drop(meshes.send_replace(changed)));
    let (second, ()) = tokio::join!(told(&server, &secret, IstioCertificateRequest::for_changes(CART, &first)), account);
    let root = change(&meshes, || drop(authorities.send_replace(authority())));
    let (third, ()) = tokio::join!(told(&server, &secret, IstioCertificateRequest::for_changes(CART, &second)), root);
    assert!(first != second && second != third, "{first} {second} {third}");
    let now = told(&server, &secret, IstioCertificateRequest::new(CART, request(), 60)).await;
    assert_eq!(now, third, "what it is told is what it would be certified by");
}

#[test]
fn a_state_that_others_may_change_or_a_key_laid_out_for_us_is_not_used() {
    let state = tempfile::tempdir().unwrap();
    fs::set_permissions(state.path(), PermissionsExt::from_mode(0o775)).unwrap();
    let error = Authority::kept_in(state.path(), "td").unwrap_err().to_string();
    assert!(error.contains("others may write to it"), "{error}");
    let state = tempfile::tempdir().unwrap();
    Authority::kept_in(state.path(), "td").unwrap();
    let (key, other) = (state.path().join("ca/ca-key.pem"), state.path().join("other"));
    fs::rename(&key, &other).unwrap();
    std::os::unix::fs::symlink(&other, &key).unwrap();
    assert!(Authority::kept_in(state.path(), "td").is_err(), "a link");
}

#[test]
fn that_there_was_a_root_is_known_also_where_only_the_root_was_left() {
    let state = tempfile::tempdir().unwrap();
    Authority::kept_in(state.path(), "td").unwrap();
    fs::remove_file(state.path().join("ca-was-made")).unwrap();
    Authority::kept_in(state.path(), "td").unwrap();
    fs::remove_dir_all(state.path().join("ca")).unwrap();
    let error = Authority::kept_in(state.path(), "td").unwrap_err().to_string();
    assert!(error.contains("the mesh's root is lost"), "{error}");
}
