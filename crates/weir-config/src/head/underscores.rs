//! Names with underscores, which some applications take for names with hyphens.

use http::{StatusCode, Version};
use weir_http1::header::{HeaderName, Headers};

use super::{Refusal, codec_error};
use crate::http::Underscores;

/// Does what the rule says.
pub(super) fn settle(headers: &mut Headers, version: Version, rule: Underscores) -> Result<(), Refusal> {
    let has_one = |name: &HeaderName| name.as_bytes().contains(&b'_');
    match rule {
        Underscores::Allow => Ok(()),
        Underscores::Reject if headers.keys().any(has_one) => {
            let http1 = version < Version::HTTP_2;
            let details = if http1 { "http1.unexpected_underscore" } else { "http2.unexpected_underscore" };
            Err(codec_error(StatusCode::BAD_REQUEST, details, "Bad Request"))
        }
        Underscores::Reject => Ok(()),
        Underscores::Drop => {
            headers.retain(|name, _| !has_one(name));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_http1::HeaderValue;

    use super::*;

    #[test]
    fn headers_with_underscores_pass_or_go_or_are_refused() {
        let headers = || {
            let mut headers = Headers::new();
            for name in ["x_a", "x-b"] {
                headers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
            }
            headers
        };
        let mut kept = headers();
        assert_eq!(settle(&mut kept, Version::HTTP_11, Underscores::Allow), Ok(()));
        assert_eq!(kept.len(), 2);
        assert_eq!(settle(&mut kept, Version::HTTP_11, Underscores::Drop), Ok(()));
        assert_eq!(kept.len(), 1);
        assert_eq!(settle(&mut kept, Version::HTTP_11, Underscores::Reject), Ok(()));
        assert!(settle(&mut headers(), Version::HTTP_11, Underscores::Reject).is_err());
    }
}
