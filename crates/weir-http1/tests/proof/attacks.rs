//! Attacks on the framing of requests that were published, each named after its CVE or its paper. A request must be refused, with
//! nothing of what follows read as a request, or be read in the one way that RFC 9112 allows.
//!
//! Papers: "HTTP Desync Attacks" (Kettle, 2019), "Browser-Powered Desync Attacks" (Kettle, 2022), "HTTP/1.1 must die" (Kettle,
//! 2025), "T-Reqs" (Jabiyev and others, 2021), "Funky chunks" 1 and 2 (w4ke.info, 2025).

use weir_http1::{Fault, Limits};

use crate::codec;
use crate::seen::{Seen, Side};

/// What must become of the bytes.
pub enum Must<'a> {
    /// Nothing is a request.
    BeRefused(Fault),
    /// These requests (first line, body), and nothing else.
    Be(&'a [(&'a str, &'a str)]),
}

use Must::{Be, BeRefused};

/// What an attacker hides.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// A request with these lines and this body, and the hidden one behind it.
fn post(lines: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n{body}{HIDDEN}")
}

/// A request in chunks.
fn chunks(body: &str) -> String {
    post("Transfer-Encoding: chunked\r\n", body)
}

/// Whole, and byte by byte.
pub fn each_way(side: Side, bytes: &[u8]) -> [Seen; 2] {
    let single: Vec<Vec<u8>> = bytes.iter().map(|byte| vec![*byte]).collect();
    [codec::read(side, &[bytes.to_vec()]), codec::read(side, &single)]
}

fn check(bytes: impl AsRef<[u8]>, must: Must<'_>) {
    for seen in each_way(Side::Requests, bytes.as_ref()) {
        match must {
            BeRefused(fault) => {
                assert_eq!(seen.fault, Some(fault), "{}", seen.told());
                assert!(seen.messages.iter().all(|message| !message.complete), "{}", seen.told());
            }
            Be(expected) => {
                let read: Vec<_> = seen.messages.iter().map(|it| (it.first.clone(), String::from_utf8_lossy(&it.body))).collect();
                let read: Vec<_> = read.iter().map(|(first, body)| (&first[..], &body[..])).collect();
                assert_eq!((&read[..], seen.fault), (expected, None), "{}", seen.told());
                assert!(seen.clean);
            }
        }
    }
}

macro_rules! attacks {
    ($($name:ident: $bytes:expr, $must:expr;)*) => {
        $(#[test] fn $name() { check($bytes, $must) })*
    };
}

const HIDDEN_TOO: (&str, &str) = ("GET /hidden", "");

// Two lengths, or a length and a coding.
attacks! {
    cl_te_2005_linhart: post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nG"), BeRefused(Fault::Length);
    te_cl_2019_kettle: post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "27\r\nGPOST\r\n0\r\n\r\n"), BeRefused(Fault::Length);
    cve_2005_2088_httpd_length_and_coding: post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), BeRefused(Fault::Length);
    cve_2005_2090_tomcat_two_lengths: post("Content-Length: 0\r\nContent-Length: 44\r\n", ""), BeRefused(Fault::Length);
    cve_2019_16792_waitress_equal_lengths: post("Content-Length: 4\r\nContent-Length: 4\r\n", "body"), BeRefused(Fault::Length);
    cve_2019_20445_netty_length_and_coding: post("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), BeRefused(Fault::Length);
    cve_2023_40225_haproxy_empty_length: post("Content-Length:\r\nContent-Length: 5\r\n", "hello"), BeRefused(Fault::Length);
    cve_2023_40225_haproxy_empty_length_alone: post("Content-Length: \r\n", ""), BeRefused(Fault::Length);
    length_in_a_list: post("Content-Length: 5, 5\r\n", "hello"), BeRefused(Fault::Length);
}

