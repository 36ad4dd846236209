//! What is known of one exchange, a request and its answer or a TCP connection, when it ends: for access logs,
//! metrics, and the headers that a route makes of them.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::Version;
use weir_config::cluster::ClusterPolicy;
use weir_config::flags::ResponseFlags;
use weir_config::head::Head;
use weir_config::log_filter::{Facts, LogFilter};
use weir_config::workload::Workload;
use weir_http1::{HeaderName, HeaderValue};
use weir_routing::{Route, RouteTable, VirtualHost, grpc};
use weir_xds::prost_types::Struct;

use super::connection::ConnectionInfo;
use super::ends::Ends;
use super::peer::{LastHeard, PeerWorkload};
use crate::io::client::{Left, Waiting};
use crate::io::spare;
use crate::stats::requests::Known;

/// An instance as the exchanges with it know it.
#[derive(Debug, Default)]
pub struct Target {
    /// Where it accepts.
    pub address: Option<SocketAddr>,
    /// The name that its address came from, if it came from DNS.
    pub hostname: Option<Arc<str>>,
    /// Which workload it is.
    pub workload: Workload,
    /// What was counted of exchanges with it.
    pub series: RefCell<Known>,
    /// Which workload it has told to be.
    pub heard: LastHeard,
}

impl Target {
    /// Whether the control plane has told which workload it is.
    pub fn is_known(&self) -> bool {
        self.workload != Workload::default()
    }
}

/// A cluster as the exchanges with it know it.
#[derive(Debug, Clone)]
pub struct Destination {
    /// What does not depend on its instances.
    pub policy: Arc<ClusterPolicy>,
    /// What was counted of exchanges that found no instance of it.
    pub series: Rc<RefCell<Known>>,
}

/// A virtual host, and the route in it, if one matched.
#[derive(Debug, Clone)]
pub struct Matched {
    /// The table that was asked.
    pub table: Arc<RouteTable>,
    /// The virtual host's position in it.
    pub host: usize,
    /// The route's position in the virtual host.
    pub route: Option<usize>,
}

impl Matched {
    /// The virtual host.
    pub fn virtual_host(&self) -> &Arc<VirtualHost> {
        &self.table.virtual_hosts[self.host]
    }

    /// The route.
    pub fn route(&self) -> Option<&Route> {
        self.virtual_host().routes.get(self.route?)
    }
}

/// What is known of one exchange. It is shared by the parts that learn of it: the handler of the request, and
/// the bodies that stream after it has returned.
pub struct Exchange {
    /// The client's connection.
    pub connection: Rc<ConnectionInfo>,
    /// The client's address, as far as proxies before us are believed.
    pub remote: Cell<SocketAddr>,
    /// What the client speaks; `None` for TCP.
    pub protocol: Option<Version>,
    /// The client, where interim answers are passed on to it.
    pub client: RefCell<Option<Weak<dyn Waiting>>>,
    /// How a client of HTTP/2 leaves its stream, if it does.
    pub left: OnceCell<Rc<Cell<Left>>>,
    /// Whether its request could not be read: then nothing is known of it.
    pub unreadable: Cell<bool>,
    /// Whether trailers may pass between the client and us.
    pub passes_trailers: Cell<bool>,
    /// Headers that are taken out of the request's head, and must not come in behind its body.
    pub barred_trailers: RefCell<Vec<HeaderName>>,
    /// When it began.
    pub start: Instant,
    /// The same by the clock on the wall; only taken where a log asks.
    pub start_time: Option<SystemTime>,
    /// When the router got it, if that was later: the limits of the route count from then.
    pub routed: Cell<Option<Instant>>,
    /// When the request had arrived, in full.
    pub request_end: Cell<Option<Instant>>,
    /// When the answer's head had arrived.
    pub response_start: Cell<Option<Instant>>,
    /// When something last passed, either way; only where somebody watches.
    pub active: Cell<Option<Instant>>,
    /// The request as the instance gets it.
    pub request: RefCell<Head>,
    /// Those headers of the answer that a log asks for.
    pub response_headers: RefCell<Vec<(HeaderName, HeaderValue)>>,
    /// The status code; 0 while there is none.
    pub code: Cell<u16>,
    /// The status code of the last interim answer; 0 if there was none.
    pub interim: Cell<u16>,
    /// The gRPC status, where the answer has one.
    pub grpc_status: Cell<Option<grpc::Status>>,
    /// What filters tell each other, by their names.
    pub dynamic_metadata: RefCell<BTreeMap<String, Struct>>,
    /// Why it went as it did.
    pub flags: Cell<ResponseFlags>,
    /// The same in Envoy's words, which may be none at all; nothing where nobody has said anything.
    pub details: RefCell<Option<Cow<'static, str>>>,
    /// Why the connection ended, in Envoy's words.
    pub termination: RefCell<Option<Cow<'static, str>>>,
    /// Body bytes from the client.
    pub bytes_received: Cell<u64>,
    /// Body bytes to the client.
    pub bytes_sent: Cell<u64>,
    /// The virtual host and route.
    pub matched: RefCell<Option<Matched>>,
    /// The cluster.
    pub cluster: RefCell<Option<Destination>>,
    /// The cluster's name, where it does not exist.
    pub cluster_name: RefCell<Option<Arc<str>>>,
    /// The instance of the last attempt.
    pub target: RefCell<Option<Rc<Target>>>,
    /// Our address towards the instance.
    pub upstream_local: Cell<Option<SocketAddr>>,
    /// What the instance and we have shown each other in a TLS handshake.
    pub upstream_ends: RefCell<Option<Arc<Ends>>>,
    /// Which workload the client has told to be, if it is believed.
    pub client_workload: RefCell<Option<Rc<PeerWorkload>>>,
    /// The same of the instance that has answered.
    pub instance_workload: RefCell<Option<Rc<PeerWorkload>>>,
    /// Why no connection could be made, in the transport's words.
    pub transport_failure: RefCell<Option<String>>,
    /// Whether it is a health check that a filter has to do with.
    pub is_health_check: Cell<bool>,
    /// How many attempts were made.
    pub attempts: Cell<u32>,
    /// How long it took, once it has ended.
    pub duration: Cell<Option<Duration>>,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        spare::give_map(std::mem::take(&mut self.request.get_mut().headers));
    }
}

