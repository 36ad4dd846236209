//! An answer on its way from an instance, or from us, to a client.

use http::StatusCode;
use weir_http1::{HeaderValue, Headers, Spelling};

/// The head of an answer. Each connection speaks its own version.
#[derive(Debug, Default)]
pub struct Parts {
    /// The status.
    pub status: StatusCode,
    /// The fields.
    pub headers: Headers,
    /// How their names were spelled, where they are to stay so.
    pub spelling: Option<Spelling>,
    /// What HTTP/1.1 says behind the status, where somebody wants it otherwise than usual.
    pub reason: Option<HeaderValue>,
}

/// An answer.
#[derive(Debug)]
pub struct Response<B> {
    head: Parts,
    body: B,
}

impl<B> Response<B> {
    /// Of its parts.
    pub fn from_parts(head: Parts, body: B) -> Self {
        Self { head, body }
    }

    /// Its parts.
    pub fn into_parts(self) -> (Parts, B) {
        (self.head, self.body)
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// The fields, to change them.
    pub fn headers_mut(&mut self) -> &mut Headers {
        &mut self.head.headers
    }
}
