//! The one way of a request to an instance: a connection that is kept, shared or new, within the cluster's limits, then the
//! request, then the head of the answer. Requests, their copies, retries and changes of protocol all take it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::Version;
use http_body::Body as _;
use weir_config::circuit_breakers::Resource;
use weir_config::cluster::{ClusterPolicy, UpstreamProtocol};
use weir_config::head::Head;
use weir_config::head::http2::answer_is_too_large;
use weir_http1::header::from_map;
use weir_routing::action::Priority;

use super::body::{ClientBody, Origin, RequestBody, UpstreamBody};
use super::cluster::ClusterRuntime;
use super::connect::open;
use super::framing::{self, Framed};
use super::host::{Asked, HostRuntime, Turn};
use super::http1::{Http1Connection, SendError};
use super::http2::{self, Http2Connection};
use super::interim::Interim;
use super::lane::ConnectionPermit;
use super::limits::AttemptLimits;
use super::opening::Opened;
use super::transport::{Transport, TransportKey};
use super::websocket;
use crate::cluster::resources::{Overflow, Permit};
use crate::exchange::failure::{Failure, FailureKind};
use crate::exchange::{Ends, Exchange, Introduction};
use crate::io::http2::receiving::TrailerLimits;
use crate::io::response::Parts;
use crate::stats::cluster::WorkerClusterStats;
use crate::tls::client::Offer;

/// A request that goes to an instance.
pub struct Outgoing<'s> {
    /// The instance's cluster.
    pub cluster: &'s Rc<ClusterRuntime>,
    /// The instance.
    pub target: &'s Rc<HostRuntime>,
    /// What is asked.
    pub head: &'s RefCell<Head>,
    /// What follows the head.
    pub body: Payload<'s>,
    /// What the client speaks.
    pub client: Option<Version>,
    /// How important it is.
    pub priority: Priority,
    /// How long an attempt may take.
    pub limits: AttemptLimits,
    /// The exchange that it is made for; none for a copy.
    pub exchange: Option<&'s Rc<Exchange>>,
    /// What the instance is told of our workload, if it is of the mesh as we are.
    pub introduction: Option<&'s Introduction>,
}

/// The body of a request that goes to an instance.
pub enum Payload<'s> {
    /// The client's; none if it has none.
    Client(Option<&'s Rc<ClientBody>>),
    /// A copy, which can be sent but once.
    Copy(RefCell<Option<RequestBody>>),
    /// All of it, there from the beginning.
    Whole(Bytes),
}

impl Payload<'_> {
    fn next(&self) -> RequestBody {
        match self {
            Self::Client(body) => RequestBody::attempt(*body),
            Self::Copy(body) => body.borrow_mut().take().unwrap_or_else(RequestBody::broken),
            Self::Whole(body) => RequestBody::whole(body.clone()),
        }
    }

    /// Whether it can be sent once more.
    fn can_repeat(&self) -> bool {
        match self {
            Self::Client(body) => body.is_none_or(|body| body.can_replay()),
            Self::Copy(body) => body.borrow().is_some(),
            Self::Whole(_) => true,
        }
    }

    fn client(&self) -> Option<&Rc<ClientBody>> {
        match self {
            Self::Client(body) => *body,
            Self::Copy(_) | Self::Whole(_) => None,
        }
    }
}

/// So many other connections are tried where the other side takes no more on one: an instance that says so on each must not
/// keep us opening them.
const OTHER_CONNECTIONS: u32 = 2;

/// So often a handshake may agree on the other protocol than the last one did.
const AGREEMENTS: u32 = 4;

/// An answer whose head has come.
pub type Reached = Box<UpstreamBody>;

