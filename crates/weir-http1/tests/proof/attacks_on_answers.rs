//! Attacks by way of answers: response queue poisoning and its kin, each by its name.

use weir_http1::Fault;
use weir_http1::header::HeaderValue;

use crate::attacks::each_way;
use crate::seen::Side;

const GET: Side = Side::Answers { head: false };
const HEAD: Side = Side::Answers { head: true };

fn refused(side: Side, bytes: &str, fault: Fault) {
    for seen in each_way(side, bytes.as_bytes()) {
        assert_eq!(seen.fault, Some(fault), "{bytes:?} {}", seen.told());
        assert!(seen.messages.iter().all(|message| !message.complete), "{bytes:?}");
    }
}

/// An answer with this status and body, and so many bytes behind it.
fn read_as(side: Side, bytes: &str, status: &str, body: &str, rest: usize) {
    for seen in each_way(side, bytes.as_bytes()) {
        let message = seen.messages.first().unwrap_or_else(|| panic!("{bytes:?} {}", seen.told()));
        let read = (&message.first[..], String::from_utf8_lossy(&message.body), seen.rest, seen.fault);
        assert_eq!(read, (status, body.into(), rest, None), "{bytes:?}");
        assert!(message.complete);
    }
}

#[test]
fn lengths_and_codings_are_as_strict_as_in_requests() {
    refused(GET, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Fault::Length);
    refused(GET, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", Fault::Length);
    refused(GET, "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", Fault::Length);
    refused(GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhello", Fault::Coding);
    refused(GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\nhello", Fault::Coding);
}

#[test]
fn response_splitting_by_a_cr_alone() {
    refused(GET, "HTTP/1.1 200 OK\rContent-Length: 0\r\n\r\n", Fault::FirstLine);
    refused(GET, "HTTP/1.1 200 OK\r\nX: y\rContent-Length: 0\r\n\r\n", Fault::Field);
    refused(GET, "HTTP/1.1 200 OK\r\nX: y\r\n\rContent-Length: 0\r\n\r\n", Fault::Field);
}

#[test]
fn response_queue_poisoning_by_a_body_that_cannot_be() {
    let next = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    // What is announced and does not come would be taken from the next answer.
    refused(GET, &format!("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n{next}"), Fault::Length);
    refused(GET, &format!("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n{next}"), Fault::Length);
    refused(GET, &format!("HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n{next}"), Fault::Length);
    read_as(GET, &format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n{next}"), "304", "", next.len());
    read_as(HEAD, &format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{next}"), "200", "", next.len());
    read_as(HEAD, &format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{next}"), "200", "", next.len());
    refused(HEAD, &format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{next}"), Fault::Length);
}

#[test]
fn answers_that_nobody_asked_for_stay_behind() {
    let two = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    read_as(GET, two, "200", "ok", two.len() - 40);
    let interim =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\nrest";
    read_as(GET, interim, "404", "", 4);
}

#[test]
fn http_09_and_other_protocols_are_no_answer() {
    refused(GET, "hello\r\n\r\n", Fault::FirstLine);
    refused(GET, "ICY 200 OK\r\n\r\n", Fault::FirstLine);
    refused(GET, "HTTP/2.0 200 OK\r\n\r\n", Fault::Version);
    refused(GET, "HTTP/1.1 2000 OK\r\n\r\n", Fault::FirstLine);
    refused(GET, "HTTP/1.1 1 OK\r\n\r\n", Fault::FirstLine);
}

#[test]
fn an_answer_that_was_cut_is_not_whole() {
    for cut in ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
        refused(GET, cut, Fault::BrokenOff);
    }
}

#[test]
fn cve_2023_27493_envoy_no_value_can_hold_the_end_of_a_line() {
    // What is written is of types that do not admit it.
    for text in ["a\r\nb", "a\nb", "a\rb", "a\0b"] {
        assert!(HeaderValue::from_str(text).is_err(), "{text:?}");
        assert!(HeaderValue::from_bytes(text.as_bytes()).is_err(), "{text:?}");
    }
}