// Lengths that are read as other numbers.
attacks! {
    cve_2014_0099_tomcat_length_overflow: post("Content-Length: 18446744073709551620\r\n", "hello"), BeRefused(Fault::Length);
    cve_2021_32715_hyper_plus: post("Content-Length: +5\r\n", "hello"), BeRefused(Fault::Length);
    cve_2022_24761_waitress_hexadecimal: post("Content-Length: 0x5\r\n", "hello"), BeRefused(Fault::Length);
    cve_2022_24801_twisted_sign: post("Content-Length: -0\r\n", ""), BeRefused(Fault::Length);
    underscore_in_a_number: post("Content-Length: 1_0\r\n", "0123456789"), BeRefused(Fault::Length);
    fraction: post("Content-Length: 5.0\r\n", "hello"), BeRefused(Fault::Length);
    cve_2015_5740_go_space_in_a_length: post("Content-Length: 5 6\r\n", "hello"), BeRefused(Fault::Length);
}

// Codings that one takes for chunked and another does not (TE.TE).
attacks! {
    te_te_2019_kettle_xchunked: post("Transfer-Encoding: xchunked\r\n", ""), BeRefused(Fault::Coding);
    te_te_2019_kettle_space_before_the_colon: post("Transfer-Encoding : chunked\r\n", ""), BeRefused(Fault::Field);
    te_te_2019_kettle_two_codings: post("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", "0\r\n\r\n"), BeRefused(Fault::Coding);
    te_te_2019_kettle_tab: post("Transfer-Encoding:\tchunked\r\n", "0\r\n\r\n"), Be(&[("POST /", ""), HIDDEN_TOO]);
    te_te_2019_kettle_line_that_begins_with_space: post(" Transfer-Encoding: chunked\r\n", ""), BeRefused(Fault::Field);
    te_te_2019_kettle_line_feed: post("X: X\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), Be(&[("POST /", ""), HIDDEN_TOO]);
    te_te_2019_kettle_folded: post("Transfer-Encoding\r\n: chunked\r\n", ""), BeRefused(Fault::Field);
    te_te_quotes: post("Transfer-Encoding: \"chunked\"\r\n", ""), BeRefused(Fault::Coding);
    cve_2019_15605_node: post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), BeRefused(Fault::Coding);
    cve_2019_16786_waitress: post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), BeRefused(Fault::Coding);
    cve_2019_16789_waitress_vertical_tab: post("Content-Length: 10\r\nTransfer-Encoding: \u{b}chunked\r\n", ""), BeRefused(Fault::Field);
    cve_2020_8287_node_two_codings: post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked-false\r\n", ""), BeRefused(Fault::Coding);
    cve_2021_21299_hyper_two_codings: post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", ""), BeRefused(Fault::Coding);
    cve_2022_1705_go: post("Transfer-Encoding: identity\r\n", ""), BeRefused(Fault::Coding);
    cve_2022_32213_llhttp: post("Transfer-Encoding: chunkedchunked\r\n", "0\r\n\r\n"), BeRefused(Fault::Coding);
    cve_2022_32215_llhttp_more_lines: post("Transfer-Encoding: chunked\r\n , identity\r\n", "0\r\n\r\n"), BeRefused(Fault::Field);
    parameters_of_chunked: post("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n"), BeRefused(Fault::Coding);
    coding_in_http_10: b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", BeRefused(Fault::Length);
}

