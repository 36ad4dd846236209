//! Heads between us and the library of HTTP/2: what an instance is asked, and what it answers.

use h2::RecvStream;
use h2::ext::Protocol;
use http::{Method, Request, StatusCode, Uri, Version, header};
use weir_config::head::Head;
use weir_http1::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, UPGRADE, to_map};

use crate::io::http2::fields;
use crate::io::http2::receiving::{Receiving, TrailerLimits};
use crate::io::response::Parts;

/// A request as an instance gets it; none if HTTP/2 cannot say it. What follows an upgrade is asked for by CONNECT (RFC 8441).
pub fn request(head: &Head) -> Option<Request<()>> {
    let mut request = Request::new(());
    let authority = head.authority();
    let uri = if authority.is_empty() && head.upstream_scheme() == "http" {
        // The library has no way to say an empty authority, but says none of a request that was HTTP/1.1.
        *request.version_mut() = Version::HTTP_11;
        Uri::builder().path_and_query(head.path.as_str())
    } else {
        *request.version_mut() = Version::HTTP_2;
        Uri::builder().scheme(head.upstream_scheme()).authority(authority).path_and_query(head.path.as_str())
    };
    *request.uri_mut() = uri.build().ok()?;
    *request.method_mut() = head.method.clone();
    let mut headers = to_map(&head.headers);
    headers.remove(header::HOST);
    fields::strip(&mut headers);
    fields::strip_te(&mut headers);
    if let Some(protocol) = &head.upgrade {
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(Protocol::from(protocol.to_str().ok()?));
        headers.remove(header::CONTENT_LENGTH);
    }
    *request.headers_mut() = headers;
    Some(request)
}

/// An answer as the rest of the proxy sees it. Success agrees to another protocol if one was asked for.
pub fn answer(mut head: Parts, stream: RecvStream, upgrade: Option<&HeaderValue>, limits: TrailerLimits) -> (Parts, Receiving) {
    if let Some(protocol) = upgrade.filter(|_| head.status == StatusCode::OK) {
        head.status = StatusCode::SWITCHING_PROTOCOLS;
        head.headers.remove(CONTENT_LENGTH);
        head.headers.insert(UPGRADE, protocol.clone());
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    let receiving = Receiving::new(stream, &head.headers, limits);
    (head, receiving)
}
