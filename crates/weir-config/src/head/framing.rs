//! What a client says of where its message ends, where HTTP/2 is spoken: the stream ends it (RFC 9113, 8.1.1), and what its head says
//! must not be misunderstood by those behind us. That of HTTP/1.1 is the codec's matter.

use http::StatusCode;
use weir_http1::header::{self, Headers};

use super::{Refusal, codec_error};

/// Refuses a length that is none, or is said twice, and any transfer coding.
pub(super) fn check(headers: &Headers) -> Result<(), Refusal> {
    const BAD: Refusal = codec_error(StatusCode::BAD_REQUEST, "http2.violation.of.messaging.rule", "");
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next()
        && (lengths.next().is_some() || length.is_empty() || !length.as_bytes().iter().all(u8::is_ascii_digit))
    {
        return Err(BAD);
    }
    if headers.contains_key(header::TRANSFER_ENCODING) { Err(BAD) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use weir_http1::HeaderValue;

    use super::*;

    #[test]
    fn a_request_whose_end_is_in_doubt_is_refused() {
        type Case = (&'static [(&'static str, &'static str)], bool);
        let cases: &[Case] = &[
            (&[], true),
            (&[("content-length", "5")], true),
            (&[("transfer-encoding", "chunked")], false),
            (&[("content-length", "5"), ("content-length", "5")], false),
            (&[("content-length", "5, 5")], false),
            (&[("content-length", "")], false),
        ];
        for (pairs, good) in cases {
            let mut headers = Headers::new();
            for (name, value) in *pairs {
                headers.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(check(&headers).is_ok(), *good, "{headers:?}");
        }
    }
}
