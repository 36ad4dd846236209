//! Answers of the usual kinds.

use hyper::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::{Response, StatusCode};
use serde_json::Value;

use super::body::{Body, whole};

/// An answer with a body of the given content type.
pub(crate) fn typed(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// JSON for people: indented, with a line end.
pub(crate) fn json(status: StatusCode, value: &Value) -> Response<Body> {
    typed(status, "application/json", whole(format!("{value:#}\n")))
}

/// A web page.
pub(crate) fn html(page: impl Into<bytes::Bytes>) -> Response<Body> {
    typed(StatusCode::OK, "text/html; charset=utf-8", whole(page))
}

/// Plain text.
pub(crate) fn text(status: StatusCode, text: impl Into<bytes::Bytes>) -> Response<Body> {
    typed(status, "text/plain; charset=utf-8", whole(text))
}

/// An answer that sends the client elsewhere.
pub(crate) fn redirect(status: StatusCode, location: HeaderValue) -> Response<Body> {
    let mut response = Response::new(whole(""));
    *response.status_mut() = status;
    response.headers_mut().insert(LOCATION, location);
    response
}

/// Why a request gets no better answer than an error.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    reason: String,
}

impl Refusal {
    /// Says no with a status and a sentence.
    pub(crate) fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Refusal { status, reason: reason.into() }
    }

    /// The request makes no sense.
    pub(crate) fn bad_request(reason: impl Into<String>) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, reason)
    }

    /// There is nothing at this path.
    pub(crate) fn not_found(path: &str) -> Self {
        Refusal::new(StatusCode::NOT_FOUND, format!("nothing is served at {path}"))
    }

    /// The refusal as plain text.
    pub(crate) fn into_text(self) -> Response<Body> {
        text(self.status, self.reason + "\n")
    }

    /// The refusal as `{"error": …}`.
    pub(crate) fn into_json(self) -> Response<Body> {
        json(self.status, &serde_json::json!({ "error": self.reason }))
    }
}
