//! One request, from its head to the head of its answer.

use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

use http::{Method, StatusCode, Version};
use weir_config::flags::ResponseFlags;
use weir_config::head::{self, Head, Received};
use weir_config::http::HttpConfig;
use weir_http1::header::{self, HeaderValue, Headers};

use super::body::ResponseBody;
use super::call::{Call, note_no_route};
use super::control::Control;
use super::local_reply::LocalReply;
use super::{HttpRuntime, filters, router};
use crate::exchange::{ConnectionInfo, Exchange};
use crate::io::client::{Incoming, OnUpgrade};
use crate::io::own_address::own_address;
use crate::io::response::Response;
use crate::io::unix_socket;
use crate::upstream::body::Inbound;

/// A request that is being handled. It is apart from its connection, which would hold room for it while it is idle.
pub type Handling = Pin<Box<dyn Future<Output = Response<ResponseBody>>>>;

/// Handles a request: what needs no waiting is done at once.
pub fn handle(
    http: Rc<HttpRuntime>,
    connection: Rc<ConnectionInfo>,
    control: Rc<Control>,
    received: Received,
    incoming: Incoming,
    on_upgrade: Option<OnUpgrade>,
) -> Handling {
    let knows_interim = received.version >= Version::HTTP_11;
    let expects = knows_interim && expects_continue(&received.headers);
    let exchange = Exchange::new(connection, Some(received.version), !http.recording.logs.is_empty());
    control.last_request.set(Some(exchange.start));
    if let Incoming::Http2(stream) = &incoming {
        let _ = exchange.left.set(stream.left.clone());
    }
    let mut call = Call::new(http, exchange, control, received.method.clone());
    let read = read(&call, received);
    // Also who is refused is told first to go on, as Envoy does.
    settle_interim(&call, &incoming, expects && !matches!(&read, Err(refusal) if refusal.malformed));
    let remote = match read {
        Ok(remote) => remote,
        Err(refusal) => return Box::pin(refuse(call, refusal, incoming)),
    };
    if expects && !call.http.config.passes_interim {
        call.exchange.request.borrow_mut().headers.remove(header::EXPECT);
    }
    call.exchange.passes_trailers.set(!call.exchange.is_http1() || call.http.config.trailers);
    call.exchange.remote.set(remote);
    if call.http.config.adds_user_agent {
        tell_proxy(&call);
    }
    call.grpc = call.exchange.request.borrow().is_grpc();
    (call.body, call.on_upgrade) = (Some(Inbound::new(incoming)), on_upgrade);
    Box::pin(pass(call))
}

/// Tells the instance which proxies ask it; which of them does is nobody's to know but the mesh's.
fn tell_proxy(call: &Call) {
    let identity = call.http.recording.identity();
    let told = |text: &str| HeaderValue::from_str(text).ok().filter(|value| !value.is_empty());
    let headers = &mut call.exchange.request.borrow_mut().headers;
    if let Some(cluster) = told(&identity.cluster) {
        if headers.get(header::USER_AGENT).is_none_or(HeaderValue::is_empty) {
            headers.insert(header::USER_AGENT, cluster.clone());
        }
        headers.insert(header::X_ENVOY_DOWNSTREAM_SERVICE_CLUSTER, cluster);
    }
}

