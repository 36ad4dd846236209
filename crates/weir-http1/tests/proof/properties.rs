//! What holds for the codec alone, whatever comes.

use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use http::{Method, StatusCode, Version};
use weir_http1::{BodyReader, Case as Spelled, HeadReader, Length, Part, answer, encode, framing, request};
use weir_http1::{HeaderName, HeaderValue, Headers};

use crate::codec::{self, LIMITS};
use crate::generate::Case;
use crate::seen::{Seen, Side};

const CASES: u64 = 20_000;

/// All that the codec has said, but for a body that was not complete: how much of it came before the fault may depend on the cuts.
fn told(mut seen: Seen) -> String {
    if let Some(last) = seen.messages.last_mut().filter(|message| !message.complete) {
        last.body.clear();
    }
    seen.told()
}

#[test]
fn how_bytes_are_cut_changes_nothing() {
    for seed in 0..CASES {
        let case = Case::new(seed);
        let whole = told(codec::read(case.side, std::slice::from_ref(&case.bytes)));
        assert_eq!(told(codec::read(case.side, &case.pieces())), whole, "seed {seed}");
        let single: Vec<Vec<u8>> = case.bytes.iter().map(|byte| vec![*byte]).collect();
        assert_eq!(told(codec::read(case.side, &single)), whole, "seed {seed}");
    }
}

#[test]
fn no_bytes_make_it_panic() {
    const LIKELY: &[u8] = b"\r\n\r\n :;GET /HTTP/1.1200content-length:transfer-encoding: chunked0123456789abcdef\0\t\x7f\xff";
    let mut rng = Rng::with_seed(1);
    for _ in 0..CASES {
        let length = rng.usize(..200);
        let likely = rng.bool();
        let bytes: Vec<u8> = (0..length).map(|_| if likely { LIKELY[rng.usize(..LIKELY.len())] } else { rng.u8(..) }).collect();
        for side in [Side::Requests, Side::Answers { head: false }, Side::Answers { head: true }] {
            codec::read(side, std::slice::from_ref(&bytes));
        }
        for length in [Length::None, Length::Exact(50), Length::Chunked, Length::UntilClose] {
            let mut reader = BodyReader::new(length, LIMITS);
            let mut input = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = reader.read(&mut input) {}
        }
    }
}

fn fields(rng: &mut Rng) -> Headers {
    let mut headers = Headers::new();
    for _ in 0..rng.usize(..6) {
        let name = ["x-a", "x-b", "accept", "!#$%&'*+-.^_`|~0"][rng.usize(..4)];
        let value: Vec<u8> = (0..rng.usize(..12)).map(|_| rng.choice([b'a', b' ', b',', b'"', 0xe9, b'\t', b':']).unwrap()).collect();
        let value = HeaderValue::from_bytes(value.trim_ascii()).expect("allowed");
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

fn body(rng: &mut Rng) -> Vec<u8> {
    (0..rng.usize(..100)).map(|_| rng.u8(..)).collect()
}

/// Writes a body in chunks.
fn write_chunks(body: &[u8], trailers: Option<&Headers>, out: &mut Vec<u8>, rng: &mut Rng) {
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, behind) = rest.split_at(rng.usize(1..=rest.len()));
        encode::chunk_size(chunk.len(), out);
        out.extend_from_slice(chunk);
        out.extend_from_slice(encode::CHUNK_END);
        rest = behind;
    }
    encode::last_chunk(trailers, Spelled::Lower, out);
}

fn head_of(input: &mut BytesMut) -> Bytes {
    HeadReader::default().take(input, &LIMITS).expect("fine").expect("complete")
}

fn body_of(length: Length, input: &mut BytesMut) -> (Vec<u8>, Option<Headers>) {
    let (mut reader, mut data, mut trailers) = (BodyReader::new(length, LIMITS), vec![], None);
    while let Some(part) = reader.read(input).expect("fine") {
        match part {
            Part::Data(part) => data.extend_from_slice(&part),
            Part::Trailers(fields) => trailers = Some(fields),
        }
    }
    assert!(reader.is_done());
    (data, trailers)
}

#[test]
fn what_is_written_is_read() {
    let mut rng = Rng::with_seed(2);
    for _ in 0..CASES {
        let (mut headers, body, mut out) = (fields(&mut rng), body(&mut rng), vec![]);
        let trailers = Some(fields(&mut rng)).filter(|fields| !fields.is_empty());
        let chunked = rng.bool();
        if chunked {
            headers.insert("transfer-encoding", HeaderValue::from_static("chunked"));
        } else {
            headers.insert("content-length", HeaderValue::from(body.len()));
        }
        let case = [Spelled::Lower, Spelled::Proper, Spelled::Preserve][rng.usize(..3)];
        let (of_request, method, target) = (rng.bool(), Method::from_bytes(b"x-Own!").expect("a token"), b"/a?b=\xe9#c");
        let status = StatusCode::from_u16(rng.u16(200..1000)).expect("a status");
        let bare = !of_request && matches!(status.as_u16(), 204 | 304);
        if bare {
            headers.remove("transfer-encoding");
            headers.remove("content-length");
        }
        if of_request {
            encode::request_line(&method, target, &mut out);
            encode::fields(&headers, case, None, &mut out);
            out.extend_from_slice(encode::HEAD_END);
        } else {
            encode::status_line(Version::HTTP_11, status, &mut out);
            encode::fields(&headers, case, None, &mut out);
            out.extend_from_slice(b"\r\n");
        }
        match (bare, chunked) {
            (true, _) => {}
            (false, true) => write_chunks(&body, trailers.as_ref(), &mut out, &mut rng),
            (false, false) => out.extend_from_slice(&body),
        }
        out.extend_from_slice(b"rest");
        let mut input = BytesMut::from(&out[..]);
        let bytes = head_of(&mut input);
        let (read, length) = if of_request {
            let head = request::read(&bytes, &LIMITS, false).expect("fine");
            assert_eq!((&head.method, &head.target[..]), (&method, &target[..]));
            let length = framing::of_request(head.version, &head.headers);
            (head.headers, length)
        } else {
            let head = answer::read(&bytes, &LIMITS, false).expect("fine");
            assert_eq!((head.status, head.version), (status, Version::HTTP_11));
            let length = framing::of_answer(&Method::GET, head.status, &head.headers);
            (head.headers, length)
        };
        assert_eq!(read, headers);
        let (data, read_trailers) = body_of(length.expect("it is clear"), &mut input);
        assert_eq!(data, if bare { vec![] } else { body });
        assert_eq!(read_trailers, trailers.filter(|_| chunked && !bare));
        assert_eq!(&input[..], b"rest");
    }
}
