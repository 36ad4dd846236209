//! Proxies that come, go, and come back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;

use tokio::sync::watch;
use weir_ads::{Client, ClientStream, Peer, Protocol, Push, Request, Response, ServerStream, stream};
use weir_model::{Interception, Proxy, ProxyKind};
use weir_pilot::{Options, Pilot, node};
use weir_registry::Catalog;
use weir_xds::discovery::DeltaDiscoveryRequest;
use weir_xds::resource::ResourceType;

fn pilot() -> Pilot {
    let (_, catalog) = watch::channel(Arc::new(Catalog::default()));
    Pilot::start(catalog, Options { mesh: Arc::default(), domain: "cluster.local".to_owned(), say: Box::new(|_| {}) })
}

fn sidecar(address: &str) -> Proxy {
    Proxy {
        id: Proxy::make_id(ProxyKind::Sidecar, address, "a", "default", "cluster.local"),
        kind: ProxyKind::Sidecar,
        name: "a".to_owned(),
        namespace: "default".to_owned(),
        labels: Default::default(),
        addresses: vec![address.to_owned()],
        locality: String::new(),
        interception: Interception::None,
    }
}

/// A stream of the sidecar at an address, once it has its clusters.
async fn come(pilot: &Pilot, address: &str) -> (Client, ClientStream) {
    let proxy = sidecar(address);
    let mut client = Client::new(Protocol::Delta, node::introduce(&proxy));
    client.want_all(ResourceType::Cluster);
    let (mut stream, server) = stream::pair(Protocol::Delta);
    pilot.streams().send(server).await.unwrap();
    for request in client.connect() {
        stream.requests.send(request).await.unwrap();
    }
    let update = client.receive(stream.responses.recv().await.unwrap()).unwrap();
    stream.requests.send(client.answer(&update, &[])).await.unwrap();
    (client, stream)
}

