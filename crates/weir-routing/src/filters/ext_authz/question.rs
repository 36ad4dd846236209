//! What a service is asked: the request as it stands, in the form that the service understands.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use weir_http1::header::{CONTENT_LENGTH, HOST};
use weir_http1::{HeaderName, HeaderValue, Headers};
use weir_xds::auth::attribute_context::{HttpRequest, Peer, Request, TlsSession};
use weir_xds::auth::{AttributeContext, CheckRequest};
use weir_xds::core::{HeaderMap, HeaderValue as XdsHeaderValue, Metadata};
use weir_xds::prost_types::{Struct, Timestamp};
use weir_xds::values::socket_address;

use super::{Asking, ExtAuthzPolicy, HttpService, PathRule};
use crate::dynamic_metadata::DynamicMetadata;
use crate::filter_metadata::FilterMetadata;
use crate::filters::service::sanitized;
use crate::request::RequestHead;

/// Says whether the service gets the whole body; what a client says of that does not count.
const PARTIAL: &str = "x-envoy-auth-partial-body";
/// Always sent to a service of HTTP.
const NEEDED: [&str; 4] = ["authorization", ":method", ":path", ":authority"];

/// What is known of a request.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its head.
    pub head: &'a RequestHead<'a>,
    /// What the client speaks, as in `HTTP/1.1`.
    pub protocol: &'static str,
    /// The client.
    pub source: Party<'a>,
    /// Whom the client connected to.
    pub destination: Party<'a>,
    /// The client's certificate, as a text that may stand in a URL.
    pub certificate: Option<&'a str>,
    /// The name that the client asked for in its handshake.
    pub server_name: Option<&'a str>,
    /// When the request began.
    pub time: SystemTime,
    /// As much of the body as the service gets, if it gets any.
    pub body: Option<&'a Body>,
    /// What filters before have left of it.
    pub known: &'a DynamicMetadata,
    /// What its route says of itself.
    pub route: Option<&'a FilterMetadata>,
}

/// One side of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Party<'a> {
    /// Its address.
    pub address: SocketAddr,
    /// Who it is, by its certificate.
    pub principal: &'a str,
}

/// What a service gets of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// The bytes.
    pub bytes: Bytes,
    /// Whether there are more.
    pub is_partial: bool,
    /// How many have come.
    pub size: u64,
}

/// A request to a service of HTTP.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpQuestion {
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// Its headers; `host` is the authority.
    pub headers: Headers,
}

