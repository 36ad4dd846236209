//! A filter chain as one worker serves it: TLS, then HTTP or TCP.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use weir_config::budget::Permit;
use weir_config::http::RouteSource;
use weir_config::listener::{Chain, Handler, Listener, NetworkFilter};

use super::Surroundings;
use super::refusals;
use super::rules::{self, Refused};
use crate::exchange::{ConnectionInfo, Ends};
use crate::http::control::Control;
use crate::http::{Chain as FilterChain, HttpRuntime, connection};
use crate::io::clock::clock;
use crate::io::farewell;
use crate::io::prefixed::Prefixed;
use crate::tcp::TcpRuntime;
use crate::tls::server::ServerTransport;
use crate::tls::shown;
use crate::upstream::clusters::Clusters;

/// Where memory is short, connections end that have asked for nothing for so long, when they have finished what they are doing.
const SPARED: Duration = Duration::from_secs(1);

/// How often connections are looked at.
pub const SWEEP: Duration = Duration::from_secs(1);
/// How often they are where one of their limits is very short.
const QUICKEST: Duration = Duration::from_millis(20);

/// A filter chain, for one worker.
pub struct ChainRuntime {
    /// What it is told to do.
    pub chain: Arc<Chain>,
    /// What the handshakes of TLS are done with; none for plain text.
    tls: Option<Arc<ServerTransport>>,
    handler: HandlerRuntime,
    /// The connections that it serves now, those that have changed to another protocol among them.
    open: RefCell<HashMap<u64, Weak<Control>>>,
    draining: Cell<bool>,
    drain_duration: Duration,
    /// Where the services are that are asked about connections.
    clusters: Rc<Clusters>,
    /// How often its connections are looked at.
    pub pace: Duration,
    swept: Cell<Option<Instant>>,
}

enum HandlerRuntime {
    Http(Rc<HttpRuntime>),
    Tcp(Rc<TcpRuntime>),
    Respond(Bytes),
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

/// Why a connection was not served.
#[derive(Debug, thiserror::Error)]
pub enum NotServed {
    /// What it is was not known in time.
    #[error("its first bytes did not come in time")]
    NotUnderstood,
    /// It should begin with who the client is, and does not.
    #[error("it does not begin with a header of the PROXY protocol that is taken here")]
    NotAnnounced,
    /// Its TLS handshake took too long.
    #[error("its TLS handshake was not finished in time")]
    HandshakeTooLong,
    /// Its TLS handshake failed.
    #[error("its TLS handshake failed: {0}")]
    Handshake(io::Error),
    /// It failed.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

/// A connection that is served. Each kind, and each step, has its own room: otherwise every one takes as much as the largest, as long as
/// it lasts.
type Serving<'c> = Pin<Box<dyn Future<Output = Result<(), NotServed>> + 'c>>;

type SecureStream = TlsStream<Prefixed<TcpStream>>;

impl ChainRuntime {
    /// For one worker.
    pub fn new(around: &Surroundings, chain: &Arc<Chain>, tls: Option<Arc<ServerTransport>>, listener: &Listener) -> Self {
        let Surroundings { clusters, routes, recorder, drain_duration } = around;
        let inbound = listener.inbound;
        let handler = match &chain.handler {
            Handler::Http(config) => {
                let routes = match &config.routes {
                    RouteSource::Named(name) => routes.named(name),
                    RouteSource::Inline(table) => routes.inline(table, clusters),
                };
                let recording = recorder.recording(&config.access_logs, inbound);
                let filters = FilterChain::new(&config.filters);
                let (config, clusters) = (config.clone(), clusters.clone());
                HandlerRuntime::Http(Rc::new(HttpRuntime {
                    config,
                    routes,
                    filters,
                    recording,
                    clusters,
                    buffer_limit: listener.buffer_limit,
                }))
            }
            Handler::Tcp(config) => {
                let recording = recorder.recording(&config.access_logs, inbound);
                HandlerRuntime::Tcp(Rc::new(TcpRuntime::new(config.clone(), recording, clusters.clone())))
            }
            Handler::Respond(answer) => HandlerRuntime::Respond(answer.clone()),
        };
        Self {
            chain: chain.clone(),
            tls,
            pace: pace(&handler),
            handler,
            open: RefCell::default(),
            draining: Cell::new(false),
            drain_duration: *drain_duration,
            clusters: clusters.clone(),
            swept: Cell::default(),
        }
    }

    /// Its connections end when they have finished what they are doing, and those that never do when it has lasted too long.
    pub fn drain(&self) {
        self.draining.set(true);
        self.controls().iter().for_each(|control| control.finish());
        self.end_later(self.open.borrow().values().cloned().collect());
    }

