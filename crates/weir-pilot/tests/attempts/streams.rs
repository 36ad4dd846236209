//! xDS for those for whom it is not.

use std::collections::BTreeMap;

use weir_ads::{Client, Peer, Protocol, ServerStream, stream};
use weir_pilot::Pilot;
use weir_registry::Catalog;
use weir_xds::core::Node;
use weir_xds::prost_types::Struct;
use weir_xds::resource::ResourceType;
use weir_xds::values::text;

use crate::{counted, log, pilot};

const ELSEWHERE: &str = "weir_xds_refused_streams_total{reason=\"another machine\"}";
const NODE: &str = "weir_xds_refused_streams_total{reason=\"node\"}";

/// What a node says, with more metadata.
fn node_of(id: &str, metadata: &[(&str, &str)]) -> Node {
    let fields: BTreeMap<_, _> = metadata.iter().map(|(name, value)| ((*name).to_owned(), text(*value))).collect();
    Node { id: id.to_owned(), metadata: Some(Struct { fields }), ..Node::default() }
}

fn tcp(peer: &str, local: &str) -> Peer {
    Peer::Tcp { peer: peer.parse().unwrap(), local: local.parse().unwrap() }
}

const CART: &str = "sidecar~10.0.0.1~cart.shop~shop.svc.cluster.local";

/// Whether somebody is served.
async fn is_served(pilot: &Pilot, peer: Peer, node: Node) -> bool {
    let mut client = Client::new(Protocol::Delta, node);
    client.want_all(ResourceType::Cluster);
    let (mut ours, server) = stream::pair(Protocol::Delta);
    pilot.streams().send(ServerStream { peer, ..server }).await.unwrap();
    for request in client.connect() {
        // Who is refused at once hears nothing.
        let _ = ours.requests.send(request).await;
    }
    ours.responses.recv().await.is_some()
}

#[tokio::test]
async fn who_has_no_business_here_is_served_nothing_and_counted_and_named() {
    let _alone = log::alone().await;
    let here = || tcp("127.0.0.1:40000", "127.0.0.1:15010");
    let attempts = [
        (
            "a plain xDS client from a non-local address",
            tcp("192.0.2.1:40001", "192.0.2.9:15010"),
            node_of(CART, &[]),
            ELSEWHERE,
            "192.0.2.1:40001",
        ),
        (
            "one from a non-local address of version 6",
            tcp("[2001:db8::1]:40002", "[2001:db8::9]:15010"),
            node_of(CART, &[]),
            ELSEWHERE,
            "[2001:db8::1]:40002",
        ),
        (
            "one where nobody looks whose process it is",
            Peer::Stranger { peer: "192.0.2.1:40003".parse().unwrap(), local: "192.0.2.9:15010".parse().unwrap() },
            node_of(CART, &[]),
            ELSEWHERE,
            "192.0.2.1:40003",
        ),
        ("one of whom nothing is known", Peer::Unknown, node_of(CART, &[]), ELSEWHERE, "who comes"),
        ("a node that claims a namespace not its own", here(), node_of(CART, &[("NAMESPACE", "money")]), NODE, CART),
        ("a node that is none of a mesh", here(), node_of("nobody", &[]), NODE, "nobody"),
    ];
    for (attempt, peer, node, statistic, named) in attempts {
        let pilot = pilot(Catalog::default());
        log::forget();
        assert!(!is_served(&pilot, peer, node).await, "{attempt}");
        counted(&pilot, statistic, 1);
        let line = log::line_about("an xDS stream is refused").await;
        assert!(line.contains(named), "{attempt}: {line}");
    }
}

#[tokio::test]
async fn who_is_on_this_machine_is_served_and_others_where_that_is_asked_for() {
    let elsewhere = || tcp("192.0.2.1:40001", "192.0.2.9:15010");
    let local = [Peer::Here, Peer::Unix { user: 1 }, tcp("127.0.0.1:1", "127.0.0.1:2"), tcp("192.0.2.9:1", "192.0.2.9:15010")];
    for peer in local.into_iter().chain([tcp("[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:2")]) {
        assert!(is_served(&pilot(Catalog::default()), peer.clone(), node_of(CART, &[("NAMESPACE", "shop")])).await, "{peer:?}");
    }
    let open = pilot(Catalog::default());
    open.serve_other_machines();
    assert!(is_served(&open, elsewhere(), node_of(CART, &[])).await);
    counted(&open, ELSEWHERE, 0);
}
