//! Names with underscores, which some applications take for names with hyphens.

use http::header::{HeaderMap, HeaderName};
use http::{StatusCode, Version};

use super::{Refusal, codec_error};

/// What becomes of headers whose names have underscores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Underscores {
    /// They pass.
    #[default]
    Allow,
    /// A request that has one is refused.
    Reject,
    /// They are taken out.
    Drop,
}

/// Does so.
pub(super) fn settle(headers: &mut HeaderMap, version: Version, rule: Underscores) -> Result<(), Refusal> {
    let has_one = |name: &&HeaderName| name.as_str().contains('_');
    match rule {
        Underscores::Allow => Ok(()),
        Underscores::Reject if headers.keys().any(|name| has_one(&name)) => {
            let http1 = version < Version::HTTP_2;
            let details = if http1 { "http1.unexpected_underscore" } else { "http2.unexpected_underscore" };
            Err(codec_error(StatusCode::BAD_REQUEST, details, "Bad Request"))
        }
        Underscores::Reject => Ok(()),
        Underscores::Drop => {
            let names: Vec<HeaderName> = headers.keys().filter(has_one).cloned().collect();
            for name in names {
                headers.remove(name);
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn headers_with_underscores_pass_or_go_or_are_refused() {
        let headers = || {
            let mut headers = HeaderMap::new();
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
