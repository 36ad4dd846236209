//! A listener as one worker serves it: it accepts, finds the filter chain, and hands over.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use weir_routing::Connection;

use weir_config::flags::ResponseFlags;
use weir_config::listener::{Listener, OriginalDestination};

use super::chain::{ChainRuntime, Incoming};
use super::sockets::Bound;
use super::{Listeners, OpenListener, Surroundings, inspect};
use crate::exchange::recorder::Logs;
use crate::exchange::{ConnectionInfo, Exchange};
use crate::stats::listener::ListenerStats;

/// How long accepting pauses when the process has no descriptors left.
const OUT_OF_DESCRIPTORS_PAUSE: Duration = Duration::from_millis(50);

/// A listener that is in force.
pub struct ActiveListener {
    /// None if other listeners hand connections to it.
    sockets: Option<Arc<Bound>>,
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
        Some(sockets) => match TcpListener::from_std(sockets.take(worker)?) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::error!(listener = %open.listener.name, %error, "a listening socket cannot be used");
                return None;
            }
        },
    };
    let active = Rc::new(ActiveListener {
        sockets: open.sockets.clone(),
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
            None => Rc::new(ChainRuntime::new(around, chain, tls.clone(), open.listener.inbound)),
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

    /// The address that it is for.
    pub fn address(&self) -> SocketAddr {
        self.current.borrow().listener.address
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

    async fn accept(self: Rc<Self>, listeners: Rc<Listeners>, socket: TcpListener) {
        while !self.closed.get() {
            let accepted = tokio::select! {
                biased;
                () = self.closing.notified() => break,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, remote)) => self.start(&listeners, stream, remote),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(OUT_OF_DESCRIPTORS_PAUSE).await;
                }
            }
        }
        // Who has been let in by the kernel already is served; closing the socket would reset them.
        while let Some(Ok((stream, remote))) = accept_now(&socket) {
            self.start(&listeners, stream, remote);
        }
    }

    fn start(self: &Rc<Self>, listeners: &Rc<Listeners>, stream: TcpStream, remote: SocketAddr) {
        let (listener, listeners) = (self.clone(), listeners.clone());
        tokio::task::spawn_local(async move {
            let (listener, destination) = listener.for_connection(&listeners, &stream);
            let _counted = Counted::new(&listener);
            let _open = listeners.around.clusters.shared.connections.enter();
            let drain_duration = listeners.around.drain_duration;
            drop(listeners);
            if let Err(error) = listener.serve(stream, remote, destination, drain_duration).await {
                tracing::debug!(%remote, %error, "a connection ended before it was understood");
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

    async fn serve(
        &self,
        mut stream: TcpStream,
        remote: SocketAddr,
        destination: Option<SocketAddr>,
        drain_duration: Duration,
    ) -> io::Result<()> {
        static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
        stream.set_nodelay(true)?;
        let current = self.current.borrow().clone();
        let local = destination.map_or_else(|| stream.local_addr(), Ok)?;
        let inspect = current.listener.filters.inspect(local.port());
        let found = tokio::select! {
            found = inspect::inspect(&mut stream, inspect) => found?,
            // Who says nothing for ever does not outlive the listener for ever.
            () = self.drained(drain_duration) => return Ok(()),
        };
        let mut info = ConnectionInfo {
            id: CONNECTIONS.fetch_add(1, Ordering::Relaxed),
            local,
            original_destination: destination,
            remote,
            server_name: found.server_name.as_deref().map(Into::into),
            tls_version: None,
        };
        let protocols: Vec<&[u8]> = found.protocols.iter().map(Vec::as_slice).collect();
        let connection = Connection {
            destination: info.local,
            server_name: found.server_name.as_deref(),
            tls: found.tls,
            application_protocols: &protocols,
        };
        let Some(chain) = current.listener.find(&connection).and_then(|position| current.chains.get(position)).cloned() else {
            self.stats.of(self.worker).no_filter_chain_match.add(1);
            current.note_no_chain(info);
            return Ok(());
        };
        drop(current);
        info.server_name = found.server_name.map(Into::into);
        chain.serve(Incoming { stream, first: found.first, info }).await
    }
}

/// An open connection in the statistics, until it is dropped.
struct Counted(Arc<ListenerStats>, usize);

impl Counted {
    fn new(listener: &ActiveListener) -> Self {
        let stats = listener.stats.of(listener.worker);
        stats.downstream_cx_total.add(1);
        stats.downstream_cx_active.add(1);
        Self(listener.stats.clone(), listener.worker)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.of(self.1).downstream_cx_active.subtract(1);
    }
}

impl Current {
    fn note_no_chain(&self, info: ConnectionInfo) {
        let exchange = Exchange::new(Rc::new(info), None, !self.logs.is_empty());
        exchange.flag(ResponseFlags::NO_ROUTE);
        exchange.termination.replace(Some("filter_chain_not_found".into()));
        exchange.duration.set(Some(exchange.start.elapsed()));
        self.logs.write(&exchange);
    }
}

/// Errors of a client that went away before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted)
}

/// Where a connection was going to before the kernel redirected it here; none if it was not redirected.
#[cfg(target_os = "linux")]
fn original_destination(stream: &TcpStream) -> Option<SocketAddr> {
    let socket = socket2::SockRef::from(stream);
    let is_v4 = stream.local_addr().ok()?.ip().to_canonical().is_ipv4();
    let found = if is_v4 { socket.original_dst_v4() } else { socket.original_dst_v6() };
    found.ok()?.as_socket()
}

/// Only Linux redirects in a way that can be asked for.
#[cfg(not(target_os = "linux"))]
fn original_destination(_: &TcpStream) -> Option<SocketAddr> {
    None
}

/// A connection that waits already.
fn accept_now(socket: &TcpListener) -> Option<io::Result<(TcpStream, SocketAddr)>> {
    let mut cx = std::task::Context::from_waker(Waker::noop());
    match socket.poll_accept(&mut cx) {
        std::task::Poll::Ready(accepted) => Some(accepted),
        std::task::Poll::Pending => None,
    }
}
