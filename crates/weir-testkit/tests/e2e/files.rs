//! Files that change while the mesh runs.

use std::time::Duration;

use tokio::time::interval;
use weir_testkit::{Client, DataPlane, Layout, Mesh, Peer, Protocol, until};

use crate::support::{ROUTES, all_to, until_from};

const REWRITES: u64 = 50;
/// From one rewrite to the next, in turn: most are so short that several are taken as one change, some are long enough for
/// each to take effect.
const GAPS: [Duration; 3] = [Duration::from_millis(2), Duration::from_millis(5), Duration::from_millis(40)];

/// A mesh with two versions of a service; the gateway sends everything to the first.
async fn two_versions() -> (Mesh, Client, [Peer; 2]) {
    let (layout, peers) = (Layout::new(), [Peer::http("v1").await, Peer::http("v2").await]);
    let service = layout.service("shop", &[&peers[0], &peers[1]], Protocol::Http);
    let mesh = Mesh::start(DataPlane::Weir, layout, &[("shop.yaml", &service), (ROUTES, &all_to("v1"))]).await;
    let mut client = mesh.outside(crate::support::HOST);
    until_from(&mut client, "v1").await;
    (mesh, client, peers)
}

#[tokio::test]
async fn a_broken_file_is_reported_with_its_line_and_the_last_good_version_stays() {
    let (mut mesh, mut client, _peers) = two_versions().await;

    // The eighth line closes a list that it does not open.
    mesh.write(ROUTES, &all_to("v2").replace("  - route:\n", "  - route: ]\n"));
    until("the broken file is reported", async || mesh.weir().said().contains("routes.yaml:8")).await;
    for _ in 0..100 {
        let answer = client.get("/", &[]).await.unwrap();
        assert!(answer.is_from("v1"), "{answer:?}");
    }

    mesh.write(ROUTES, &all_to("v2"));
    until_from(&mut client, "v2").await;
}

#[tokio::test]
async fn no_request_fails_while_a_file_is_rewritten() {
    let (mesh, mut client, _peers) = two_versions().await;
    let rewriting = tokio::spawn(async move {
        let mut gaps = GAPS.map(interval);
        for rewrite in 0..REWRITES {
            let turn = usize::try_from(rewrite).unwrap() % gaps.len();
            gaps[turn].reset();
            gaps[turn].tick().await;
            mesh.write(ROUTES, &all_to(if rewrite % 2 == 0 { "v2" } else { "v1" }));
        }
        mesh.write(ROUTES, &all_to("v2"));
        mesh
    });

    let mut requests = 0;
    while !rewriting.is_finished() {
        let answer = client.get("/", &[]).await.unwrap();
        assert!(answer.is_from("v1") || answer.is_from("v2"), "after {requests} requests: {answer:?}");
        requests += 1;
    }

    assert!(requests > 50, "so few requests say nothing: {requests}");
    let _mesh = rewriting.await.unwrap();
    until_from(&mut client, "v2").await;
}