/// Whether a client waits to be told that it may go on. What it says twice is another word, as in Envoy.
fn expects_continue(headers: &Headers) -> bool {
    let said = headers.get(header::EXPECT).filter(|_| !headers.may_repeat(header::EXPECT));
    said.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Answers what came by HTTP/1.1 and is no request.
pub fn refuse_unread(http: Rc<HttpRuntime>, connection: Rc<ConnectionInfo>, control: Rc<Control>, refusal: head::Refusal) -> Handling {
    let exchange = Exchange::new(connection, Some(Version::HTTP_11), !http.recording.logs.is_empty());
    control.last_request.set(Some(exchange.start));
    Box::pin(answer_refused(Call::new(http, exchange, control, Method::GET), refusal))
}

/// What the rules of a head look at of a connection.
fn client(connection: &ConnectionInfo, config: &HttpConfig) -> head::Client {
    let client = head::Client::new(connection.remote, connection.tls_version.is_some(), connection.local.port(), own_address());
    let client = if unix_socket::path(connection.remote).is_some() { client.without_address() } else { client };
    match connection.certificate() {
        Some(shown) => client.with_certificate(shown, config),
        None => client,
    }
}

/// Reads the head into the exchange.
fn read(call: &Call, received: Received) -> Result<SocketAddr, head::Refusal> {
    let client = call.control.client.get_or_init(|| client(&call.exchange.connection, &call.http.config));
    head::read(&mut call.exchange.request.borrow_mut(), received, &call.http.config, client, || fastrand::u128(..))
}

/// Takes a request through its filters, and then to the router, which is the last of them.
/// All borrow the call: it is large, and moving it on from one to the next would cost more than some of them do.
#[expect(clippy::manual_async_fn, reason = "an argument of an async function is moved once more")]
pub(super) fn pass(mut call: Call) -> impl Future<Output = Response<ResponseBody>> {
    async move {
        let call = &mut call;
        if call.http.clusters.shared.overload.refuses_request() {
            call.exchange.detail("overload");
            return call.reply(LocalReply::new(StatusCode::SERVICE_UNAVAILABLE, "envoy overloaded")).await;
        }
        if router::upgrade::is_refused(call) {
            call.exchange.detail("upgrade_failed");
            return call.reply(LocalReply::new(StatusCode::FORBIDDEN, "")).await;
        }
        if let Some(reply) = filters::on_request(call).await {
            return call.reply(reply).await;
        }
        router::route(call).await
    }
}

/// Who tells the client that it may send its body, and gives it other interim answers: the instance, or, without its knowledge, we.
fn settle_interim(call: &Call, incoming: &Incoming, expects: bool) {
    if call.http.config.passes_interim {
        *call.exchange.client.borrow_mut() = Some(incoming.client());
    } else if expects && let Some(client) = incoming.client().upgrade() {
        client.interim(StatusCode::CONTINUE, &Headers::new());
        call.exchange.interim.set(StatusCode::CONTINUE.as_u16());
    }
}

/// The answer to a request that was not even routed.
async fn refuse(mut call: Call, refusal: head::Refusal, incoming: Incoming) -> Response<ResponseBody> {
    let keeps = refusal.details == "absolute_path_rejected" || refusal.location.is_some();
    if keeps && !wants_other(&call.exchange.request.borrow()) {
        // As Envoy does, this keeps the connection if nothing follows the head.
        call.body = Some(Inbound::new(incoming));
    }
    if refusal.malformed {
        // Nothing is known of it.
        call.exchange.request.replace(Head::none());
    }
    call.grpc = call.exchange.request.borrow().is_grpc();
    if !refusal.malformed && call.exchange.request.borrow().is_told_scheme() {
        // For the log alone, as in Envoy: no table knows a route of who does not say its scheme.
        call.route();
        router::note_cluster(&call);
    }
    answer_refused(call, refusal).await
}

/// Whether a head that is not settled asks for another protocol, one that there is.
fn wants_other(head: &Head) -> bool {
    head.headers.get(header::UPGRADE).is_some_and(|protocol| !protocol.as_bytes().eq_ignore_ascii_case(b"h2c"))
}

async fn answer_refused(mut call: Call, refusal: head::Refusal) -> Response<ResponseBody> {
    call.exchange.detail(refusal.details);
    call.exchange.unreadable.set(refusal.malformed);
    if refusal.details == "route_not_found" {
        note_no_route(&call.exchange);
    }
    if refusal.malformed {
        call.exchange.flag(ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR);
    }
    call.reply(LocalReply::of_refusal(refusal)).await
}
