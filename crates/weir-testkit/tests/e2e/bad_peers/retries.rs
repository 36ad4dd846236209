//! Attempts that are made again: how many there may be at once, and with which bodies.

use hyper::Method;
use weir_testkit::{Act, BadPeer, DataPlane};

use super::{HTTP1, Setup};
use crate::support::{HOST, over_each_data_plane};

over_each_data_plane!(
    a_retry_storm_against_a_dead_service_is_bounded_by_the_budget,
    retries_over_the_limit_are_not_made,
    a_body_of_900_kb_is_sent_again,
    a_body_of_2_mb_is_not_sent_again,
    nothing_is_tried_again_once_the_answer_has_begun,
);

/// It says that it closes: whoever is tried again at that moment must not take the connection that is about to go.
const NO: &str = "HTTP/1.1 503 No\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno";

/// Twenty requests at once get a 503 each; attempts that are made again get no answer. How many of them there are.
async fn storm(plane: DataPlane, policy: &str) -> usize {
    const REQUESTS: usize = 20;
    let refuse = [Act::Read, Act::Wait, Act::Say(NO)];
    let stall = [Act::Read, Act::UntilEnd];
    let script: Vec<&[Act]> = std::iter::repeat_n(&refuse[..], REQUESTS).chain([&stall[..]]).collect();
    let peer = BadPeer::start(&script).await;
    let setup = Setup { rule: "retries: {attempts: 3, retryOn: 5xx, backoff: 1ms}", policy, ..HTTP1 };
    let bad = setup.start(plane, &[peer.address()]).await;
    let clients = (0..REQUESTS).map(|_| {
        let mut client = bad.mesh.outside(HOST);
        tokio::spawn(async move { client.hear(Method::GET, "/", &[], 0).await })
    });
    let clients: Vec<_> = clients.collect();
    peer.waits(REQUESTS).await;
    peer.go_on(REQUESTS);
    // All have been decided on when those that are not made again have been answered, and the others have come.
    let deciding = async || {
        let counted = bad.mesh.statistics("shop").await;
        let count = |name| counted.get(name).copied().unwrap_or_default() as usize;
        count("upstream_rq_retry") + count("upstream_rq_retry_overflow") == REQUESTS
            && peer.requests() == REQUESTS + count("upstream_rq_retry")
    };
    weir_testkit::until("each request is tried again or not", deciding).await;
    let retries = peer.requests() - REQUESTS;
    let log = bad.log(REQUESTS - retries).await;
    assert_eq!(log, vec!["503 UO via_upstream 1"; REQUESTS - retries]);
    clients.iter().for_each(tokio::task::JoinHandle::abort);
    retries
}

async fn a_retry_storm_against_a_dead_service_is_bounded_by_the_budget(plane: DataPlane) {
    let retries = storm(plane, "{retryBudget: {percent: 20, minRetryConcurrency: 2}}").await;
    // A fifth of twenty; a request may have ended before the next is decided on.
    assert!((3..=4).contains(&retries), "{retries}");
}

async fn retries_over_the_limit_are_not_made(plane: DataPlane) {
    assert_eq!(storm(plane, "{connectionPool: {http: {maxRetries: 5}}}").await, 5);
}

/// An upload whose first attempt is refused when all of it has come.
async fn upload(plane: DataPlane, length: u64) -> (u16, String, String) {
    let refuse = [Act::Read, Act::Say(NO)];
    let accept = [Act::Read, Act::Say("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\ncomplete")];
    let peer = BadPeer::start(&[&refuse, &accept]).await;
    let setup = Setup { rule: "retries: {attempts: 2, retryOn: 5xx}", ..HTTP1 };
    let mut bad = setup.start(plane, &[peer.address()]).await;
    let heard = bad.client.hear(Method::POST, "/", &[], length).await;
    assert_eq!(peer.received() as u64, length * peer.requests() as u64);
    (heard.status, heard.body, bad.log(1).await.join("; "))
}

async fn a_body_of_900_kb_is_sent_again(plane: DataPlane) {
    assert_eq!(upload(plane, 900 << 10).await, (200, "complete".to_owned(), "200 - via_upstream 2".to_owned()));
}

async fn a_body_of_2_mb_is_not_sent_again(plane: DataPlane) {
    assert_eq!(upload(plane, 2 << 20).await, (503, "no".to_owned(), "503 - via_upstream 1".to_owned()));
}

async fn nothing_is_tried_again_once_the_answer_has_begun(plane: DataPlane) {
    let half = [Act::Read, Act::Say("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf"), Act::Reset];
    let peer = BadPeer::start(&[&half]).await;
    let setup = Setup { rule: "retries: {attempts: 5, retryOn: \"reset,5xx\"}", ..HTTP1 };
    let mut bad = setup.start(plane, &[peer.address()]).await;
    let heard = bad.get().await;
    assert_eq!((heard.status, heard.body.as_str(), heard.whole, peer.accepted()), (200, "half", false, 1));
    assert_eq!(bad.log(1).await, ["200 UPE upstream_reset_after_response_started{protocol_error} 1"]);
}