impl Outgoing<'_> {
    /// Sends it, and waits for the head of the answer.
    ///
    /// # Errors
    /// If there is no answer; the client's own failures are told from the instance's.
    pub async fn send(&self) -> Result<Reached, Failure> {
        self.send_by_any().await.map_err(|failure| match self.body.client().and_then(|body| body.failure()) {
            // Whatever became of the connection, it was for want of the rest of the request.
            Some(kind) => Failure { kind, ..failure },
            None => failure,
        })
    }

    /// Sends it by what the instance speaks; where both are offered, that is known when the handshake has agreed on one.
    async fn send_by_any(&self) -> Result<Reached, Failure> {
        let (key, offer) = self.cluster.with_policy(|policy| self.way(policy));
        let mut http2 = offer == Offer::Http2 || offer == Offer::Either && !self.target.agreed_on_http1(&key);
        for _ in 0..AGREEMENTS {
            // What goes by HTTP/2 holds more than what goes by HTTP/1.1.
            let tried = if http2 { Box::pin(self.http2(&key, offer)).await? } else { self.http1(&key, offer).await? };
            match tried {
                Some(reached) => return Ok(reached),
                None => http2 = !http2,
            }
        }
        Err(FailureKind::Protocol.into())
    }

    /// The connection that it needs, and what is offered where one is opened.
    fn way(&self, policy: &ClusterPolicy) -> (TransportKey, Offer) {
        let way = self.target.way();
        let offer = match policy.protocol {
            UpstreamProtocol::Http2 => Offer::Http2,
            UpstreamProtocol::Same if self.client == Some(Version::HTTP_2) => Offer::Http2,
            // To another protocol one changes from HTTP/1.1.
            UpstreamProtocol::Negotiated if way.tls.is_some() && self.head.borrow().upgrade.is_none() => Offer::Either,
            UpstreamProtocol::Same | UpstreamProtocol::Http1 | UpstreamProtocol::Negotiated => Offer::Http1,
        };
        let own_name = self.target.host.hostname.as_ref();
        let key = TransportKey::of_request(&way, offer, own_name, &policy.host_names, &self.head.borrow()).for_priority(self.priority);
        match self.exchange {
            Some(exchange) => (key.for_client(&exchange.connection), offer),
            None => (key, offer),
        }
    }

    fn note_connection(&self, local: SocketAddr, ends: Option<&Arc<Ends>>) {
        if let Some(exchange) = self.exchange {
            exchange.upstream_local.set(Some(local));
            if let Some(ends) = ends {
                exchange.upstream_ends.replace(Some(ends.clone()));
            }
        }
    }

    /// By HTTP/1.1; none if the handshake agrees on HTTP/2.
    async fn http1(&self, key: &TransportKey, offer: Offer) -> Result<Option<Reached>, Failure> {
        let mut kept = self.target.take_idle(key);
        websocket::complete(&mut self.head.borrow_mut(), self.client);
        loop {
            let (mut connection, reused) = match kept.take() {
                Some(connection) => (connection, true),
                // Seldom, and large: nobody else is to hold room for it.
                None => match Box::pin(self.connection(key, offer)).await? {
                    Some(opened) => opened,
                    None => return Ok(None),
                },
            };
            self.note_connection(connection.local, connection.ends.as_ref());
            if let Some(introduction) = self.introduction {
                introduction.tell(&mut self.head.borrow_mut().headers, is_member(connection.ends.as_ref()));
            }
            let sent = Instant::now();
            let (body, framed) = self.http1_body();
            let mut interim = self.interim();
            let answered = {
                // It stays where it is, and what limits it but points to it.
                let answer = pin!(connection.send(&self.head.borrow(), body, framed, &mut interim));
                self.limits.hold(self.body.client(), answer).await?
            };
            match answered {
                Ok(head) => return Ok(Some(UpstreamBody::new(head, sent, Origin::Http1(Some(connection), self.target.clone())))),
                // It had ended unseen, and nothing was written: a fresh one does not change what is sent.
                Err(error) if reused && error.unsent && self.body.can_repeat() => connection.counted.finish(),
                Err(mut error) => {
                    // An interim answer is no beginning of the one that was waited for.
                    error.begun &= !interim.any;
                    return Err(failed(&mut connection, error));
                }
            }
        }
    }

    /// A connection where none is idle, and whether it was used before: a new one, or, where no more may be open, the next
    /// that is given back. None if the handshake agrees on HTTP/2: then one is shared.
    async fn connection(&self, key: &TransportKey, offer: Offer) -> Result<Option<(Box<Http1Connection>, bool)>, Failure> {
        let _pending = take(self.cluster, self.priority, Resource::Pending)?;
        let asked = match self.target.turn(self.cluster, key).await {
            Turn::Reuse(connection) => return Ok(Some((connection, true))),
            Turn::TakeOver(opening) => Asked::Before(opening),
            Turn::Open(permit) => Asked::Anew(open_for(self.cluster.clone(), self.target.clone(), key.clone(), offer, permit)),
        };
        Ok(match self.target.opened(key, asked).await? {
            Opened::Own(connection) => Some((connection, false)),
            Opened::Shared(_) => None,
        })
    }

    /// By HTTP/2; none if the handshake agrees on HTTP/1.1.
    async fn http2(&self, key: &TransportKey, offer: Offer) -> Result<Option<Reached>, Failure> {
        let mut others = OTHER_CONNECTIONS;
        loop {
            // What was accepted from a client of HTTP/1.1 may be what HTTP/2 cannot say.
            let mut request = http2::request(&self.head.borrow()).ok_or(Failure::from(FailureKind::Unsendable))?;
            let Some(connection) = shared_http2(self.cluster, self.target, key, offer).await? else { return Ok(None) };
            let body = self.body.next();
            framing::frame_stream(request.headers_mut(), &body);
            self.note_connection(connection.local, connection.ends.as_ref());
            if let Some(introduction) = self.introduction {
                introduction.tell_stream(request.headers_mut(), is_member(connection.ends.as_ref()));
            }
            let mut guard = self.target.stream(&connection);
            let sent = Instant::now();
            let mut interim = self.interim();
            let answered = {
                let answer = pin!(guard.send(&connection, request, body, &mut interim));
                self.limits.hold(self.body.client(), answer).await?
            };
            match answered {
                Ok(response) => {
                    let (http::response::Parts { status, headers, .. }, stream) = response.into_parts();
                    let head = Parts { status, headers: from_map(headers), ..Parts::default() };
                    framing::check_answer(status, &head.headers)?;
                    if self.cluster.with_policy(|policy| answer_is_too_large(&head.headers, &policy.http2)) {
                        guard.ended();
                        count_reset(&FailureKind::Reset, guard.tally());
                        return Err(Failure::after_sending(FailureKind::Reset));
                    }
                    let (head, body) =
                        http2::answer(head, stream, self.head.borrow().upgrade.as_ref(), self.cluster.with_policy(trailer_limits));
                    return Ok(Some(UpstreamBody::new(head, sent, Origin::Http2(guard, body))));
                }
                Err(error) => {
                    guard.ended();
                    // The other side had said that it takes no more, and this was not sent: another connection takes it.
                    // One that broke as soon as it was open shows how others would fare.
                    let broke_at_once = !matches!(error.kind, FailureKind::RefusedStream) && connection.requests() <= 1;
                    if error.unsent && others > 0 && !connection.is_misunderstood() && !broke_at_once && self.body.can_repeat() {
                        others -= 1;
                        continue;
                    }
                    let kind = if connection.is_misunderstood() { FailureKind::Protocol } else { error.kind };
                    count_reset(&kind, guard.tally());
                    return Err(Failure { sent: !error.unsent, ..kind.into() });
                }
            }
        }
    }

    /// Who gets interim answers.
    fn interim(&self) -> Interim {
        Interim::new(self.exchange)
    }

    /// What follows the head on HTTP/1.1, and how its end is told.
    fn http1_body(&self) -> (RequestBody, Framed) {
        let head = self.head.borrow();
        let mut body = self.body.next();
        if head.upgrade.is_some() && !body.is_end_stream() {
            // What follows it is for the other protocol: the instance gets it when it has agreed, which nobody does who gets a body.
            body = RequestBody::withheld(body.size_hint().exact());
        }
        if !self.cluster.with_policy(|policy| policy.http1.trailers) {
            body.drop_trailers();
        }
        let framed = framing::frame_request(&head, &body);
        (body, framed)
    }
}

