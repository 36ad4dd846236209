//! Listeners on one worker: they accept, look at the first bytes ([`inspect`]), and hand each connection to its filter chain
//! ([`chain`]).

mod acceptor;
mod active;
mod admission;
mod announced;
mod chain;
mod client_hello;
pub mod holder;
mod inspect;
mod listeners;
pub mod paths;
mod pauses;
mod refusals;
mod rules;
pub mod sockets;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use weir_config::budget::Budget;
use weir_config::listener::Listener;

use crate::exchange::recorder::Recorder;
use crate::http::router::routes::RouteSlots;
use crate::stats::listener::ListenerStats;
use crate::tls::server::ServerTransport;
use crate::upstream::clusters::Clusters;
pub use active::place;
pub use chain::SWEEP;
pub use listeners::Listeners;
use sockets::Bound;

/// What the listeners of one proxy need of it.
#[derive(Clone)]
pub struct Surroundings {
    /// Where connections and requests go.
    pub clusters: Rc<Clusters>,
    /// By which routes.
    pub routes: Rc<RouteSlots>,
    /// Where it is written down.
    pub recorder: Rc<Recorder>,
    /// How long connections may go on whose listener or filter chain is gone.
    pub drain_duration: Duration,
}

/// A listener that is in force, and its sockets.
#[derive(Debug, Clone)]
pub struct OpenListener {
    /// What becomes of its connections.
    pub listener: Arc<Listener>,
    /// What the handshakes of TLS are done with, in the order of [`Listener::all_chains`]; none for plain text.
    pub tls: Arc<[Option<Arc<ServerTransport>>]>,
    /// Its sockets, one for each worker. They outlive changes of the listener. None if other listeners hand connections to
    /// it.
    pub sockets: Option<Arc<Bound>>,
    /// How many connections it may have, where that is limited; kept while the listener changes.
    pub limit: Option<Arc<Budget>>,
    /// Counted by all workers; kept while the listener changes.
    pub stats: Arc<ListenerStats>,
}