    /// Ends connections when they have been drained for long enough.
    fn end_later(&self, connections: Vec<Weak<Control>>) {
        let limit = self.drain_duration;
        if !connections.is_empty() {
            tokio::task::spawn_local(async move {
                tokio::time::sleep(limit).await;
                connections.iter().filter_map(Weak::upgrade).for_each(|control| control.end());
            });
        }
    }

    fn controls(&self) -> Vec<Rc<Control>> {
        self.open.borrow().values().filter_map(Weak::upgrade).collect()
    }

    /// Ends HTTP connections on which nothing happened for too long, that are too old, or whose client begins a request and does not
    /// go on, or does not read its answer.
    pub fn sweep(&self, now: Instant) {
        // The ticks that it is called at come a little earlier or later.
        if self.swept.get().is_some_and(|swept| now.duration_since(swept) < self.pace - self.pace / 8) {
            return;
        }
        self.swept.set(Some(now));
        self.open.borrow_mut().retain(|_, control| control.strong_count() > 0);
        let HandlerRuntime::Http(http) = &self.handler else { return };
        let over = |limit: Option<Duration>, since: Option<Instant>| {
            limit.zip(since).is_some_and(|(limit, since)| now.duration_since(since) >= limit)
        };
        let sheds = http.clusters.shared.overload.sheds_idle();
        let idle_timeout = if sheds { Some(SPARED) } else { http.config.idle_timeout };
        for control in self.controls() {
            if control.streams.get() > 0 {
                // Silence is counted from the end of the last request.
                control.last_request.set(Some(now));
            } else if over(idle_timeout, control.last_request.get()) {
                control.expire(if sheds { Duration::ZERO } else { http.config.drain_timeout });
            }
            if over(http.config.max_connection_duration, control.opened.get()) {
                control.expire(http.config.drain_timeout);
            }
            if over(http.config.head_timeout, control.head_since.get()) {
                control.give_up_head();
            }
            if over(http.config.stream_idle_timeout, control.stalled_since.get()) {
                // It does not read: whatever waits for it is held for nobody.
                control.end();
            }
        }
    }

    /// Serves a connection to its end.
    ///
    /// # Errors
    /// If its TLS handshake fails.
    pub fn serve(&self, incoming: Incoming) -> impl Future<Output = Result<(), NotServed>> {
        let control = self.enter(&incoming.info);
        // A connection that nobody waits for any more is dropped as it is.
        let mut serving = self.serve_until_end(incoming, control.clone());
        async move { control.unless_ended(Pin::new(&mut serving)).await.unwrap_or(Ok(())) }
    }

    /// Takes a connection in among those that can be told to end.
    fn enter(&self, info: &ConnectionInfo) -> Rc<Control> {
        let control = Rc::new(Control::default());
        let now = Some(Instant::now());
        control.last_request.set(now);
        control.opened.set(now);
        if self.draining.get() {
            // Its first bytes came after the chain was replaced.
            control.finish();
            self.end_later(vec![Rc::downgrade(&control)]);
        }
        self.open.borrow_mut().insert(info.id, Rc::downgrade(&control));
        control
    }

    /// Passes the filters before the last one, which may keep a permit of the connection; none if it is not let in.
    async fn pass_filters(&self) -> Option<Vec<Permit>> {
        let mut permits = vec![];
        for filter in &self.chain.filters {
            match filter {
                // Who the client is, is known only after its handshake.
                NetworkFilter::Watch | NetworkFilter::Rbac(_) | NetworkFilter::ExtAuthz(_) => {}
                NetworkFilter::ConnectionRate(rate) if rate.admit(clock()) => {}
                NetworkFilter::ConnectionRate(_) => return None,
                NetworkFilter::ConnectionLimit(limit) => match limit.admit() {
                    Some(permit) => permits.push(permit),
                    None => {
                        // It counts no longer, and is closed a little later.
                        drop(permits);
                        tokio::time::sleep(limit.delay.unwrap_or_default()).await;
                        return None;
                    }
                },
            }
        }
        Some(permits)
    }

    fn serve_until_end(&self, incoming: Incoming, control: Rc<Control>) -> Serving<'_> {
        if self.chain.filters.is_empty() {
            return self.serve_admitted(incoming, control);
        }
        Box::pin(async move {
            let Some(permits) = self.pass_filters().await else { return Ok(()) };
            control.permits.replace(permits);
            let served = self.serve_admitted(incoming, control.clone()).await;
            control.permits.take();
            served
        })
    }

