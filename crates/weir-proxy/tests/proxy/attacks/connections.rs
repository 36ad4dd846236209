//! Connections by the hundred, and those that are never what they could be.

use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

use super::{Stage, unnoticed, victims};
use crate::support::{Authority, Limits, Proxy, Told, Upstream, Wire, cluster, routes, secure};

const MANY: usize = 200;
/// The beginning of a ClientHello that says that more will come.
const HALF_A_HELLO: &str = "\u{16}\u{3}\u{1}\u{1}";

/// What a client connects with that trusts this authority.
fn trusting(authority: &Authority) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Handshakes that are begun, or not even that.
#[tokio::test]
async fn handshakes_that_stall() {
    let authority = Authority::new();
    let context = json!({"commonTlsContext": {"tlsCertificates": [authority.credentials("a.test").certificate()]}});
    let chain = json!({"transportSocket": secure("Downstream", context), "transportSocketConnectTimeout": "1s"});
    let upstream = Upstream::start().await;
    let (victim, clusters) = victims(cluster("a", &[&upstream], json!({}))).await;
    let proxy = Proxy::told(Told { chain, routes: routes(json!([victim])), clusters, ..Told::default() }).await;
    let (address, config) = (proxy.address(), trusting(&authority));
    let connect = move || {
        let session = ClientConnection::new(config.clone(), ServerName::try_from("a.test").unwrap()).unwrap();
        Ok(StreamOwned::new(session, TcpStream::connect(address)?))
    };
    let attack = async || {
        let mut clients = vec![];
        for first in ["", HALF_A_HELLO].into_iter().cycle().take(MANY) {
            let mut client = proxy.connect().await;
            client.say(first).await;
            clients.push(client);
        }
        clients
    };
    for mut client in unnoticed(connect, attack).await {
        assert_eq!(client.end().await, "");
    }
}

/// Who is let in may stay, however many knock at the door.
#[tokio::test]
async fn more_connections_than_there_may_be() {
    let stage = Stage::limited(json!({}), json!({}), Limits { process: Some(10), listener: None }).await;
    let attack = async || {
        let mut held: Vec<Wire> = vec![];
        for _ in 0..5 * MANY {
            held.push(stage.proxy.connect().await);
        }
        held
    };
    let held = stage.unnoticed(attack).await;
    assert!(stage.proxy.open_connections() <= 10);
    drop(held);
}

#[tokio::test]
async fn connections_that_come_and_go() {
    let stage = Stage::new().await;
    let attack = async || {
        for _ in 0..5 * MANY {
            stage.proxy.connect().await.reset();
        }
    };
    stage.unnoticed(attack).await;
}
