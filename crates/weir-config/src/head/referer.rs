//! What a request says of where its link stood: a `referer` that names a user or a fragment says more than it may.

use weir_http1::header::{self, Headers};

/// Takes away a `referer` that is not valid (RFC 9110, 10.1.3).
pub(super) fn settle(headers: &mut Headers) {
    if headers.get(header::REFERER).is_some_and(|value| !is_valid(value.as_bytes())) {
        headers.remove(header::REFERER);
    }
}

fn is_valid(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    if let Some((scheme, rest)) = text.split_once("://")
        && !scheme.is_empty()
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        return !authority.is_empty() && !authority.contains('@') && !rest.contains('#');
    }
    // A relative reference, whose first segment holds no colon.
    let colon = text.split(['/', '?']).next().is_some_and(|segment| segment.contains(':'));
    !colon && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!$%&'()*+,-./:;=?@_~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn a_referer_names_no_user_and_no_fragment() {
        for good in ["http://a/b?c", "https://a.test", "/a/b:c", "a", ""] {
            assert!(is_valid(good.as_bytes()), "{good}");
        }
        for bad in ["http://a#b", "http://u@a/", "/a#b", "a:b", "a b", "http:///x"] {
            assert!(!is_valid(bad.as_bytes()), "{bad}");
        }
    }
}