    fn serve_admitted(&self, incoming: Incoming, control: Rc<Control>) -> Serving<'_> {
        let Some(tls) = &self.tls else {
            let Incoming { stream, first, info } = incoming;
            return self.serve_stream(Prefixed::new(first, stream), None, info, control);
        };
        let handshake = Box::pin(self.shake_hands(tls, incoming));
        Box::pin(async move {
            let (stream, info) = handshake.await?;
            let alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec).unwrap_or_default();
            self.serve_stream(stream, Some(alpn), info, control).await
        })
    }

    async fn shake_hands(&self, tls: &Arc<ServerTransport>, incoming: Incoming) -> Result<(SecureStream, ConnectionInfo), NotServed> {
        let Incoming { stream, first, mut info } = incoming;
        let handshake = async {
            let begun = LazyConfigAcceptor::new(Acceptor::default(), Prefixed::new(first, stream)).await?;
            let config = tls.config(&begun.client_hello());
            begun.into_stream(config).await
        };
        let in_time = tokio::time::timeout(self.chain.handshake_timeout, handshake).await;
        let stream = in_time.map_err(|_| NotServed::HandshakeTooLong)?.map_err(NotServed::Handshake)?;
        let (_, session) = stream.get_ref();
        let own_uris = tls.own_certificate().and_then(|own| own.cert.first().map(shown::uris)).unwrap_or_default();
        let peer = session.peer_certificates().and_then(|chain| shown::read(chain, &own_uris, tls.holds(chain)));
        info.ends = Some(Box::new(Ends::new(own_uris, peer)));
        info.tls_version = Some(match session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        });
        Ok((stream, info))
    }

    /// Ends a connection that is not let in. As with Envoy its client has to say something first; but no instance is connected to, it
    /// takes no place of one that is let in, and it is not waited for when connections are told to finish.
    fn turn_away<S>(&self, stream: S, info: &Rc<ConnectionInfo>, control: Rc<Control>, refused: Refused) -> Serving<'_>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let Refused { why, flag, delay } = refused;
        control.permits.take();
        refusals::tell_by_rules(info.remote, info.local, &why);
        let noted = match &self.handler {
            HandlerRuntime::Tcp(tcp) => Some(tcp.refused(info.clone(), why, flag)),
            HandlerRuntime::Http(_) | HandlerRuntime::Respond(_) => None,
        };
        let waited = farewell::refuse(stream, delay);
        Box::pin(async move {
            tokio::select! {
                () = waited => {}
                () = control.finishing() => {}
            }
            drop(noted);
            Ok(())
        })
    }

    fn serve_stream<S>(&self, stream: S, alpn: Option<Vec<u8>>, info: ConnectionInfo, control: Rc<Control>) -> Serving<'_>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let info = Rc::new(info);
        if rules::asks(&self.chain.filters) {
            return Box::pin(async move {
                match rules::judge_or_ask(&self.chain.filters, &info, &self.clusters).await {
                    Some(refused) => self.turn_away(stream, &info, control, refused).await,
                    None => self.serve_let_in(stream, alpn, info, control).await,
                }
            });
        }
        match rules::judge(&self.chain.filters, &info) {
            Some(refused) => self.turn_away(stream, &info, control, refused),
            None => self.serve_let_in(stream, alpn, info, control),
        }
    }

    fn serve_let_in<S>(&self, stream: S, alpn: Option<Vec<u8>>, info: Rc<ConnectionInfo>, control: Rc<Control>) -> Serving<'_>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        match &self.handler {
            HandlerRuntime::Http(http) => {
                let serving = connection::serve(stream, alpn, info, http.clone(), control);
                Box::pin(async {
                    serving.await;
                    Ok(())
                })
            }
            HandlerRuntime::Tcp(tcp) => Box::pin(async {
                tcp.clone().serve(stream, info).await;
                Ok(())
            }),
            HandlerRuntime::Respond(answer) => {
                let answered = farewell::answer(stream, answer.clone());
                Box::pin(async {
                    answered.await;
                    Ok(())
                })
            }
        }
    }
}

/// How often connections are looked at: so that no limit is exceeded by more than a quarter.
fn pace(handler: &HandlerRuntime) -> Duration {
    let HandlerRuntime::Http(http) = handler else { return SWEEP };
    let config = &http.config;
    let limits = [config.idle_timeout, config.max_connection_duration, config.head_timeout, config.stream_idle_timeout];
    limits.into_iter().flatten().min().map_or(SWEEP, |shortest| (shortest / 4).clamp(QUICKEST, SWEEP))
}