// Lines that are fields to one and not to another.
attacks! {
    cve_2015_5739_go_space_in_a_name: post("Content Length: 4\r\n", ""), BeRefused(Fault::Field);
    cve_2015_5741_go_line_that_begins_with_space: post(" Content-Length: 4\r\n", ""), BeRefused(Fault::Field);
    cve_2019_16276_go_space_before_the_colon: post("Content-Length : 4\r\n", ""), BeRefused(Fault::Field);
    cve_2019_16869_netty_space_before_the_colon: post("Transfer-Encoding : chunked\r\nContent-Length: 4\r\n", ""), BeRefused(Fault::Field);
    cve_2019_20444_netty_no_colon: post("Transfer-Encoding\r\nContent-Length: 4\r\n", ""), BeRefused(Fault::Field);
    cve_2019_9900_envoy_nul: post("X-A: a\0b\r\n", ""), BeRefused(Fault::Field);
    cve_2020_7238_netty: post(" Transfer-Encoding:chunked\r\nContent-Length: 4\r\n", ""), BeRefused(Fault::Field);
    cve_2021_22959_llhttp: post("Transfer-Encoding : chunked\r\n", ""), BeRefused(Fault::Field);
    cve_2022_32214_llhttp_cr_alone: post("X-A: a\rTransfer-Encoding: chunked\r\n", ""), BeRefused(Fault::Field);
    cve_2022_35256_llhttp_cr_alone: post("X-A: a\r b\r\nX-B: 1\r\n", ""), BeRefused(Fault::Field);
    cve_2023_25725_haproxy_no_name: post(": x\r\nTransfer-Encoding: chunked\r\n", ""), BeRefused(Fault::Field);
    cve_2023_30589_llhttp_cr_ends_a_line: post("X-A:\rX-B: 1\r\n", ""), BeRefused(Fault::Field);
    cve_2024_27982_node_space_before_a_length: post(" Content-Length: 4\r\n", ""), BeRefused(Fault::Field);
    cve_2025_23167_llhttp_end_of_a_head: format!("GET / HTTP/1.1\r\nHost: a.test\r\n\rX{HIDDEN}"), BeRefused(Fault::Field);
    folded_length: post("Content-Length:\r\n 4\r\n", ""), BeRefused(Fault::Field);
    nul_in_a_name: post("Content-Length\0: 4\r\n", ""), BeRefused(Fault::Field);
    high_byte_in_a_name: post("Content-Length\u{a0}: 4\r\n", ""), BeRefused(Fault::Field);
}

// What looks like a length and is none, or hides that it is one: unambiguous to who reads by the letter.
attacks! {
    cl_0_2022_kettle: post(&format!("Content-Length: {}\r\n", HIDDEN.len()), ""), Be(&[("POST /", HIDDEN)]);
    cl_0_get_with_a_body: b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", Be(&[("GET /", "hello")]);
    zero_cl_2025_kettle: b"GET /con HTTP/1.1\r\nContent-Length:\r\n 7\r\n\r\nGET /404 HTTP/1.1\r\nX: Y", BeRefused(Fault::Field);
    expect_2025_kettle: post("Expect: y 100-continue\r\nContent-Length: 4\r\n", "body"), Be(&[("POST /", "body"), HIDDEN_TOO]);
    cve_2025_32094_akamai_folded_expect: b"OPTIONS / HTTP/1.1\r\nExpect:\r\n 100-continue\r\nContent-Length: 4\r\n\r\nbody", BeRefused(Fault::Field);
    underscores: post("Content_Length: 4\r\n", ""), Be(&[("POST /", ""), HIDDEN_TOO]);
    cve_2021_40346_haproxy_long_name: post(&format!("Content-Length0{}:\r\nContent-Length: 4\r\n", "a".repeat(255)), "body"), Be(&[("POST /", "body"), HIDDEN_TOO]);
    connection_names_the_length: post("Connection: content-length\r\nContent-Length: 4\r\n", "body"), Be(&[("POST /", "body"), HIDDEN_TOO]);
}

// Request lines.
attacks! {
    http_09: b"GET /\r\n\r\n", BeRefused(Fault::FirstLine);
    t_reqs_2021_version: b"GET / HTTP/1.1.1\r\nHost: a\r\n\r\n", BeRefused(Fault::FirstLine);
    t_reqs_2021_lower_case_version: b"GET / http/1.1\r\nHost: a\r\n\r\n", BeRefused(Fault::FirstLine);
    t_reqs_2021_space_in_the_target: b"GET /a /b HTTP/1.1\r\nHost: a\r\n\r\n", BeRefused(Fault::FirstLine);
    cve_2016_8743_httpd_other_space: b"GET\x0b/ HTTP/1.1\r\nHost: a\r\n\r\n", BeRefused(Fault::FirstLine);
    cve_2016_8743_httpd_tab: b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", BeRefused(Fault::FirstLine);
    cr_alone_before_a_request: b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", BeRefused(Fault::FirstLine);
    cr_alone_behind_the_version: b"GET / HTTP/1.1\rHost: a\r\n\r\n", BeRefused(Fault::FirstLine);
    nul_in_the_target: b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", BeRefused(Fault::FirstLine);
}

