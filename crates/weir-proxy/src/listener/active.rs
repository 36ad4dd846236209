//! A listener as one worker serves it: it accepts, finds the filter chain, and hands over.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::Notify;
use weir_routing::Connection;

use weir_config::budget::Budget;
use weir_config::flags::ResponseFlags;
use weir_config::listener::{Listener, OriginalDestination};

use super::acceptor::{Acceptor, plain};
use super::admission::{Admitted, admit};
use super::announced::{self, Origin};
use super::chain::{ChainRuntime, Incoming, NotServed};
use super::inspect::{self, Inspected};
use super::pauses::{AfterFailure, Pauses};
use super::refusals;
use super::sockets::Bound;
use super::{Listeners, OpenListener, Surroundings};
use crate::exchange::recorder::Logs;
use crate::exchange::{ConnectionInfo, Exchange, LastHeard};
use crate::io::proxy_protocol::Client;
use crate::io::transparent::Source;
use crate::io::unix_socket;
use crate::stats::listener::{ListenerStats, WorkerListenerStats};

/// A listener that is in force.
pub struct ActiveListener {
    /// None if other listeners hand connections to it.
    sockets: Option<Arc<Bound>>,
    limit: Option<Arc<Budget>>,
    stats: Arc<ListenerStats>,
    worker: usize,
    current: RefCell<Rc<Current>>,
    closing: Notify,
    closed: Cell<bool>,
}

/// What becomes of a listener's connections now.
struct Current {
    listener: Arc<Listener>,
    /// In the order of the listener's chains.
    chains: Vec<Rc<ChainRuntime>>,
    logs: Logs,
}

/// Opens a listener; `None` if this worker has its socket already.
pub fn open(listeners: &Rc<Listeners>, open: &OpenListener) -> Option<Rc<ActiveListener>> {
    let worker = listeners.around.clusters.shared.worker;
    let socket = match &open.sockets {
        None => None,
        Some(sockets) => match Acceptor::new(sockets.take(worker)?, sockets.address) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::error!(listener = %open.listener.name, %error, "a listening socket cannot be used");
                return None;
            }
        },
    };
    let active = Rc::new(ActiveListener {
        sockets: open.sockets.clone(),
        limit: open.limit.clone(),
        stats: open.stats.clone(),
        worker,
        current: RefCell::new(Rc::new(Current::new(&listeners.around, open, None))),
        closing: Notify::new(),
        closed: Cell::new(false),
    });
    if let Some(socket) = socket {
        tokio::task::spawn_local(active.clone().accept(listeners.clone(), socket));
    }
    Some(active)
}

impl Current {
    fn new(around: &Surroundings, open: &OpenListener, previous: Option<&Current>) -> Self {
        let known: HashMap<*const _, &Rc<ChainRuntime>> =
            previous.into_iter().flat_map(|current| &current.chains).map(|runtime| (Arc::as_ptr(&runtime.chain), runtime)).collect();
        let chains = open.listener.all_chains().zip(open.tls.iter()).map(|(chain, tls)| match known.get(&Arc::as_ptr(chain)) {
            Some(runtime) => Rc::clone(runtime),
            None => Rc::new(ChainRuntime::new(around, chain, tls.clone(), &open.listener)),
        });
        Self { listener: open.listener.clone(), chains: chains.collect(), logs: around.recorder.logs(&open.listener.access_logs) }
    }
}

impl ActiveListener {
    /// Whether it is on the sockets of this one.
    pub fn serves(&self, open: &OpenListener) -> bool {
        match (&self.sockets, &open.sockets) {
            (Some(own), Some(wanted)) => Arc::ptr_eq(own, wanted),
            (None, None) => true,
            _ => false,
        }
    }

