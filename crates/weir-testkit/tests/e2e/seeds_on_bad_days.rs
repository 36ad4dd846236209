//! What the configurations of those pages do when instances are slow, gone or busy: as their text says.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use weir_testkit::{Act, BadPeer, DataPlane, Layout, Mesh, service_of, until};

use crate::support::over_each_data_plane;

over_each_data_plane!(
    ratings_that_take_too_long_are_given_up_after_ten_seconds,
    ratings_are_tried_three_times_more_for_two_seconds_each,
    reviews_v1_gets_no_more_than_a_hundred_connections,
    one_request_of_a_thousand_is_held_up_for_five_seconds,
    a_version_with_a_balancer_of_its_own_is_used_in_turn,
);

const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const BAD: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 3\r\n\r\nbad";

/// A document of those pages.
fn seed(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../weir-api/tests/seeds").join(name)).unwrap()
}

/// The subsets that the pages speak of.
fn subsets(host: &str, versions: &[&str]) -> String {
    let subsets: Vec<String> = versions.iter().map(|version| format!("{{name: {version}, labels: {{version: {version}}}}}")).collect();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {host}}}\nspec: {{host: {host}, subsets: [{}]}}\n",
        subsets.join(", ")
    )
}

/// Proxies count time in ticks, and a busy machine takes longer.
fn assert_took(begun: Instant, seconds: u64) {
    let (took, wanted) = (begun.elapsed(), Duration::from_secs(seconds));
    assert!(took > wanted.mul_f64(0.95) && took < wanted + Duration::from_secs(6), "{took:?} instead of {wanted:?}");
}

/// A mesh with the service `ratings` in two versions and a document about it. Only v1 is used.
async fn ratings(plane: DataPlane, one: &BadPeer, two: &BadPeer, document: &str) -> (Layout, Mesh) {
    let layout = Layout::new();
    let service = service_of("ratings", layout.http, &[(one.address(), "v1"), (two.address(), "v2")], "HTTP");
    let rules = subsets("ratings", &["v1", "v2"]);
    let resources = [("service.yaml", service.as_str()), ("subsets.yaml", &rules), ("rule.yaml", &seed(document))];
    (layout, Mesh::start(plane, layout, &resources).await)
}

async fn ratings_that_take_too_long_are_given_up_after_ten_seconds(plane: DataPlane) {
    // The first request shows that the rules are in force, the second is never answered.
    let slow = BadPeer::start(&[&[Act::Read, Act::Say(GOOD), Act::Read, Act::UntilEnd]]).await;
    let other = BadPeer::refusing().await;
    let (_, mesh) = ratings(plane, &slow, &other, "002-08-virtual-service-ratings.yaml").await;
    let mut client = mesh.inside("ratings");
    until("the rule is in force", async || client.get("/", &[]).await.is_ok_and(|answer| answer.status == 200)).await;
    let begun = Instant::now();
    let answer = client.get("/", &[]).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (504, "upstream request timeout"));
    assert_took(begun, 10);
}

async fn ratings_are_tried_three_times_more_for_two_seconds_each(plane: DataPlane) {
    // Connections that end before a request are no answers: three tries are refused in this way, the fourth is answered.
    let unready: &[Act] = &[Act::Read, Act::Say("HTTP/1.1 200 OK\r\ngrpc-status: 14\r\ncontent-length: 0\r\n\r\n")];
    let good: &[Act] = &[Act::Read, Act::Say(GOOD), Act::Read, Act::Say(BAD), Act::Read, Act::UntilEnd];
    let peer = BadPeer::start(&[unready, unready, unready, good]).await;
    let other = BadPeer::refusing().await;
    let (_, mesh) = ratings(plane, &peer, &other, "002-09-virtual-service-ratings.yaml").await;
    let mut client = mesh.inside("ratings");
    until("the rule is in force", async || client.get("/", &[]).await.is_ok_and(|answer| answer.status == 200)).await;
    assert_eq!(peer.requests(), 4);
    // What the instance answers itself is no reason to try again.
    assert_eq!(client.get("/", &[]).await.unwrap().status, 503);
    assert_eq!(peer.requests(), 5);
    // A try may take two seconds.
    let begun = Instant::now();
    assert_eq!(client.get("/", &[]).await.unwrap().status, 504);
    assert_took(begun, 2);
}

const REVIEWS: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews, subset: v1}}]}]
";