// Sizes of chunks.
attacks! {
    cve_2002_0392_httpd_large_size: chunks("ffffffffffffffff0\r\n"), BeRefused(Fault::Chunk);
    cve_2013_2028_nginx_large_size: chunks("fffffffffffffffff\r\n"), BeRefused(Fault::Chunk);
    cve_2021_32714_hyper_overflow: chunks("10000000000000005\r\nhello\r\n0\r\n\r\n"), BeRefused(Fault::Chunk);
    cve_2015_3183_httpd_size: chunks("5x\r\nhello\r\n0\r\n\r\n"), BeRefused(Fault::Chunk);
    cve_2022_24761_waitress_sign: chunks("+5\r\nhello\r\n0\r\n\r\n"), BeRefused(Fault::Chunk);
    cve_2022_24761_waitress_prefix: chunks("0x5\r\nhello\r\n0\r\n\r\n"), BeRefused(Fault::Chunk);
    negative_size: chunks("-5\r\nhello\r\n0\r\n\r\n"), BeRefused(Fault::Chunk);
    no_size: chunks("\r\nhello\r\n0\r\n\r\n"), BeRefused(Fault::Chunk);
    space_before_the_size: chunks(" 5\r\nhello\r\n0\r\n\r\n"), BeRefused(Fault::Chunk);
    space_in_the_size: chunks("5 5\r\nhello\r\n0\r\n\r\n"), BeRefused(Fault::Chunk);
    zero_in_many_digits: chunks("0000\r\n\r\n"), Be(&[("POST /", ""), HIDDEN_TOO]);
}

// Ends of chunks, and what stands between.
attacks! {
    cve_2025_22871_go_line_feed_behind_a_size: chunks("5\nhello\r\n0\r\n\r\n"), BeRefused(Fault::Chunk);
    cve_2025_43859_h11_two_bytes_behind_the_data: chunks("5\r\nhelloXX2\r\n45\r\n0\r\n\r\n"), BeRefused(Fault::Chunk);
    cve_2025_55315_kestrel: chunks("2;\nxx\r\n4f\r\n0\r\n\r\n"), BeRefused(Fault::Chunk);
    cve_2025_58056_netty: chunks("1;\nA\r\n0\r\n\r\n"), BeRefused(Fault::Chunk);
    cve_2026_33870_netty_quoted_extension: chunks("1;a=\"\r\nX\r\n0\r\n\r\n"), BeRefused(Fault::Chunk);
    cve_2021_22960_llhttp_extension: chunks("5;a\rb\r\nhello\r\n0\r\n\r\n"), BeRefused(Fault::Chunk);
    funky_chunks_term_ext: chunks("2;\nxx\r\n14\r\n0\r\n\r\n"), BeRefused(Fault::Chunk);
    funky_chunks_ext_term: chunks("4;x\nhell\r\n0\r\n\r\n"), BeRefused(Fault::Chunk);
    funky_chunks_term_spill: chunks("5\r\nhello\n0\r\n\r\n"), BeRefused(Fault::Chunk);
    funky_chunks_spill_term: chunks("5\r\nhelloX\n0\r\n\r\n"), BeRefused(Fault::Chunk);
    funky_chunks_one_two: chunks("5\r\nhello\n\n0\r\n\r\n"), BeRefused(Fault::Chunk);
    funky_chunks_two_one: chunks("5\r\nhello0\r\n\r\n"), BeRefused(Fault::Chunk);
    funky_chunks_zero_two: chunks("5\r\nhello0\r\n\r\n\r\n"), BeRefused(Fault::Chunk);
    funky_chunks_cr_alone: chunks("5\rhello\r\n0\r\n\r\n"), BeRefused(Fault::Chunk);
    envoy_bytes_behind_the_data: chunks("3\r\nhello\r\n0\r\n\r\n"), BeRefused(Fault::Chunk);
    nul_in_an_extension: chunks("5;\0ext\r\nhello\r\n0\r\n\r\n"), BeRefused(Fault::Chunk);
    extensions_by_the_letter: chunks("5;a=\"b;\\\"\";c\r\nhello\r\n0;d\r\n\r\n"), Be(&[("POST /", "hello"), HIDDEN_TOO]);
}

