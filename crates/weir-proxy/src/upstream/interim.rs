//! Interim answers (RFC 9110, 15.2) on their way from an instance to a client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, StatusCode, header};

use crate::io::line::Line;

/// Passes on the interim answers to one request.
pub(super) struct Interim {
    line: Arc<Line>,
    bad: AtomicBool,
    any: AtomicBool,
}

impl Interim {
    /// To a client.
    pub(super) fn new(line: Arc<Line>) -> Self {
        Self { line, bad: AtomicBool::new(false), any: AtomicBool::new(false) }
    }

    /// Passes one on.
    pub(super) fn pass(&self, status: StatusCode, headers: &HeaderMap) {
        let is_first = !self.any.swap(true, Ordering::Relaxed);
        // It cannot have a body: where one that announces it ends is in doubt.
        if headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING) {
            self.bad.store(true, Ordering::Relaxed);
        } else if is_first && (100..=104).contains(&status.as_u16()) {
            // As Envoy does: the first one.
            self.line.interim(status, headers);
        }
    }

    /// Whether there was one.
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Whether all were answers of HTTP.
    pub(super) fn is_good(&self) -> bool {
        !self.bad.load(Ordering::Relaxed)
    }
}