/// Whether an instance is of a mesh, and we are to it: nobody else is told of our workload.
fn is_member(ends: Option<&Arc<Ends>>) -> bool {
    ends.is_some_and(|ends| ends.are_members())
}

/// What became of a request on a connection of HTTP/1.1.
fn failed(connection: &mut Http1Connection, error: SendError) -> Failure {
    let SendError { kind, unsent, begun } = error;
    if matches!(kind, FailureKind::ClientGone) {
        // Its request broke off: nobody else did anything.
        return Failure { sent: !unsent, ..kind.into() };
    }
    let garbage = matches!(kind, FailureKind::Protocol);
    if !garbage {
        connection.counted.ended_by_peer();
    }
    if !garbage && !begun {
        return Failure { sent: !unsent, ..kind.into() };
    }
    // An answer that ends within its head is no answer of HTTP.
    connection.counted.tally().cx_protocol_error.add(1);
    Failure::after_sending(FailureKind::Protocol)
}

/// Counts a stream of HTTP/2 that failed.
fn count_reset(kind: &FailureKind, stats: &WorkerClusterStats) {
    match kind {
        FailureKind::Reset => stats.rq_rx_reset.add(1),
        FailureKind::Protocol => stats.rq_tx_reset.add(1),
        FailureKind::Closed => stats.rq_pending_failure_eject.add(1),
        _ => {}
    }
}

