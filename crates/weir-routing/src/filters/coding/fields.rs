//! Fields of heads that speak of codings.

use weir_http1::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING, VARY};
use weir_http1::{HeaderValue, Headers};

/// What an answer varies by that could be compressed.
const BY: &str = "Accept-Encoding";

/// The words of a list.
fn words(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// How long a body is, where its head says so.
pub fn declared_length(headers: &Headers) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether a body is in no coding yet, as far as its head says.
pub(in super::super) fn are_plain(headers: &Headers) -> bool {
    const CODINGS: [&str; 5] = ["gzip", "br", "deflate", "compress", "zstd"];
    let is_coding = |word: &[u8]| CODINGS.iter().any(|coding| coding.as_bytes().eq_ignore_ascii_case(word));
    !headers.contains_key(CONTENT_ENCODING) && !headers.get(TRANSFER_ENCODING).is_some_and(|value| words(value).any(is_coding))
}

/// Whether nobody may change the body (RFC 9111, 5.2.2.6).
pub(in super::super) fn forbid_transformation(headers: &Headers) -> bool {
    headers.get(CACHE_CONTROL).is_some_and(|value| words(value).any(|word| word.eq_ignore_ascii_case(b"no-transform")))
}

/// Says that the answer would be another one for a client that accepts other codings.
pub(in super::super) fn vary(headers: &mut Headers) {
    let Some(before) = headers.get(VARY) else {
        headers.append(VARY, HeaderValue::from_static(BY));
        return;
    };
    if words(before).any(|word| word == BY.as_bytes()) {
        return;
    }
    let varied = HeaderValue::from_bytes(&[before.as_bytes(), b", ", BY.as_bytes()].concat());
    varied.into_iter().for_each(|varied| drop(headers.insert(VARY, varied)));
}

/// Whether a tag says only that the content means the same (RFC 9110, 8.8.1).
pub(in super::super) fn is_weak(tag: &HeaderValue) -> bool {
    matches!(tag.as_bytes(), [b'w' | b'W', b'/', ..])
}
