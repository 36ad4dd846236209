//! Instances that go away and come back, without any word from the control plane: nobody but the proxy can notice.

use std::collections::BTreeSet;

use weir_testkit::{Client, DataPlane, Layout, Mesh, Peer, Protocol, until};

use crate::support::{ROUTES, client_of_gateway, gateway_routes, over_each_data_plane, until_from};

over_each_data_plane!(clients_do_not_notice_that_one_of_two_instances_stops);

/// As many requests would reach a stopped instance for sure, were it still used: with two of them, all but one in 2^100.
const REQUESTS: usize = 100;

async fn clients_do_not_notice_that_one_of_two_instances_stops(plane: DataPlane) {
    let (layout, mut one, mut two) = (Layout::new(), Peer::http("a").await, Peer::http("b").await);
    let service = layout.service("shop", &[&one, &two], Protocol::Http);
    let routes = gateway_routes("    - {destination: {host: shop}}\n");
    let mesh = Mesh::start(plane, layout, &[("shop.yaml", &service), (ROUTES, &routes)]).await;
    let mut client = client_of_gateway(&mesh).await;
    assert_eq!(instances(&mut client).await, names(&["a", "b"]));

    one.stop().await;
    assert_eq!(instances(&mut client).await, names(&["b"]));

    two.stop().await;
    for _ in 0..REQUESTS {
        assert_eq!(client.get("/", &[]).await.unwrap().status, 503);
    }

    one.start().await;
    until_from(&mut client, "a").await;
    two.start().await;
    until("both are used again", async || instances(&mut client).await == names(&["a", "b"])).await;
}

/// Who answers; each request must be.
async fn instances(client: &mut Client) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for _ in 0..REQUESTS {
        let answer = client.get("/", &[]).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        seen.insert(answer.instance);
    }
    seen
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}