impl ExtAuthzPolicy {
    /// What of a request's head the service gets, by name, with what HTTP/2 calls pseudo-headers.
    fn fields<'a>(&self, asked: &Asked<'a>, needed: &[&str]) -> Vec<(&'a str, &'a [u8])> {
        let head = asked.head;
        let line = [(":authority", head.authority), (":path", head.path), (":method", head.method), (":scheme", head.scheme)];
        let line = line.into_iter().map(|(name, value)| (name, value.as_bytes()));
        let headers = head.headers.iter().filter(|(name, _)| **name != HOST).map(|(name, value)| (name.as_str(), value.as_bytes()));
        let passes = |name: &str| {
            let allowed = self.allowed.as_ref().is_none_or(|allowed| allowed.matches(name) || needed.contains(&name));
            name != PARTIAL && allowed && !self.disallowed.matches(name)
        };
        line.chain(headers).filter(|(name, _)| passes(name)).collect()
    }

    /// A request to a service of HTTP, without what its configuration adds.
    pub fn ask_http(&self, service: &HttpService, asked: &Asked<'_>) -> HttpQuestion {
        let mut question = HttpQuestion { method: String::new(), path: String::new(), headers: Headers::new() };
        let length = asked.body.map_or(0, |body| body.bytes.len());
        question.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        for (name, value) in self.fields(asked, &NEEDED) {
            match name {
                ":method" => question.method = sanitized(value),
                ":path" => question.path = sanitized(value),
                ":authority" => self.put(&mut question.headers, &HOST, value),
                // Its own length is said already; who else it is for nobody asks.
                "content-length" | ":scheme" => {}
                name => {
                    if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
                        self.put(&mut question.headers, &name, value);
                    }
                }
            }
        }
        question.path = match &service.path {
            PathRule::Prefix(prefix) => format!("{prefix}{}", question.path),
            PathRule::Override(path) => path.to_string(),
        };
        if let Some(body) = asked.body {
            let partial = HeaderValue::from_static(if body.is_partial { "true" } else { "false" });
            question.headers.insert(HeaderName::from_static(PARTIAL), partial);
        }
        question
    }

    /// Puts a header; several of one name become one, unless they are to stay as they are.
    fn put(&self, headers: &mut Headers, name: &HeaderName, value: &[u8]) {
        let text = if self.raw_headers { value.to_vec() } else { sanitized(value).into_bytes() };
        let old = headers.get(name).filter(|_| !self.raw_headers).map(|old| [old.as_bytes(), &text].join(&b','));
        let is_joined = old.is_some();
        let Ok(value) = HeaderValue::from_bytes(&old.unwrap_or(text)) else { return };
        match is_joined {
            true => drop(headers.insert(name, value)),
            false => _ = headers.append(name, value),
        }
    }

    /// A message to a service of gRPC.
    pub fn ask_grpc(&self, asking: &Asking<'_>, asked: &Asked<'_>) -> CheckRequest {
        let service = asked.head.headers.get("x-envoy-downstream-service-cluster").map(|name| sanitized(name.as_bytes()));
        let source = Peer {
            service: service.unwrap_or_default(),
            certificate: asked.certificate.filter(|_| self.peer_certificate).unwrap_or_default().to_owned(),
            ..peer(&asked.source)
        };
        let since = asked.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = Timestamp { seconds: since.as_secs().cast_signed(), nanos: since.subsec_nanos().cast_signed() };
        let session = || TlsSession { sni: asked.server_name.unwrap_or_default().to_owned() };
        CheckRequest {
            attributes: Some(AttributeContext {
                source: Some(source),
                destination: Some(peer(&asked.destination)),
                request: Some(Request { time: Some(time), http: Some(self.http_request(asked)) }),
                context_extensions: asking.extensions.clone(),
                metadata_context: Some(metadata(&self.told, |namespace| asked.known.get(namespace))),
                route_metadata_context: Some(metadata(&self.told_of_route, |namespace| asked.route?.get(namespace).map(|told| &**told))),
                tls_session: self.tls_session.then(session),
            }),
        }
    }

    fn http_request(&self, asked: &Asked<'_>) -> HttpRequest {
        let head = asked.head;
        let mut request = HttpRequest {
            id: head.random.to_string(),
            method: head.method.to_owned(),
            path: head.path.to_owned(),
            host: head.authority.to_owned(),
            scheme: head.scheme.to_owned(),
            size: asked.body.map_or(0, |body| body.size.cast_signed()),
            protocol: asked.protocol.to_owned(),
            ..Default::default()
        };
        let mut fields = self.fields(asked, &[]);
        if let Some(body) = asked.body {
            fields.push((PARTIAL, if body.is_partial { b"true" } else { b"false" }));
            match self.body_as_bytes {
                true => request.raw_body = body.bytes.clone(),
                false => request.body = sanitized(&body.bytes),
            }
        }
        if self.raw_headers {
            let raw = |(name, value): (&str, &[u8])| XdsHeaderValue {
                key: name.to_owned(),
                raw_value: Bytes::copy_from_slice(value),
                ..Default::default()
            };
            request.header_map = Some(HeaderMap { headers: fields.into_iter().map(raw).collect() });
            return request;
        }
        for (name, value) in fields {
            let text = sanitized(value);
            let entry = request.headers.entry(name.to_owned());
            entry.and_modify(|all| all.extend([",", text.as_str()])).or_insert_with(|| text.clone());
        }
        request
    }
}

/// What stands under these namespaces, where there is anything.
fn metadata<'s>(namespaces: &[Box<str>], find: impl Fn(&str) -> Option<&'s Struct>) -> Metadata {
    let found = namespaces.iter().filter_map(|name| Some((name.to_string(), find(name)?.clone())));
    Metadata { filter_metadata: found.collect(), ..Default::default() }
}

pub(super) fn peer(party: &Party<'_>) -> Peer {
    let address = socket_address(party.address.ip().to_canonical().to_string(), party.address.port());
    Peer { address: Some(address), principal: party.principal.to_owned(), ..Default::default() }
}