/// Waits until so many proxies follow, all of them settled.
async fn until_settled(pilot: &Pilot, count: usize) {
    let is_so = || pilot.proxies().len() == count && pilot.proxies().values().all(|proxy| proxy.is_settled);
    for _ in 0..10_000 {
        if is_so() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{:?}", pilot.proxies());
}

#[tokio::test]
async fn who_may_have_no_secrets_has_said_who_it_is_though_it_asks_for_them_first() {
    for (peer, has_secrets) in [
        (Peer::Stranger { peer: ([127, 0, 0, 1], 1).into(), local: ([127, 0, 0, 1], 2).into() }, false),
        (Peer::Tcp { peer: ([127, 0, 0, 1], 1).into(), local: ([127, 0, 0, 1], 2).into() }, false),
        (Peer::Here, true),
    ] {
        let pilot = pilot();
        let node = node::introduce(&sidecar("10.0.0.1"));
        let (mut stream, server) = stream::pair(Protocol::Delta);
        pilot.streams().send(ServerStream { peer: peer.clone(), ..server }).await.unwrap();
        let ask = |kind: ResourceType, names: &[&str], node| {
            let resource_names_subscribe = names.iter().map(|name| (*name).to_owned()).collect();
            Request::Delta(DeltaDiscoveryRequest { type_url: kind.type_url(), resource_names_subscribe, node, ..Default::default() })
        };
        stream.requests.send(ask(ResourceType::Secret, &["kubernetes://none"], Some(node))).await.unwrap();
        // Only the first message names the node.
        stream.requests.send(ask(ResourceType::Cluster, &["*"], None)).await.unwrap();
        let mut kinds = vec![];
        while kinds.last() != Some(&ResourceType::Cluster.type_url()) {
            let Response::Delta(response) = stream.responses.recv().await.unwrap() else { panic!("it is of the delta protocol") };
            kinds.push(response.type_url);
        }
        assert!(has_secrets || !kinds.contains(&ResourceType::Secret.type_url()), "{peer:?}: {kinds:?}");
    }
}

#[tokio::test]
async fn a_proxy_that_comes_back_before_it_was_seen_to_go_is_there() {
    let pilot = pilot();
    let (_, first) = come(&pilot, "10.0.0.1").await;
    until_settled(&pilot, 1).await;
    let (_, _second) = come(&pilot, "10.0.0.1").await;
    drop(first);
    // Long enough for the end of the first one to be seen.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    until_settled(&pilot, 1).await;
}

#[tokio::test]
async fn who_asks_for_names_on_behalf_of_a_proxy_is_not_that_proxy() {
    let pilot = pilot();
    let (mut client, stream) = come(&pilot, "10.0.0.1").await;
    until_settled(&pilot, 1).await;
    let before = pilot.proxies();
    let mut node = node::introduce(&sidecar("10.0.0.1"));
    node::promise_dns(&mut node);
    node::accompany(&mut node);
    let mut companion = Client::new(Protocol::Delta, node);
    companion.want_all(ResourceType::NameTable);
    let (mut beside, server) = stream::pair(Protocol::Delta);
    pilot.streams().send(server).await.unwrap();
    for request in companion.connect() {
        beside.requests.send(request).await.unwrap();
    }
    let update = companion.receive(beside.responses.recv().await.unwrap()).unwrap();
    assert_eq!(update.kind, ResourceType::NameTable);
    beside.requests.send(companion.answer(&update, &[])).await.unwrap();
    let now = pilot.proxies();
    let (known, found) = (before.values().next().unwrap(), now.values().next().unwrap());
    assert_eq!((now.len(), found.since, &found.program), (1, known.since, &known.program));
    // It is told nothing else, and the proxy stays when it goes.
    let others = client.connect().remove(0);
    assert!(matches!(&others, Request::Delta(request) if request.type_url == ResourceType::Cluster.type_url()));
    beside.requests.send(others).await.unwrap();
    assert!(beside.responses.recv().await.is_none());
    until_settled(&pilot, 1).await;
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn those_that_do_not_answer_keep_nobody_waiting_for_long() {
    let pilot = pilot();
    let mut silent = vec![];
    for number in 0..100 {
        let (client, server) = stream::pair(Protocol::Delta);
        let proxy = node::introduce(&Proxy {
            id: Proxy::make_id(ProxyKind::Sidecar, "10.1.0.1", &format!("silent-{number}"), "default", "cluster.local"),
            kind: ProxyKind::Sidecar,
            name: format!("silent-{number}"),
            namespace: "default".to_owned(),
            labels: Default::default(),
            addresses: vec!["10.1.0.1".to_owned()],
            locality: String::new(),
            interception: Interception::None,
        });
        let mut wants = Client::new(Protocol::Delta, proxy);
        wants.want_all(ResourceType::Cluster);
        pilot.streams().send(server).await.unwrap();
        client.requests.send(wants.connect().remove(0)).await.unwrap();
        silent.push(client);
    }
    let came = tokio::time::timeout(std::time::Duration::from_secs(5), come(&pilot, "10.0.0.1")).await;
    assert!(came.is_ok());
}

/// A proxy that asks for its clusters and reads nothing: so much waits for it already that what it asks for finds no room.
async fn come_without_reading(pilot: &Pilot, name: &str) -> ClientStream {
    let proxy = Proxy {
        id: Proxy::make_id(ProxyKind::Sidecar, "10.1.0.1", name, "default", "cluster.local"),
        name: name.to_owned(),
        ..sidecar("10.1.0.1")
    };
    let mut client = Client::new(Protocol::Delta, node::introduce(&proxy));
    client.want_all(ResourceType::Cluster);
    let (stream, server) = stream::pair(Protocol::Delta);
    while stream.responses.len() < stream.responses.max_capacity() {
        let push = Push { protocol: Protocol::Delta, kind: ResourceType::Cluster, nonce: 0, resources: vec![], removals: vec![] };
        server.responses.send(push).await.unwrap();
    }
    pilot.streams().send(server).await.unwrap();
    for request in client.connect() {
        stream.requests.send(request).await.unwrap();
    }
    stream
}

#[tokio::test(start_paused = true)]
async fn those_that_read_nothing_keep_nobody_out_and_are_let_go() {
    let pilot = pilot();
    let mut deaf = vec![];
    for number in 0..10 {
        deaf.push(come_without_reading(&pilot, &format!("deaf-{number}")).await);
    }
    let (_client, _stream) = tokio::time::timeout(std::time::Duration::from_secs(10), come(&pilot, "10.0.0.1")).await.unwrap();
    for stream in deaf {
        tokio::time::timeout(std::time::Duration::from_secs(60), stream.requests.closed()).await.unwrap();
    }
    until_settled(&pilot, 1).await;
}
