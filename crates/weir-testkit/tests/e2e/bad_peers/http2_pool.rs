//! Connections to HTTP/2 instances: how many there are, and for how many requests.

use hyper::Method;
use tokio::task::JoinHandle;
use weir_testkit::{BadHttp2Peer, DataPlane, Heard, StreamAct, until};

use super::{Bad, HTTP2, Setup};
use crate::support::{HOST, over_each_data_plane};

over_each_data_plane!(
    streams_of_a_connection_are_as_many_as_the_policy_allows,
    streams_of_a_connection_are_as_many_as_the_instance_allows,
    connections_are_no_more_than_the_policy_allows,
    requests_that_wait_are_no_more_than_the_policy_allows,
    a_connection_ends_after_so_many_requests,
    a_connection_that_does_not_answer_pings_is_closed,
);

/// A request that goes on.
fn asking(bad: &Bad) -> JoinHandle<Heard> {
    let mut client = bad.mesh.outside(HOST);
    tokio::spawn(async move { client.hear(Method::GET, "/", &[], 0).await })
}

async fn are_answered(requests: Vec<JoinHandle<Heard>>) {
    for request in requests {
        let heard = request.await.unwrap();
        assert_eq!((heard.status, heard.body.as_str()), (200, "held"));
    }
}

async fn streams_of_a_connection_are_as_many_as_the_policy_allows(plane: DataPlane) {
    let peer = BadHttp2Peer::start(&[StreamAct::Hold("held")], None).await;
    let setup = Setup { policy: "{connectionPool: {http: {maxConcurrentStreams: 2}}}", ..HTTP2 };
    let bad = setup.start(plane, &[peer.address()]).await;
    let requests: Vec<_> = (0..5).map(|_| asking(&bad)).collect();
    peer.has_streams(5).await;
    assert_eq!(peer.accepted(), 3);
    peer.go_on();
    are_answered(requests).await;
}

async fn streams_of_a_connection_are_as_many_as_the_instance_allows(plane: DataPlane) {
    let peer = BadHttp2Peer::start(&[StreamAct::Answer("first"), StreamAct::Hold("held")], Some(2)).await;
    let mut bad = HTTP2.start(plane, &[peer.address()]).await;
    // With the first answer the instance's settings have come, too.
    assert_eq!(bad.get().await.body, "first");
    let requests: Vec<_> = (0..4).map(|_| asking(&bad)).collect();
    peer.has_streams(5).await;
    assert!((2..=3).contains(&peer.accepted()), "{}", peer.accepted());
    peer.go_on();
    are_answered(requests).await;
}

async fn connections_are_no_more_than_the_policy_allows(plane: DataPlane) {
    let peer = BadHttp2Peer::start(&[StreamAct::Hold("held")], None).await;
    let policy = "{connectionPool: {tcp: {maxConnections: 1}, http: {maxConcurrentStreams: 1}}}";
    let bad = Setup { policy, ..HTTP2 }.start(plane, &[peer.address()]).await;
    let requests: Vec<_> = (0..3).map(|_| asking(&bad)).collect();
    peer.has_streams(1).await;
    let overflow = async || bad.mesh.statistics("shop").await.get("upstream_cx_overflow").is_some_and(|count| *count > 0);
    until("a connection was not opened", overflow).await;
    assert_eq!((peer.accepted(), peer.streams()), (1, 1));
    peer.go_on();
    are_answered(requests).await;
    assert_eq!((peer.accepted(), peer.streams()), (1, 3));
}

async fn requests_that_wait_are_no_more_than_the_policy_allows(plane: DataPlane) {
    let peer = BadHttp2Peer::start(&[StreamAct::Hold("held")], None).await;
    let policy = "{connectionPool: {tcp: {maxConnections: 1}, http: {maxConcurrentStreams: 1, http1MaxPendingRequests: 1}}}";
    let mut bad = Setup { policy, ..HTTP2 }.start(plane, &[peer.address()]).await;
    let first = asking(&bad);
    peer.has_streams(1).await;
    let second = asking(&bad);
    let overflow = async || bad.mesh.statistics("shop").await.get("upstream_cx_overflow").is_some_and(|count| *count > 0);
    until("the second request waits", overflow).await;
    let third = bad.get().await;
    assert_eq!((third.status, third.header("x-envoy-overloaded")), (503, "true"));
    assert_eq!(bad.log(1).await, ["503 UO upstream_reset_before_response_started{overflow} 1"]);
    peer.go_on();
    are_answered(vec![first, second]).await;
}

async fn a_connection_ends_after_so_many_requests(plane: DataPlane) {
    let peer = BadHttp2Peer::start(&[StreamAct::Answer("")], None).await;
    let setup = Setup { policy: "{connectionPool: {http: {maxRequestsPerConnection: 2}}}", ..HTTP2 };
    let mut bad = setup.start(plane, &[peer.address()]).await;
    for _ in 0..6 {
        assert_eq!(bad.get().await.status, 200);
    }
    assert_eq!(peer.accepted(), 3);
    // How the peer takes the end of a connection is its own matter: Envoy counts a protocol error at times.
    for (name, expected) in [("upstream_cx_total", 3), ("upstream_cx_max_requests", 3), ("upstream_rq_200", 6)] {
        let counted = async || bad.mesh.statistics("shop").await.get(name) == Some(&expected);
        until(&format!("{name} is {expected}"), counted).await;
    }
}

async fn a_connection_that_does_not_answer_pings_is_closed(plane: DataPlane) {
    // Its connection is accepted and read, but never answered.
    let peer = weir_testkit::BadPeer::start(&[&[weir_testkit::Act::UntilEnd]]).await;
    let setup = Setup { policy: "{connectionPool: {http: {http2KeepAlive: {interval: 1s, timeout: 1s}}}}", ..HTTP2 };
    let mut bad = setup.start(plane, &[peer.address()]).await;
    let heard = bad.get().await;
    let body = "upstream connect error or disconnect/reset before headers. reset reason: connection termination";
    assert_eq!((heard.status, heard.body.as_str()), (503, body));
    assert_eq!(bad.log(1).await, ["503 UC upstream_reset_before_response_started{connection_termination} 1"]);
    peer.has_closed(1).await;
}
