//! The end of the process: what was begun is finished.

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use weir_testkit::{Answer, DataPlane, HELD, Layout, Mesh, Peer, Protocol, until};

use crate::support::{HOST, ROUTES, all_to, client_of_gateway};

/// So many requests are in flight.
const REQUESTS: usize = 20;

#[tokio::test]
async fn ctrl_c_finishes_the_requests_in_flight() {
    requests_in_flight_survive("INT").await;
}

#[tokio::test]
async fn sigterm_finishes_the_requests_in_flight() {
    requests_in_flight_survive("TERM").await;
}

async fn requests_in_flight_survive(signal: &str) {
    let (layout, peer) = (Layout::new(), Peer::http("v1").await);
    let service = layout.service("shop", &[&peer], Protocol::Http);
    let mut mesh = Mesh::start(DataPlane::Weir, layout, &[("shop.yaml", &service), (ROUTES, &all_to("v1"))]).await;
    // This connection is idle at the end: it must not keep the process.
    let _idle = client_of_gateway(&mesh).await;
    let requests = hold_requests(&mesh);
    peer.holds(REQUESTS).await;

    mesh.weir().signal(signal).await;
    let gateway = mesh.gateway();
    until("new connections are refused", async || TcpStream::connect(gateway).await.is_err()).await;
    assert!(mesh.weir().is_running(), "the requests in flight were given up");
    peer.release();

    for answer in requests.join_all().await {
        let answer = answer.unwrap();
        assert!(answer.is_from("v1"), "{answer:?}");
    }
    let status = mesh.weir().ended().await;
    assert!(status.success(), "{status}");
}

/// Sends requests that the peer holds back, each over a connection of its own.
fn hold_requests(mesh: &Mesh) -> JoinSet<Result<Answer, String>> {
    let clients = std::iter::repeat_with(|| mesh.outside(HOST)).take(REQUESTS);
    clients.map(|mut client| async move { client.get(HELD, &[]).await }).collect()
}

#[tokio::test]
async fn an_idle_mesh_ends_at_once() {
    let (layout, peer) = (Layout::new(), Peer::http("v1").await);
    let service = layout.service("shop", &[&peer], Protocol::Http);
    let mut mesh = Mesh::start(DataPlane::Weir, layout, &[("shop.yaml", &service), (ROUTES, &all_to("v1"))]).await;

    mesh.weir().signal("TERM").await;

    let status = mesh.weir().ended().await;
    assert!(status.success(), "{status}");
}
