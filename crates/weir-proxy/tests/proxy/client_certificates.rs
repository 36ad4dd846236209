//! What instances are told of the certificates of clients, and what a handshake agrees on with clients of other protocols.

use std::sync::Arc;

use rcgen::{DnType, SanType};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Authority, Credentials, Proxy, Told, Upstream, Wire, cluster, routes, secure, to};

const SPIFFE: &str = "spiffe://cluster.local/ns/default/sa/client";

struct Edge {
    authority: Authority,
    proxy: Proxy,
    upstream: Upstream,
}

impl Edge {
    /// A proxy that asks clients for certificates, and does this with what is said of them.
    async fn start(manager: Value, required: bool) -> Self {
        let (authority, upstream) = (Authority::new(), Upstream::start().await);
        let own = authority.credentials("a.test");
        let common = json!({"tlsCertificates": [own.certificate()], "validationContext": authority.validation(), "alpnProtocols": ["h2", "http/1.1"]});
        let context = json!({"commonTlsContext": common, "requireClientCertificate": required});
        let chain = json!({"transportSocket": secure("Downstream", context)});
        let told = Told {
            manager,
            chain,
            routes: routes(json!([to("a")])),
            clusters: vec![cluster("a", &[&upstream], json!({}))],
            ..Told::default()
        };
        Self { authority, proxy: Proxy::told(told).await, upstream }
    }

    async fn connect(&self, own: Option<&Credentials>, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(self.authority_certificates());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match own {
            Some(own) => builder.with_client_auth_cert(own.chain(), own.key()).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(self.proxy.address()).await.unwrap();
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("a.test").unwrap(), stream).await
    }

    fn authority_certificates(&self) -> Vec<rustls::pki_types::CertificateDer<'static>> {
        use rustls::pki_types::pem::PemObject;
        vec![rustls::pki_types::CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap()]
    }

    /// The header that the instance gets of a client that says one itself.
    async fn told(&self, own: Option<&Credentials>) -> Option<String> {
        let mut client = Wire::new(self.connect(own, &[]).await.unwrap());
        client.say("GET / HTTP/1.1\r\nhost: a.test\r\nx-forwarded-client-cert: By=forged\r\n\r\n").await;
        let head = self.upstream.accept().await.head().await;
        head.iter().find_map(|line| line.strip_prefix("x-forwarded-client-cert: ")).map(str::to_owned)
    }
}

fn manager(details: &str) -> Value {
    let set = json!({"subject": true, "uri": true, "dns": true});
    json!({"forwardClientCertDetails": details, "setCurrentClientCertDetails": set})
}

#[tokio::test]
async fn an_instance_is_told_whose_certificate_a_client_has_shown() {
    let edge = Edge::start(manager("SANITIZE_SET"), false).await;
    let own = edge.authority.credentials_with("client.test", |params| {
        params.distinguished_name.push(DnType::CommonName, "client");
        params.subject_alt_names.push(SanType::URI(SPIFFE.try_into().unwrap()));
    });
    let told = edge.told(Some(&own)).await.unwrap();
    let (hash, rest) = told.split_once(';').unwrap();
    assert!(hash.strip_prefix("Hash=").is_some_and(|digits| digits.len() == 64), "{told}");
    assert!(
        rest.starts_with("Subject=\"") && rest.ends_with(&format!("CN=client\";URI={SPIFFE};DNS=client.test"))
            || rest.contains("CN=client"),
        "{told}"
    );
    assert!(rest.ends_with(&format!(";URI={SPIFFE};DNS=client.test")), "{told}");
    // Who shows none says nothing.
    assert_eq!(edge.told(None).await, None);
}

#[tokio::test]
async fn what_is_told_stands_behind_what_was_said_where_that_is_believed() {
    let edge = Edge::start(manager("APPEND_FORWARD"), true).await;
    let told = edge.told(Some(&edge.authority.credentials("client.test"))).await.unwrap();
    assert!(told.starts_with("By=forged,Hash="), "{told}");
    let edge = Edge::start(json!({"forwardClientCertDetails": "FORWARD_ONLY"}), true).await;
    assert_eq!(edge.told(Some(&edge.authority.credentials("client.test"))).await.as_deref(), Some("By=forged"));
}

#[tokio::test]
async fn a_client_that_offers_only_other_protocols_is_served_without_agreeing_on_one() {
    let edge = Edge::start(json!({}), false).await;
    for (offered, agreed) in
        [(&["other"][..], None), (&["http/1.1", "h2"], Some("h2")), (&["other", "http/1.1"], Some("http/1.1")), (&[], None)]
    {
        let stream = edge.connect(None, offered).await.unwrap();
        let found = stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
        assert_eq!(found.as_deref(), agreed, "{offered:?}");
        if agreed != Some("h2") {
            let mut client = Wire::new(stream);
            client.say("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
            edge.upstream.accept().await.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            assert_eq!(client.head().await.first().map(String::as_str), Some("HTTP/1.1 200 OK"));
        }
    }
}
