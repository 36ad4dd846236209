//! What belongs to the client's connection alone (RFC 9110, 7.6.1).

use http::{StatusCode, Version};
use weir_http1::header::{self, HeaderName, HeaderValue, Headers, NameSet};

use super::{Refusal, codec_error};
use weir_routing::inline_headers::join;

/// What [`take`] has to do with.
const OF_CONNECTION: NameSet =
    NameSet::of(&["connection", "proxy-connection", "keep-alive", "http2-settings", "transfer-encoding", "upgrade", "te"]);
/// So many names may stand in `connection`.
const MAX_NAMES: usize = 10;
/// Who may not be taken away by a name in `connection`, and that such a name is refused.
const PROTECTED: [&[u8]; 3] = [b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"];

/// What the headers of a connection said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// The protocol that the client wants to change to.
    pub(super) upgrade: Option<HeaderValue>,
    /// Whether the connection is to be closed after this.
    pub(super) close: bool,
}

/// Takes away what belongs to the client's connection alone (RFC 9110, 7.6.1). An upgrade keeps its `connection`, which goes to
/// the instance with it.
///
/// # Errors
/// If what it names must not be taken away.
pub(super) fn take(headers: &mut Headers, version: Version) -> Result<Said, Refusal> {
    if headers.known().and(&OF_CONNECTION).is_empty() {
        return Ok(Said::default());
    }
    let mut said = Said { upgrade: None, close: says_close(headers, &header::PROXY_CONNECTION) };
    if headers.contains_key(header::CONNECTION) {
        let names = words(headers, &header::CONNECTION);
        check(&names)?;
        if names.iter().any(|name| name == b"upgrade") {
            join(headers, &header::UPGRADE, b",");
            // To `h2c` nobody need change: it is passed over.
            said.upgrade = headers.get(header::UPGRADE).cloned().filter(|value| !value.as_bytes().eq_ignore_ascii_case(b"h2c"));
        }
        // What an upgrade names goes to the instance with it.
        let gone = names.iter().filter(|_| said.upgrade.is_none());
        for name in gone.filter(|name| !matches!(name.as_slice(), b"close" | b"keep-alive" | b"te" | b"upgrade" | b"connection")) {
            if let Ok(name) = HeaderName::from_bytes(name) {
                headers.remove(name);
            }
        }
        if said.upgrade.is_none() {
            headers.remove(header::CONNECTION);
        }
    }
    headers.remove(header::KEEP_ALIVE);
    headers.remove(header::PROXY_CONNECTION);
    if version < Version::HTTP_2 {
        headers.remove(header::HTTP2_SETTINGS);
    }
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::UPGRADE);
    settle_te(headers);
    Ok(said)
}

fn check(names: &[Vec<u8>]) -> Result<(), Refusal> {
    let forbidden = |name: &Vec<u8>| name.starts_with(b":") || PROTECTED.contains(&name.as_slice());
    if names.len() > MAX_NAMES || names.iter().any(forbidden) {
        return Err(codec_error(StatusCode::BAD_REQUEST, "http1.connection_header_rejected", "Bad Request"));
    }
    // Without its host a request has no place to go.
    if names.iter().any(|name| name == b"host") {
        return Err(super::refuse(StatusCode::BAD_REQUEST, "missing_host_header", ""));
    }
    Ok(())
}

/// Of the codings that the client takes only `trailers` is a proxy's matter.
fn settle_te(headers: &mut Headers) {
    let Some(first) = headers.get(header::TE) else { return };
    let empty = first.is_empty() && headers.get_all(header::TE).iter().nth(1).is_none();
    if empty {
        return;
    }
    let values = headers.get_all(header::TE).iter();
    let trailers = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).any(|word| word.trim_ascii() == b"trailers");
    headers.remove(header::TE);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

fn says_close(headers: &Headers, name: &HeaderName) -> bool {
    headers.get(name).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}

/// The words of a header's lists, in lower case.
fn words(headers: &Headers, name: &HeaderName) -> Vec<Vec<u8>> {
    let values = headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    values.map(|word| word.trim_ascii().to_ascii_lowercase()).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_name_in_connection_takes_away_no_protected_header() {
        for name in ["host", "x-own, Host", "x-forwarded-for", "X-Forwarded-Proto", "x-forwarded-host", ":path", "a,b,c,d,e,f,g,h,i,j,k"] {
            let mut headers = headers(&[("connection", name), ("host", "a"), ("x-forwarded-for", "::1")]);
            let refused = take(&mut headers, Version::HTTP_11).expect_err(name);
            assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{name}");
        }
    }

    #[test]
    fn what_connection_names_is_taken_away() {
        let mut headers = headers(&[("connection", "close, x-own"), ("x-own", "1"), ("keep-alive", "5"), ("x-other", "1")]);
        assert_eq!(take(&mut headers, Version::HTTP_11), Ok(Said::default()));
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-other"]);
    }

    #[test]
    fn an_upgrade_keeps_its_connection() {
        let mut one = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        let said = take(&mut one, Version::HTTP_11).expect("fine");
        assert_eq!(said.upgrade, Some(HeaderValue::from_static("websocket")));
        assert_eq!(one[header::CONNECTION], "keep-alive, Upgrade");
        let mut two = headers(&[("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "foo")]);
        assert_eq!(take(&mut two, Version::HTTP_11).expect("fine").upgrade, Some(HeaderValue::from_static("websocket,foo")));
        let mut none = headers(&[("connection", "upgrade, http2-settings"), ("upgrade", "h2c"), ("http2-settings", "AA")]);
        assert_eq!(take(&mut none, Version::HTTP_11), Ok(Said::default()));
        assert!(none.is_empty(), "{none:?}");
    }

    #[test]
    fn of_te_only_trailers_stays() {
        for (te, expected) in
            [("trailers", Some("trailers")), ("gzip, trailers", Some("trailers")), ("gzip", None), ("Trailers", None), ("", Some(""))]
        {
            let mut headers = headers(&[("te", te)]);
            settle_te(&mut headers);
            assert_eq!(headers.get("te").and_then(|te| te.to_str().ok()), expected, "{te}");
        }
    }
}
