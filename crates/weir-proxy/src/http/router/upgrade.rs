//! Requests to change from HTTP to another protocol: WebSocket. They go to an instance as all requests do; once it has agreed,
//! only bytes pass.

use std::pin::pin;

use bytes::Bytes;
use http::response::Parts;
use http::{Response, header};
use weir_config::flags::ResponseFlags;

use crate::exchange::Exchange;
use crate::http::body::ResponseBody;
use crate::http::call::{Call, RouteAnswer};
use crate::tcp::relay::{self, End};
use crate::upstream::body::Origin;
use crate::upstream::host::BusyGuard;

/// Whether a request asks for a change of protocol that neither its route nor the listener allows. Envoy asks that before it does
/// what the route says, so that also who would get a redirect is refused; who has no route hears that.
pub(in crate::http) fn is_refused(call: &mut Call) -> bool {
    let Some(protocol) = call.exchange.request.borrow().upgrade.clone() else { return false };
    if matches!(call.route(), RouteAnswer::Nowhere) || call.on_upgrade.is_some() && call.allows_upgrade(&protocol) {
        return false;
    }
    super::note_cluster(call);
    true
}

/// The answer of an instance that speaks of success and does not change: what follows its head is for nobody.
pub(super) async fn pass_over(call: &mut Call, mut answer: Parts) -> Response<ResponseBody> {
    answer.headers.remove(header::CONTENT_LENGTH);
    call.finish(Response::from_parts(answer, ResponseBody::local(Bytes::new()))).await
}

/// Passes bytes, now that the instance has agreed.
pub(super) async fn switch(call: &mut Call, answer: Response<()>, origin: Origin, busy: BusyGuard) -> Response<ResponseBody> {
    let (on_upgrade, control) = (call.on_upgrade.take(), call.control.clone());
    let open = call.http.clusters.shared.connections.enter();
    let response = call.pass_back(answer.map(|()| ResponseBody::local(Bytes::new()))).await;
    let ending = call.ending.take();
    // Streams of HTTP/2 end each way for itself; who ends a connection has ended both.
    let both_are_connections = call.exchange.is_http1() && matches!(origin, Origin::Http1(..));
    // The connection's own task ends here: who waits for open connections is to wait for this one.
    tokio::task::spawn_local(async move {
        let (_open, _busy) = (open, busy);
        let (Some((upstream, still_open)), Some(on_upgrade), Some(mut ending)) = (origin.into_stream(), on_upgrade, ending) else { return };
        let exchange = ending.exchange.clone();
        let relayed = async {
            match on_upgrade.await {
                Ok(client) => {
                    let ended = match both_are_connections {
                        true => relay::relay_until_one_ends(client, upstream, &exchange).await,
                        false => relay::relay(client, upstream, &exchange, None).await,
                    };
                    still_open.finish();
                    ended
                }
                Err(_) => End::Client,
            }
        };
        note_end(&exchange, control.unless_ended(pin!(relayed)).await);
        ending.complete();
    });
    response
}

/// Takes note of who ended it: the client, the instance, or else this proxy.
fn note_end(exchange: &Exchange, end: Option<End>) {
    let (flag, details) = match end {
        Some(End::Client) => (ResponseFlags::DOWNSTREAM_TERMINATED, "downstream_remote_disconnect"),
        Some(End::Upstream) => (ResponseFlags::UPSTREAM_TERMINATED, "upstream_reset_after_response_started{connection_termination}"),
        Some(End::Both) => return,
        Some(End::Idle | End::TooLong) | None => return exchange.flag(ResponseFlags::LOCAL_RESET),
    };
    exchange.flag(flag);
    exchange.detail(details);
}
