//! The end of an exchange: it is written to the access logs and counted.

use std::rc::Rc;

use super::HttpRuntime;
use crate::config::cluster::Service;
use crate::config::host::Workload;
use crate::log::exchange::Exchange;
use crate::log::flags::ResponseFlags;
use crate::stats::requests::{Labels, Outcome, Reporter};

/// Ends an exchange when it is dropped, wherever that is: with the last byte of the answer, or with the
/// connection of a client that went away.
pub struct Ending {
    /// What is known of the exchange.
    pub exchange: Rc<Exchange>,
    http: Rc<HttpRuntime>,
    complete: bool,
    silent: bool,
}

impl Ending {
    /// For an exchange that has begun.
    pub fn new(exchange: Rc<Exchange>, http: Rc<HttpRuntime>) -> Self {
        Self { exchange, http, complete: false, silent: false }
    }

    /// What handles the connection that the exchange came over.
    pub fn http(&self) -> &HttpRuntime {
        &self.http
    }

    /// The answer has been given in full; what is dropped before that, the client broke off.
    pub fn complete(&mut self) {
        self.complete = true;
    }

    /// Nothing is written of this exchange: it did not get as far as being one.
    pub fn silence(&mut self) {
        self.silent = true;
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let exchange = &self.exchange;
        if !self.complete && exchange.flags.get().is_empty() {
            exchange.flag(ResponseFlags::DOWNSTREAM_TERMINATED);
            if exchange.code.get() == 0 {
                exchange.detail("downstream_remote_disconnect");
            }
        }
        if self.silent {
            return;
        }
        exchange.duration.set(Some(exchange.start.elapsed()));
        for (log, sink) in &self.http.logs {
            if log.filter.takes(exchange.flags.get()) {
                sink.line(|out| log.format.write(&**exchange, out));
            }
        }
        count(exchange, &self.http);
    }
}

/// Counts an exchange where its answer came from: at the instance, else at the cluster, else at the listener.
fn count(exchange: &Exchange, http: &HttpRuntime) {
    let outcome = Outcome {
        protocol: if exchange.request.borrow().is_grpc() { "grpc" } else { "http" },
        code: exchange.code.get(),
        grpc_status: exchange.grpc_status.get(),
        flags: exchange.flags.get(),
    };
    let cluster = exchange.cluster.borrow();
    let target = exchange.target.borrow();
    let make = |outcome: Outcome| {
        let own = http.instance.identity.workload.clone();
        let theirs = target.as_ref().map_or_else(Workload::default, |target| target.host.workload.clone());
        let (source, destination) = match http.reporter {
            Reporter::Source => (own, theirs),
            Reporter::Destination => (Workload::default(), own),
        };
        http.instance.series(Labels {
            reporter: http.reporter,
            source,
            destination,
            service: cluster.as_ref().map_or_else(Service::default, |cluster| cluster.policy().service.clone()),
            protocol: outcome.protocol,
            code: outcome.code,
            grpc_status: outcome.grpc_status,
            flags: outcome.flags,
        })
    };
    let mut known = match (target.as_ref(), cluster.as_ref()) {
        (Some(target), _) => target.series.borrow_mut(),
        (None, Some(cluster)) => cluster.series.borrow_mut(),
        (None, None) => http.series.borrow_mut(),
    };
    let series = known.get(outcome, make);
    series.requests.add(1);
    series.duration.record(exchange.duration.get().unwrap_or_default().as_secs_f64() * 1000.0);
    series.request_bytes.record(exchange.bytes_received.get() as f64);
    series.response_bytes.record(exchange.bytes_sent.get() as f64);
}
