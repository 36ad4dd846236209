//! One request, from its head to the head of its answer.

use std::rc::Rc;

use http::header::{self, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use weir_config::head::{self, Client};

use super::body::ResponseBody;
use super::call::{Call, note_no_route};
use super::control::Control;
use super::local_reply::LocalReply;
use super::{HttpRuntime, filters, router};
use crate::exchange::{ConnectionInfo, Exchange};
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
    let client = Client { remote: connection.remote, tls: connection.tls_version.is_some() };
    let exchange = Exchange::new(connection, Some(parts.version), !http.recording.logs.is_empty());
    let mut call = Call::new(http, exchange, control, parts.method.clone());
    let (head, remote) = match head::read(parts, &call.http.config, &client, || fastrand::u128(..)) {
        Ok(read) => read,
        Err(refusal) => return Box::pin(refuse(call, refusal)).await,
    };
    call.exchange.remote.set(remote);
    call.grpc = head.is_grpc();
    call.exchange.request.replace(head);
    (call.body, call.on_upgrade) = (Some(Inbound::new(incoming)), on_upgrade);
    // A connection holds room for what this function is while it is idle, too: all that comes now is apart.
    Box::pin(pass(call)).await
}

/// Takes a request through its filters, and then to the router, which is the last of them.
async fn pass(mut call: Call) -> Response<ResponseBody> {
    match filters::on_request(&mut call).await {
        Some(reply) => call.reply(reply).await,
        None => router::route(call).await,
    }
}

/// The answer to a request that was not even routed.
async fn refuse(mut call: Call, refusal: head::Refusal) -> Response<ResponseBody> {
    call.exchange.detail(refusal.details);
    if refusal.details == "route_not_found" {
        note_no_route(&call.exchange);
    }
    if !refusal.logged {
        call.ending.silence();
    }
    let mut response = call.reply(LocalReply::new(refusal.status, refusal.body)).await;
    if !refusal.logged {
        // What the codec refuses ends the connection.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
