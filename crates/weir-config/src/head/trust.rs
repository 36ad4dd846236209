//! What a request says of earlier proxies and of itself, as far as it is believed, and what this proxy says of it
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers>).

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use weir_http1::header::{self, HeaderName, HeaderValue, Headers, NameSet};
use weir_routing::inline_headers::join;
use weir_routing::{known_scheme, told_scheme};

use super::{Client, Refusal, address_value, refuse};
use crate::http::HttpConfig;
use crate::http::client_address::Detection;
use crate::http::client_certificate::ForwardedClientCert;

/// What only proxies of ours may say.
const INTERNAL: NameSet = NameSet::of(&[
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-internal",
    "x-envoy-ip-tags",
    "x-envoy-max-retries",
    "x-envoy-original-url",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-rq-timeout-ms",
]);
const INTERNAL_AT_EDGE: NameSet = NameSet::of(&[
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-external-address",
    "x-envoy-original-host",
    "x-envoy-original-path",
]);

const FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
pub(super) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");
/// Tells one request from all others.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Takes away what only proxies of ours may say.
pub(super) fn take_internal(headers: &mut Headers, edge: bool) {
    headers.remove_all(&INTERNAL);
    if edge {
        headers.remove_all(&INTERNAL_AT_EDGE);
    }
}

/// The scheme, and `x-forwarded-proto`: that is at the edge what the connection is, and behind it, or behind a proxy that is
/// trusted, what that says. `told` is what HTTP/2's `:scheme`, or a target that is a whole URL, says: Envoy takes it for the scheme
/// from whoever says it. Whether a request came by TLS is decided by `x-forwarded-proto` alone.
pub(super) fn settle_scheme(headers: &mut Headers, config: &HttpConfig, client: &Client, told: Option<&str>) -> Cow<'static, str> {
    let own = if client.tls { "https" } else { "http" };
    if let Some(scheme) = config.scheme {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
        return scheme.into();
    }
    let believed = !config.edge || config.trusted_hops > 0;
    if !(believed && headers.contains_key(FORWARDED_PROTO)) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(own));
    }
    match told {
        Some(told) => known_scheme(told.as_bytes()).map_or_else(|| told.to_owned().into(), Cow::Borrowed),
        None => told_scheme(headers, config.edge, config.trusted_hops).unwrap_or(own).into(),
    }
}

/// The client's address, and the headers that tell it.
///
/// # Errors
/// If it must be told, and is not.
pub(super) fn settle_client(headers: &mut Headers, config: &HttpConfig, client: &Client) -> Result<SocketAddr, Refusal> {
    settle_certificate(headers, config.client_cert, client);
    let believes_port = (!config.edge || config.trusted_hops > 0) && headers.contains_key(FORWARDED_PORT);
    if config.append_forwarded_port && !believes_port {
        headers.insert(FORWARDED_PORT, HeaderValue::from(client.local_port));
    }
    let peer = client.remote;
    if !config.edge {
        let found = match &*config.detections {
            [] => last_forwarded(headers, config.trusted_hops),
            detections => detect(headers, detections, client)?,
        };
        return Ok(found.map_or(peer, |ip| SocketAddr::new(ip, 0)));
    }
    let trusted = (config.trusted_hops > 0).then(|| last_forwarded(headers, config.trusted_hops - 1)).flatten();
    if let Some(forwarded) = client.forwarded.as_ref().filter(|_| config.append_forwarded_for) {
        append(headers, &FORWARDED_FOR, forwarded.clone(), b",");
    }
    match trusted.map(address_value).or_else(|| client.external.clone()) {
        Some(external) => drop(headers.insert(EXTERNAL_ADDRESS, external)),
        None => drop(headers.remove(EXTERNAL_ADDRESS)),
    }
    Ok(trusted.map_or(peer, |ip| SocketAddr::new(ip, 0)))
}

/// The client's address by the first of these ways by which it is found. As with Envoy the next one sees what one before has added.
fn detect(headers: &mut Headers, detections: &[Detection], client: &Client) -> Result<Option<IpAddr>, Refusal> {
    for detection in detections {
        let found = detection.find(headers, client.remote.ip());
        let found = found.map_err(|status| refuse(status, "rejecting_because_detection_failed", ""))?;
        if let Some(forwarded) = client.forwarded.as_ref().filter(|_| found.appends) {
            append(headers, &FORWARDED_FOR, forwarded.clone(), b",");
        }
        if found.address.is_some() {
            return Ok(found.address);
        }
    }
    Ok(None)
}

