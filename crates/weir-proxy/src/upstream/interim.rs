//! Interim answers (RFC 9110, 15.2) on their way from an instance to a client.

use std::rc::Rc;

use http::StatusCode;
use weir_http1::Headers;

use crate::exchange::Exchange;
use crate::io::client::Waiting;

/// Passes on the interim answers to one request.
#[derive(Default)]
pub struct Interim {
    client: Option<(Rc<dyn Waiting>, Rc<Exchange>)>,
    /// Whether there was one.
    pub(super) any: bool,
}

impl Interim {
    /// To the client of an exchange; to nobody if it cannot be told.
    pub(super) fn new(exchange: Option<&Rc<Exchange>>) -> Self {
        let client = exchange.and_then(|exchange| Some((exchange.client.borrow().as_ref()?.upgrade()?, exchange.clone())));
        Self { client, any: false }
    }

    /// Passes one on.
    pub(super) fn pass(&mut self, status: StatusCode, headers: &Headers) {
        let is_first = !std::mem::replace(&mut self.any, true);
        // As Envoy does: the first one.
        if let Some((client, exchange)) = self.client.as_ref().filter(|_| is_first && (100..=104).contains(&status.as_u16())) {
            client.interim(status, headers);
            exchange.interim.set(status.as_u16());
        }
    }
}
