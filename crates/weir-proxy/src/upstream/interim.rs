//! Interim answers (RFC 9110, 15.2) on their way from an instance to a client.

use std::rc::{Rc, Weak};

use http::{HeaderMap, StatusCode};

use crate::io::client::Waiting;

/// Passes on the interim answers to one request.
#[derive(Default)]
pub struct Interim {
    client: Option<Rc<dyn Waiting>>,
    /// Whether there was one.
    pub(super) any: bool,
}

impl Interim {
    /// To a client; to nobody if it cannot be told.
    pub(super) fn new(client: Option<&Weak<dyn Waiting>>) -> Self {
        Self { client: client.and_then(Weak::upgrade), any: false }
    }

    /// Passes one on.
    pub(super) fn pass(&mut self, status: StatusCode, headers: &HeaderMap) {
        let is_first = !std::mem::replace(&mut self.any, true);
        // As Envoy does: the first one.
        if let Some(client) = self.client.as_ref().filter(|_| is_first && (100..=104).contains(&status.as_u16())) {
            client.interim(status, headers);
        }
    }
}