/// What is said of certificates. Nobody who has shown none may say whose it was.
fn settle_certificate(headers: &mut Headers, policy: ForwardedClientCert, client: &Client) {
    match (policy, &client.certificate) {
        (ForwardedClientCert::Keep, _) => {}
        (ForwardedClientCert::KeepIfShown, _) if client.shows_certificate => {}
        (ForwardedClientCert::Append(_), Some(told)) => append(headers, &FORWARDED_CLIENT_CERT, told.clone(), b","),
        (ForwardedClientCert::Replace(_), Some(told)) => drop(headers.insert(FORWARDED_CLIENT_CERT, told.clone())),
        _ => drop(headers.remove(FORWARDED_CLIENT_CERT)),
    }
}

/// What this proxy says of itself.
pub(super) fn settle_own(headers: &mut Headers, config: &HttpConfig) {
    if let Some(via) = &config.via {
        append(headers, &header::VIA, via.clone(), b", ");
    }
}

/// Adds a value to the only one of a header.
pub fn append(headers: &mut Headers, name: &HeaderName, value: HeaderValue, between: &[u8]) {
    if headers.append(name, value) {
        join(headers, name, between);
    }
}

/// The address in `x-forwarded-for` that so many proxies stand behind.
fn last_forwarded(headers: &Headers, skip: u32) -> Option<IpAddr> {
    let header = headers.get_all(FORWARDED_FOR).iter().next_back()?.to_str().ok()?;
    header.rsplit(',').nth(skip as usize)?.trim().parse().ok()
}

/// Gives a request an id, where it has none that is believed. `random` makes the new one of.
pub(super) fn settle_request_id(headers: &mut Headers, config: &HttpConfig, random: impl FnOnce() -> u128) {
    let keep = headers.get(REQUEST_ID).is_some_and(|id| !id.is_empty()) && (!config.edge || config.keep_request_id);
    if keep || !config.generate_request_id {
        return;
    }
    headers.insert(REQUEST_ID, random_id(random()));
}

