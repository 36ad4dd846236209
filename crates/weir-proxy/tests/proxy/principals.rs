//! Who the ends of a connection are, in metrics and logs: by the certificates that they have shown each other, and only where somebody
//! vouches for these.

use std::path::Path;

use rcgen::SanType;
use serde_json::{Value, json};

use crate::support::{Authority, Credentials, Proxy, SecureClient, SecureUpstream, Told, Upstream, cluster, in_time, routes, secure, to};

const CLIENT: &str = "spiffe://cluster.local/ns/default/sa/client";
const SERVER: &str = "spiffe://cluster.local/ns/default/sa/server";
const GET: &str = "GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const LOGGED: &str =
    "%DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_LOCAL_URI_SAN% %DOWNSTREAM_PEER_DNS_SAN% %UPSTREAM_PEER_URI_SAN% %UPSTREAM_LOCAL_URI_SAN%";

fn named(authority: &Authority, id: &str) -> Credentials {
    authority.credentials_with("a.test", |params| params.subject_alt_names.push(SanType::URI(id.try_into().unwrap())))
}

/// A chain that asks clients for certificates.
fn asking(authority: &Authority, validation: Value) -> Value {
    let common = json!({"tlsCertificates": [named(authority, SERVER).certificate()], "validationContext": validation});
    json!({"transportSocket": secure("Downstream", json!({"commonTlsContext": common}))})
}

fn log(path: &Path) -> Value {
    json!([{"name": "envoy.access_loggers.file", "typedConfig": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": path,
        "logFormat": {"textFormatSource": {"inlineString": format!("{LOGGED}\n")}},
    }}])
}

/// The chain with a TCP proxy.
fn with_tcp(mut chain: Value, log: Value) -> Value {
    let kind = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    chain["filters"] = json!([{"name": "tcp", "typedConfig": {"@type": kind, "statPrefix": "test", "cluster": "a", "accessLog": log}}]);
    chain
}

/// Who was on both sides, of the series of a metric: source, destination, policy, count.
async fn series(proxy: &Proxy, metric: &str) -> Vec<[String; 4]> {
    let statistics = proxy.ask_admin("/stats/prometheus").await;
    let lines = statistics.lines().filter(|line| line.starts_with(&format!("{metric}{{")));
    let mut series: Vec<_> = lines
        .map(|line| {
            let label = |name: &str| line.split_once(&format!("{name}=\"")).unwrap().1.split_once('"').unwrap().0.to_owned();
            let count = line.rsplit(' ').next().unwrap().to_owned();
            [label("source_principal"), label("destination_principal"), label("connection_security_policy"), count]
        })
        .collect();
    series.sort();
    series
}

