//! Connections that change from HTTP to another protocol: WebSocket. Once both sides have agreed, only bytes
//! pass.

use std::rc::Rc;

use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use hyper_util::rt::TokioIo;

use super::forward::attempt::{self, Failure};
use super::forward::give_up;
use super::handle::Call;
use super::local_reply::LocalReply;
use super::response_body::{Origin, ResponseBody, UpstreamBody};
use crate::config::cluster::UpstreamProtocol;
use crate::log::flags::ResponseFlags;
use crate::tcp::relay;
use crate::upstream::resources::{Overflow, Resource};
use crate::worker::cluster::ClusterRuntime;

/// Asks an instance for the change of protocol, and passes bytes if it agrees.
pub(super) async fn upgrade(mut call: Call, cluster: &Rc<ClusterRuntime>, protocol: &HeaderValue) -> Response<ResponseBody> {
    let allowed = call.allows_upgrade(protocol);
    let Some(on_upgrade) = call.on_upgrade.take().filter(|_| allowed) else {
        call.exchange.detail("upgrade_failed");
        return call.reply(LocalReply::new(StatusCode::FORBIDDEN, ""));
    };
    if cluster.policy().protocol == UpstreamProtocol::Http2 {
        call.exchange.detail("upgrade_failed");
        return call.reply(LocalReply::new(StatusCode::BAD_GATEWAY, ""));
    }
    let Some(target) = cluster.pick(&call.lb_context()) else { return give_up(call, cluster, &Failure::NoInstance) };
    call.exchange.target.replace(Some(target.clone()));
    call.exchange.attempts.set(1);
    let busy = match cluster.take(Resource::Requests) {
        Ok(permit) => target.busy(permit),
        Err(Overflow) => return give_up(call, cluster, &Failure::Overflow),
    };
    let mut connection = match attempt::open_http1(cluster, &target).await {
        Ok(connection) => connection,
        Err(failure) => return give_up(call, cluster, &failure),
    };
    call.exchange.upstream_local.set(Some(connection.local));
    let mut request = attempt::request(&call, None, false);
    request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    request.headers_mut().insert(header::UPGRADE, protocol.clone());
    let answer = match connection.send(request).await {
        Ok(answer) => answer,
        Err(error) => return give_up(call, cluster, &attempt::failed(&mut connection, &error)),
    };
    call.exchange.code.set(answer.status().as_u16());
    call.exchange.detail("via_upstream");
    cluster.with_stats(|stats| stats.statuses.count(answer.status().as_u16()));
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        // It does not agree: this is an answer like any other.
        let origin = Origin::Http1(Some(connection), target);
        return call.finish(answer, |incoming, ending| {
            ResponseBody::upstream(UpstreamBody { incoming, origin, busy, expiry: None, ended: false, broken: None }, ending)
        });
    }
    let (parts, _) = answer.into_parts();
    let mut response = Response::from_parts(parts, ());
    call.change_response_headers(response.headers_mut());
    call.finish(response, |(), mut ending| {
        // The connection's own task ends here: who waits for open connections is to wait for this one.
        let open = ending.http().instance.shared.connections.enter();
        tokio::task::spawn_local(async move {
            let (_open, _busy) = (open, busy);
            let exchange = ending.exchange.clone();
            let upstream = connection.into_stream().await;
            match on_upgrade.await {
                Ok(client) => {
                    let ended = relay::copy(TokioIo::new(client), upstream, &exchange).await;
                    tracing::trace!(?ended, "an upgraded connection ended");
                    ending.complete();
                }
                Err(_) => exchange.flag(ResponseFlags::DOWNSTREAM_TERMINATED),
            }
        });
        ResponseBody::of_upgrade()
    })
}
