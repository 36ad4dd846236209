//! A request's head as routes and instances see it: authority, path and scheme settled, what belongs only to
//! the client's connection or comes from a client that has no right to say it taken away, and what Envoy's
//! connection manager adds put in
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers>).

mod authority;
mod framing;
mod hop_by_hop;
pub mod http2;
mod method;
mod path;
mod referer;
mod target;
pub mod trailers;
mod trust;
mod underscores;

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::{Method, StatusCode, Uri, Version};
use weir_http1::header::{self, HeaderValue, Headers};
use weir_http1::{Fault, Spelling};
use weir_routing::inline_headers::{self, join};
use weir_routing::{RequestHead, known_scheme};

use crate::http::HttpConfig;
use crate::http::client_certificate::ShownCertificate;
pub use trust::{REQUEST_ID, append as append_to};

/// What the rules of a head look at of the client's connection. Made once for each connection: what is written of the client's
/// address into the head of each request is a text here.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its address.
    pub remote: SocketAddr,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// The port that it came to.
    pub local_port: u16,
    /// Its address as `x-envoy-external-address` tells it; none if it has none.
    external: Option<HeaderValue>,
    /// Its address as others know it, for `x-forwarded-for`.
    forwarded: Option<HeaderValue>,
    /// Whether it has shown a certificate.
    shows_certificate: bool,
    /// What is told of that.
    certificate: Option<HeaderValue>,
}

impl Client {
    /// The client of a connection. `own` is an address by which others know this machine: what a client on this machine is
    /// called to them.
    pub fn new(remote: SocketAddr, tls: bool, local_port: u16, own: IpAddr) -> Self {
        let ip = remote.ip().to_canonical();
        // As in Envoy the one address that stands for this machine, and no other of its network.
        let is_own = ip == IpAddr::V4(Ipv4Addr::LOCALHOST) || ip == IpAddr::V6(Ipv6Addr::LOCALHOST);
        let known = if is_own { own } else { ip };
        Self {
            remote,
            tls,
            local_port,
            external: Some(address_value(ip)),
            forwarded: Some(address_value(known)),
            shows_certificate: false,
            certificate: None,
        }
    }

    /// The same, which has no address that means anything to others: it came by a Unix socket.
    #[must_use]
    pub fn without_address(self) -> Self {
        Self { external: None, forwarded: None, ..self }
    }

    /// The same, which has shown a certificate.
    #[must_use]
    pub fn with_certificate(self, shown: &ShownCertificate, config: &HttpConfig) -> Self {
        Self { shows_certificate: true, certificate: config.client_cert.element(shown), ..self }
    }
}

/// An address as the value of a header.
fn address_value(address: IpAddr) -> HeaderValue {
    // The text of an address has nothing that a value may not have.
    HeaderValue::from_str(&address.to_string()).unwrap_or(HeaderValue::from_static("-"))
}

/// A request's head.
#[derive(Debug, Clone)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// The path with its query; it begins with `/`, and is of visible ASCII alone.
    pub path: String,
    /// `http` or `https`, or what else HTTP/2's `:scheme` said.
    pub scheme: Cow<'static, str>,
    /// All headers; `host` is the authority.
    pub headers: Headers,
    /// Set if the client wants to speak another protocol on this connection from now on.
    pub upgrade: Option<HeaderValue>,
    /// What chance gave it, once for all decisions.
    pub random: u64,
    /// Whether the client's connection is to be closed after the answer.
    pub close: bool,
    /// Whether its host is a list: no route may take one of them for the one that was meant.
    pub several_hosts: bool,
    /// Whether the proxy before us tells no scheme: then no route is found, as in Envoy.
    pub without_scheme: bool,
    /// How its headers were spelled, where they are to stay so.
    pub spelling: Option<Spelling>,
}

/// The head of a request as it was received.
#[derive(Debug)]
pub struct Received {
    /// The method.
    pub method: Method,
    /// What it asks for.
    pub target: Target,
    /// The version.
    pub version: Version,
    /// Its headers, all of them.
    pub headers: Headers,
    /// How they were spelled, where they are to stay so.
    pub spelling: Option<Spelling>,
}

/// What a request asks for.
#[derive(Debug)]
pub enum Target {
    /// As it stands in the request line of HTTP/1.1: it has no spaces or control characters.
    Line(String),
    /// As HTTP/2 gives it in parts.
    Parts(Uri),
}

impl Default for Head {
    fn default() -> Self {
        Self { path: "/".to_owned(), ..Self::none() }
    }
}

