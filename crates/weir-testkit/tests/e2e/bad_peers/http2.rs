//! HTTP/2 instances that misbehave.

use h2::Reason;
use weir_testkit::{Act, BadHttp2Peer, BadPeer, DataPlane, StreamAct};

use super::{HTTP1, HTTP2, Setup};
use crate::support::{HOST, over_each_data_plane};

over_each_data_plane!(
    http2_to_an_http1_instance_is_502,
    a_refused_stream_is_tried_three_times,
    a_stream_that_is_reset_is_503,
    an_answer_whose_stream_is_reset_breaks_off,
    an_http2_connection_that_closes_is_503,
    an_http2_connection_that_goes_away_with_an_error_is_503,
    a_connection_that_goes_away_in_good_order_finishes_its_streams,
    an_http2_instance_that_stalls_is_504,
);

const TERMINATED: &str = "503 UC upstream_reset_before_response_started{connection_termination} 1";
const TERMINATED_COUNTS: &str =
    "cx_total 1, cx_destroy_remote_with_active_rq 1, rq_total 1, rq_completed 1, rq_503 1, rq_pending_failure_eject 1";
const RESET: &str = "upstream connect error or disconnect/reset before headers. reset reason: ";

async fn http2_to_an_http1_instance_is_502(plane: DataPlane) {
    let script = [Act::ReadHead, Act::Say("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")];
    let peer = BadPeer::start(&[&script]).await;
    let setup = Setup { policy: "{connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}", ..HTTP1 };
    let log = "502 UPE upstream_reset_before_response_started{protocol_error} 1";
    let counted = "cx_total 1, cx_protocol_error 1, rq_total 1, rq_completed 1, rq_502 1, rq_tx_reset 1";
    setup.start(plane, &[peer.address()]).await.expect((502, &format!("{RESET}protocol error"), true), log, counted).await;
}

async fn outcome(plane: DataPlane, setup: Setup<'_>, script: &[StreamAct], answer: (u16, &str, bool), log: &str, counted: &str) {
    let peer = BadHttp2Peer::start(script, None).await;
    setup.start(plane, &[peer.address()]).await.expect(answer, log, counted).await;
}

async fn a_refused_stream_is_tried_three_times(plane: DataPlane) {
    let body =
        "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote refused stream reset";
    let log = "503 URX,UR upstream_reset_before_response_started{remote_refused_stream_reset} 3";
    let counted = "cx_total 1, rq_total 3, rq_completed 1, rq_503 1, rq_retry 2, rq_retry_limit_exceeded 1, rq_retry_backoff_exponential 2";
    outcome(plane, HTTP2, &[StreamAct::Reset(Reason::REFUSED_STREAM)], (503, body, true), log, counted).await;
}

async fn a_stream_that_is_reset_is_503(plane: DataPlane) {
    let log = "503 UR upstream_reset_before_response_started{remote_reset} 1";
    let counted = "cx_total 1, rq_total 1, rq_completed 1, rq_503 1, rq_rx_reset 1";
    outcome(plane, HTTP2, &[StreamAct::Reset(Reason::INTERNAL_ERROR)], (503, &format!("{RESET}remote reset"), true), log, counted).await;
}

async fn an_answer_whose_stream_is_reset_breaks_off(plane: DataPlane) {
    let peer = BadHttp2Peer::start(&[StreamAct::HalfThenReset(Reason::INTERNAL_ERROR)], None).await;
    let bad = HTTP2.start(plane, &[peer.address()]).await;
    let mut other = bad.mesh.outside(HOST);
    let (begun, half) = tokio::sync::oneshot::channel();
    let hearing = tokio::spawn(async move { other.hear_telling(hyper::Method::GET, "/", &[], 0, begun).await });
    half.await.unwrap();
    // A reset overtakes what waits to be sent: only now has it gone out.
    peer.go_on();
    let heard = hearing.await.unwrap();
    assert_eq!((heard.status, heard.body.as_str(), heard.whole), (200, "half", false));
    assert_eq!(bad.log(1).await, ["200 UR upstream_reset_after_response_started{remote_reset} 1"]);
    let counted = "cx_total 1, rq_total 1, rq_completed 1, rq_200 1, rq_rx_reset 1";
    assert_eq!(bad.counted(counted).await, counted);
}

async fn an_http2_connection_that_closes_is_503(plane: DataPlane) {
    outcome(plane, HTTP2, &[StreamAct::Close], (503, &format!("{RESET}connection termination"), true), TERMINATED, TERMINATED_COUNTS).await;
}

async fn an_http2_connection_that_goes_away_with_an_error_is_503(plane: DataPlane) {
    outcome(
        plane,
        HTTP2,
        &[StreamAct::GoAwayNow(Reason::INTERNAL_ERROR)],
        (503, &format!("{RESET}connection termination"), true),
        TERMINATED,
        TERMINATED_COUNTS,
    )
    .await;
}

async fn a_connection_that_goes_away_in_good_order_finishes_its_streams(plane: DataPlane) {
    let peer = BadHttp2Peer::start(&[StreamAct::GoAwayThenHold("last"), StreamAct::Answer("next")], None).await;
    let mut bad = HTTP2.start(plane, &[peer.address()]).await;
    let mut other = bad.mesh.outside(HOST);
    let first = tokio::spawn(async move { other.hear(hyper::Method::GET, "/", &[], 0).await });
    peer.has_streams(1).await;
    // The proxy need not have heard of it yet.
    weir_testkit::until("a new connection takes the next streams", async || bad.get().await.body == "next" && peer.accepted() == 2).await;
    peer.go_on();
    let first = first.await.unwrap();
    assert_eq!((first.status, first.body.as_str(), first.whole), (200, "last", true));
    assert!(bad.log(2).await.iter().all(|line| line == "200 - via_upstream 1"), "{:?}", bad.mesh.log());
}

async fn an_http2_instance_that_stalls_is_504(plane: DataPlane) {
    let setup = Setup { rule: "timeout: 0.3s", ..HTTP2 };
    let counted = "cx_total 1, rq_total 1, rq_completed 1, rq_504 1, rq_timeout 1, rq_tx_reset 1";
    outcome(plane, setup, &[StreamAct::Hold("")], (504, "upstream request timeout", true), "504 UT response_timeout 1", counted).await;
}
