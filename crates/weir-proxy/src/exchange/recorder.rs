//! Who writes down what becomes of exchanges: the proxy with its series and log files, and for each connection
//! manager or TCP proxy what it logs ([`Recording`]).

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use weir_config::access_log::AccessLog;
use weir_config::cluster::ServiceIdentity;
use weir_config::log_format::{Format, Json};
use weir_http1::HeaderName;
use weir_routing::template::{Field, Message, Operator, Piece};

use super::ends::Ends;
use super::introduction::Introduction;
use super::log::{LogSink, LogWriter};
use super::peer::PeerWorkload;
use super::record::Exchange;
use crate::stats::principals::{Pair, Parties};
use crate::stats::requests::{Identity, Known, Labels, Reporter, Series, SeriesKey, SeriesRegistry};

/// One worker's ends of all log files.
pub struct Sinks {
    writer: Arc<LogWriter>,
    open: RefCell<HashMap<Arc<str>, Rc<LogSink>>>,
}

impl Sinks {
    /// In front of the thread that writes.
    pub fn new(writer: Arc<LogWriter>) -> Self {
        Self { writer, open: RefCell::default() }
    }

    /// This worker's end of a log file.
    pub fn sink(&self, path: &Arc<str>) -> Rc<LogSink> {
        let mut open = self.open.borrow_mut();
        open.entry(path.clone()).or_insert_with(|| LogSink::new(path.clone(), self.writer.clone())).clone()
    }

    /// Forgets log files that nobody writes any more.
    pub fn sweep(&self) {
        self.open.borrow_mut().retain(|_, sink| Rc::strong_count(sink) > 1);
    }

    /// Hands over what is there.
    pub fn flush(&self) {
        self.open.borrow().values().for_each(|sink| sink.flush());
    }
}

/// Counts and logs for one proxy, on one worker.
pub struct Recorder {
    identity: Identity,
    introduction: Option<Introduction>,
    registry: Arc<SeriesRegistry>,
    sinks: Rc<Sinks>,
}

impl Recorder {
    /// For a proxy.
    pub fn new(identity: Identity, introduction: Option<Introduction>, registry: Arc<SeriesRegistry>, sinks: Rc<Sinks>) -> Rc<Self> {
        Rc::new(Self { identity, introduction, registry, sinks })
    }

    /// Access logs with this worker's ends of their files.
    pub fn logs(&self, logs: &[AccessLog]) -> Logs {
        Logs(logs.iter().map(|log| (log.clone(), self.sinks.sink(&log.path))).collect())
    }

    /// What a connection manager or TCP proxy writes down; `inbound` says that it takes what comes to the workload.
    pub fn recording(self: &Rc<Self>, logs: &[AccessLog], inbound: bool) -> Rc<Recording> {
        let logs = self.logs(logs);
        let logged_headers = logs.0.iter().flat_map(|(log, _)| response_headers(&log.format)).collect();
        let reporter = if inbound { Reporter::Destination } else { Reporter::Source };
        Rc::new(Recording { logs, logged_headers, reporter, series: RefCell::default(), recorder: self.clone() })
    }
}

/// Access logs and the files behind them.
pub struct Logs(Vec<(AccessLog, Rc<LogSink>)>);

impl Logs {
    /// Whether nothing is logged.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes an exchange that has ended.
    pub fn write(&self, exchange: &Exchange) {
        for (log, sink) in &self.0 {
            if exchange.is_taken_by(&log.filter) {
                sink.line(|out| log.format.write(exchange, out));
            }
        }
    }
}

/// What a connection manager or TCP proxy writes down of its exchanges.
pub struct Recording {
    /// Its access logs.
    pub logs: Logs,
    /// The headers of answers that its logs ask for.
    pub logged_headers: Vec<HeaderName>,
    reporter: Reporter,
    /// What was counted of exchanges that found no cluster.
    series: RefCell<Known>,
    recorder: Rc<Recorder>,
}

impl Recording {
    /// Who the proxy is.
    pub fn identity(&self) -> &Identity {
        &self.recorder.identity
    }

    /// What the proxy tells of its workload.
    pub fn introduction(&self) -> Option<&Introduction> {
        self.recorder.introduction.as_ref()
    }

    /// The series that an exchange is counted in. Where it is kept depends on how far the exchange came: at the instance,
    /// else at the cluster, else here.
    pub fn series(&self, exchange: &Exchange, key: SeriesKey) -> Arc<Series> {
        let cluster = exchange.cluster.borrow();
        let target = exchange.target.borrow();
        let pair = self.pair(exchange);
        let make = |key: SeriesKey| {
            let own = self.recorder.identity.workload.clone();
            let Parties { principals, workload } = self.recorder.registry.with_pairs(|pairs| pairs.of(pair));
            let told = workload.unwrap_or_default();
            let (source, destination) = match (self.reporter, target.as_ref()) {
                (Reporter::Source, Some(target)) if target.is_known() => (own, target.workload.clone()),
                (Reporter::Source, _) => (own, told),
                (Reporter::Destination, _) => (told, own),
            };
            self.recorder.registry.series(Labels {
                reporter: self.reporter,
                source,
                destination,
                principals,
                service: cluster.as_ref().map_or_else(ServiceIdentity::default, |cluster| cluster.policy.service.clone()),
                protocol: key.protocol,
                code: key.code,
                grpc_status: key.grpc_status,
                flags: key.flags,
            })
        };
        let mut known = match (target.as_ref(), cluster.as_ref()) {
            (Some(target), _) => target.series.borrow_mut(),
            (None, Some(cluster)) => cluster.series.borrow_mut(),
            (None, None) => self.series.borrow_mut(),
        };
        known.get(pair, key, make).clone()
    }

    /// Who the ends of the connection are that it is counted for. What the control plane tells of an instance's workload counts before what
    /// that tells itself.
    fn pair(&self, exchange: &Exchange) -> Pair {
        let registry = &self.recorder.registry;
        let number = |ends: &Ends, told: Option<&PeerWorkload>| match told {
            Some(told) => ends.pair_with(told, self.reporter, registry),
            None => ends.pair(self.reporter, registry),
        };
        match self.reporter {
            Reporter::Source => {
                let is_known = exchange.target.borrow().as_ref().is_some_and(|target| target.is_known());
                let told = exchange.instance_workload.borrow();
                exchange.upstream_ends.borrow().as_deref().map(|ends| number(ends, told.as_deref().filter(|_| !is_known)))
            }
            Reporter::Destination => {
                let told = exchange.client_workload.borrow();
                exchange.connection.ends.as_deref().map(|ends| number(ends, told.as_deref()))
            }
        }
        .unwrap_or_default()
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
