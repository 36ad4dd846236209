//! HTTP/1.1 instances that misbehave.

use weir_testkit::{Act, BadPeer, DataPlane};

use super::{HTTP1, Setup};
use crate::support::over_each_data_plane;

over_each_data_plane!(
    an_instance_that_refuses_is_tried_three_times,
    an_instance_that_resets_before_the_answer_is_503,
    an_instance_that_closes_before_the_answer_is_503,
    an_instance_that_resets_within_the_head_is_502,
    an_instance_that_speaks_something_else_is_502,
    an_answer_of_known_length_that_is_reset_breaks_off,
    an_answer_in_chunks_that_is_reset_breaks_off,
    half_an_answer_of_known_length_breaks_off,
    half_an_answer_in_chunks_breaks_off,
    an_instance_that_stalls_before_the_answer_is_504,
    an_instance_that_stalls_within_the_head_is_504,
    an_attempt_that_stalls_is_made_again,
    a_stalled_attempt_is_not_made_again_under_the_usual_words,
    a_body_that_stalls_breaks_off_at_the_timeout,
    an_answer_503_is_passed_on,
    an_answer_500_is_passed_on,
    an_answer_429_is_passed_on,
    answers_503_are_asked_for_again_where_a_rule_says_so,
    an_idle_connection_that_closes_is_seen_by_no_client,
    an_idle_connection_that_is_reset_is_seen_by_no_client,
);

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
const RESET: &str = "upstream connect error or disconnect/reset before headers. reset reason: ";

async fn an_instance_that_refuses_is_tried_three_times(plane: DataPlane) {
    let peer = BadPeer::refusing().await;
    let body = "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure";
    let log = "503 URX,UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused} 3";
    let counted = "cx_total 3, cx_connect_fail 3, rq_completed 1, rq_503 1, rq_pending_failure_eject 3, rq_retry 2, \
                   rq_retry_limit_exceeded 1, rq_retry_backoff_exponential 2";
    HTTP1.start(plane, &[peer.address()]).await.expect((503, body, true), log, counted).await;
}

/// What becomes of a request that an instance with this script gets.
async fn outcome(plane: DataPlane, setup: Setup<'_>, script: &[Act], answer: (u16, &str, bool), log: &str, counted: &str) {
    let peer = BadPeer::start(&[script]).await;
    setup.start(plane, &[peer.address()]).await.expect(answer, log, counted).await;
}

fn terminated() -> (u16, String, bool) {
    (503, format!("{RESET}connection termination"), true)
}

const TERMINATED: &str = "503 UC upstream_reset_before_response_started{connection_termination} 1";
const TERMINATED_COUNTS: &str = "cx_total 1, cx_destroy_remote_with_active_rq 1, rq_total 1, rq_completed 1, rq_503 1";
const PROTOCOL_ERROR: &str = "502 UPE upstream_reset_before_response_started{protocol_error} 1";
const BROKEN: &str = "200 UPE upstream_reset_after_response_started{protocol_error} 1";
const BROKEN_COUNTS: &str = "cx_total 1, cx_destroy_remote_with_active_rq 1, cx_protocol_error 1, rq_total 1, rq_completed 1, rq_200 1";

async fn an_instance_that_resets_before_the_answer_is_503(plane: DataPlane) {
    let (status, body, whole) = terminated();
    outcome(plane, HTTP1, &[Act::Read, Act::Reset], (status, &body, whole), TERMINATED, TERMINATED_COUNTS).await;
}

async fn an_instance_that_closes_before_the_answer_is_503(plane: DataPlane) {
    let (status, body, whole) = terminated();
    outcome(plane, HTTP1, &[Act::Read], (status, &body, whole), TERMINATED, TERMINATED_COUNTS).await;
}

async fn an_instance_that_resets_within_the_head_is_502(plane: DataPlane) {
    let script = [Act::Read, Act::Say("HTTP/1.1 200 OK\r\nx-half: "), Act::Reset];
    let counted = "cx_total 1, cx_destroy_remote_with_active_rq 1, cx_protocol_error 1, rq_total 1, rq_completed 1, rq_502 1";
    outcome(plane, HTTP1, &script, (502, &format!("{RESET}protocol error"), true), PROTOCOL_ERROR, counted).await;
}

