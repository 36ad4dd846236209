//! What rules ask for beside a destination: faults, copies.

use weir_testkit::{DataPlane, HELD, Layout, Mesh, Peer, Protocol, until};

use crate::support::{HOST, ROUTES, over_each_data_plane};

over_each_data_plane!(faults_are_injected, copies_reach_the_mirror_and_nobody_waits_for_it);

/// A VirtualService at the gateway with these rules.
fn rules(http: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: shop, namespace: default}}
spec:
  hosts: [{HOST}]
  gateways: [gw]
  http:
{http}"
    )
}

async fn faults_are_injected(plane: DataPlane) {
    let (layout, one) = (Layout::new(), Peer::http("a").await);
    let service = layout.service("shop", &[&one], Protocol::Http);
    let faults = rules(
        "  - match: [{uri: {prefix: /aborted}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    route: [{destination: {host: shop}}]
  - match: [{uri: {prefix: /never}}]
    fault: {abort: {httpStatus: 418}}
    route: [{destination: {host: shop}}]
  - fault: {delay: {fixedDelay: 0.01s, percentage: {value: 100}}, abort: {httpStatus: 503, percentage: {value: 0.0001}}}
    route: [{destination: {host: shop}}]
",
    );
    let mesh = Mesh::start(plane, layout, &[("shop.yaml", &service), (ROUTES, &faults)]).await;
    let mut client = mesh.outside(HOST);
    until("the rules are in force", async || client.get("/", &[]).await.is_ok_and(|answer| answer.is_from("a"))).await;
    let answer = client.get("/aborted", &[]).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str(), answer.instance.as_str()), (418, "fault filter abort", ""));
    // Without a percentage an abort is for nobody.
    assert!(client.get("/never", &[]).await.unwrap().is_from("a"));
}

async fn copies_reach_the_mirror_and_nobody_waits_for_it(plane: DataPlane) {
    let (layout, one, two) = (Layout::new(), Peer::http("a").await, Peer::http("b").await);
    let service = layout.service("shop", &[&one, &two], Protocol::Http);
    let copied = rules(&format!(
        "  - match: [{{uri: {{exact: /copied}}}}]
    rewrite: {{uri: {HELD}}}
    route: [{{destination: {{host: shop, subset: a}}}}]
    mirrors: [{{destination: {{host: shop, subset: b}}}}, {{destination: {{host: shop, subset: b}}, percentage: {{value: 0}}}}]
  - route: [{{destination: {{host: shop, subset: a}}}}]
"
    ));
    let mesh = Mesh::start(plane, layout, &[("shop.yaml", &service), (ROUTES, &copied)]).await;
    let mut client = mesh.outside(HOST);
    until("the rules are in force", async || client.get("/", &[]).await.is_ok_and(|answer| answer.is_from("a"))).await;
    // Only the mirror holds its answers back.
    one.release();
    for copies in 1..=3 {
        assert!(client.get("/copied", &[]).await.unwrap().is_from("a"));
        two.holds(copies).await;
    }
}
