//! What a pilot tells of its proxies: which of them has what, and who refused what.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;
use weir_ads::{Client, ClientStream, Protocol, stream};
use weir_api::{Source, parse};
use weir_model::{Interception, Proxy, ProxyKind};
use weir_pilot::{Options, Pilot, node};
use weir_registry::Catalog;
use weir_xds::resource::ResourceType;

const ID: &str = "sidecar~10.0.0.1~a.shop~shop.svc.cluster.local";

/// A mesh of these services, each with its port.
fn catalog_of(services: &[(&str, u16)]) -> Arc<Catalog> {
    let text = |(name, port): &(&str, u16)| {
        format!(
            "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: shop}}
spec: {{hosts: [{name}.test], resolution: STATIC, ports: [{{number: {port}, name: http, protocol: HTTP}}], endpoints: [{{address: 10.0.0.9}}]}}
"
        )
    };
    Arc::new(Catalog::of(parse(&Source::new("mesh.yaml", services.iter().map(text).collect::<String>())).objects))
}

fn catalog(port: u16) -> Arc<Catalog> {
    catalog_of(&[("shop", port)])
}

struct Follower {
    client: Client,
    stream: ClientStream,
}

impl Follower {
    async fn connect(pilot: &Pilot) -> Self {
        let proxy = Proxy {
            id: ID.to_owned(),
            kind: ProxyKind::Sidecar,
            name: "a".to_owned(),
            namespace: "shop".to_owned(),
            labels: Default::default(),
            addresses: vec!["10.0.0.1".to_owned()],
            locality: String::new(),
            interception: Interception::None,
        };
        let mut client = Client::new(Protocol::Delta, node::introduce(&proxy));
        client.want_all(ResourceType::Cluster);
        let (stream, server) = stream::pair(Protocol::Delta);
        pilot.streams().send(server).await.unwrap();
        for request in client.connect() {
            stream.requests.send(request).await.unwrap();
        }
        Self { client, stream }
    }

    /// Takes what comes, or refuses a part of it.
    async fn answer(&mut self, refused: &[(Arc<str>, String)]) {
        let update = self.client.receive(self.stream.responses.recv().await.unwrap()).unwrap();
        let answer = self.client.answer(&update, refused);
        self.stream.requests.send(answer).await.unwrap();
    }
}

/// Waits until the pilot tells this of the only proxy.
async fn until(pilot: &Pilot, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..10_000 {
        let proxy = pilot.syncz()["proxies"][0].clone();
        if holds(&proxy) {
            return proxy;
        }
        tokio::task::yield_now().await;
    }
    panic!("{what}: {}", pilot.syncz());
}

#[tokio::test]
async fn a_pilot_knows_who_has_which_version_and_who_refused_what() {
    let (sender, receiver) = watch::channel(catalog(80));
    let pilot = Pilot::start(receiver, Options { mesh: Arc::default(), domain: "cluster.local".to_owned(), say: Box::new(|_| {}) });
    assert_eq!(pilot.config_dump(None, true), Err("no proxy follows the pilot\n".to_owned()));
    let mut follower = Follower::connect(&pilot).await;
    let stale = until(&pilot, "it is sent clusters", |proxy| proxy["types"]["CDS"]["state"] == "STALE").await;
    assert_eq!((&stale["proxy"], &stale["answeredVersion"], &stale["settled"]), (&"a.shop".into(), &0.into(), &false.into()));
    follower.answer(&[]).await;
    let first = pilot.version();
    let synced = until(&pilot, "it has answered", |proxy| proxy["answeredVersion"] == first).await;
    assert_eq!((&synced["types"]["CDS"]["state"], &synced["types"]["RDS"]), (&"SYNCED".into(), &Value::Null));

    sender.send_replace(catalog(81));
    follower.answer(&[("outbound|81||shop.test".into(), "outbound|81||shop.test: not today".to_owned())]).await;
    let refused = until(&pilot, "it has refused", |proxy| proxy["answeredVersion"] == first + 1).await;
    assert_eq!(refused["types"]["CDS"]["state"], "ERROR");
    assert!(refused["types"]["CDS"]["error"].as_str().unwrap().contains("not today"), "{refused}");

    let dump = pilot.config_dump(Some("a"), false).unwrap();
    assert!(dump["configs"][0].to_string().contains("outbound|81||shop.test"), "{dump}");
    assert_eq!(pilot.config_dump(Some("b"), false), Err("there is no such proxy; there are\n  a.shop\n".to_owned()));
    let versions = pilot.versions();
    assert_eq!((&versions["configVersion"], &versions["objects"][0]["name"]), (&(first + 1).into(), &"shop".into()));
}

