//! A bad day: of ten instances three fail every other time and one hangs. Retries and outlier detection together keep that from
//! the clients, and from making it worse.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use weir_testkit::{Act, BadPeer, Client, DataPlane, Layout, Mesh, service_of, until};

use crate::support::{HOST, over_each_data_plane};

over_each_data_plane!(clients_hardly_notice_that_four_of_ten_instances_fail);

const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const BAD: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 3\r\n\r\nbad";
/// A thousand requests a second for half a minute.
const CLIENTS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(200);
const REQUESTS_OF_EACH: u32 = 150;
/// So many requests one connection may carry; more than all clients make.
const OF_ONE_CONNECTION: usize = 40_000;

const RULES: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: default}
spec:
  hosts: [shop.test]
  gateways: [gw]
  http:
  - route: [{destination: {host: shop}}]
    retries: {attempts: 3, perTryTimeout: 500ms, retryOn: '5xx,reset,connect-failure'}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop, namespace: default}
spec:
  host: shop
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 5s, maxEjectionPercent: 50}
";

/// Ten instances: six are well, three answer 500 every other time by chance, one never answers.
async fn instances() -> Vec<BadPeer> {
    let always: Vec<Act> = [Act::Read, Act::Say(GOOD)].repeat(OF_ONE_CONNECTION);
    let mut chance = fastrand::Rng::with_seed(7);
    let mut sometimes = vec![];
    for _ in 0..OF_ONE_CONNECTION {
        sometimes.extend([Act::Read, Act::Say(if chance.bool() { GOOD } else { BAD })]);
    }
    let mut all = vec![BadPeer::start(&[&[Act::ReadHead, Act::UntilEnd]]).await];
    for number in 1..10 {
        let script = if number <= 3 { &sometimes } else { &always };
        all.push(BadPeer::start(&[script.as_slice()]).await);
    }
    all
}

async fn clients_hardly_notice_that_four_of_ten_instances_fail(plane: DataPlane) {
    let (layout, instances) = (Layout::new(), instances().await);
    let named: Vec<_> = instances.iter().map(|instance| (instance.address(), "v1")).collect();
    let service = service_of("shop", layout.http, &named, "HTTP");
    let mesh = Mesh::start(plane, layout, &[("shop.yaml", &service), ("rules.yaml", RULES)]).await;
    let mut probe = mesh.outside(HOST);
    until("the rules are in force", async || probe.get("/", &[]).await.is_ok_and(|answer| answer.status == 200)).await;

    let asked: usize = instances.iter().map(BadPeer::requests).sum();
    let good = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let clients = (0..CLIENTS).map(|number| ask(mesh.outside(HOST), start + PAUSE * number / CLIENTS, good.clone()));
    clients.collect::<JoinSet<()>>().join_all().await;

    let requests = f64::from(CLIENTS * REQUESTS_OF_EACH);
    let attempts = (instances.iter().map(BadPeer::requests).sum::<usize>() - asked) as f64 / requests;
    let share = good.load(Ordering::Relaxed) as f64 / requests;
    eprintln!("{plane:?}: {requests} requests in {:?}, {:.3} % answered well, {attempts:.3} attempts each", start.elapsed(), 100.0 * share);
    assert!(share >= 0.999, "{share}");
    assert!(attempts <= 1.3, "{attempts}");
}

/// Asks at a steady pace.
async fn ask(mut client: Client, start: Instant, good: Arc<AtomicUsize>) {
    let mut pace = interval_at(start, PAUSE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..REQUESTS_OF_EACH {
        pace.tick().await;
        if client.get("/", &[]).await.is_ok_and(|answer| answer.status == 200) {
            good.fetch_add(1, Ordering::Relaxed);
        }
    }
}