impl Head {
    /// What is there before a head is read: nothing, not even a path.
    pub const fn none() -> Self {
        Self {
            method: Method::GET,
            path: String::new(),
            scheme: Cow::Borrowed("http"),
            headers: Headers::new(),
            upgrade: None,
            close: false,
            several_hosts: false,
            without_scheme: false,
            spelling: None,
            random: 0,
        }
    }
}

/// Whether a text can be the path of a request: it begins with `/`, and is of visible ASCII alone.
pub fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Head {
    /// The authority as it was sent: what is no ASCII has been refused.
    pub fn authority(&self) -> &str {
        self.headers.get(header::HOST).and_then(|value| std::str::from_utf8(value.as_bytes()).ok()).unwrap_or_default()
    }

    /// The scheme as an instance is told it: one that HTTP does not have is not passed on. Envoy takes `x-forwarded-proto` for it then.
    pub fn upstream_scheme(&self) -> &'static str {
        let told = || known_scheme(self.headers.get(&trust::FORWARDED_PROTO)?.as_bytes());
        known_scheme(self.scheme.as_bytes()).or_else(told).unwrap_or("http")
    }

    /// What routing looks at.
    pub fn for_routing(&self) -> RequestHead<'_> {
        RequestHead {
            method: self.method.as_str(),
            scheme: &self.scheme,
            authority: self.authority(),
            path: self.path.as_str(),
            headers: &self.headers,
            random: self.random,
        }
    }

    /// Whether whoever sent it says by which scheme it came.
    pub fn is_told_scheme(&self) -> bool {
        self.headers.get(&trust::FORWARDED_PROTO).is_some_and(|scheme| !scheme.is_empty())
    }

    /// Whether it is a gRPC call, so that a refusal must be one that gRPC understands.
    pub fn is_grpc(&self) -> bool {
        self.headers.get(header::CONTENT_TYPE).is_some_and(weir_routing::grpc::is_content_type)
    }
}

/// Why a request is refused before it is routed. The connection of HTTP/1.1 that it came by is closed.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status code.
    pub status: StatusCode,
    /// Envoy's words for it.
    pub details: &'static str,
    /// The body, if there is one.
    pub body: &'static str,
    /// Whether it is against the rules of the protocol, and not only against ours.
    pub malformed: bool,
    /// The path that the client is to ask for instead, in `location`.
    pub location: Option<String>,
}

const fn refuse(status: StatusCode, details: &'static str, body: &'static str) -> Refusal {
    Refusal { status, details, body, malformed: false, location: None }
}

const fn codec_error(status: StatusCode, details: &'static str, body: &'static str) -> Refusal {
    Refusal { status, details, body, malformed: true, location: None }
}

/// What is answered to a request whose bytes are no HTTP/1.1.
pub fn refusal_of(fault: Fault) -> Refusal {
    match fault {
        Fault::TooLarge => {
            codec_error(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "http1.headers_too_large", "Request Header Fields Too Large")
        }
        Fault::TooMany => {
            codec_error(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "http1.too_many_headers", "Request Header Fields Too Large")
        }
        Fault::Coding => codec_error(StatusCode::NOT_IMPLEMENTED, "http1.invalid_transfer_encoding", "Not Implemented"),
        Fault::FirstLine | Fault::Field | Fault::Version | Fault::Length | Fault::Chunk | Fault::BrokenOff => MALFORMED,
    }
}

const MALFORMED: Refusal = codec_error(StatusCode::BAD_REQUEST, "http1.codec_error", "Bad Request");

/// Reads the head of a request into `head`, of which nothing is known yet: it is large, and is not to be moved. Returns the client's
/// address, as far as the proxies before us are believed. `random` gives random bits.
///
/// # Errors
/// If it cannot be routed; what was read of it is there, for the log.
pub fn read(
    head: &mut Head,
    received: Received,
    config: &HttpConfig,
    client: &Client,
    mut random: impl FnMut() -> u128,
) -> Result<SocketAddr, Refusal> {
    let Received { method, target, version, headers, spelling } = received;
    (head.method, head.headers, head.spelling) = (method, headers, spelling);
    head.path.clear();
    let mut is_whole = false;
    let settled = target::parts(&target, &head.method).and_then(|parts| {
        let settled = settle(head, &parts, version, config, client, &mut random);
        if head.path.is_empty() {
            is_whole = parts.is_path(&target);
            if !is_whole {
                parts.path.unwrap_or("/").clone_into(&mut head.path);
            }
        }
        settled
    });
    // As most are: then nothing is copied.
    if let Target::Line(line) = target
        && is_whole
    {
        head.path = line;
    }
    settled.map_err(|refusal| match &refusal.location {
        None => refusal,
        Some(path) => {
            head.path.clone_from(path);
            // Clients of gRPC follow no redirects.
            if head.is_grpc() { refuse(StatusCode::BAD_REQUEST, refusal.details, "") } else { refusal }
        }
    })
}

