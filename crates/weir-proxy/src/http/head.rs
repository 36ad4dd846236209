//! A request's head as routes and instances see it: authority, path and scheme settled, what belongs only to
//! the client's connection or comes from a client that has no right to say it taken away, and what Envoy's
//! connection manager adds put in
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers>).

use std::net::{IpAddr, SocketAddr};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Version};
use weir_routing::{RequestHead, told_scheme};

use crate::config::http::HttpConfig;
use crate::log::exchange::ConnectionInfo;

/// A request's head.
#[derive(Debug, Clone)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// The path with its query.
    pub path: PathAndQuery,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// All headers; `host` is the authority.
    pub headers: HeaderMap,
    /// Set if the client wants to speak another protocol on this connection from now on.
    pub upgrade: Option<HeaderValue>,
    /// What chance gave it, once for all decisions.
    pub random: u64,
}

impl Default for Head {
    fn default() -> Self {
        let (headers, path) = (HeaderMap::new(), PathAndQuery::from_static("/"));
        Self { method: Method::GET, path, scheme: "http", headers, upgrade: None, random: 0 }
    }
}

impl Head {
    /// The authority as it was sent.
    pub fn authority(&self) -> &str {
        self.headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// What routing looks at.
    pub fn for_routing(&self) -> RequestHead<'_> {
        RequestHead {
            method: self.method.as_str(),
            scheme: self.scheme,
            authority: self.authority(),
            path: self.path.as_str(),
            headers: &self.headers,
            random: self.random,
        }
    }

    /// Whether it is a gRPC call, so that a refusal must be one that gRPC understands.
    pub fn is_grpc(&self) -> bool {
        weir_routing::is_grpc(&self.headers)
    }
}

/// Why a request is refused before it is routed.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status code.
    pub status: StatusCode,
    /// Envoy's words for it.
    pub details: &'static str,
    /// The body, if there is one.
    pub body: &'static str,
    /// Whether it is said to access logs: what the codec refuses is not.
    pub logged: bool,
}

const fn refuse(status: StatusCode, details: &'static str, body: &'static str, logged: bool) -> Refusal {
    Refusal { status, details, body, logged }
}

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

/// Headers of which Envoy keeps one: repeated ones are joined.
static JOINED: [HeaderName; 8] = [
    header::ACCEPT,
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONTENT_TYPE,
    header::ORIGIN,
    header::USER_AGENT,
    header::VIA,
    REQUEST_ID,
];

/// Reads the head of a request. The second value is the client's address, as far as the proxies before us are
/// believed.
///
/// # Errors
/// If it cannot be routed.
pub fn read(parts: Parts, config: &HttpConfig, connection: &ConnectionInfo) -> Result<(Head, SocketAddr), Refusal> {
    let Parts { method, uri, version, mut headers, .. } = parts;
    if version < Version::HTTP_11 && !config.http10 {
        return Err(refuse(StatusCode::UPGRADE_REQUIRED, "low_version", "Upgrade Required", false));
    }
    settle_authority(&uri, &mut headers)?;
    if method == Method::CONNECT {
        return Err(refuse(StatusCode::NOT_FOUND, "route_not_found", "", true));
    }
    let path = settle_path(&uri, &method, config)?;
    let upgrade = take_hop_by_hop(&mut headers);
    take_internal(&mut headers, config.edge);
    if headers.keys_len() != headers.len() {
        join_repeated(&mut headers);
    }
    let scheme = settle_scheme(&mut headers, config.edge, connection);
    let remote = settle_client(&mut headers, config, connection);
    settle_request_id(&mut headers, config);
    Ok((Head { method, path, scheme, headers, upgrade, random: fastrand::u64(..) }, remote))
}

/// Leaves one `host` header: an absolute request line, or HTTP/2's `:authority`, goes before it.
fn settle_authority(uri: &http::Uri, headers: &mut HeaderMap) -> Result<(), Refusal> {
    if let Some(authority) = uri.authority() {
        if let Ok(value) = HeaderValue::from_str(authority.as_str()) {
            headers.insert(header::HOST, value);
        }
        return Ok(());
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => Err(refuse(StatusCode::BAD_REQUEST, "missing_host_header", "", true)),
        (Some(_), None) => Ok(()),
        (Some(_), Some(_)) => {
            join(headers, &header::HOST);
            Ok(())
        }
    }
}