async fn reviews_v1_gets_no_more_than_a_hundred_connections(plane: DataPlane) {
    const LIMIT: usize = 100;
    let held: Vec<Act> = [Act::Read, Act::Wait, Act::Say(GOOD)].repeat(4);
    let first = [[Act::Read, Act::Say(GOOD)].as_slice(), &held].concat();
    let (layout, peer) = (Layout::new(), BadPeer::start(&[&first, &held]).await);
    let service = service_of("reviews", layout.http, &[(peer.address(), "v1")], "HTTP");
    let resources =
        [("service.yaml", service), ("rule.yaml", seed("002-10-destination-rule-reviews.yaml")), ("route.yaml", REVIEWS.to_owned())];
    let mesh = Mesh::start(plane, layout, &resources.each_ref().map(|(name, text)| (*name, text.as_str()))).await;
    let mut probe = mesh.inside("reviews");
    until("the rule is in force", async || probe.get("/", &[]).await.is_ok_and(|answer| answer.status == 200)).await;
    let clients = (0..=LIMIT).map(|_| {
        let mut client = mesh.inside("reviews");
        async move { assert_eq!(client.get("/", &[]).await.unwrap().status, 200) }
    });
    let clients: JoinSet<()> = clients.collect();
    peer.waits(LIMIT).await;
    assert_eq!((peer.requests(), peer.accepted()), (LIMIT + 1, LIMIT));
    // The hundred and first waits for one of the hundred connections.
    peer.go_on(1);
    peer.waits(LIMIT + 1).await;
    assert_eq!(peer.accepted(), LIMIT);
    peer.go_on(LIMIT);
    clients.join_all().await;
}

async fn one_request_of_a_thousand_is_held_up_for_five_seconds(plane: DataPlane) {
    const CLIENTS: usize = 50;
    const EACH: usize = 300;
    let good: Vec<Act> = [Act::Read, Act::Say(GOOD)].repeat(CLIENTS * EACH);
    let (one, other) = (BadPeer::start(&[&good]).await, BadPeer::refusing().await);
    let (_, mesh) = ratings(plane, &one, &other, "002-11-virtual-service-ratings.yaml").await;
    let mut probe = mesh.inside("ratings");
    until("the rule is in force", async || probe.get("/", &[]).await.is_ok_and(|answer| answer.status == 200)).await;
    let held = Arc::new(Mutex::new(vec![]));
    let clients = (0..CLIENTS).map(|_| {
        let (mut client, held) = (mesh.inside("ratings"), held.clone());
        async move {
            for _ in 0..EACH {
                let begun = Instant::now();
                assert_eq!(client.get("/", &[]).await.unwrap().status, 200);
                if begun.elapsed() > Duration::from_secs(4) {
                    held.lock().await.push(begun.elapsed());
                }
            }
        }
    });
    clients.collect::<JoinSet<()>>().join_all().await;
    // Of 15,000 requests 15; fewer than 3 or more than 40 would be one chance in a million.
    let held = held.lock().await;
    assert!((2..=40).contains(&held.len()), "{held:?}");
    assert!(held.iter().all(|held| *held >= Duration::from_millis(4_900)), "{held:?}");
}

const MY_SVC: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: my-svc}
spec:
  hosts: [my-svc]
  http: [{route: [{destination: {host: my-svc, subset: v2}}]}]
";

async fn a_version_with_a_balancer_of_its_own_is_used_in_turn(plane: DataPlane) {
    const ROUNDS: usize = 30;
    let script: Vec<Act> = [Act::Read, Act::Say(GOOD)].repeat(10 * ROUNDS);
    let (layout, mut peers) = (Layout::new(), vec![]);
    for _ in 0..3 {
        peers.push(BadPeer::start(&[&script]).await);
    }
    let instances: Vec<_> = peers.iter().map(|peer| (peer.address(), "v2")).collect();
    let service = service_of("my-svc", layout.http, &instances, "HTTP");
    let rule = seed("002-02-destination-rule-my-destination-rule.yaml");
    let mesh = Mesh::start(plane, layout, &[("service.yaml", &service), ("rule.yaml", &rule), ("route.yaml", MY_SVC)]).await;
    let mut client = mesh.inside("my-svc");
    until("the rule is in force", async || client.get("/", &[]).await.is_ok_and(|answer| answer.status == 200)).await;
    let before: Vec<usize> = peers.iter().map(BadPeer::requests).collect();
    for _ in 0..3 * ROUNDS {
        assert_eq!(client.get("/", &[]).await.unwrap().status, 200);
    }
    let shares: Vec<usize> = peers.iter().zip(before).map(|(peer, before)| peer.requests() - before).collect();
    assert_eq!(shares, [ROUNDS; 3]);
}
