//! What a request says of earlier proxies and of itself, as far as it is believed, and what this proxy says of it
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers>).

use std::net::{IpAddr, SocketAddr};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use weir_routing::inline_headers::join;
use weir_routing::told_scheme;

use super::Client;
use crate::http::HttpConfig;

/// Whose word the headers are: seldom needed names, looked up only if a header begins like them.
const INTERNAL: &[&str] = &[
    "x-envoy-attempt-count",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-internal",
    "x-envoy-ip-tags",
    "x-envoy-max-retries",
    "x-envoy-original-host",
    "x-envoy-original-path",
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
const INTERNAL_AT_EDGE: &[&str] =
    &["x-envoy-decorator-operation", "x-envoy-downstream-service-cluster", "x-envoy-downstream-service-node", "x-envoy-external-address"];

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
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

/// The scheme, and `x-forwarded-proto`: at the edge what the connection is, behind it what the edge says.
pub(super) fn settle_scheme(headers: &mut HeaderMap, config: &HttpConfig, client: &Client) -> &'static str {
    let own = if client.tls { "https" } else { "http" };
    told_scheme(headers, config.edge, config.trusted_hops).unwrap_or_else(|| {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(own));
        own
    })
}

/// The client's address, and the headers that tell it.
pub(super) fn settle_client(headers: &mut HeaderMap, config: &HttpConfig, client: &Client) -> SocketAddr {
    let peer = client.remote;
    if !config.edge {
        return last_forwarded(headers, config.trusted_hops).map_or(peer, |ip| SocketAddr::new(ip, 0));
    }
    let trusted = (config.trusted_hops > 0).then(|| last_forwarded(headers, config.trusted_hops - 1)).flatten();
    let text = peer.ip().to_canonical().to_string();
    if let Ok(value) = HeaderValue::from_str(&text) {
        if headers.contains_key(FORWARDED_FOR) {
            headers.append(FORWARDED_FOR, value.clone());
            join(headers, &FORWARDED_FOR, b",");
        } else {
            headers.insert(FORWARDED_FOR, value.clone());
        }
        let external = trusted.and_then(|ip| HeaderValue::from_str(&ip.to_string()).ok()).unwrap_or(value);
        headers.insert(EXTERNAL_ADDRESS, external);
    }
    trusted.map_or(peer, |ip| SocketAddr::new(ip, 0))
}

/// The address in `x-forwarded-for` that so many proxies stand behind.
fn last_forwarded(headers: &HeaderMap, skip: u32) -> Option<IpAddr> {
    let header = headers.get_all(FORWARDED_FOR).iter().next_back()?.to_str().ok()?;
    header.rsplit(',').nth(skip as usize)?.trim().parse().ok()
}

/// Gives a request an id, where it has none that is believed. `random` makes the new one of.
pub(super) fn settle_request_id(headers: &mut HeaderMap, config: &HttpConfig, random: impl FnOnce() -> u128) {
    let keep = headers.contains_key(REQUEST_ID) && (!config.edge || config.keep_request_id);
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