/// Takes one of what the cluster limits.
///
/// # Errors
/// If the limit is reached.
pub fn take(cluster: &ClusterRuntime, priority: Priority, resource: Resource) -> Result<Option<Permit>, Failure> {
    cluster.take(priority, resource).map_err(|Overflow| {
        cluster.with_stats(|stats| stats.rq_pending_overflow.add(1));
        FailureKind::Overflow.into()
    })
}

/// A connection that is open, or a new one; none if the handshake agrees on HTTP/1.1: then one is kept.
async fn shared_http2(
    cluster: &Rc<ClusterRuntime>,
    target: &Rc<HostRuntime>,
    key: &TransportKey,
    offer: Offer,
) -> Result<Option<Http2Connection>, Failure> {
    if let Some(connection) = target.shared_at_once(key) {
        return Ok(Some(connection));
    }
    let _pending = take(cluster, key.priority, Resource::Pending)?;
    let most = cluster.with_policy(most_streams);
    let open = |permit| open_for(cluster.clone(), target.clone(), key.clone(), offer, permit);
    // Seldom, and large: nobody else is to hold room for it.
    Box::pin(target.shared_or_opened(cluster, key, most, open)).await
}

fn trailer_limits(policy: &ClusterPolicy) -> TrailerLimits {
    TrailerLimits { fields: policy.http2.max_headers, bytes: policy.http2.max_header_bytes }
}

/// How many requests one connection carries at the most.
fn most_streams(policy: &ClusterPolicy) -> Option<usize> {
    policy.http2.max_concurrent_streams.into_iter().chain(policy.max_requests_per_connection).min().map(|most| most as usize)
}

/// Opens a connection by what is offered. One that is to be shared is in its pool then.
async fn open_for(
    cluster: Rc<ClusterRuntime>,
    target: Rc<HostRuntime>,
    key: TransportKey,
    offer: Offer,
    permit: Option<ConnectionPermit>,
) -> Result<Opened, Failure> {
    let stream = open(&cluster, &target, &key).await?;
    let http2 = offer == Offer::Http2 || offer == Offer::Either && stream.agreed_on_http2();
    if offer == Offer::Either {
        target.note_agreement(&key, !http2);
    }
    if !http2 {
        return Ok(Opened::Own(to_http1(&cluster, stream, &key, permit)));
    }
    let freed = target.freed(&key);
    let opened = Http2Connection::open(stream, key, cluster.policy().http2, cluster.tally(), permit, freed).await?;
    target.share(opened.clone());
    Ok(Opened::Shared(opened))
}

/// A connection of HTTP/1.1 on a new socket.
fn to_http1(cluster: &ClusterRuntime, stream: Transport, key: &TransportKey, permit: Option<ConnectionPermit>) -> Box<Http1Connection> {
    Box::new(Http1Connection::open(stream, key.clone(), cluster.policy().http1, cluster.tally(), permit))
}
