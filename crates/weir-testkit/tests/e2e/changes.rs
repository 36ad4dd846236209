//! Fifty changes a second under load: no request fails, memory does not grow, and the last change is in force everywhere.
//!
//! `WEIR_SOAK_CHANGES` is how many there are; `.ci/long` makes 5,000.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use weir_testkit::{Client, DataPlane, Layout, Mesh, Peer, service_of};

use crate::support::{HOST, ROUTES, client_of_gateway, gateway_routes, over_each_data_plane, to, until_from};

over_each_data_plane!(no_request_fails_and_nothing_grows_while_fifty_changes_come_each_second);

/// Twenty seconds.
const CHANGES: usize = 1_000;
const PACE: Duration = Duration::from_millis(20);
/// When all that a mesh needs has been needed once.
const WARM: usize = 500;
/// What an allocator may keep in between.
const SLACK: u64 = 12 * 1024 * 1024;
const CLIENTS: usize = 8;
/// Of each client, between two requests: together they leave some of two cores to others.
const PAUSE: Duration = Duration::from_millis(10);
/// So many services come and go.
const OTHERS: usize = 10;

fn changes() -> usize {
    std::env::var("WEIR_SOAK_CHANGES").ok().and_then(|text| text.parse().ok()).unwrap_or(CHANGES)
}

struct Changing {
    layout: Layout,
    peers: [Peer; 2],
}

impl Changing {
    /// The service with one of its instances, with the other, or with both.
    fn service(&self, number: usize) -> String {
        let [one, two] = [(self.peers[0].address(), "v1"), (self.peers[1].address(), "v2")];
        let instances = [vec![one], vec![two], vec![one, two]];
        service_of("shop", self.layout.http, &instances[number % instances.len()], "HTTP")
    }

    /// Both subsets by all instances: each request finds one, whatever there is.
    fn rule(number: usize) -> String {
        let balancer = ["ROUND_ROBIN", "RANDOM", "LEAST_REQUEST"][number % 3];
        format!(
            "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: shop, namespace: default}}
spec:
  host: shop
  trafficPolicy: {{loadBalancer: {{simple: {balancer}}}, connectionPool: {{tcp: {{maxConnections: {}}}}}}}
  subsets: [{{name: v1}}, {{name: v2}}]
",
            500 + number
        )
    }

    /// Other services come and go, with rules of their own.
    fn other(&self, number: usize) -> String {
        if number.is_multiple_of(2) {
            return String::new();
        }
        let mut text = service_of(&format!("other{}", number % OTHERS), self.layout.http, &[(self.peers[0].address(), "v1")], "HTTP");
        let _ = write!(text, "---\n{}", Self::rule(number).replace("shop", &format!("other{}", number % OTHERS)));
        text
    }

    /// Makes one change.
    fn make(&self, mesh: &Mesh, number: usize) {
        match number % 4 {
            0 => mesh.write("shop.yaml", &self.service(number / 4)),
            1 => {
                let weight = u32::try_from(number % 99).unwrap_or_default() + 1;
                mesh.write(ROUTES, &gateway_routes(&(to("v1", weight) + &to("v2", 100 - weight))));
            }
            2 => mesh.write("rule.yaml", &Self::rule(number)),
            _ => mesh.write(&format!("other{}.yaml", number / 4 % OTHERS), &self.other(number / 4)),
        }
    }
}

async fn no_request_fails_and_nothing_grows_while_fifty_changes_come_each_second(plane: DataPlane) {
    let changing = Changing { layout: Layout::new(), peers: [Peer::http("a").await, Peer::http("b").await] };
    let routes = gateway_routes(&(to("v1", 50) + &to("v2", 50)));
    let files = [("shop.yaml", changing.service(2)), ("rule.yaml", Changing::rule(0)), (ROUTES, routes)];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let mut mesh = Mesh::start(plane, changing.layout, &files).await;
    client_of_gateway(&mesh).await;
    let stop = Arc::new(AtomicBool::new(false));
    let outside = (0..CLIENTS / 2).map(|_| mesh.outside(HOST));
    let inside = (0..CLIENTS / 2).map(|_| mesh.inside("shop.default.svc.cluster.local"));
    let clients: Vec<Client> = outside.chain(inside).collect();
    let load: JoinSet<(usize, Vec<String>)> = clients.into_iter().map(|client| ask(client, stop.clone())).collect();

    let (begun, count) = (Instant::now(), changes());
    let mut pace = interval(PACE);
    let mut warm = 0;
    for number in 0..count {
        pace.tick().await;
        changing.make(&mesh, number);
        if number == WARM {
            warm = mesh.weir().peak_memory();
        }
    }
    let took = begun.elapsed();
    last_change_is_everywhere(&mesh, &changing).await;
    let end = mesh.weir().memory();

    stop.store(true, Ordering::Relaxed);
    let seen = load.join_all().await;
    let requests: usize = seen.iter().map(|(requests, _)| requests).sum();
    let mib = |bytes: u64| bytes / 1024 / 1024;
    eprintln!("{plane:?}: {count} changes in {took:.1?}, {requests} requests; {} MiB after {WARM}, {} MiB in the end", mib(warm), mib(end));
    let failed: Vec<&String> = seen.iter().flat_map(|(_, failed)| failed).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(end < warm + SLACK, "{} MiB have become {} MiB", mib(warm), mib(end));
}

/// What was written last comes into force at the gateway and at the sidecar.
async fn last_change_is_everywhere(mesh: &Mesh, changing: &Changing) {
    mesh.write("shop.yaml", &changing.service(0));
    for mut client in [mesh.outside(HOST), mesh.inside("shop.default.svc.cluster.local")] {
        until_from(&mut client, "a").await;
    }
    let (code, said) = mesh.ask(&["wait", "--for", "applied", "-f", "shop.yaml", "-f", ROUTES, "-f", "rule.yaml"]).await;
    assert_eq!(code, 0, "{said}{}", mesh.ask(&["proxy-status", "-o", "json"]).await.1);
    for mut client in [mesh.outside(HOST), mesh.inside("shop.default.svc.cluster.local")] {
        for _ in 0..20 {
            assert!(client.get("/", &[]).await.unwrap().is_from("a"), "the last change is in force");
        }
    }
}

/// Asks until told to stop: how often, and what failed.
async fn ask(mut client: Client, stop: Arc<AtomicBool>) -> (usize, Vec<String>) {
    let (mut requests, mut failed) = (0, vec![]);
    let mut pace = interval(PAUSE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.load(Ordering::Relaxed) && failed.is_empty() {
        pace.tick().await;
        match client.get("/", &[]).await {
            Ok(answer) if answer.status == 200 => requests += 1,
            other => failed.push(format!("{other:?}")),
        }
    }
    (requests, failed)
}