impl Exchange {
    /// An exchange that begins now.
    pub fn new(connection: Rc<ConnectionInfo>, protocol: Option<Version>, wall_clock: bool) -> Self {
        Self {
            remote: Cell::new(connection.remote),
            connection,
            protocol,
            client: RefCell::default(),
            left: OnceCell::new(),
            unreadable: Cell::default(),
            passes_trailers: Cell::default(),
            barred_trailers: RefCell::default(),
            start: Instant::now(),
            start_time: wall_clock.then(SystemTime::now),
            routed: Cell::default(),
            request_end: Cell::default(),
            response_start: Cell::default(),
            active: Cell::default(),
            request: RefCell::new(Head::none()),
            response_headers: RefCell::default(),
            code: Cell::default(),
            interim: Cell::default(),
            grpc_status: Cell::default(),
            dynamic_metadata: RefCell::default(),
            flags: Cell::default(),
            details: RefCell::default(),
            termination: RefCell::default(),
            bytes_received: Cell::default(),
            bytes_sent: Cell::default(),
            matched: RefCell::default(),
            cluster: RefCell::default(),
            cluster_name: RefCell::default(),
            target: RefCell::default(),
            upstream_local: Cell::default(),
            upstream_ends: RefCell::default(),
            client_workload: RefCell::default(),
            instance_workload: RefCell::default(),
            transport_failure: RefCell::default(),
            is_health_check: Cell::default(),
            attempts: Cell::default(),
            duration: Cell::default(),
        }
    }

    /// An attempt at an instance begins.
    pub fn tries(&self, target: Rc<Target>) {
        self.target.replace(Some(target));
        // Another one may have been reached before.
        self.upstream_ends.take();
    }

    /// Adds flags.
    pub fn flag(&self, flags: ResponseFlags) {
        self.flags.set(self.flags.get().and(flags));
    }

    /// Something passes.
    pub fn is_active(&self) {
        if self.active.get().is_some() {
            self.active.set(Some(Instant::now()));
        }
    }

    /// Ends when nothing has passed for so long.
    pub async fn silence(&self, limit: Duration) {
        loop {
            let end = self.active.get().unwrap_or(self.start) + limit;
            if Instant::now() >= end {
                return;
            }
            tokio::time::sleep_until(end.into()).await;
        }
    }

    /// Takes note of a client that has left before its answer was complete, in Envoy's words.
    pub fn note_left(&self) {
        match self.left.get().map(|left| left.get()).unwrap_or_default() {
            Left::Connection => {
                self.flag(ResponseFlags::DOWNSTREAM_TERMINATED);
                self.detail("downstream_remote_disconnect");
            }
            Left::Reset => {
                self.flag(ResponseFlags::DOWNSTREAM_RESET);
                self.detail("http2.remote_reset");
            }
            Left::Content => {}
        }
    }

    /// Whether a filter takes it.
    pub fn is_taken_by(&self, filter: &LogFilter) -> bool {
        if let LogFilter::All = filter {
            return true;
        }
        let request = self.request.borrow();
        let mut head = request.for_routing();
        if self.protocol.is_none() || self.unreadable.get() {
            // It says nothing, where an unread head would say what is usual.
            (head.method, head.scheme) = ("", "");
        }
        filter.takes(&Facts {
            code: self.code.get(),
            duration: self.duration.get().unwrap_or_else(|| self.start.elapsed()),
            flags: self.flags.get(),
            request: head,
            grpc_status: self.grpc_status.get().map(|status| match status {
                grpc::Status::Code(code) => code,
                // It is none of those that a filter could name.
                grpc::Status::Invalid => u32::MAX,
            }),
            is_health_check: self.is_health_check.get(),
            chance: fastrand::u32(..1_000_000),
        })
    }

    /// Whether the client speaks HTTP/1.
    pub fn is_http1(&self) -> bool {
        self.protocol.is_some_and(|version| version < Version::HTTP_2)
    }

    /// Sets the details, in Envoy's words.
    pub fn detail(&self, details: impl Into<Cow<'static, str>>) {
        *self.details.borrow_mut() = Some(details.into());
    }
}
