//! TLS towards clients: whether they are asked for a certificate, and which one will do.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::{Authority, Credentials, Proxy, Told, in_time, routes, secure};

/// A proxy that terminates TLS and answers itself.
async fn terminating(server: &Credentials, more: Value, context: Value) -> Proxy {
    let mut common = json!({"tlsCertificates": [server.certificate()]});
    common.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut all = json!({ "commonTlsContext": common });
    all.as_object_mut().unwrap().extend(context.as_object().unwrap().clone());
    let chain = json!({"transportSocket": secure("Downstream", all), "transportSocketConnectTimeout": "0.3s"});
    let routes = routes(json!([{"match": {"prefix": "/"}, "directResponse": {"status": 204}}]));
    Proxy::told(Told { chain, routes, ..Told::default() }).await
}

/// The status of an answer to a client that shows this certificate; none if it is not let in.
async fn status(proxy: &Proxy, authority: &Authority, client: Option<&Credentials>) -> Option<String> {
    status_by(rustls::crypto::aws_lc_rs::default_provider(), proxy, authority, client).await
}

/// The same of a client that can do no more than this.
async fn status_by(provider: CryptoProvider, proxy: &Proxy, authority: &Authority, client: Option<&Credentials>) -> Option<String> {
    let mut roots = RootCertStore::empty();
    let trusted: Vec<CertificateDer<'static>> =
        rustls::pki_types::pem::PemObject::pem_slice_iter(authority.pem().as_bytes()).collect::<Result<_, _>>().unwrap();
    roots.add_parsable_certificates(trusted);
    let versions = provider.cipher_suites.iter().map(|suite| suite.version().version).collect::<Vec<_>>();
    let versions: Vec<_> = rustls::ALL_VERSIONS.iter().copied().filter(|known| versions.contains(&known.version)).collect();
    let builder =
        ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&versions).unwrap().with_root_certificates(roots);
    let config = match client {
        None => builder.with_no_client_auth(),
        Some(credentials) => {
            let key: PrivateKeyDer<'static> = credentials.key();
            builder.with_client_auth_cert(credentials.chain(), key).unwrap()
        }
    };
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    let name = ServerName::try_from("a.test").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n").await.ok()?;
    let mut answer = vec![];
    let read = in_time("the answer ends", stream.read_to_end(&mut answer)).await;
    read.ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.split(' ').nth(1).map(str::to_owned)
}

#[tokio::test]
async fn a_client_may_show_no_certificate_but_not_one_that_does_not_hold() {
    let (authority, other) = (Authority::new(), Authority::new());
    let context = json!({"validationContext": authority.validation()});
    let proxy = terminating(&authority.credentials("a.test"), context, json!({})).await;
    assert_eq!(status(&proxy, &authority, None).await.as_deref(), Some("204"));
    assert_eq!(status(&proxy, &authority, Some(&authority.credentials("client"))).await.as_deref(), Some("204"));
    assert_eq!(status(&proxy, &authority, Some(&other.credentials("client"))).await, None);
}

#[tokio::test]
async fn a_client_must_show_a_certificate_where_one_is_required() {
    let (authority, other) = (Authority::new(), Authority::new());
    let mut validation = authority.validation();
    validation["matchTypedSubjectAltNames"] = json!([{"sanType": "DNS", "matcher": {"exact": "client"}}]);
    let required = json!({"requireClientCertificate": true});
    let proxy = terminating(&authority.credentials("a.test"), json!({ "validationContext": validation }), required.clone()).await;
    assert_eq!(status(&proxy, &authority, Some(&authority.credentials("client"))).await.as_deref(), Some("204"));
    assert_eq!(status(&proxy, &authority, Some(&authority.credentials("somebody"))).await, None);
    assert_eq!(status(&proxy, &authority, Some(&other.credentials("client"))).await, None);
    assert_eq!(status(&proxy, &authority, None).await, None);
    // Any certificate will do where nothing is asked of it.
    let proxy = terminating(&authority.credentials("a.test"), json!({}), required).await;
    assert_eq!(status(&proxy, &authority, Some(&other.credentials("client"))).await.as_deref(), Some("204"));
    assert_eq!(status(&proxy, &authority, None).await, None);
}

#[tokio::test]
async fn nobody_is_let_in_while_it_is_not_known_whom_to_trust() {
    let authority = Authority::new();
    let by_sds = json!({"validationContextSdsSecretConfig": {"name": "ca", "sdsConfig": {"ads": {}}}});
    let proxy = terminating(&authority.credentials("a.test"), by_sds, json!({})).await;
    assert_eq!(status(&proxy, &authority, None).await, None);
}

