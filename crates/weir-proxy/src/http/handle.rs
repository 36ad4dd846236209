//! One request, from its head to the head of its answer.

use std::net::SocketAddr;
use std::rc::Rc;

use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use weir_config::flags::ResponseFlags;
use weir_config::head::{self, Client, Head};

use super::body::ResponseBody;
use super::call::{Call, note_no_route};
use super::control::Control;
use super::local_reply::LocalReply;
use super::{HttpRuntime, filters, router};
use crate::exchange::{ConnectionInfo, Exchange};
use crate::io::heard::Follows;
use crate::io::own_address::own_address;
use crate::upstream::body::Inbound;

/// Handles a request.
pub async fn handle(
    http: Rc<HttpRuntime>,
    connection: Rc<ConnectionInfo>,
    control: Rc<Control>,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let (mut parts, incoming) = request.into_parts();
    let on_upgrade = parts.extensions.remove::<OnUpgrade>();
    let expects = parts.headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let exchange = Exchange::new(connection, Some(parts.version), !http.recording.logs.is_empty());
    let mut call = Call::new(http, exchange, control, parts.method.clone());
    let (mut head, remote) = match read(&call, parts, &incoming) {
        Ok(read) => read,
        Err((refusal, head)) => return Box::pin(refuse(call, refusal, *head, incoming)).await,
    };
    if call.exchange.is_http1() || expects {
        settle_interim(&call, &mut head, expects);
    }
    call.exchange.passes_trailers.set(!call.exchange.is_http1() || call.http.config.trailers);
    call.exchange.remote.set(remote);
    call.grpc = head.is_grpc();
    *call.exchange.request.borrow_mut() = head;
    (call.body, call.on_upgrade) = (Some(Inbound::new(incoming)), on_upgrade);
    // A connection holds room for what this function is while it is idle, too: all that comes now is apart.
    Box::pin(pass(call)).await
}

/// What the rules of a head look at of a connection.
fn client(connection: &ConnectionInfo) -> Client {
    Client::new(connection.remote, connection.tls_version.is_some(), connection.local.port(), own_address())
}

/// Reads a head, as the library shows it and as it was heard.
fn read(call: &Call, parts: Parts, body: &Incoming) -> Result<(Head, SocketAddr), (head::Refusal, Box<Head>)> {
    let mut heard = call.control.line.get().map(|line| line.heard());
    let raw = heard.as_mut().and_then(|heard| heard.head(parts.method.as_str(), follows(body)));
    let client = call.control.client.get_or_init(|| client(&call.exchange.connection));
    head::read(parts, raw, &call.http.config, client, || fastrand::u128(..))
}

/// Takes a request through its filters, and then to the router, which is the last of them.
/// All borrow the call: it is large, and moving it on from one to the next would cost more than some of them do.
async fn pass(mut call: Call) -> Response<ResponseBody> {
    if router::upgrade::is_refused(&mut call) {
        call.exchange.detail("upgrade_failed");
        return call.reply(LocalReply::new(StatusCode::FORBIDDEN, "")).await;
    }
    match filters::on_request(&mut call).await {
        Some(reply) => call.reply(reply).await,
        None => router::route(&mut call).await,
    }
}

/// What follows the head of a request.
fn follows(body: &Incoming) -> Follows {
    match body.size_hint().exact() {
        _ if body.is_end_stream() => Follows::Head,
        Some(length) => Follows::Bytes(length),
        None => Follows::Unknown,
    }
}

/// Who tells the client that it may send its body, and gives it other interim answers: the instance, or, without its knowledge, we.
fn settle_interim(call: &Call, head: &mut Head, expects: bool) {
    let passes = call.http.config.passes_interim;
    let line = call.control.line.get();
    if let Some(line) = line.filter(|_| expects) {
        line.without_continue();
        if !passes {
            line.interim(StatusCode::CONTINUE, &HeaderMap::new());
        }
    }
    if expects && !passes {
        head.headers.remove(header::EXPECT);
    }
    if passes {
        *call.exchange.line.borrow_mut() = line.cloned();
    }
}

/// The answer to a request that was not even routed.
async fn refuse(mut call: Call, refusal: head::Refusal, head: Head, incoming: Incoming) -> Response<ResponseBody> {
    call.exchange.detail(refusal.details);
    if !refusal.malformed {
        call.grpc = head.is_grpc();
        call.exchange.request.replace(head);
    }
    call.exchange.unreadable.set(refusal.malformed);
    if refusal.details == "route_not_found" {
        note_no_route(&call.exchange);
    }
    if refusal.malformed {
        call.exchange.flag(ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR);
    }
    if refusal.details == "absolute_path_rejected" || refusal.location.is_some() {
        // As Envoy does, this keeps the connection if nothing follows the head.
        call.body = Some(Inbound::new(incoming));
    }
    call.reply(LocalReply::of_refusal(refusal)).await
}
