//! What workloads tell each other of themselves: it is believed of whom a certificate of the mesh speaks for, bounds what it makes, and reaches
//! neither applications nor anybody outside of the mesh.

use std::collections::BTreeMap;
use std::path::Path;

use rcgen::SanType;
use serde_json::{Value, json};
use weir_config::peer_metadata::PeerMetadata;
use weir_config::workload::Workload;

use crate::support::{Authority, Credentials, Proxy, SecureClient, SecureUpstream, Told, Upstream, cluster, in_time, routes, secure, to};

const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/client";
const SERVER: &str = "spiffe://cluster.local/ns/back/sa/server";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
/// Told by who should not tell anything.
const FORGED: &str = "HTTP/1.1 200 OK\r\nx-envoy-peer-metadata: forged\r\nx-envoy-peer-metadata-id: forged\r\ncontent-length: 0\r\n\r\n";
const LOGGED: &str = "%FILTER_STATE(downstream_peer:PLAIN)% %FILTER_STATE(downstream_peer:FIELD:workload)% %FILTER_STATE(upstream_peer)%\n";

fn named(authority: &Authority, id: &str) -> Credentials {
    authority.credentials_with("a.test", |params| params.subject_alt_names.push(SanType::URI(id.try_into().unwrap())))
}

/// What a workload tells of itself.
fn told(namespace: &str, name: &str) -> String {
    let workload = Workload { name: name.to_owned(), namespace: namespace.to_owned(), app: format!("{name}-app"), ..Workload::default() };
    PeerMetadata { workload, kind: "deployment", ..PeerMetadata::default() }.write()
}

fn get(metadata: Option<&str>) -> String {
    let told = metadata.map(|told| format!("x-envoy-peer-metadata: {told}\r\nx-envoy-peer-metadata-id: me\r\n")).unwrap_or_default();
    format!("GET / HTTP/1.1\r\nhost: a.test\r\n{told}\r\n")
}

/// The connection manager with the filter, in front of its router.
fn manager(filter: &Value, log: Option<&Path>) -> Value {
    let mut config = json!({"@type": "type.googleapis.com/io.istio.http.peer_metadata.Config"});
    config.as_object_mut().unwrap().extend(filter.as_object().unwrap().clone());
    let router = json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"});
    let mut manager = json!({"httpFilters": [
        {"name": "istio.metadata_exchange", "typedConfig": config},
        {"name": "envoy.filters.http.router", "typedConfig": router},
    ]});
    if let Some(path) = log {
        manager["accessLog"] = json!([{"name": "envoy.access_loggers.file", "typedConfig": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": path,
            "logFormat": {"textFormatSource": {"inlineString": LOGGED}},
        }}]);
    }
    manager
}

/// A workload's own listener, which asks clients for certificates of the mesh but takes others, too.
fn inbound(authority: &Authority, log: Option<&Path>, clusters: Vec<Value>) -> Told {
    let filter = json!({"downstreamDiscovery": [{"istioHeaders": {}}], "downstreamPropagation": [{"istioHeaders": {}}]});
    let common = json!({"tlsCertificates": [named(authority, SERVER).certificate()], "validationContext": authority.validation()});
    Told {
        manager: manager(&filter, log),
        chain: json!({"transportSocket": secure("Downstream", json!({"commonTlsContext": common}))}),
        listener: json!({"trafficDirection": "INBOUND"}),
        routes: routes(json!([to("a")])),
        clusters,
        ..Told::default()
    }
}

/// A client's listener; `within_mesh` says that nobody outside of it is told anything.
fn outbound(within_mesh: bool, log: Option<&Path>, clusters: Vec<Value>) -> Told {
    let filter = json!({
        "upstreamDiscovery": [{"istioHeaders": {}}],
        "upstreamPropagation": [{"istioHeaders": {"skipExternalClusters": within_mesh}}],
    });
    Told { manager: manager(&filter, log), routes: routes(json!([to("a")])), clusters, ..Told::default() }
}

