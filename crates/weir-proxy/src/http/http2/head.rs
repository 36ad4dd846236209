//! Heads between the library of HTTP/2 and us: what a client asks, and what it is answered.

use h2::RecvStream;
use h2::ext::Protocol;
use http::request::Parts;
use http::{Request, Response, StatusCode, Version, header};
use weir_config::head::{Received, Target};
use weir_http1::header::{Headers, from_map, to_map};

use super::extended_connect;
use crate::io::http2::fields;
use crate::io::http2::receiving::{Receiving, TrailerLimits};

/// What a client asks.
pub(super) struct Asked {
    pub(super) received: Received,
    /// What follows.
    pub(super) body: Receiving,
    /// Whether that is to be another protocol's (RFC 8441).
    pub(super) extended: bool,
}

/// A request as it came.
pub(super) fn request(request: Request<RecvStream>, limits: TrailerLimits) -> Asked {
    let (Parts { method, uri, headers, mut extensions, .. }, stream) = request.into_parts();
    let headers = from_map(headers);
    let body = Receiving::new(stream, &headers, limits);
    let mut received = Received { method, target: Target::Parts(uri), version: Version::HTTP_2, headers, spelling: None };
    let extended = extensions.remove::<Protocol>().is_some_and(|protocol| extended_connect::take(&mut received, protocol.as_str()));
    Asked { received, body, extended }
}

/// An answer as it goes out, interim or not.
pub(super) fn answer(status: StatusCode, headers: &Headers) -> Response<()> {
    let mut headers = to_map(headers);
    fields::strip(&mut headers);
    headers.remove(header::TE);
    let mut answer = Response::new(());
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    answer
}