    /// The addresses that it is for.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let listener = self.current.borrow().listener.clone();
        std::iter::once(place(&listener)).chain(listener.further_addresses.iter().copied()).collect()
    }

    /// Follows a change. Connections of filter chains that are gone finish what they are doing.
    pub fn follow(&self, around: &Surroundings, open: &OpenListener) {
        let previous = self.current.borrow().clone();
        if Arc::ptr_eq(&previous.listener, &open.listener) {
            return;
        }
        let current = Rc::new(Current::new(around, open, Some(&previous)));
        let kept: HashSet<*const ChainRuntime> = current.chains.iter().map(Rc::as_ptr).collect();
        previous.chains.iter().filter(|chain| !kept.contains(&Rc::as_ptr(chain))).for_each(|chain| chain.drain());
        *self.current.borrow_mut() = current;
    }

    /// Stops accepting. Its connections finish what they are doing.
    pub fn close(&self) {
        self.closed.set(true);
        self.closing.notify_waiters();
        self.current.borrow().chains.iter().for_each(|chain| chain.drain());
    }

    /// Waits until the listener has been gone for so long.
    async fn drained(&self, drain_duration: Duration) {
        if !self.closed.get() {
            self.closing.notified().await;
        }
        tokio::time::sleep(drain_duration).await;
    }

    /// Ends connections on which nothing happened for too long.
    pub fn sweep(&self, now: Instant) {
        self.current.borrow().chains.iter().for_each(|chain| chain.sweep(now));
    }

    /// How often that is to be done.
    pub fn pace(&self) -> Option<Duration> {
        self.current.borrow().chains.iter().map(|chain| chain.pace).min()
    }

    /// How many connections it may have, where that is limited.
    pub(super) fn limit(&self) -> Option<&Arc<Budget>> {
        self.limit.as_ref()
    }

    /// Whether its connections do not count among those that the process may have.
    pub(super) fn ignores_global_limit(&self) -> bool {
        self.current.borrow().listener.ignores_global_limit
    }

    /// What is counted of it.
    pub(super) fn stats(&self) -> Arc<ListenerStats> {
        self.stats.clone()
    }

    /// Counts something.
    pub(super) fn count(&self, counts: impl FnOnce(&WorkerListenerStats)) {
        counts(self.stats.of(self.worker));
    }

    async fn accept(self: Rc<Self>, listeners: Rc<Listeners>, socket: Acceptor) {
        let mut pauses = Pauses::default();
        while !self.closed.get() {
            let accepted = tokio::select! {
                biased;
                () = self.closing.notified() => break,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, remote)) => {
                    pauses.accepted();
                    self.start(&listeners, stream, remote);
                }
                Err(error) => self.pause(pauses.failed(&error, Instant::now()), &error).await,
            }
        }
        // Who has been let in by the kernel already is served; closing the socket would reset them.
        while let Some(Ok((stream, remote))) = socket.accept_now() {
            self.start(&listeners, stream, remote);
        }
    }

    /// Waits after a failure to accept, but not longer than the listener is open.
    async fn pause(&self, after: AfterFailure, error: &io::Error) {
        let AfterFailure::Pause(pause, said) = after else { return };
        self.count(|stats| stats.accept_failures.add(1));
        if let Some(failures) = said {
            let listener = self.current.borrow().listener.name.clone();
            tracing::warn!(%listener, %error, failures, "cannot accept connections; those that come wait");
        }
        tokio::select! {
            () = self.closing.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    /// Serves a connection, if there are not too many: else it is closed.
    fn start(self: &Rc<Self>, listeners: &Rc<Listeners>, stream: TcpStream, remote: SocketAddr) {
        let (listener, destination) = self.clone().for_connection(listeners, &stream);
        let Some(admitted) = admit(&listeners.around, self, &listener) else { return };
        let drain_duration = listeners.around.drain_duration;
        let local = listener.current.borrow().listener.address;
        tokio::task::spawn_local(async move {
            // What finds out what it is takes room only until that is known.
            let understood = Box::pin(listener.understand(stream, remote, destination, drain_duration, &admitted)).await;
            let served = match understood {
                Ok(Some((chain, incoming))) => chain.serve(incoming).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                match &error {
                    NotServed::HandshakeTooLong => {
                        admitted.count(|stats| stats.downstream_cx_transport_socket_connect_timeout.add(1));
                    }
                    NotServed::Handshake(failed) => {
                        admitted.count(|stats| refusals::count(stats, failed));
                        refusals::tell(remote, local, failed);
                    }
                    NotServed::NotUnderstood | NotServed::NotAnnounced | NotServed::Failed(_) => {}
                }
                tracing::debug!(remote = %unix_socket::shown(remote), %error, "a connection ended before it was understood");
            }
        });
    }

    /// Whose a connection is, and where it was going to, if that is known and of interest.
    fn for_connection(self: Rc<Self>, listeners: &Listeners, stream: &TcpStream) -> (Rc<Self>, Option<SocketAddr>) {
        let wanted = self.current.borrow().listener.original_destination;
        let destination = match wanted {
            OriginalDestination::Ignore => None,
            OriginalDestination::Restore | OriginalDestination::HandOver => original_destination(stream),
        };
        let other = destination.filter(|_| wanted == OriginalDestination::HandOver).and_then(|address| listeners.for_address(address));
        (other.unwrap_or(self), destination)
    }

    /// Finds the filter chain of a connection; none if there is none for it, or the listener ends before that is known.
    async fn understand(
        &self,
        mut stream: TcpStream,
        remote: SocketAddr,
        destination: Option<SocketAddr>,
        drain_duration: Duration,
        admitted: &Admitted,
    ) -> Result<Option<(Rc<ChainRuntime>, Incoming)>, NotServed> {
        static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
        let current = self.current.borrow().clone();
        let is_socket = current.listener.socket.is_some();
        if !is_socket {
            stream.set_nodelay(true)?;
        }
        let here = || if is_socket { Ok(remote) } else { stream.local_addr().map(plain) };
        let local = destination.map_or_else(here, Ok)?;
        let direct_remote = remote;
        let mut from = Origin { client: Client { remote, local }, destination, read: vec![] };
        let inspect = current.listener.filters.inspect(local.port());
        let inspected = tokio::select! {
            inspected = async {
                if let Some(clients) = current.listener.filters.announced_clients(local.port()) {
                    Box::pin(announced::read(&mut stream, clients, inspect, &mut from)).await?;
                }
                Ok::<_, NotServed>(inspect::inspect(&mut stream, inspect, std::mem::take(&mut from.read)).await?)
            } => inspected?,
            // Who says nothing for ever does not outlive the listener for ever.
            () = self.drained(drain_duration) => return Ok(None),
        };
        let Origin { client: Client { remote, local }, destination, read: _ } = from;
        let found = match inspected {
            Inspected::Known(found) => found,
            Inspected::TooLong(found) => {
                admitted.count(|stats| stats.downstream_pre_cx_timeout.add(1));
                found.ok_or(NotServed::NotUnderstood)?
            }
        };
        let mut info = ConnectionInfo {
            id: CONNECTIONS.fetch_add(1, Ordering::Relaxed),
            local,
            original_destination: destination,
            remote,
            direct_remote,
            source: current.source(local, remote),
            server_name: found.server_name.as_deref().map(Into::into),
            tls_version: None,
            ends: None,
            heard: LastHeard::default(),
        };
        let protocols: Vec<&[u8]> = found.protocols.iter().map(Vec::as_slice).collect();
        let connection = Connection {
            destination: info.local,
            server_name: found.server_name.as_deref(),
            tls: found.tls,
            application_protocols: &protocols,
        };
        let Some(chain) = current.listener.find(&connection).and_then(|position| current.chains.get(position)).cloned() else {
            self.count(|stats| stats.no_filter_chain_match.add(1));
            current.note_no_chain(info);
            return Ok(None);
        };
        info.server_name = found.server_name.map(Into::into);
        Ok(Some((chain, Incoming { stream, first: found.first, info })))
    }
}

impl Current {
    /// In whose name instances are called for a connection.
    fn source(&self, local: SocketAddr, remote: SocketAddr) -> Option<Source> {
        let asked = self.listener.filters.original_source(local.port())?;
        // Who came by a Unix socket has no address.
        unix_socket::path(remote).is_none().then(|| {
            let port = if asked.with_port { remote.port() } else { 0 };
            Source { address: SocketAddr::new(remote.ip(), port), mark: asked.mark }
        })
    }

    fn note_no_chain(&self, info: ConnectionInfo) {
        let exchange = Exchange::new(Rc::new(info), None, !self.logs.is_empty());
        exchange.flag(ResponseFlags::NO_ROUTE);
        exchange.termination.replace(Some("filter_chain_not_found".into()));
        exchange.duration.set(Some(exchange.start.elapsed()));
        self.logs.write(&exchange);
    }
}

/// The address of a listener, or the one that stands for its path.
pub fn place(listener: &Listener) -> SocketAddr {
    listener.socket.as_ref().map_or(listener.address, |socket| unix_socket::address(&socket.path))
}

/// Where a connection was going to before the kernel redirected it here; none if it was not redirected.
#[cfg(target_os = "linux")]
fn original_destination(stream: &TcpStream) -> Option<SocketAddr> {
    let socket = socket2::SockRef::from(stream);
    let is_v4 = plain(stream.local_addr().ok()?).is_ipv4();
    let found = if is_v4 { socket.original_dst_v4() } else { socket.original_dst_v6() };
    found.ok()?.as_socket()
}

/// Only Linux redirects in a way that can be asked for.
#[cfg(not(target_os = "linux"))]
fn original_destination(_: &TcpStream) -> Option<SocketAddr> {
    None
}