/// The series, once there are so many.
async fn all_series(proxy: &Proxy, metric: &str, count: usize) -> Vec<[String; 4]> {
    in_time("all is counted", async {
        loop {
            let found = series(proxy, metric).await;
            if found.len() >= count {
                return found;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn a_workload_counts_its_clients_by_the_certificates_that_they_have_shown() {
    let (authority, upstream) = (Authority::new(), Upstream::start().await);
    let told = Told {
        chain: asking(&authority, authority.validation()),
        listener: json!({"trafficDirection": "INBOUND"}),
        routes: routes(json!([to("a")])),
        clusters: vec![cluster("a", &[&upstream], json!({}))],
        ..Told::default()
    };
    let proxy = Proxy::told(told).await;
    let (one, other) = (named(&authority, CLIENT), named(&authority, "spiffe://cluster.local/ns/x/sa/y"));
    for shown in [Some(&one), Some(&other), Some(&one), None] {
        let mut client = SecureClient { authority: &authority, shown }.connect(proxy.address(), "a.test").await.unwrap();
        client.say(GET).await;
        let mut instance = upstream.accept().await;
        instance.head().await;
        instance.say(OK).await;
        drop(instance);
        assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
        // What is counted of it is counted then.
        client.end().await;
    }
    let expected = [
        [CLIENT, SERVER, "mutual_tls", "2"],
        ["spiffe://cluster.local/ns/x/sa/y", SERVER, "mutual_tls", "1"],
        ["unknown", SERVER, "none", "1"],
    ];
    assert_eq!(all_series(&proxy, "istio_requests_total", 3).await, expected);
}

#[tokio::test]
async fn what_nobody_vouches_for_is_no_principal() {
    let (authority, stranger, upstream) = (Authority::new(), Authority::new(), Upstream::start().await);
    let mut validation = authority.validation();
    validation["trustChainVerification"] = json!("ACCEPT_UNTRUSTED");
    let told = Told {
        chain: asking(&authority, validation),
        listener: json!({"trafficDirection": "INBOUND"}),
        routes: routes(json!([to("a")])),
        clusters: vec![cluster("a", &[&upstream], json!({}))],
        ..Told::default()
    };
    let proxy = Proxy::told(told).await;
    let forged = named(&stranger, CLIENT);
    let mut client = SecureClient { authority: &authority, shown: Some(&forged) }.connect(proxy.address(), "a.test").await.unwrap();
    client.say(GET).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say(OK).await;
    client.end().await;
    assert_eq!(all_series(&proxy, "istio_requests_total", 1).await, [["unknown", SERVER, "none", "1"]]);
}

#[tokio::test]
async fn a_caller_counts_whom_it_has_reached_and_the_log_names_both() {
    let authority = Authority::new();
    let instance = SecureUpstream::asking(&named(&authority, SERVER), &authority).await;
    let own = json!({"tlsCertificates": [named(&authority, CLIENT).certificate()], "validationContext": authority.validation()});
    let context = json!({"commonTlsContext": own, "sni": "a.test"});
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("own.log");
    let told = Told {
        manager: json!({"accessLog": log(&path)}),
        routes: routes(json!([to("a")])),
        clusters: vec![cluster("a", &[&instance.upstream], json!({"transportSocket": secure("Upstream", context)}))],
        ..Told::default()
    };
    let proxy = Proxy::told(told).await;
    let mut client = proxy.connect().await;
    // The second goes by the connection that was kept.
    for first in [true, false] {
        client.say("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
        if first {
            let mut reached = instance.accept().await;
            tokio::spawn(async move {
                for _ in 0..2 {
                    reached.head().await;
                    reached.say(OK).await;
                }
            });
        }
        assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    }
    drop(client);
    assert_eq!(all_series(&proxy, "istio_requests_total", 1).await, [[CLIENT, SERVER, "unknown", "2"]]);
    proxy.stop().await;
    assert_eq!(std::fs::read_to_string(path).unwrap(), format!("- - - {SERVER} {CLIENT}\n").repeat(2));
}

#[tokio::test]
async fn bytes_are_counted_and_logged_by_both_sides_too() {
    let authority = Authority::new();
    let instance = SecureUpstream::asking(&named(&authority, "spiffe://cluster.local/ns/x/sa/instance"), &authority).await;
    let own = json!({"tlsCertificates": [named(&authority, SERVER).certificate()], "validationContext": authority.validation()});
    let context = json!({"commonTlsContext": own, "sni": "a.test"});
    let clusters = vec![cluster("a", &[&instance.upstream], json!({"transportSocket": secure("Upstream", context)}))];
    let files = tempfile::tempdir().unwrap();
    for (direction, expected) in [
        ("INBOUND", [CLIENT, SERVER, "mutual_tls", "1"]),
        ("OUTBOUND", [SERVER, "spiffe://cluster.local/ns/x/sa/instance", "unknown", "1"]),
    ] {
        let path = files.path().join(direction);
        let told = Told {
            chain: with_tcp(asking(&authority, authority.validation()), log(&path)),
            listener: json!({"trafficDirection": direction}),
            clusters: clusters.clone(),
            ..Told::default()
        };
        let proxy = Proxy::told(told).await;
        let shown = named(&authority, CLIENT);
        let mut client = SecureClient { authority: &authority, shown: Some(&shown) }.connect(proxy.address(), "a.test").await.unwrap();
        client.say("hello").await;
        let mut reached = instance.accept().await;
        reached.hears("hello").await;
        assert_eq!(all_series(&proxy, "istio_tcp_connections_opened_total", 1).await, [expected], "{direction}");
        drop((client, reached));
        proxy.stop().await;
        let line = format!("{CLIENT} {SERVER} a.test spiffe://cluster.local/ns/x/sa/instance {SERVER}\n");
        assert_eq!(std::fs::read_to_string(path).unwrap(), line, "{direction}");
    }
}
