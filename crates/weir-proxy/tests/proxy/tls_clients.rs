//! TLS towards clients: whether they are asked for a certificate, and which one will do.

use std::sync::Arc;

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
    let mut roots = RootCertStore::empty();
    let trusted: Vec<CertificateDer<'static>> =
        rustls::pki_types::pem::PemObject::pem_slice_iter(authority.pem().as_bytes()).collect::<Result<_, _>>().unwrap();
    roots.add_parsable_certificates(trusted);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
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
