//! A filter chain as one worker serves it: TLS, then HTTP or TCP.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::instance::Instance;
use super::routes::RouteSlot;
use crate::config::http::RouteSource;
use crate::config::listener::{Chain, Handler};
use crate::config::tls::ServerTls;
use crate::http::{HttpRuntime, connection};
use crate::io::Prefixed;
use crate::log::exchange::ConnectionInfo;
use crate::stats::requests::Reporter;
use crate::tcp::{Client, TcpRuntime};

/// A filter chain, for one worker.
pub struct ChainRuntime {
    /// What it is told to do.
    pub chain: Arc<Chain>,
    handler: HandlerRuntime,
    /// The HTTP connections that it serves now.
    open: RefCell<HashMap<u64, Rc<Control>>>,
    draining: Cell<bool>,
}

enum HandlerRuntime {
    Http(Rc<HttpRuntime>),
    Tcp(Rc<TcpRuntime>),
}

/// A connection that has come in.
pub struct Incoming {
    /// The socket.
    pub stream: TcpStream,
    /// What was read of it already.
    pub first: Bytes,
    /// What is known of it.
    pub info: ConnectionInfo,
}

/// What others can tell a connection: one flag, so that a connection that nobody tells anything pays nothing.
#[derive(Debug, Default)]
pub struct Control {
    finish: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// When it was opened.
    opened: Cell<Option<Instant>>,
    /// When its last request began.
    pub last_request: Cell<Option<Instant>>,
}

impl Control {
    /// It is to end when it has finished what it is doing.
    pub fn finish(&self) {
        if !self.finish.replace(true)
            && let Some(waker) = self.waker.borrow_mut().take()
        {
            waker.wake();
        }
    }

    /// Whether it is to end.
    pub fn is_finishing(&self) -> bool {
        self.finish.get()
    }

    /// Whom to wake.
    pub fn watch(&self, waker: &Waker) {
        let mut watching = self.waker.borrow_mut();
        if !watching.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *watching = Some(waker.clone());
        }
    }
}

impl ChainRuntime {
    /// For one worker.
    pub fn new(instance: &Rc<Instance>, chain: &Arc<Chain>, inbound: bool) -> Self {
        let reporter = if inbound { Reporter::Destination } else { Reporter::Source };
        let handler = match &chain.handler {
            Handler::Http(config) => {
                let routes = match &config.routes {
                    RouteSource::Named(name) => instance.route_slot(name),
                    RouteSource::Inline(table) => Rc::new(RouteSlot::filled(instance.resolve(table))),
                };
                HandlerRuntime::Http(Rc::new(HttpRuntime::new(config.clone(), routes, reporter, instance.clone())))
            }
            Handler::Tcp(config) => HandlerRuntime::Tcp(Rc::new(TcpRuntime::new(config.clone(), reporter, instance.clone()))),
        };
        Self { chain: chain.clone(), handler, open: RefCell::default(), draining: Cell::new(false) }
    }

    /// Its HTTP connections end when they have finished what they are doing.
    pub fn drain(&self) {
        self.draining.set(true);
        self.open.borrow().values().for_each(|control| control.finish());
    }

    /// Ends HTTP connections on which nothing happened for too long, or that are too old.
    pub fn sweep(&self, now: Instant) {
        let HandlerRuntime::Http(http) = &self.handler else { return };
        let over = |limit: Option<Duration>, since: Option<Instant>| {
            limit.zip(since).is_some_and(|(limit, since)| now.duration_since(since) >= limit)
        };
        for control in self.open.borrow().values() {
            let idle = over(http.config.idle_timeout, control.last_request.get());
            if idle || over(http.config.max_connection_duration, control.opened.get()) {
                control.finish();
            }
        }
    }

    /// Serves a connection to its end.
    ///
    /// # Errors
    /// If its TLS handshake fails.
    pub async fn serve(&self, incoming: Incoming) -> io::Result<()> {
        let Incoming { stream, first, info } = incoming;
        let Some(tls) = &self.chain.tls else {
            match &self.handler {
                HandlerRuntime::Http(http) => {
                    let stream = Prefixed::new(first, stream);
                    self.serve_http(info, |info, control| connection::serve(stream, None, info, http.clone(), control)).await;
                }
                HandlerRuntime::Tcp(tcp) => {
                    Box::pin(tcp.clone().serve::<Prefixed<TcpStream>>(Client::Plain(stream, first), Rc::new(info))).await;
                }
            }
            return Ok(());
        };
        // Each kind of connection has its own room: otherwise every one takes as much as the largest.
        Box::pin(self.serve_tls(tls, Incoming { stream, first, info })).await
    }

    async fn serve_tls(&self, tls: &ServerTls, incoming: Incoming) -> io::Result<()> {
        let Incoming { stream, first, mut info } = incoming;
        let stream = TlsAcceptor::from(tls.config.clone()).accept(Prefixed::new(first, stream)).await?;
        let (_, session) = stream.get_ref();
        info.tls_version = Some(match session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        });
        let alpn = session.alpn_protocol().map(<[u8]>::to_vec).unwrap_or_default();
        match &self.handler {
            HandlerRuntime::Http(http) => {
                self.serve_http(info, |info, control| connection::serve(stream, Some(alpn), info, http.clone(), control)).await;
            }
            HandlerRuntime::Tcp(tcp) => tcp.clone().serve(Client::Tls(stream), Rc::new(info)).await,
        }
        Ok(())
    }

    async fn serve_http<F: Future<Output = ()>>(&self, info: ConnectionInfo, serve: impl FnOnce(Rc<ConnectionInfo>, Rc<Control>) -> F) {
        let id = info.id;
        let control = Rc::new(Control::default());
        let now = Some(Instant::now());
        control.last_request.set(now);
        control.opened.set(now);
        if self.draining.get() {
            control.finish();
        }
        self.open.borrow_mut().insert(id, control.clone());
        serve(Rc::new(info), control).await;
        self.open.borrow_mut().remove(&id);
    }
}
