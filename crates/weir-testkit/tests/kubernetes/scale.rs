//! Many services: how long until a pilot is ready, what it holds, and how soon a change of one slice is told.

use std::env;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use weir_testkit::Cluster;

use crate::follower::Follower;
use crate::{ADMIN, BOUND, XDS, object, quantile};

/// Names how many services there are; `.ci/long` asks for ten thousand.
const SERVICES: &str = "WEIR_TEST_SERVICES";
const USUAL: usize = 300;
/// So many requests are under way while they are made.
const AT_ONCE: usize = 8;
/// So many times a slice changes.
const CHANGES: usize = 50;

fn service(name: &str) -> Value {
    object("v1", "Service", name, json!({"spec": {"ports": [{"name": "http", "port": 80}]}}))
}

/// The only slice of a service, with one endpoint.
fn slice(name: &str, address: &str) -> Value {
    let content = json!({
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
    });
    let mut slice = object("discovery.k8s.io/v1", "EndpointSlice", name, content);
    slice["metadata"]["labels"] = json!({"kubernetes.io/service-name": name});
    slice
}

async fn put(cluster: &Cluster, name: &str, address: &str) {
    cluster.apply(&format!("/api/v1/namespaces/shop/services/{name}"), service(name)).await;
    put_slice(cluster, name, address).await;
}

async fn put_slice(cluster: &Cluster, name: &str, address: &str) {
    cluster.apply(&format!("/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/{name}"), slice(name, address)).await;
}

#[tokio::test]
async fn a_slice_that_changes_is_told_soon_among_many() {
    let count: usize = env::var(SERVICES).map_or(USUAL, |written| written.parse().expect("a number of services"));
    let Some(cluster) = Cluster::start().await else { return };
    cluster.apply("/api/v1/namespaces/shop", object("v1", "Namespace", "shop", json!({}))).await;
    let cluster = Arc::new(cluster);
    let mut making = JoinSet::new();
    for first in 0..AT_ONCE {
        let cluster = cluster.clone();
        making.spawn(async move {
            for index in (first..count).step_by(AT_ONCE) {
                put(&cluster, &format!("s{index}"), &format!("10.200.{}.{}", index / 250, index % 250)).await;
            }
        });
    }
    making.join_all().await;

    let begin = Instant::now();
    let mut pilot = cluster.start_pilot(XDS, ADMIN).await;
    let (last, chosen) = (format!("s{}", count - 1), format!("outbound|80||s{}.shop.svc.cluster.local", count - 1));
    let mut follower = Follower::connect(XDS, &chosen, "80").await;
    let ready = begin.elapsed();
    follower
        .until("all services are clusters", |told| {
            told.clusters().iter().filter(|name| name.ends_with(".shop.svc.cluster.local")).count() == count
        })
        .await;
    follower.until("an instance is known", |told| told.endpoints(&chosen).len() == 1).await;
    let (first, memory, before) = (begin.elapsed(), pilot.memory(), pilot.cpu());

    let mut told = vec![];
    for index in 0..CHANGES {
        let address = format!("10.201.0.{index}");
        put_slice(&cluster, &last, &address).await;
        let asked = Instant::now();
        follower.until("the change is told", |told| told.endpoints(&chosen).contains(&format!("{address}:8080 -"))).await;
        told.push(asked.elapsed());
    }
    let p99 = quantile(&mut told, 99);
    eprintln!(
        "{count} Services, a slice each: the pilot serves after {ready:?}, a proxy has all after {first:?}; it holds {} MiB; a slice's change is told after \
         p50 {:?}, p99 {p99:?}, and takes {:?} of CPU",
        memory >> 20,
        quantile(&mut told, 50),
        (pilot.cpu() - before) / u32::try_from(CHANGES).unwrap(),
    );
    assert!(p99 < BOUND, "{p99:?}");
    assert!(pilot.is_running());
}