// Trailers.
attacks! {
    line_feed_ends_trailers: chunks("0\r\nX-T: 1\n\n"), BeRefused(Fault::Chunk);
    line_feed_for_the_last_line: chunks("0\r\n\n"), BeRefused(Fault::Chunk);
    cve_2023_45648_tomcat_malformed_trailer: chunks("0\r\nX T: 1\r\n\r\n"), BeRefused(Fault::Field);
    length_as_a_trailer: chunks("0\r\nContent-Length: 40\r\n\r\n"), Be(&[("POST /", ""), HIDDEN_TOO]);
}

/// Limits of Envoy, as a proxy has them.
fn read_limited(bytes: &str) -> Result<(), Fault> {
    use bytes::BytesMut;
    use weir_http1::{BodyReader, HeadReader, Headers, Length, request};

    let (limits, mut input) = (Limits::default(), BytesMut::from(bytes));
    if request::take(&mut HeadReader::default(), &mut input, Headers::new, &limits, false)?.is_none() {
        return Ok(());
    }
    let mut body = BodyReader::new(Length::Chunked, limits);
    while body.read(&mut input)?.is_some() {}
    Ok(())
}

#[test]
fn cve_2019_15226_envoy_many_small_fields() {
    let head = |count| format!("GET / HTTP/1.1\r\n{}\r\n0\r\n\r\n", "x-0: \r\n".repeat(count));
    assert_eq!(read_limited(&head(100)), Ok(()));
    assert_eq!(read_limited(&head(101)), Err(Fault::TooMany));
}

#[test]
fn cve_2023_46589_tomcat_trailers_beyond_the_limit() {
    let body = |count| format!("POST / HTTP/1.1\r\n\r\n0\r\n{}\r\n{HIDDEN}", "x-0: \r\n".repeat(count));
    assert_eq!(read_limited(&body(100)), Ok(()));
    assert_eq!(read_limited(&body(101)), Err(Fault::TooMany));
    let large = format!("POST / HTTP/1.1\r\n\r\n0\r\nx: {}\r\n\r\n{HIDDEN}", "x".repeat(1 << 16));
    assert_eq!(read_limited(&large), Err(Fault::TooLarge));
}

#[test]
fn cve_2024_22019_node_extensions_without_end() {
    let body = format!("POST / HTTP/1.1\r\n\r\n1;{}", "a".repeat(1 << 20));
    assert_eq!(read_limited(&body), Err(Fault::Chunk));
    let many = format!("POST / HTTP/1.1\r\n\r\n{}", format!("1;{}\r\nx\r\n", "a".repeat(100)).repeat(1000));
    assert_eq!(read_limited(&many), Err(Fault::Chunk), "in all chunks together");
}

#[test]
fn cve_2019_18802_envoy_space_behind_a_value_is_no_part_of_it() {
    for seen in each_way(Side::Requests, b"GET / HTTP/1.1\r\nHost: \t a.test \t\r\n\r\n") {
        assert_eq!(seen.messages[0].fields["host"], "a.test");
    }
}

#[test]
fn two_hosts_are_both_seen() {
    for seen in each_way(Side::Requests, b"GET http://c/ HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n") {
        // Which of them counts is for the rules of the head, which refuse it; none is lost on the way there.
        assert_eq!(seen.messages[0].fields.get_all("host").iter().collect::<Vec<_>>(), ["a.test", "b.test"]);
        assert_eq!(seen.messages[0].first, "GET http://c/");
    }
}
