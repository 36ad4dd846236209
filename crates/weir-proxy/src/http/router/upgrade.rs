//! Requests to change from HTTP to another protocol: WebSocket. They go to an instance as all requests do; once it has agreed,
//! only bytes pass.

use std::pin::pin;

use bytes::Bytes;
use weir_config::flags::ResponseFlags;
use weir_http1::header;
use weir_routing::action::Action;

use super::attempt::Answer;
use super::limits::TimeLimits;
use super::prepare;
use crate::exchange::Exchange;
use crate::exchange::failure::{Expired, Failure, FailureKind};
use crate::http::body::ResponseBody;
use crate::http::call::{Call, RouteAnswer};
use crate::io::client::ByteStream;
use crate::io::farewell::see_off;
use crate::io::response::{Parts, Response};
use crate::tcp::relay::{self, End, Until};
use crate::upstream::body::UpstreamBody;
use crate::upstream::body::answer::{Expiry, StillOpen};

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
    let mut body = ResponseBody::local(Bytes::new());
    call.finish(&mut answer, &mut body).await;
    Response::from_parts(answer, body)
}

/// Passes bytes, now that the instance has agreed.
pub(super) async fn switch(call: &mut Call, mut head: Parts, answer: Answer) -> Response<ResponseBody> {
    let UpstreamBody { origin, busy, .. } = *answer;
    let (on_upgrade, control) = (call.on_upgrade.take(), call.control.clone());
    let open = call.http.clusters.shared.connections.enter();
    let expiry = limits(call).and_then(|limits| limits.watch(&call.exchange, None));
    let mut body = ResponseBody::local(Bytes::new());
    call.pass_back(&mut head, &mut body).await;
    let ending = call.ending.take();
    // A stream of HTTP/2 ends each way for itself, an instance's ends both; who ends a connection has ended both.
    let until = if call.exchange.is_http1() { Until::OneEnds } else { Until::UpstreamEnds };
    let patience = call.http.config.delayed_close;
    // The connection's own task ends here: who waits for open connections is to wait for this one.
    tokio::task::spawn_local(async move {
        let (_open, busy) = (open, busy);
        let (Some((mut upstream, still_open)), Some(on_upgrade), Some(mut ending)) = (origin.into_stream(), on_upgrade, ending) else {
            return;
        };
        let exchange = ending.exchange.clone();
        let ended = async {
            let Ok(mut client) = on_upgrade.await else { return exchange.note_left() };
            let ended = passed(&mut client, &mut upstream, &exchange, until, expiry).await;
            note_end(&exchange, &ended, &still_open);
            let client_has_ended = matches!(ended, Ok(End::Client));
            // All is over but the farewell, of which nobody else need know.
            still_open.finish();
            drop((upstream, busy));
            ending.complete();
            drop(ending);
            if until == Until::OneEnds && !client_has_ended {
                see_off(client, patience).await;
            }
        };
        let mut ended = pin!(ended);
        if control.unless_ended(ended.as_mut()).await.is_none() && exchange.duration.get().is_none() {
            exchange.flag(ResponseFlags::LOCAL_RESET);
        }
    });
    Response::from_parts(head, body)
}

/// The limits of its route that hold for the other protocol as well, as with Envoy: how long it may be silent, and last.
fn limits(call: &Call) -> Option<TimeLimits> {
    let Some(Action::Forward(to)) = call.found()?.route().map(|route| &route.action) else { return None };
    let duration = prepare::stream_limit(call, to, call.http.config.max_stream_duration);
    Some(TimeLimits::new(None, duration, to, &call.http.config))
}

/// Passes bytes until that ends, or a limit of time is reached.
async fn passed(
    client: &mut Box<dyn ByteStream>,
    upstream: &mut Box<dyn ByteStream>,
    exchange: &Exchange,
    until: Until,
    expiry: Option<Expiry>,
) -> Result<End, Expired> {
    let passed = relay::pass(client, upstream, exchange, until);
    match expiry {
        None => Ok(passed.await),
        Some(expiry) => tokio::select! { end = passed => Ok(end), expired = expiry => Err(expired) },
    }
}

/// Takes note of who ended it: the client, the instance, or a limit.
fn note_end(exchange: &Exchange, end: &Result<End, Expired>, still_open: &StillOpen) {
    let failure = match end {
        Ok(End::Client) => return exchange.note_left(),
        Ok(End::Upstream) => still_open.failure(true),
        Ok(End::UpstreamFirst) => still_open.failure(false),
        Ok(End::Both | End::Idle | End::TooLong) => None,
        Err(expired) => Some(Failure::of_answer(FailureKind::Expired(*expired))),
    };
    if let Some(failure) = failure {
        let told = failure.told(false);
        exchange.flag(told.flag);
        exchange.detail(told.details);
    }
}