#[tokio::test]
async fn a_handshake_may_not_take_longer_than_the_chain_allows() {
    let authority = Authority::new();
    let proxy = terminating(&authority.credentials("a.test"), json!({}), json!({})).await;
    let mut silent = proxy.connect().await;
    assert_eq!(silent.end().await, "");
}

#[tokio::test]
async fn no_more_is_agreed_on_than_a_chain_allows() {
    use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
    let authority = Authority::new();
    let own = authority.credentials("a.test");
    let groups = |group| CryptoProvider { kx_groups: vec![group], ..default_provider() };
    let suites = |suite| CryptoProvider { cipher_suites: vec![suite], ..default_provider() };
    let curves = json!({"tlsParams": {"ecdhCurves": ["P-256"]}});
    let ciphers = json!({"tlsParams": {"cipherSuites": ["ECDHE-ECDSA-AES256-GCM-SHA384"]}});
    let cases = [
        (&curves, groups(kx_group::SECP256R1), true),
        (&curves, groups(kx_group::X25519), false),
        (&ciphers, suites(cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384), true),
        (&ciphers, suites(cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256), false),
    ];
    for (parameters, provider, agreed) in cases {
        let proxy = terminating(&own, parameters.clone(), json!({})).await;
        let found = status_by(provider, &proxy, &authority, None).await;
        assert_eq!(found.is_some(), agreed, "{parameters} {found:?}");
    }
}

/// A certificate in files comes as a secret; it is exchanged while the proxy runs, and one that cannot be used changes nothing.
#[tokio::test]
async fn a_certificate_in_files_is_read_again_when_they_change() {
    let (first, second) = (Authority::new(), Authority::new());
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name);
    let write = |own: &Credentials| {
        std::fs::write(path("key"), &own.key).unwrap();
        std::fs::write(path("chain"), &own.chain).unwrap();
    };
    let secret = json!({"name": "own", "tlsCertificate": {"certificateChain": {"filename": path("chain")}, "privateKey": {"filename": path("key")}}});
    let common = json!({"tlsCertificateSdsSecretConfigs": [{"name": "own", "sdsConfig": {"ads": {}}}]});
    let chain = json!({"transportSocket": secure("Downstream", json!({ "commonTlsContext": common }))});
    let routes = routes(json!([{"match": {"prefix": "/"}, "directResponse": {"status": 204}}]));
    let proxy = Proxy::told(Told { chain, routes, secrets: vec![secret], ..Told::default() }).await;
    let served = async |authority: &Authority| {
        let until_served = async {
            while status(&proxy, authority, None).await.is_none() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        in_time("the certificate is in force", until_served).await;
    };
    // Nobody is let in while there are no files.
    assert_eq!(status(&proxy, &first, None).await, None);
    write(&first.credentials("a.test"));
    served(&first).await;
    std::fs::write(path("chain"), "no certificate").unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert!(status(&proxy, &first, None).await.is_some());
    write(&second.credentials("a.test"));
    served(&second).await;
}

#[tokio::test]
async fn the_admin_interface_shows_no_key() {
    let authority = Authority::new();
    let proxy = terminating(&authority.credentials("a.test"), json!({}), json!({})).await;
    let shown = proxy.ask_admin("/config_dump").await;
    assert!(shown.contains("BEGIN CERTIFICATE") && shown.contains("private_key"), "{shown}");
    assert!(!shown.contains("PRIVATE KEY"), "{shown}");
}

#[tokio::test]
async fn who_is_not_let_in_is_counted_by_what_is_at_fault() {
    let (authority, other) = (Authority::new(), Authority::new());
    let mut validation = authority.validation();
    validation["matchTypedSubjectAltNames"] = json!([{"sanType": "DNS", "matcher": {"exact": "client"}}]);
    let required = json!({"requireClientCertificate": true});
    let proxy = terminating(&authority.credentials("a.test"), json!({ "validationContext": validation }), required).await;
    for shown in [Some(other.credentials("client")), Some(authority.credentials("somebody")), None] {
        assert_eq!(status(&proxy, &authority, shown.as_ref()).await, None);
    }
    for (name, count) in [("error", 1), ("san", 1), ("no_cert", 1), ("cert_hash", 0)] {
        proxy.counts(&format!("envoy_listener_ssl_fail_verify_{name}"), count).await;
    }
    proxy.counts("envoy_listener_ssl_connection_error", 3).await;
    // Who goes away in the midst of a handshake is no error of TLS.
    drop(TcpStream::connect(proxy.address()).await.unwrap());
    assert_eq!(status(&proxy, &authority, Some(&authority.credentials("client"))).await.as_deref(), Some("204"));
    proxy.counts("envoy_listener_ssl_connection_error", 3).await;
}