/// Makes of a head what routes and instances see. Returns the client's address.
fn settle(
    head: &mut Head,
    target: &target::Parts<'_>,
    version: Version,
    config: &HttpConfig,
    client: &Client,
    random: &mut impl FnMut() -> u128,
) -> Result<SocketAddr, Refusal> {
    if version == Version::HTTP_2 {
        http2::check_size(head, target, config)?;
    }
    let Head { method, headers, .. } = head;
    if version < Version::HTTP_11 && !config.http10 {
        return Err(codec_error(StatusCode::UPGRADE_REQUIRED, "low_version", "Upgrade Required"));
    }
    if version == Version::HTTP_2 {
        http2::check_authority(method, target, headers)?;
    }
    method::check(method, version, config)?;
    if version == Version::HTTP_2 {
        framing::check(headers)?;
    }
    underscores::settle(headers, version, config.underscores)?;
    if version < Version::HTTP_11
        && !headers.contains_key(header::HOST)
        && let Some(host) = &config.default_host
    {
        headers.insert(header::HOST, host.clone());
    }
    head.several_hosts = authority::settle(target, version, headers, config, client)?;
    if *method == Method::CONNECT {
        return Err(refuse(StatusCode::NOT_FOUND, "route_not_found", ""));
    }
    authority::strip(method, headers, config, client);
    if let Some(path) = path::settle(target, method, config)? {
        head.path = path;
    }
    let said = hop_by_hop::take(headers, version)?;
    (head.upgrade, head.close) = (said.upgrade, said.close);
    trust::take_internal(headers, config.edge);
    if !headers.repeated().is_empty() {
        inline_headers::join_repeated(headers, &inline_headers::REQUEST);
        if version == Version::HTTP_2 {
            // Its crumbs are one cookie (RFC 9113, 8.2.3).
            join(headers, &header::COOKIE, b"; ");
        }
    }
    referer::settle(headers);
    head.scheme = trust::settle_scheme(headers, config, client, target.scheme);
    head.without_scheme = headers.get(&trust::FORWARDED_PROTO).is_some_and(HeaderValue::is_empty);
    let remote = trust::settle_client(headers, config, client)?;
    trust::settle_own(headers, config);
    trust::settle_request_id(headers, config, &mut *random);
    head.random = random() as u64;
    Ok(remote)
}

#[cfg(test)]
mod tests {
    use weir_xds::hcm::{HttpConnectionManager, Rds, http_connection_manager::RouteSpecifier};

    use super::*;

    /// A connection manager as it is where nothing is said of it.
    pub(super) fn config() -> HttpConfig {
        let rds = RouteSpecifier::Rds(Rds::default());
        HttpConfig::compile(&HttpConnectionManager { route_specifier: Some(rds), ..Default::default() }).expect("valid")
    }

    /// A client on another machine.
    pub(super) fn client() -> Client {
        client_from([198, 51, 100, 7])
    }

    /// A client at an address.
    pub(super) fn client_from(address: [u8; 4]) -> Client {
        Client::new(SocketAddr::from((address, 1000)), false, 8080, IpAddr::from([192, 0, 2, 2]))
    }

    #[test]
    fn a_client_on_this_machine_is_told_by_the_address_that_others_know() {
        let forwarded = |address: &str| {
            let client = Client::new(SocketAddr::new(address.parse().expect("an address"), 1), false, 80, [192, 0, 2, 2].into());
            client.forwarded.expect("an address").to_str().expect("a text").to_owned()
        };
        for own in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(forwarded(own), "192.0.2.2", "{own}");
        }
        // Whoever takes another address of this machine's own network means it.
        assert_eq!((forwarded("127.0.0.99"), forwarded("198.51.100.7")), ("127.0.0.99".to_owned(), "198.51.100.7".to_owned()));
    }

    #[test]
    fn an_instance_is_told_no_scheme_that_http_does_not_have() {
        for (scheme, forwarded, told) in
            [("https", "http", "https"), ("ftp", "https", "https"), ("ftp", "ftp", "http"), ("HTTP", "x", "http")]
        {
            let mut head = Head { scheme: scheme.into(), ..Head::default() };
            head.headers.insert(&trust::FORWARDED_PROTO, HeaderValue::from_static(forwarded));
            assert_eq!(head.upstream_scheme(), told, "{scheme} {forwarded}");
        }
    }
}
