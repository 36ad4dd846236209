//! The headers that a service hands on to the services that it calls on behalf of a request.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

/// Who is signed in. Routes may look at it.
pub(super) const END_USER: &str = "end-user";

/// What routes and tracing need to follow a request through the mesh. Cookies stay where they belong.
const FORWARDED: [&str; 8] =
    [END_USER, "x-request-id", "b3", "traceparent", "tracestate", "x-ot-span-context", "user-agent", "authorization"];

/// The headers of `incoming` that go on.
pub(super) fn forwarded(incoming: &HeaderMap) -> HeaderMap {
    let chosen = incoming.iter().filter(|(name, _)| is_forwarded(name));
    let mut headers = HeaderMap::new();
    for (name, value) in chosen {
        headers.append(name, HeaderValue::clone(value));
    }
    headers
}

fn is_forwarded(name: &HeaderName) -> bool {
    let name = name.as_str();
    FORWARDED.contains(&name) || name.starts_with("x-b3-")
}
