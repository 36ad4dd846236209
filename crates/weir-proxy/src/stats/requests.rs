//! Istio's standard metrics: requests and TCP connections, with source and destination.
//! <https://istio.io/latest/docs/reference/config/metrics/>
//!
//! A series is found once and kept where it is counted (at the instance, or at the cluster), so that a request
//! costs no lookup by labels.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use weir_config::cluster::ServiceIdentity;
use weir_config::flags::ResponseFlags;
use weir_config::workload::Workload;

use super::cells::{Cell, Histogram};
use super::principals::{Pair, Pairs, Principals};

/// Which side of an exchange counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Reporter {
    /// The client's proxy, or a gateway.
    #[default]
    Source,
    /// The server's proxy.
    Destination,
}

/// Who a proxy is, as metrics name it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Its workload.
    pub workload: Workload,
    /// What it calls the proxies that are like it: `cluster` of its node.
    pub cluster: Arc<str>,
}

/// What tells one series from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Labels {
    /// Who counts.
    pub reporter: Reporter,
    /// Who asked.
    pub source: Workload,
    /// Who answered.
    pub destination: Workload,
    /// Who both are by their certificates.
    pub principals: Principals,
    /// Which service was meant.
    pub service: ServiceIdentity,
    /// `http`, `grpc` or `tcp`.
    pub protocol: &'static str,
    /// The status code; 0 for TCP.
    pub code: u16,
    /// The status of a gRPC answer; -1 for all that gRPC does not know, which are a peer's to choose.
    pub grpc_status: Option<i8>,
    /// Why it went as it did.
    pub flags: ResponseFlags,
}

/// The counts of one series.
#[derive(Debug, Default)]
pub struct Series {
    /// Requests that ended.
    pub requests: Cell,
    /// How long they took, in milliseconds.
    pub duration: Histogram,
    /// Bytes of their bodies.
    pub request_bytes: Histogram,
    /// Bytes of the answers' bodies.
    pub response_bytes: Histogram,
    /// TCP connections that were opened.
    pub opened: Cell,
    /// TCP connections that ended.
    pub closed: Cell,
    /// Bytes sent to clients by TCP.
    pub sent_bytes: Cell,
    /// Bytes received from clients by TCP.
    pub received_bytes: Cell,
}

/// The series of one worker.
#[derive(Debug, Default)]
pub struct SeriesRegistry {
    series: Mutex<HashMap<Labels, Arc<Series>>>,
    pairs: Mutex<Pairs>,
}

impl SeriesRegistry {
    /// The series of labels, made if there is none yet.
    pub fn series(&self, labels: Labels) -> Arc<Series> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner).entry(labels).or_default().clone()
    }

    /// All series.
    pub fn all(&self) -> Vec<(Labels, Arc<Series>)> {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        series.iter().map(|(labels, series)| (labels.clone(), series.clone())).collect()
    }

    /// Looks at the pairs of principals.
    pub fn with_pairs<R>(&self, look: impl FnOnce(&mut Pairs) -> R) -> R {
        look(&mut self.pairs.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What varies between the exchanges with one instance: the short key of its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesKey {
    /// `http`, `grpc` or `tcp`.
    pub protocol: &'static str,
    /// The status code; 0 for TCP.
    pub code: u16,
    /// The status of a gRPC answer; -1 for all that gRPC does not know, which are a peer's to choose.
    pub grpc_status: Option<i8>,
    /// Why it went as it did.
    pub flags: ResponseFlags,
}

impl SeriesKey {
    /// Of a TCP connection.
    pub fn tcp(flags: ResponseFlags) -> Self {
        Self { protocol: "tcp", code: 0, grpc_status: None, flags }
    }
}

/// The series of one destination and one pair of principals.
type OfPair = Vec<(SeriesKey, Arc<Series>)>;

/// The series of one destination that were counted so far, by who has to do with each other. Pairs may be many, and stand in their order;
/// the series of each are few, so that a walk finds them fastest.
#[derive(Debug, Default)]
pub struct Known(Vec<(Pair, OfPair)>);

impl Known {
    /// The series of a key; `make` finds it the first time.
    pub fn get(&mut self, pair: Pair, key: SeriesKey, make: impl FnOnce(SeriesKey) -> Arc<Series>) -> &Arc<Series> {
        let position = match self.0.binary_search_by_key(&pair, |(known, _)| *known) {
            Ok(position) => position,
            Err(position) => {
                self.0.insert(position, (pair, vec![]));
                position
            }
        };
        let series = &mut self.0[position].1;
        let position = match series.iter().position(|(known, _)| *known == key) {
            Some(position) => position,
            None => {
                series.push((key, make(key)));
                series.len() - 1
            }
        };
        &series[position].1
    }
}