fn settle_path(uri: &http::Uri, method: &Method, config: &HttpConfig) -> Result<PathAndQuery, Refusal> {
    const BAD_REQUEST: Refusal = refuse(StatusCode::BAD_REQUEST, "http1.codec_error", "Bad Request", false);
    const BAD_PATH: Refusal = refuse(StatusCode::BAD_REQUEST, "path_normalization_failed", "", true);
    let path = uri.path_and_query().ok_or(BAD_REQUEST)?;
    match (path.as_str(), method) {
        ("*", &Method::OPTIONS) => return Err(refuse(StatusCode::NOT_FOUND, "path_normalization_failed", "", true)),
        (text, _) if !text.starts_with('/') => return Err(BAD_REQUEST),
        _ => {}
    }
    match config.paths.settle(path.as_str()).map_err(|_| BAD_PATH)? {
        std::borrow::Cow::Borrowed(_) => Ok(path.clone()),
        std::borrow::Cow::Owned(normal) => PathAndQuery::try_from(normal).map_err(|_| BAD_PATH),
    }
}

/// Takes away what belongs to the client's connection alone (RFC 9110, 7.6.1). Returns the protocol that the
/// client wants to change to.
fn take_hop_by_hop(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let mut upgrade = None;
    if headers.contains_key(header::CONNECTION) {
        let listed: Vec<String> = list(headers, &header::CONNECTION);
        if listed.iter().any(|word| word == "upgrade") {
            // To `h2c` nobody need change: it is passed over.
            upgrade = headers.get(header::UPGRADE).cloned().filter(|value| !value.as_bytes().eq_ignore_ascii_case(b"h2c"));
        }
        for name in listed.iter().filter(|name| !matches!(name.as_str(), "close" | "keep-alive" | "te")) {
            headers.remove(name.as_str());
        }
        headers.remove(header::CONNECTION);
    }
    for name in ["keep-alive", "proxy-connection", "http2-settings"] {
        headers.remove(name);
    }
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::UPGRADE);
    if headers.contains_key(header::TE) {
        let trailers = list(headers, &header::TE).iter().any(|word| word == "trailers");
        headers.remove(header::TE);
        if trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
    }
    upgrade
}

/// The words of a header's lists, in lower case.
fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|word| word.trim().to_ascii_lowercase()).filter(|word| !word.is_empty()).collect()
}

fn take_internal(headers: &mut HeaderMap, edge: bool) {
    if !headers.keys().any(|name| name.as_str().starts_with("x-envoy-")) {
        return;
    }
    for name in INTERNAL.iter().chain(INTERNAL_AT_EDGE.iter().filter(|_| edge)) {
        headers.remove(*name);
    }
}

fn join_repeated(headers: &mut HeaderMap) {
    for name in &JOINED {
        if headers.get_all(name).iter().nth(1).is_some() {
            join(headers, name);
        }
    }
}

/// Makes one header of several, as Envoy does: with a comma and no space.
pub fn join(headers: &mut HeaderMap, name: &HeaderName) {
    let values: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&values.join(&b","[..])) {
        headers.insert(name, joined);
    }
}

/// The scheme, and `x-forwarded-proto`: at the edge what the connection is, behind it what the edge says.
fn settle_scheme(headers: &mut HeaderMap, edge: bool, connection: &ConnectionInfo) -> &'static str {
    let own = if connection.tls_version.is_some() { "https" } else { "http" };
    told_scheme(headers, edge).unwrap_or_else(|| {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(own));
        own
    })
}

/// The client's address, and the headers that tell it.
fn settle_client(headers: &mut HeaderMap, config: &HttpConfig, connection: &ConnectionInfo) -> SocketAddr {
    let peer = connection.remote;
    if !config.edge {
        return last_forwarded(headers, config.trusted_hops).map_or(peer, |ip| SocketAddr::new(ip, 0));
    }
    let trusted = (config.trusted_hops > 0).then(|| last_forwarded(headers, config.trusted_hops - 1)).flatten();
    let text = peer.ip().to_canonical().to_string();
    if let Ok(value) = HeaderValue::from_str(&text) {
        if headers.contains_key(FORWARDED_FOR) {
            headers.append(FORWARDED_FOR, value.clone());
            join(headers, &FORWARDED_FOR);
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

fn settle_request_id(headers: &mut HeaderMap, config: &HttpConfig) {
    let keep = headers.contains_key(REQUEST_ID) && (!config.edge || config.keep_request_id);
    if keep || !config.generate_request_id {
        return;
    }
    headers.insert(REQUEST_ID, random_id());
}

/// A version 4 UUID.
fn random_id() -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut random = fastrand::u128(..);
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
