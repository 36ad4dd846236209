//! A request's head as routes and instances see it: authority, path and scheme settled, what belongs only to
//! the client's connection or comes from a client that has no right to say it taken away, and what Envoy's
//! connection manager adds put in
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers>).

mod authority;
mod hop_by_hop;
mod path;
mod trust;

use std::net::SocketAddr;

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Version};
use weir_routing::RequestHead;
use weir_routing::inline_headers::{self, join};

use crate::http::HttpConfig;
pub use trust::REQUEST_ID;

/// What the rules of a head look at of the client's connection.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// The address that it comes from.
    pub remote: SocketAddr,
    /// Whether it came by TLS.
    pub tls: bool,
}

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
        self.headers.get(header::CONTENT_TYPE).is_some_and(weir_routing::grpc::is_content_type)
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

/// Reads the head of a request. The second value is the client's address, as far as the proxies before us are
/// believed. `random` gives random bits.
///
/// # Errors
/// If it cannot be routed.
pub fn read(parts: Parts, config: &HttpConfig, client: &Client, mut random: impl FnMut() -> u128) -> Result<(Head, SocketAddr), Refusal> {
    let Parts { method, uri, version, mut headers, .. } = parts;
    if version < Version::HTTP_11 && !config.http10 {
        return Err(refuse(StatusCode::UPGRADE_REQUIRED, "low_version", "Upgrade Required", false));
    }
    authority::settle(&uri, &mut headers)?;
    if method == Method::CONNECT {
        return Err(refuse(StatusCode::NOT_FOUND, "route_not_found", "", true));
    }
    let path = path::settle(&uri, &method, config)?;
    let upgrade = hop_by_hop::take(&mut headers);
    trust::take_internal(&mut headers, config.edge);
    if headers.keys_len() != headers.len() {
        inline_headers::join_repeated(&mut headers, &inline_headers::REQUEST);
        if version == Version::HTTP_2 {
            // Its crumbs are one cookie (RFC 9113, 8.2.3).
            join(&mut headers, &header::COOKIE, b"; ");
        }
    }
    let scheme = trust::settle_scheme(&mut headers, config, client);
    let remote = trust::settle_client(&mut headers, config, client);
    trust::settle_request_id(&mut headers, config, &mut random);
    Ok((Head { method, path, scheme, headers, upgrade, random: random() as u64 }, remote))
}