/// How many requests were counted, by a label of their series.
async fn counted(proxy: &Proxy, label: &str) -> BTreeMap<String, u64> {
    let statistics = proxy.ask_admin("/stats/prometheus").await;
    let mut counted = BTreeMap::new();
    for line in statistics.lines().filter(|line| line.starts_with("istio_requests_total{")) {
        let value = line.split_once(&format!("{label}=\"")).unwrap().1.split_once('"').unwrap().0.to_owned();
        *counted.entry(value).or_default() += line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
    }
    counted
}

/// The same, once so many requests are counted.
async fn counted_in_all(proxy: &Proxy, label: &str, requests: u64) -> BTreeMap<String, u64> {
    in_time("all is counted", async {
        loop {
            let counted = counted(proxy, label).await;
            if counted.values().sum::<u64>() == requests {
                return counted;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

fn is_told(lines: &[String]) -> bool {
    lines.iter().any(|line| line.starts_with("x-envoy-peer-metadata"))
}

#[tokio::test]
async fn a_client_is_believed_what_its_certificate_speaks_for() {
    let (authority, stranger, upstream) = (Authority::new(), Authority::new(), Upstream::start().await);
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("own.log");
    let mut config = inbound(&authority, Some(&path), vec![cluster("a", &[&upstream], json!({}))]);
    // Whoever shows a certificate that nobody vouches for is let in here, and is nobody.
    let context = &mut config.chain["transportSocket"]["typedConfig"]["commonTlsContext"]["validationContext"];
    context["trustChainVerification"] = json!("ACCEPT_UNTRUSTED");
    let proxy = Proxy::told(config).await;
    let (member, forged) = (named(&authority, CLIENT), named(&stranger, CLIENT));
    let attempts = [
        ("a member of the mesh", Some(&member), Some(told("shop", "web")), true),
        ("another namespace than its own", Some(&member), Some(told("back", "web")), false),
        ("no certificate", None, Some(told("shop", "web")), false),
        ("a certificate that nobody vouches for", Some(&forged), Some(told("shop", "web")), false),
        ("nothing that can be read", Some(&member), Some("forged".to_owned()), false),
        ("nothing", Some(&member), None, false),
    ];
    for (attempt, shown, told, is_believed) in &attempts {
        let mut client = SecureClient { authority: &authority, shown: *shown }.connect(proxy.address(), "a.test").await.unwrap();
        client.say(&get(told.as_deref())).await;
        let mut instance = upstream.accept().await;
        assert!(!is_told(&instance.head().await), "{attempt}: the application sees it");
        instance.say(FORGED).await;
        drop(instance);
        let (status, headers) = client.answer().await;
        assert_eq!(status, "HTTP/1.1 200 OK", "{attempt}");
        assert_eq!(is_told(&headers), *is_believed, "{attempt}: {headers:?}");
        assert!(!headers.iter().any(|line| line.contains("forged")), "{attempt}: {headers:?}");
    }
    let expected = [("unknown", 5), ("web", 1)].map(|(name, count)| (name.to_owned(), count));
    assert_eq!(counted_in_all(&proxy, "source_workload", 6).await, expected.clone().into());
    assert_eq!(counted(&proxy, "source_workload_namespace").await, [("shop".to_owned(), 1), expected[0].clone()].into());
    assert_eq!(counted(&proxy, "source_canonical_service").await, [expected[0].clone(), ("web-app".to_owned(), 1)].into());
    proxy.stop().await;
    let believed = "type=deployment,workload=web,namespace=shop,service=web-app web -\n";
    assert_eq!(std::fs::read_to_string(path).unwrap(), format!("{believed}{}", "- - -\n".repeat(5)));
}

#[tokio::test]
async fn a_workload_tells_of_itself_who_has_told_of_itself() {
    let (authority, upstream) = (Authority::new(), Upstream::start().await);
    let config = inbound(&authority, None, vec![cluster("a", &[&upstream], json!({}))]);
    let proxy = Proxy::told(config).await;
    upstream.answer_all(OK.as_bytes());
    let member = named(&authority, CLIENT);
    let mut client = SecureClient { authority: &authority, shown: Some(&member) }.connect(proxy.address(), "a.test").await.unwrap();
    client.say(&get(Some(&told("shop", "web")))).await;
    let (_, headers) = client.answer().await;
    let of = |name: &str| headers.iter().find_map(|line| line.strip_prefix(&format!("{name}: "))).map(str::to_owned);
    assert_eq!(of("x-envoy-peer-metadata-id").as_deref(), Some("test"));
    assert!(of("x-envoy-peer-metadata").and_then(|told| PeerMetadata::read(told.as_bytes(), "back")).is_some(), "{headers:?}");
}

#[tokio::test]
async fn who_tells_to_be_many_workloads_makes_few_series() {
    const REQUESTS: u64 = 500;
    let (authority, upstream) = (Authority::new(), Upstream::start().await);
    let proxy = Proxy::told(inbound(&authority, None, vec![cluster("a", &[&upstream], json!({}))])).await;
    upstream.answer_all(OK.as_bytes());
    let member = named(&authority, CLIENT);
    let secure = SecureClient { authority: &authority, shown: Some(&member) };
    let mut client = secure.connect(proxy.address(), "a.test").await.unwrap();
    for number in 0..REQUESTS {
        client.say(&get(Some(&told("shop", &format!("web-{number}"))))).await;
        assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    }
    // Somebody else is told apart all the same.
    let other = named(&authority, "spiffe://cluster.local/ns/other/sa/other");
    let mut second = SecureClient { authority: &authority, shown: Some(&other) }.connect(proxy.address(), "a.test").await.unwrap();
    second.say(&get(Some(&told("other", "honest")))).await;
    assert_eq!(second.answer().await.0, "HTTP/1.1 200 OK");
    let counted = counted_in_all(&proxy, "source_workload", REQUESTS + 1).await;
    assert_eq!((counted["web-0"], counted["web-63"], counted["unknown"], counted["honest"]), (1, 1, REQUESTS - 64, 1));
    assert_eq!(counted.len(), 66, "{counted:?}");
    let statistics = proxy.ask_admin("/stats").await;
    assert!(statistics.contains(&format!("weir_peers_without_workloads_total {}\n", REQUESTS - 64)), "{statistics}");
}

#[tokio::test]
async fn labels_without_end_are_not_read() {
    let (authority, upstream) = (Authority::new(), Upstream::start().await);
    let mut config = inbound(&authority, None, vec![cluster("a", &[&upstream], json!({}))]);
    config.manager["maxRequestHeadersKb"] = json!(256);
    let proxy = Proxy::told(config.clone()).await;
    let member = named(&authority, CLIENT);
    let large = format!("{}{}", told("shop", "web").trim_end_matches('='), "A".repeat(100 << 10));
    let mut client = SecureClient { authority: &authority, shown: Some(&member) }.connect(proxy.address(), "a.test").await.unwrap();
    client.say(&get(Some(&large))).await;
    let mut instance = upstream.accept().await;
    assert!(!is_told(&instance.head().await));
    instance.say(OK).await;
    let (status, headers) = client.answer().await;
    assert_eq!((status.as_str(), is_told(&headers)), ("HTTP/1.1 200 OK", false));
    assert_eq!(counted_in_all(&proxy, "source_workload", 1).await, [("unknown".to_owned(), 1)].into());
    // As far as heads may usually be long it does not even come in.
    config.manager.as_object_mut().unwrap().remove("maxRequestHeadersKb");
    let proxy = Proxy::told(config).await;
    let mut client = SecureClient { authority: &authority, shown: Some(&member) }.connect(proxy.address(), "a.test").await.unwrap();
    client.say_or_end(&get(Some(&large))).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 431 Request Header Fields Too Large");
}

/// What a client shows of itself to instances, and what it asks of their certificates.
fn towards(authority: &Authority, id: &str) -> Value {
    let own = json!({"tlsCertificates": [named(authority, id).certificate()], "validationContext": authority.validation()});
    json!({"transportSocket": secure("Upstream", json!({"commonTlsContext": own, "sni": "a.test"}))})
}

#[tokio::test]
async fn instances_of_the_mesh_are_told_and_nobody_else_is() {
    let authority = Authority::new();
    let external = json!({"filterMetadata": {"istio": {"external": true}}});
    let with = |more: Value, extra: Value| {
        let mut more = more;
        more.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        more
    };
    // Who the instance is, how it is spoken to, whether only the mesh is told, and whether it is told.
    let attempts = [
        ("an instance of the mesh", SERVER, towards(&authority, CLIENT), true, true),
        ("the same, where all may be told", SERVER, towards(&authority, CLIENT), false, true),
        ("one with another kind of name", "https://a.test/", towards(&authority, CLIENT), false, false),
        ("one to whom we are nobody of the mesh", SERVER, towards(&authority, "https://client.test/"), false, false),
        ("one of another mesh", SERVER, with(towards(&authority, CLIENT), json!({"metadata": external})), true, false),
        ("the same, where all may be told", SERVER, with(towards(&authority, CLIENT), json!({"metadata": external})), false, true),
    ];
    for (attempt, instance, socket, within_mesh, is_to_be_told) in attempts {
        let instance = SecureUpstream::asking(&named(&authority, instance), &authority).await;
        let proxy = Proxy::told(outbound(within_mesh, None, vec![cluster("a", &[&instance.upstream], socket)])).await;
        let mut client = proxy.connect().await;
        client.say(&get(Some("forged"))).await;
        let mut reached = instance.accept().await;
        let head = reached.head().await;
        assert_eq!(is_told(&head), is_to_be_told, "{attempt}: {head:?}");
        assert!(!head.iter().any(|line| line.contains("forged")), "{attempt}: {head:?}");
        reached.say(FORGED).await;
        assert!(!is_told(&client.answer().await.1), "{attempt}");
    }
    let instance = Upstream::start().await;
    let proxy = Proxy::told(outbound(false, None, vec![cluster("a", &[&instance], json!({}))])).await;
    let mut client = proxy.connect().await;
    client.say(&get(Some("forged"))).await;
    let mut reached = instance.accept().await;
    assert!(!is_told(&reached.head().await), "plaintext");
    reached.say(FORGED).await;
    assert!(!is_told(&client.answer().await.1), "plaintext");
}

#[tokio::test]
async fn an_instance_is_named_by_its_own_word_where_nobody_else_says_who_it_is() {
    let authority = Authority::new();
    let files = tempfile::tempdir().unwrap();
    let known = json!({"filterMetadata": {"istio": {"workload": "told;back;told;v1;east"}}});
    for (attempt, metadata, namespace, expected, logged) in [
        ("nobody says who it is", None, "back", "server", "back"),
        ("the control plane says it", Some(known), "back", "told", "back"),
        ("it says what its certificate does not", None, "shop", "unknown", ""),
    ] {
        let instance = SecureUpstream::asking(&named(&authority, SERVER), &authority).await;
        let mut own = cluster("a", &[&instance.upstream], towards(&authority, CLIENT));
        if let Some(metadata) = metadata {
            own["loadAssignment"]["endpoints"][0]["lbEndpoints"][0]["metadata"] = metadata;
        }
        let path = files.path().join(attempt);
        let proxy = Proxy::told(outbound(true, Some(&path), vec![own])).await;
        let mut client = proxy.connect().await;
        client.say(&get(None)).await;
        let mut reached = instance.accept().await;
        reached.head().await;
        let metadata = told(namespace, "server");
        reached.say(&format!("HTTP/1.1 200 OK\r\nx-envoy-peer-metadata: {metadata}\r\ncontent-length: 0\r\n\r\n")).await;
        assert!(!is_told(&client.answer().await.1), "{attempt}");
        assert_eq!(counted_in_all(&proxy, "destination_workload", 1).await, [(expected.to_owned(), 1)].into(), "{attempt}");
        drop(client);
        proxy.stop().await;
        let object = format!(r#"{{"type":"deployment","workload":"server","namespace":"{logged}","service":"server-app"}}"#);
        let object = if logged.is_empty() { "-" } else { &object };
        assert_eq!(std::fs::read_to_string(path).unwrap(), format!("- - {object}\n"), "{attempt}");
    }
}
