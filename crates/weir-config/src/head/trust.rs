//! What a request says of earlier proxies and of itself, as far as it is believed, and what this proxy says of it
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers>).

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};
use weir_routing::inline_headers::join;
use weir_routing::{known_scheme, told_scheme};

use super::{Client, address_value};
use crate::http::HttpConfig;

/// Whose word the headers are: seldom needed names, looked up only if a header begins like them.
const INTERNAL: &[&str] = &[
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
];
const INTERNAL_AT_EDGE: &[&str] = &[
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-external-address",
    "x-envoy-original-host",
    "x-envoy-original-path",
];

const FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
pub(super) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");
/// Tells one request from all others.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Takes away what only proxies of ours may say.
pub(super) fn take_internal(headers: &mut HeaderMap, edge: bool) {
    if !headers.keys().any(|name| name.as_str().starts_with("x-envoy-")) {
        return;
    }
    for name in INTERNAL.iter().chain(INTERNAL_AT_EDGE.iter().filter(|_| edge)) {
        headers.remove(*name);
    }
}

/// The scheme, and `x-forwarded-proto`: that is at the edge what the connection is, and behind it, or behind a proxy that is
/// trusted, what that says. `told` is what HTTP/2's `:scheme`, or a target that is a whole URL, says: Envoy takes it for the scheme
/// from whoever says it. Whether a request came by TLS is decided by `x-forwarded-proto` alone.
pub(super) fn settle_scheme(headers: &mut HeaderMap, config: &HttpConfig, client: &Client, told: Option<&str>) -> Cow<'static, str> {
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
pub(super) fn settle_client(headers: &mut HeaderMap, config: &HttpConfig, client: &Client) -> SocketAddr {
    if !config.keep_client_cert {
        // Nobody who has shown no certificate may say whose it was.
        headers.remove(FORWARDED_CLIENT_CERT);
    }
    let believes_port = (!config.edge || config.trusted_hops > 0) && headers.contains_key(FORWARDED_PORT);
    if config.append_forwarded_port && !believes_port {
        headers.insert(FORWARDED_PORT, HeaderValue::from(client.local_port));
    }
    let peer = client.remote;
    if !config.edge {
        return last_forwarded(headers, config.trusted_hops).map_or(peer, |ip| SocketAddr::new(ip, 0));
    }
    let trusted = (config.trusted_hops > 0).then(|| last_forwarded(headers, config.trusted_hops - 1)).flatten();
    if config.append_forwarded_for {
        append(headers, &FORWARDED_FOR, client.forwarded.clone(), b",");
    }
    headers.insert(EXTERNAL_ADDRESS, trusted.map_or_else(|| client.external.clone(), address_value));
    trusted.map_or(peer, |ip| SocketAddr::new(ip, 0))
}

/// What this proxy says of itself.
pub(super) fn settle_own(headers: &mut HeaderMap, config: &HttpConfig) {
    if let Some(via) = &config.via {
        append(headers, &header::VIA, via.clone(), b", ");
    }
}

/// Adds a value to the only one of a header.
pub fn append(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue, between: &[u8]) {
    match headers.entry(name) {
        Entry::Vacant(vacant) => drop(vacant.insert(value)),
        Entry::Occupied(mut known) => {
            known.append(value);
            join(headers, name, between);
        }
    }
}

/// The address in `x-forwarded-for` that so many proxies stand behind.
fn last_forwarded(headers: &HeaderMap, skip: u32) -> Option<IpAddr> {
    let header = headers.get_all(FORWARDED_FOR).iter().next_back()?.to_str().ok()?;
    header.rsplit(',').nth(skip as usize)?.trim().parse().ok()
}

/// Gives a request an id, where it has none that is believed. `random` makes the new one of.
pub(super) fn settle_request_id(headers: &mut HeaderMap, config: &HttpConfig, random: impl FnOnce() -> u128) {
    let keep = headers.get(REQUEST_ID).is_some_and(|id| !id.is_empty()) && (!config.edge || config.keep_request_id);
    if keep || !config.generate_request_id {
        return;
    }
    headers.insert(REQUEST_ID, random_id(random()));
}

/// A version 4 UUID.
fn random_id(random: u128) -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut bytes = random.to_le_bytes();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = [b'-'; 36];
    // Where the two digits of each byte stand, with hyphens between the groups.
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    for (byte, place) in bytes.iter().zip(PLACES) {
        text[place] = HEX[usize::from(byte >> 4)];
        text[place + 1] = HEX[usize::from(byte & 0xf)];
    }
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::tests::{client, client_from, config};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_certificate_that_was_not_shown_is_nobodys() {
        for (keep_client_cert, left) in [(false, 0), (true, 1)] {
            let mut headers = headers(&[("x-forwarded-client-cert", "By=x")]);
            settle_client(&mut headers, &HttpConfig { keep_client_cert, ..config() }, &client());
            assert_eq!(headers.len(), left);
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
                let mut headers = HeaderMap::new();
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
            settle_client(&mut headers, &edge, &client);
            assert_eq!(headers[FORWARDED_FOR], written);
        }
    }

    #[test]
    fn an_empty_request_id_is_none() {
        let mut headers = headers(&[("x-request-id", "")]);
        settle_request_id(&mut headers, &config(), || 7);
        assert_eq!(headers[REQUEST_ID], "07000000-0000-4000-8000-000000000000");
    }
}
