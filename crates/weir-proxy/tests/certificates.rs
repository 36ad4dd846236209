//! A thousand certificates at one port: what each of them holds, and what a change of one touches.
//!
//! A binary of its own, because what is resident is counted for the whole process.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test fails by panicking, and tells what it measured")]

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use weir_ads::{Resource, ResourceSet};
use weir_xds::listener::Listener as XdsListener;
use weir_xds::resource::ResourceType;
use weir_xds::route::RouteConfiguration;
use weir_xds::tls::Secret;

#[allow(dead_code, unused_imports, reason = "these tests need a part of it")]
#[path = "proxy/support/mod.rs"]
mod support;

use support::{Authority, Proxy};

const CERTIFICATES: usize = 1_000;
/// What a certificate with its chain may hold, in KiB, on both sides of xDS.
const AT_MOST: usize = 48;

fn chain(number: usize) -> Value {
    let common = json!({
        "tlsCertificateSdsSecretConfigs": [{"name": format!("c{number}"), "sdsConfig": {"ads": {}}}],
        "alpnProtocols": ["h2", "http/1.1"],
    });
    let context =
        json!({"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", "commonTlsContext": common});
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "statPrefix": "test",
        "rds": {"routeConfigName": format!("r{number}"), "configSource": {"ads": {}}},
        "httpFilters": [{"name": "envoy.filters.http.router", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
    });
    json!({
        "filterChainMatch": {"serverNames": [format!("s{number}.test")]},
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typedConfig": manager}],
        "transportSocket": {"name": "envoy.transport_sockets.tls", "typedConfig": context},
    })
}

fn written(chains: usize) -> XdsListener {
    let address = json!({"socketAddress": {"address": "127.0.0.1", "portValue": 0}});
    let inspector = json!({"name": "envoy.filters.listener.tls_inspector", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}});
    let chains: Vec<Value> = (0..chains).map(chain).collect();
    weir_xds::json::from_value(json!({"name": "edge", "address": address, "listenerFilters": [inspector], "filterChains": chains})).unwrap()
}

fn secret(authority: &Authority, number: usize) -> Secret {
    let certificate = authority.credentials(&format!("s{number}.test")).certificate();
    weir_xds::json::from_value(json!({"name": format!("c{number}"), "tlsCertificate": certificate})).unwrap()
}

/// A listener with as many chains, each with a certificate and a table of routes of its own.
fn resources(secrets: &[Secret]) -> ResourceSet {
    let mut set = ResourceSet::default();
    for (number, secret) in secrets.iter().enumerate() {
        set.insert(ResourceType::Secret, secret.name.as_str(), Resource::new(secret));
        let table = RouteConfiguration { name: format!("r{number}"), ..Default::default() };
        set.insert(ResourceType::Route, table.name.as_str(), Resource::new(&table));
    }
    set.insert(ResourceType::Listener, "edge", Resource::new(&written(secrets.len())));
    set
}

/// Resident memory, in KiB.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The certificate that is shown for a name, if any is.
async fn shown(proxy: &Proxy, authority: &Authority, number: usize) -> Option<CertificateDer<'static>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls::pki_types::pem::PemObject::pem_slice_iter(authority.pem().as_bytes()).map(Result::unwrap));
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let config = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    let name = ServerName::try_from(format!("s{number}.test")).unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    stream.get_ref().1.peer_certificates().unwrap().first().cloned().map(CertificateDer::into_owned)
}

async fn until_shown(proxy: &Proxy, authority: &Authority, number: usize, is_wanted: impl Fn(&CertificateDer<'static>) -> bool) {
    let showing = async {
        while !shown(proxy, authority, number).await.as_ref().is_some_and(&is_wanted) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), showing).await.unwrap();
}

#[tokio::test]
async fn a_thousand_certificates_hold_little_and_change_alone() {
    let authority = Authority::new();
    let proxy = Proxy::of_resources(resources(&[secret(&authority, 0)])).await;
    until_shown(&proxy, &authority, 0, |_| true).await;
    let before = resident();
    let mut secrets: Vec<Secret> = (0..CERTIFICATES).map(|number| secret(&authority, number)).collect();
    proxy.tell_resources(resources(&secrets));
    until_shown(&proxy, &authority, CERTIFICATES - 1, |_| true).await;
    let each = resident().saturating_sub(before) / CERTIFICATES;
    eprintln!("{each} KiB for each of {CERTIFICATES} certificates, with its filter chain and what the server keeps of them");
    assert!(each < AT_MOST, "{each} KiB");

    let (old, listeners) = (shown(&proxy, &authority, 7).await.unwrap(), proxy.listeners());
    let other = shown(&proxy, &authority, 8).await;
    secrets[7] = secret(&authority, 7);
    proxy.tell_resources(resources(&secrets));
    until_shown(&proxy, &authority, 7, |new| *new != old).await;
    assert_eq!(shown(&proxy, &authority, 8).await, other);
    // The listener is the same one.
    assert!(listeners.iter().zip(&proxy.listeners()).all(|(old, new)| Arc::ptr_eq(old, new)));
}
