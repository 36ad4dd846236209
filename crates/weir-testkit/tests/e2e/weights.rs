//! Weights: how traffic is shared.
//!
//! A share is a random choice, so a tolerance is a number of standard deviations; five of them make one run in a million
//! fail by chance.

use weir_testkit::{DataPlane, Layout, Mesh, Peer, Protocol, tcp_greeting, until};

use crate::support::{ROUTES, client_of_gateway, gateway_routes, over_each_data_plane, to};

over_each_data_plane!(http_is_shared_by_weight, tcp_is_shared_by_weight);

/// The standard deviation of one in four of 8,000 is 0.48 points; of one in five of 2,000 it is 0.9.
const REQUESTS: usize = 8_000;
const CONNECTIONS: usize = 2_000;

const TCP_ROUTES: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo, namespace: default}
spec:
  hosts: [echo.default.svc.cluster.local]
  tcp:
  - route:
    - {destination: {host: echo, subset: v1}, weight: 80}
    - {destination: {host: echo, subset: v2}, weight: 20}
";

async fn http_is_shared_by_weight(plane: DataPlane) {
    let (layout, one, two) = (Layout::new(), Peer::http("v1").await, Peer::http("v2").await);
    let service = layout.service("shop", &[&one, &two], Protocol::Http);
    let routes = gateway_routes(&(to("v1", 75) + &to("v2", 25)));
    let mesh = Mesh::start(plane, layout, &[("shop.yaml", &service), (ROUTES, &routes)]).await;
    let mut client = client_of_gateway(&mesh).await;

    let mut first = 0;
    for _ in 0..REQUESTS {
        let answer = client.get("/", &[]).await.unwrap();
        assert!(answer.is_from("v1") || answer.is_from("v2"), "{answer:?}");
        first += usize::from(answer.is_from("v1"));
    }

    assert_share(first, REQUESTS, 75.0, 2.5);
}

async fn tcp_is_shared_by_weight(plane: DataPlane) {
    let (layout, one, two) = (Layout::new(), Peer::tcp("v1").await, Peer::tcp("v2").await);
    let service = layout.service("echo", &[&one, &two], Protocol::Tcp);
    let mesh = Mesh::start(plane, layout, &[("echo.yaml", &service), (ROUTES, TCP_ROUTES)]).await;
    until("the sidecar takes connections", async || !tcp_greeting(mesh.tcp()).await.is_empty()).await;

    let mut first = 0;
    for _ in 0..CONNECTIONS {
        let name = tcp_greeting(mesh.tcp()).await;
        assert!(name == "v1" || name == "v2", "nobody was reached: {name:?}");
        first += usize::from(name == "v1");
    }

    assert_share(first, CONNECTIONS, 80.0, 4.0);
}

/// Checks a share, in percent.
#[expect(clippy::cast_precision_loss, reason = "these counts are small")]
fn assert_share(count: usize, of: usize, expected: f64, tolerance: f64) {
    let share = 100.0 * count as f64 / of as f64;
    assert!((share - expected).abs() <= tolerance, "{share} % instead of {expected} ± {tolerance} %");
}
