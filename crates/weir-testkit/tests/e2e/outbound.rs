//! What becomes of requests for hosts that no service is.

use weir_testkit::{DataPlane, Layout, Mesh, Peer, Protocol, until};

use crate::support::over_each_data_plane;

over_each_data_plane!(a_host_that_nobody_registered_is_found_by_its_name);

const BY_NAME: &str = "accessLogFile: ''\nenableTracing: false\noutboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}\n";

/// MeshConfig's ALLOW_ANY_DYNAMIC_DNS: the host of the request says where it goes.
async fn a_host_that_nobody_registered_is_found_by_its_name(plane: DataPlane) {
    let (layout, one, other) = (Layout::new(), Peer::http("a").await, Peer::http("b").await);
    let service = layout.service("shop", &[&one], Protocol::Http);
    let mesh = Mesh::start_with(plane, layout, BY_NAME, &[("shop.yaml", &service)]).await;
    let mut known = mesh.inside("shop");
    until("the service is in force", async || known.get("/", &[]).await.is_ok_and(|answer| answer.is_from("a"))).await;

    let mut unknown = Mesh::at(layout.http, &other.address().to_string());
    for _ in 0..3 {
        let answer = unknown.get("/", &[]).await.unwrap();
        assert!(answer.is_from("b"), "{answer:?}");
    }
    let mut nobody = Mesh::at(layout.http, "nobody.invalid");
    let answer = nobody.get("/", &[]).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (503, "DNS resolution failure"));
}