async fn an_instance_that_speaks_something_else_is_502(plane: DataPlane) {
    let script = [Act::Read, Act::Say("SSH-2.0-OpenSSH_9.6\r\n"), Act::UntilEnd];
    let counted = "cx_total 1, cx_destroy_local_with_active_rq 1, cx_protocol_error 1, rq_total 1, rq_completed 1, rq_502 1";
    outcome(plane, HTTP1, &script, (502, &format!("{RESET}protocol error"), true), PROTOCOL_ERROR, counted).await;
}

async fn an_answer_of_known_length_that_is_reset_breaks_off(plane: DataPlane) {
    let script = [Act::Read, Act::Say(HEAD), Act::Say("half"), Act::Wait, Act::Reset];
    let peer = BadPeer::start(&[&script]).await;
    peer.go_on(1);
    HTTP1.start(plane, &[peer.address()]).await.expect((200, "half", false), BROKEN, BROKEN_COUNTS).await;
}

async fn an_answer_in_chunks_that_is_reset_breaks_off(plane: DataPlane) {
    outcome(plane, HTTP1, &[Act::Read, Act::Say(CHUNKED), Act::Reset], (200, "half", false), BROKEN, BROKEN_COUNTS).await;
}

async fn half_an_answer_of_known_length_breaks_off(plane: DataPlane) {
    outcome(plane, HTTP1, &[Act::Read, Act::Say(HEAD), Act::Say("half")], (200, "half", false), BROKEN, BROKEN_COUNTS).await;
}

async fn half_an_answer_in_chunks_breaks_off(plane: DataPlane) {
    outcome(plane, HTTP1, &[Act::Read, Act::Say(CHUNKED)], (200, "half", false), BROKEN, BROKEN_COUNTS).await;
}

const TIMED_OUT: &str = "504 UT response_timeout 1";
const TIMED_OUT_COUNTS: &str = "cx_total 1, cx_destroy_local_with_active_rq 1, rq_total 1, rq_completed 1, rq_504 1, rq_timeout 1";
const TIMEOUT: Setup<'static> = Setup { rule: "timeout: 0.3s", ..HTTP1 };

async fn an_instance_that_stalls_before_the_answer_is_504(plane: DataPlane) {
    outcome(plane, TIMEOUT, &[Act::Read, Act::UntilEnd], (504, "upstream request timeout", true), TIMED_OUT, TIMED_OUT_COUNTS).await;
}

async fn an_instance_that_stalls_within_the_head_is_504(plane: DataPlane) {
    let script = [Act::Read, Act::Say("HTTP/1.1 200 OK\r\nx-half: "), Act::UntilEnd];
    outcome(plane, TIMEOUT, &script, (504, "upstream request timeout", true), TIMED_OUT, TIMED_OUT_COUNTS).await;
}

async fn an_attempt_that_stalls_is_made_again(plane: DataPlane) {
    let setup = Setup { rule: "retries: {attempts: 1, perTryTimeout: 0.2s, retryOn: reset}", ..HTTP1 };
    let answer = [Act::Read, Act::Say(HEAD), Act::Say("complete"), Act::UntilEnd];
    let peer = BadPeer::start(&[&[Act::Read, Act::UntilEnd], &answer]).await;
    let counted = "cx_total 2, cx_destroy_local_with_active_rq 1, rq_total 2, rq_completed 1, rq_200 1, rq_per_try_timeout 1, rq_retry 1, \
                   rq_retry_success 1, rq_retry_backoff_exponential 1";
    setup.start(plane, &[peer.address()]).await.expect((200, "complete", true), "200 - via_upstream 2", counted).await;
}

