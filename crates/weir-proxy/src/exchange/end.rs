//! The end of an exchange: it is written to the access logs and counted.

use std::rc::Rc;

use weir_routing::grpc::Status;

use super::record::Exchange;
use super::recorder::Recording;
use crate::stats::requests::SeriesKey;

/// Ends an exchange when it is dropped, wherever that is: with the last byte of the answer, with the connection of a
/// client that went away, or with the worker.
pub struct Ending {
    /// What is known of the exchange.
    pub exchange: Rc<Exchange>,
    recording: Rc<Recording>,
    complete: bool,
    gone: bool,
}

impl Ending {
    /// For an exchange that has begun.
    pub fn new(exchange: Rc<Exchange>, recording: Rc<Recording>) -> Self {
        Self { exchange, recording, complete: false, gone: false }
    }

    /// The answer has been given in full; what is dropped before that, the client broke off.
    pub fn complete(&mut self) {
        self.complete = true;
    }

    /// Nobody is there any more to take the answer.
    pub fn client_is_gone(&mut self) {
        self.gone = true;
    }

    fn end_request(&self) {
        let exchange = &self.exchange;
        let series = self.recording.series(
            exchange,
            SeriesKey {
                protocol: if exchange.request.borrow().is_grpc() { "grpc" } else { "http" },
                code: exchange.code.get(),
                grpc_status: exchange.status_of_grpc_call().map(Status::label),
                flags: exchange.flags.get(),
            },
        );
        series.requests.add(1);
        series.duration.record(exchange.duration.get().unwrap_or_default().as_secs_f64() * 1000.0);
        series.request_bytes.record(exchange.bytes_received.get() as f64);
        series.response_bytes.record(exchange.bytes_sent.get() as f64);
    }

    fn end_connection(&self) {
        let series = self.recording.series(&self.exchange, SeriesKey::tcp(self.exchange.flags.get()));
        series.closed.add(1);
        series.sent_bytes.add(self.exchange.bytes_sent.get());
        series.received_bytes.add(self.exchange.bytes_received.get());
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let exchange = &self.exchange;
        let is_request = exchange.protocol.is_some();
        if is_request && (self.gone || !self.complete) && exchange.flags.get().is_empty() {
            exchange.note_left();
        }
        if self.gone || exchange.code.get() == 0 {
            // What it got, if it got anything.
            exchange.code.set(exchange.interim.get());
        }
        exchange.duration.set(Some(exchange.start.elapsed()));
        self.recording.logs.write(exchange);
        if is_request { self.end_request() } else { self.end_connection() }
    }
}