/// The digits of four bytes, all at once.
fn hex(bytes: [u8; 4]) -> [u8; 8] {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    // Each half of a byte gets a byte of its own.
    let spread = u64::from(u32::from_be_bytes(bytes));
    let spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    let spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    let spread = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = (spread + 6 * ONES) >> 4 & ONES;
    (spread + u64::from(b'0') * ONES + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

/// A version 4 UUID.
fn random_id(random: u128) -> HeaderValue {
    let mut bytes = random.to_le_bytes();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
    let digits = [hex([a, b, c, d]), hex([e, f, g, h]), hex([i, j, k, l]), hex([m, n, o, p])];
    let digits = digits.as_flattened();
    let mut text = [b'-'; 36];
    // Where the groups stand, with hyphens between them.
    for (of_digits, of_text) in [(0..8, 0..8), (8..12, 9..13), (12..16, 14..18), (16..20, 19..23), (20..32, 24..36)] {
        text[of_text].copy_from_slice(&digits[of_digits]);
    }
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::tests::{client, client_from, config};
    use crate::http::client_certificate::{ShownCertificate, Told};

    fn headers(pairs: &[(&'static str, &'static str)]) -> Headers {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_certificate_that_was_not_shown_is_nobodys() {
        use ForwardedClientCert::{Append, Keep, KeepIfShown, Remove, Replace};
        let told = Told::default();
        let shown = ShownCertificate { hash: vec![1], ..ShownCertificate::default() };
        for (client_cert, of_nobody, of_client) in [
            (Remove, None, None),
            (Keep, Some("By=x"), Some("By=x")),
            (KeepIfShown, None, Some("By=x")),
            (Append(told), None, Some("By=x,Hash=01")),
            (Replace(told), None, Some("Hash=01")),
        ] {
            let config = HttpConfig { client_cert, ..config() };
            for (client, left) in [(client(), of_nobody), (client().with_certificate(&shown, &config), of_client)] {
                let mut headers = headers(&[("x-forwarded-client-cert", "By=x")]);
                settle_client(&mut headers, &config, &client).expect("nobody is refused");
                let found = headers.get(FORWARDED_CLIENT_CERT).and_then(|value| value.to_str().ok());
                assert_eq!(found, left, "{client_cert:?}");
            }
        }
    }

    #[test]
    fn the_scheme_is_believed_of_trusted_proxies_only() {
        let edge = |trusted_hops| HttpConfig { edge: true, trusted_hops, ..config() };
        for (config, told, scheme, written) in [
            (&edge(0), "https", "http", "http"),
            (&edge(1), "https", "https", "https"),
            (&edge(1), "ftp", "http", "ftp"),
            (&config(), "https", "https", "https"),
            (&config(), "HTTPS", "https", "HTTPS"),
            (&config(), "ftp", "http", "ftp"),
            (&config(), "", "http", ""),
        ] {
            let mut headers = headers(&[("x-forwarded-proto", told)]);
            assert_eq!(settle_scheme(&mut headers, config, &client(), None), scheme, "{told}");
            assert_eq!(headers[FORWARDED_PROTO], written, "{told}");
        }
    }

    /// As Envoy does; a redirect of its is `https`, but no route that asks for TLS lets it pass.
    #[test]
    fn a_scheme_that_is_told_counts_but_does_not_say_that_it_came_by_tls() {
        for config in [config(), HttpConfig { edge: true, ..config() }] {
            for (told, scheme) in [("https", "https"), ("HTTPS", "https"), ("http", "http"), ("ftp", "ftp")] {
                let mut headers = Headers::new();
                assert_eq!(settle_scheme(&mut headers, &config, &client(), Some(told)), scheme);
                assert_eq!(headers[FORWARDED_PROTO], "http");
            }
        }
        let mut headers = headers(&[("x-forwarded-proto", "https")]);
        assert_eq!(settle_scheme(&mut headers, &config(), &client(), Some("http")), "http");
        assert_eq!(headers[FORWARDED_PROTO], "https");
    }

    #[test]
    fn a_client_on_this_machine_is_named_as_others_know_it() {
        let edge = HttpConfig { edge: true, ..config() };
        let local = client_from([127, 0, 0, 1]);
        for (told, client, written) in [
            (vec![], client(), "198.51.100.7"),
            (vec![], local, "192.0.2.2"),
            (vec![("x-forwarded-for", "a")], client(), "a,198.51.100.7"),
            (vec![("x-forwarded-for", "")], client(), "198.51.100.7"),
        ] {
            let mut headers = headers(&told);
            settle_client(&mut headers, &edge, &client).expect("nobody is refused");
            assert_eq!(headers[FORWARDED_FOR], written);
        }
    }

    #[test]
    fn of_a_client_that_has_no_address_none_is_told() {
        let edge = |trusted_hops| HttpConfig { edge: true, trusted_hops, ..config() };
        let told = || headers(&[("x-forwarded-for", "203.0.113.9"), ("x-envoy-external-address", "203.0.113.1")]);
        for (config, external) in [(edge(0), None), (edge(1), Some("203.0.113.9"))] {
            let mut headers = told();
            settle_client(&mut headers, &config, &client().without_address()).expect("it is not asked for");
            assert_eq!(headers[FORWARDED_FOR], "203.0.113.9");
            assert_eq!(headers.get(EXTERNAL_ADDRESS).and_then(|value| value.to_str().ok()), external);
        }
    }

    #[test]
    fn digits_are_those_of_the_bytes() {
        for number in [0, 1, 0x0123_4567, 0x89ab_cdef, u32::MAX, 0x9a9a_a9a9] {
            assert_eq!(&hex(number.to_be_bytes())[..], format!("{number:08x}").as_bytes());
        }
    }

    #[test]
    fn an_empty_request_id_is_none() {
        let mut headers = headers(&[("x-request-id", "")]);
        settle_request_id(&mut headers, &config(), || 7);
        assert_eq!(headers[REQUEST_ID], "07000000-0000-4000-8000-000000000000");
    }
}
