//! What a request says of earlier proxies and of itself, as far as it is believed, and what this proxy says of it
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers>).

use std::net::{IpAddr, SocketAddr};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use weir_routing::inline_headers::join;
use weir_routing::{known_scheme, told_scheme};

use super::Client;
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

/// The scheme, and `x-forwarded-proto`: at the edge what the connection is, behind it, or behind a proxy that is trusted, what
/// that says. `told` is what a target that is a whole URL says.
pub(super) fn settle_scheme(headers: &mut HeaderMap, config: &HttpConfig, client: &Client, told: Option<&str>) -> &'static str {
    let own = if client.tls { "https" } else { "http" };
    if let Some(scheme) = config.scheme {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
        return scheme;
    }
    let believed = !config.edge || config.trusted_hops > 0;
    if believed && headers.contains_key(FORWARDED_PROTO) {
        return told_scheme(headers, config.edge, config.trusted_hops).unwrap_or(own);
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(own));
    told.filter(|_| believed).and_then(|told| known_scheme(told.as_bytes())).unwrap_or(own)
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
        let ip = peer.ip().to_canonical();
        // To others, this machine has another name than to itself.
        let ip = if ip.is_loopback() { client.own } else { ip };
        if let Ok(value) = HeaderValue::from_str(&ip.to_string()) {
            append(headers, &FORWARDED_FOR, value, b",");
        }
    }
    let external = trusted.unwrap_or_else(|| peer.ip().to_canonical());
    if let Ok(value) = HeaderValue::from_str(&external.to_string()) {
        headers.insert(EXTERNAL_ADDRESS, value);
    }
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
    headers.append(name, value);
    join(headers, name, between);
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
fn random_id(mut random: u128) -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; 36];
    for (i, byte) in text.iter_mut().enumerate() {
        let digit = (random & 0xf) as usize;
        match i {
            8 | 13 | 18 | 23 => continue,
            14 => *byte = b'4',
            19 => *byte = HEX[8 + digit % 4],
            _ => *byte = HEX[digit],
        }
        random >>= 4;
    }
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::tests::{client, config};

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
        for (config, scheme) in [(&config(), "https"), (&edge(0), "http")] {
            assert_eq!(settle_scheme(&mut HeaderMap::new(), config, &client(), Some("https")), scheme);
        }
    }

    #[test]
    fn a_client_on_this_machine_is_named_as_others_know_it() {
        let edge = HttpConfig { edge: true, ..config() };
        let local = Client { remote: SocketAddr::from(([127, 0, 0, 1], 5)), ..client() };
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
        assert_eq!(headers[REQUEST_ID].len(), 36);
    }
}