async fn a_stalled_attempt_is_not_made_again_under_the_usual_words(plane: DataPlane) {
    let setup = Setup { rule: "retries: {attempts: 2, perTryTimeout: 0.2s}", ..HTTP1 };
    let log = "504 UT upstream_per_try_timeout 1";
    let counted = "cx_total 1, cx_destroy_local_with_active_rq 1, rq_total 1, rq_completed 1, rq_504 1, rq_per_try_timeout 1";
    outcome(plane, setup, &[Act::Read, Act::UntilEnd], (504, "upstream request timeout", true), log, counted).await;
}

async fn a_body_that_stalls_breaks_off_at_the_timeout(plane: DataPlane) {
    let script = [Act::Read, Act::Say(HEAD), Act::Say("half"), Act::UntilEnd];
    let counted = "cx_total 1, cx_destroy_local_with_active_rq 1, rq_total 1, rq_completed 1, rq_200 1, rq_timeout 1";
    outcome(plane, TIMEOUT, &script, (200, "half", false), "200 UT response_timeout 1", counted).await;
}

async fn answered(plane: DataPlane, head: &'static str, status: u16) {
    let log = format!("{status} - via_upstream 1");
    let script = [Act::Read, Act::Say(head), Act::Say("content-length: 2\r\n\r\nno"), Act::UntilEnd];
    outcome(plane, HTTP1, &script, (status, "no", true), &log, &format!("cx_total 1, rq_total 1, rq_completed 1, rq_{status} 1")).await;
}

async fn an_answer_503_is_passed_on(plane: DataPlane) {
    answered(plane, "HTTP/1.1 503 No\r\n", 503).await;
}

async fn an_answer_500_is_passed_on(plane: DataPlane) {
    answered(plane, "HTTP/1.1 500 No\r\n", 500).await;
}

async fn an_answer_429_is_passed_on(plane: DataPlane) {
    answered(plane, "HTTP/1.1 429 No\r\nretry-after: 1\r\n", 429).await;
}

async fn answers_503_are_asked_for_again_where_a_rule_says_so(plane: DataPlane) {
    let setup = Setup { rule: "retries: {attempts: 2, retryOn: gateway-error, backoff: 1ms}", ..HTTP1 };
    let no = [Act::Say("HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno")];
    let script = [&[Act::Read], &no[..], &[Act::Read], &no[..], &[Act::Read], &no[..], &[Act::UntilEnd]].concat();
    // Nobody waits for the end of an answer that is not passed on: its connection is closed.
    let counted = "cx_total 3, cx_destroy_local_with_active_rq 2, rq_total 3, rq_completed 1, rq_503 1, rq_retry 2, \
                   rq_retry_limit_exceeded 1, rq_retry_backoff_exponential 2";
    outcome(plane, setup, &script, (503, "no", true), "503 URX via_upstream 3", counted).await;
}

/// A client asks again and again; each connection is ended after its answer, though it was said to be kept.
async fn ends_idle_connections(plane: DataPlane, end: &[Act]) {
    let script = [&[Act::Read, Act::Say(HEAD), Act::Say("complete"), Act::Wait], end].concat();
    let peer = BadPeer::start(&[&script]).await;
    let mut bad = HTTP1.start(plane, &[peer.address()]).await;
    for number in 1..=50 {
        let heard = bad.get().await;
        assert_eq!((heard.status, heard.body.as_str()), (200, "complete"), "request {number}");
        peer.go_on(1);
        peer.has_closed(number).await;
        // Envoy learns of it with the events that come before this one; it does not look again, as Weir does. The kernel may take its
        // time to deliver the end where all cores are busy, so it is asked more than once.
        for _ in 0..10 {
            assert_eq!(bad.client.get("/ready", &[]).await.unwrap().status, 200);
        }
    }
    let counted = "cx_total 50, rq_total 50, rq_completed 50, rq_200 50";
    assert_eq!(bad.log(50).await, vec!["200 - via_upstream 1"; 50]);
    assert_eq!(bad.counted(counted).await, counted);
}

async fn an_idle_connection_that_closes_is_seen_by_no_client(plane: DataPlane) {
    ends_idle_connections(plane, &[]).await;
}

async fn an_idle_connection_that_is_reset_is_seen_by_no_client(plane: DataPlane) {
    ends_idle_connections(plane, &[Act::Reset]).await;
}
