//! HTTP: from a client's connection ([`connection`]) by way of routing ([`handle`]) to an instance
//! ([`forward`]) and back.

pub mod connection;
mod copies;
mod filters;
mod finish;
mod forward;
mod handle;
mod head;
mod header_changes;
mod local_reply;
pub mod request_body;
mod response_body;
mod upgrade;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderName;
use weir_routing::template::{Field, Message, Operator, Piece};

pub use head::Head;
pub use local_reply::grpc_status;
pub use response_body::ResponseBody;

use crate::config::access_log::AccessLog;
use crate::config::http::HttpConfig;
use crate::log::format::{Format, Json};
use crate::log::writer::LogSink;
use crate::stats::requests::{Known, Reporter};
use crate::worker::instance::Instance;
use crate::worker::routes::RouteSlot;

/// A connection manager as one worker uses it.
pub struct HttpRuntime {
    /// What it is told to do.
    pub config: Arc<HttpConfig>,
    /// Its routes.
    pub routes: Rc<RouteSlot>,
    /// Its access logs and the files behind them.
    pub logs: Vec<(AccessLog, Rc<LogSink>)>,
    /// The headers of answers that its logs ask for.
    pub logged_headers: Vec<HeaderName>,
    /// Which side it counts for.
    pub reporter: Reporter,
    /// What was counted of requests that found no cluster.
    pub series: RefCell<Known>,
    /// The proxy instance that it belongs to.
    pub instance: Rc<Instance>,
}

impl HttpRuntime {
    /// For one worker.
    pub fn new(config: Arc<HttpConfig>, routes: Rc<RouteSlot>, reporter: Reporter, instance: Rc<Instance>) -> Self {
        let logs: Vec<(AccessLog, Rc<LogSink>)> = config.access_logs.iter().map(|log| (log.clone(), instance.sink(&log.path))).collect();
        let logged_headers = logs.iter().flat_map(|(log, _)| response_headers(&log.format)).collect();
        Self { config, routes, logs, logged_headers, reporter, series: RefCell::default(), instance }
    }
}

/// The headers of answers that a format names.
fn response_headers(format: &Format) -> Vec<HeaderName> {
    let mut names = vec![];
    match format {
        Format::Text(template) => collect(template.pieces(), &mut names),
        Format::Json(json) => collect_json(json, &mut names),
    }
    names
}

fn collect_json(json: &Json, names: &mut Vec<HeaderName>) {
    match json {
        Json::Template(template) => collect(template.pieces(), names),
        Json::Literal(_) => {}
        Json::List(items) => items.iter().for_each(|item| collect_json(item, names)),
        Json::Object(fields) => fields.values().for_each(|value| collect_json(value, names)),
    }
}

fn collect(pieces: &[Piece], names: &mut Vec<HeaderName>) {
    for piece in pieces {
        if let Piece::Operator(Operator::Header(Message::Response, first, second), _) = piece {
            for field in std::iter::once(first).chain(second) {
                if let Field::Header(name) = field {
                    names.push(name.clone());
                }
            }
        }
    }
}
