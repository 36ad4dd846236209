//! What a client says of where its message ends (RFC 9112, 6), as far as it can be doubted.

use http::header::{self, HeaderMap};
use http::{StatusCode, Version};

use super::{Refusal, codec_error};

/// Refuses what leaves the end of a request in doubt, and codings that nobody here takes off.
pub(super) fn check(headers: &HeaderMap, version: Version) -> Result<(), Refusal> {
    const UNKNOWN: Refusal = codec_error(StatusCode::NOT_IMPLEMENTED, "http1.invalid_transfer_encoding", "Not Implemented");
    const BAD: Refusal = codec_error(StatusCode::BAD_REQUEST, "http1.codec_error", "Bad Request");
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next()
        && (lengths.next().is_some() || length.is_empty() || !length.as_bytes().iter().all(u8::is_ascii_digit))
    {
        return Err(BAD);
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    if version >= Version::HTTP_2 {
        return Err(BAD);
    }
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") { Err(UNKNOWN) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_request_whose_end_is_in_doubt_is_refused() {
        type Case = (&'static [(&'static str, &'static str)], Version, Option<u16>);
        let cases: &[Case] = &[
            (&[("transfer-encoding", "chunked")], Version::HTTP_11, None),
            (&[("transfer-encoding", "Chunked")], Version::HTTP_11, None),
            (&[("content-length", "5")], Version::HTTP_11, None),
            (&[("transfer-encoding", "br, chunked")], Version::HTTP_11, Some(501)),
            (&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], Version::HTTP_11, Some(501)),
            (&[("transfer-encoding", ",chunked")], Version::HTTP_11, Some(501)),
            (&[("transfer-encoding", "chunked")], Version::HTTP_2, Some(400)),
            (&[("content-length", "5"), ("content-length", "5")], Version::HTTP_2, Some(400)),
            (&[("content-length", "5, 5")], Version::HTTP_2, Some(400)),
        ];
        for (pairs, version, status) in cases {
            let pairs =
                pairs.iter().map(|(name, value)| (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes())));
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(name.expect("a name"), value.expect("a value"));
            }
            let refused = check(&headers, *version).err().map(|refused| refused.status.as_u16());
            assert_eq!(refused, *status, "{headers:?} {version:?}");
        }
    }
}