#[tokio::test]
async fn what_is_refused_is_told_until_something_better_is_accepted() {
    let (sender, receiver) = watch::channel(catalog(80));
    let pilot = Pilot::start(receiver, Options { mesh: Arc::default(), domain: "cluster.local".to_owned(), say: Box::new(|_| {}) });
    let mut follower = Follower::connect(&pilot).await;
    follower.answer(&[("outbound|80||shop.test".into(), "not today".to_owned())]).await;
    until(&pilot, "it has refused", |proxy| proxy["types"]["CDS"]["state"] == "ERROR").await;

    sender.send_replace(catalog_of(&[("shop", 80), ("other", 80)]));
    follower.answer(&[]).await;
    let answered = pilot.version();
    let still = until(&pilot, "it has accepted another cluster", |proxy| proxy["answeredVersion"] == answered).await;
    assert_eq!(still["types"]["CDS"]["state"], "ERROR");
    assert!(still["types"]["CDS"]["error"].as_str().unwrap().contains("not today"), "{still}");

    sender.send_replace(catalog_of(&[("shop", 81), ("other", 80)]));
    until(&pilot, "it has what was refused otherwise", |proxy| proxy["types"]["CDS"]["state"] == "STALE").await;
    while pilot.syncz()["proxies"][0]["settled"] == false {
        follower.answer(&[]).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    let mended = pilot.syncz()["proxies"][0].clone();
    assert_eq!((&mended["types"]["CDS"]["state"], &mended["types"]["CDS"]["error"]), (&"SYNCED".into(), &Value::Null));
}

#[tokio::test]
async fn a_proxy_that_has_come_back_is_there_though_its_first_stream_ends_later() {
    let (_sender, receiver) = watch::channel(catalog(80));
    let pilot = Pilot::start(receiver, Options { mesh: Arc::default(), domain: "cluster.local".to_owned(), say: Box::new(|_| {}) });
    let first = Follower::connect(&pilot).await;
    let since = until(&pilot, "it is there", |proxy| proxy.is_object()).await["connectedSince"].clone();
    // The time of a stream is told in milliseconds.
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    let mut second = Follower::connect(&pilot).await;
    second.answer(&[]).await;
    let again = until(&pilot, "it is back", |proxy| proxy["connectedSince"] != since && proxy["settled"] == true).await;
    drop(first);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(pilot.syncz()["proxies"][0], again);
}

/// `weir wait` ends when all proxies have answered the version that the pilot tells.
#[tokio::test]
async fn a_change_that_concerns_nobody_has_been_answered() {
    let first = catalog(80);
    let (sender, receiver) = watch::channel(first.clone());
    let pilot = Pilot::start(receiver, Options { mesh: Arc::default(), domain: "cluster.local".to_owned(), say: Box::new(|_| {}) });
    let mut follower = Follower::connect(&pilot).await;
    follower.answer(&[]).await;
    until(&pilot, "it has answered", |proxy| proxy["answeredVersion"] == pilot.version()).await;
    let before = pilot.version();

    let slice = "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: other, namespace: shop, labels: {kubernetes.io/service-name: other}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.9]}]
";
    // The objects that were there before are the same.
    let mut objects = parse(&Source::new("other.yaml", slice)).objects;
    objects.extend(first.objects().cloned());
    sender.send_replace(Arc::new(Catalog::of(objects)));
    let mut catalog = pilot.catalog();
    catalog.wait_for(|catalog| catalog.len() == 2).await.unwrap();
    assert_eq!(pilot.versions()["objects"].as_array().unwrap().len(), 2);
    let answered = pilot.syncz()["proxies"][0]["answeredVersion"].clone();
    assert_eq!((pilot.versions()["configVersion"].clone(), answered), (before.into(), before.into()));
}

#[tokio::test]
async fn what_holds_for_the_whole_mesh_may_change() {
    let (_sender, receiver) = watch::channel(catalog(80));
    let pilot = Pilot::start(receiver, Options { mesh: Arc::default(), domain: "cluster.local".to_owned(), say: Box::new(|_| {}) });
    let mut follower = Follower::connect(&pilot).await;
    let mut take = async || {
        let update = follower.client.receive(follower.stream.responses.recv().await.unwrap()).unwrap();
        follower.stream.requests.send(follower.client.answer(&update, &[])).await.unwrap();
        (update.upserts.iter().any(|(name, _)| &**name == "outbound|80||shop.test"), update.removals)
    };
    assert_eq!(take().await, (true, vec![]));
    let (config, _) = weir_api::resources::MeshConfig::parse(&Source::new("mesh.yaml", "defaultServiceExportTo: ['~']\n"));
    pilot.configure(Arc::new(config));
    assert_eq!(take().await, (false, vec!["outbound|80||shop.test".into()]));
    pilot.configure(Arc::default());
    assert_eq!(take().await, (true, vec![]));
}
