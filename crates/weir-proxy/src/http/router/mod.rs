//! The router, the last of the filters: it answers by the route itself (a redirect, a direct response, nothing found), or sends
//! the request on to an instance of the route's cluster, again if the route's policy says so, and brings back the answer.

mod attempt;
mod limits;
mod mirror;
mod prepare;
mod retry;
pub mod routes;
mod upgrade;

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use weir_config::circuit_breakers::Resource;
use weir_config::cluster::Discovery;
use weir_config::flags::ResponseFlags;
use weir_config::head::{RESPONSE_INLINE, join_repeated};
use weir_routing::Route;
use weir_routing::action::{Action, Forward};
use weir_routing::rewrite::Redirect;

use super::body::ResponseBody;
use super::call::{Call, RouteAnswer, note_no_route};
use super::local_reply::LocalReply;
use crate::cluster::resources::Overflow;
use crate::exchange::failure::{Expired, Failure, FailureKind};
use crate::upstream::body::answer::Expiry;
use crate::upstream::body::{ClientBody, UpstreamBody};
use crate::upstream::cluster::ClusterRuntime;
use attempt::Answer;
use limits::TimeLimits;
use retry::{Pause, Retries};
use routes::Found;

const OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");
const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// Answers a request that has passed all other filters.
pub(super) async fn route(mut call: Call) -> Response<ResponseBody> {
    let found = match call.route() {
        RouteAnswer::Nowhere => {
            note_no_route(&call.exchange);
            return call.reply(LocalReply::new(StatusCode::NOT_FOUND, Bytes::new()));
        }
        RouteAnswer::ToHttps => return redirect_to_https(call),
        RouteAnswer::Unclear => {
            call.exchange.detail("several_hosts");
            return call.reply(LocalReply::new(StatusCode::BAD_REQUEST, Bytes::new()));
        }
        RouteAnswer::Route(found) => found.clone(),
    };
    let Some(route) = found.route() else { return redirect_to_https(call) };
    match &route.action {
        Action::Respond(direct) => {
            call.exchange.detail("direct_response");
            let status = StatusCode::from_u16(direct.status).unwrap_or(StatusCode::OK);
            let mut reply = LocalReply::new(status, Bytes::copy_from_slice(&direct.body));
            if status == StatusCode::CREATED || status.is_redirection() {
                // RFC 9110, 10.2.2. The route may say another place.
                reply.headers.extend(own_location(&call));
            }
            call.reply(reply)
        }
        Action::Redirect(redirect) => {
            call.exchange.detail("direct_response");
            let location = redirect.location(&route.matcher.path, &call.exchange.request.borrow().for_routing());
            self::redirect(call, redirect.status, &location)
        }
        Action::Forward(to) => forward(call, &found, route, to).await,
    }
}

/// Where the client is, as a `location` header says it.
fn own_location(call: &Call) -> Option<(HeaderName, HeaderValue)> {
    let location = Redirect::to_itself().location_of_whole_path(&call.exchange.request.borrow().for_routing());
    Some((header::LOCATION, HeaderValue::try_from(location).ok()?))
}

fn redirect_to_https(call: Call) -> Response<ResponseBody> {
    call.exchange.detail("direct_response");
    let location = {
        let request = call.exchange.request.borrow();
        Redirect::to_https().location_of_whole_path(&request.for_routing())
    };
    redirect(call, 301, &location)
}

fn redirect(call: Call, status: u16, location: &str) -> Response<ResponseBody> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::MOVED_PERMANENTLY);
    match HeaderValue::from_str(location) {
        Ok(location) => call.reply(LocalReply::new(status, Bytes::new()).with(header::LOCATION, location)),
        // The request brought along what no header may hold.
        Err(_) => call.reply(LocalReply::new(StatusCode::BAD_REQUEST, Bytes::new())),
    }
}

/// Sends a request on.
async fn forward(mut call: Call, found: &Found, route: &Route, to: &Forward) -> Response<ResponseBody> {
    let Some(cluster) = prepare::cluster(&mut call, found, to) else { return no_cluster(call, to) };
    call.exchange.cluster.replace(Some(cluster.destination()));
    if prepare::request(&call, found, route, to).is_err() {
        return call.reply(LocalReply::new(StatusCode::BAD_REQUEST, ""));
    }
    if cluster.policy().discovery == Discovery::OfRequest {
        call.named = prepare::named(&call).await;
        if call.named.is_none() {
            return give_up(call, &cluster, &FailureKind::Unresolved.into());
        }
    }
    if let Err(failure) = upgrade::check(&call, &cluster) {
        call.exchange.detail("upgrade_failed");
        return call.reply(LocalReply::new(failure, ""));
    }
    let by_hash = !to.hash.is_empty() && cluster.policy().lb.balance.is_by_hash();
    let cookies = if by_hash { prepare::hash(&mut call, to) } else { vec![] };
    let timeout = prepare::timeout(&call, to);
    let body = call.body.take().and_then(|incoming| ClientBody::new(incoming, to.retry.is_some(), call.exchange.clone()));
    if !to.mirrors.is_empty() {
        mirror::mirror(&call, found, to, body.as_ref());
    }
    let mut expiry = TimeLimits::new(timeout, to, &call.http.config).watch(&call.exchange, body.as_ref());
    let attempts = attempts(&call, &cluster, found, to, timeout, body.as_ref());
    let result = match &mut expiry {
        None => attempts.await,
        Some(expiry) => tokio::select! {
            biased;
            result = attempts => result,
            expired = expiry => Err(Failure::after_sending(FailureKind::Expired(expired))),
        },
    };
    match result {
        Ok(answer) => {
            let expiry = limits::watch_answer(expiry, to.retry.as_deref(), &call.exchange);
            pass_on(call, &cluster, answer, expiry, cookies)
        }
        Err(failure) => {
            if matches!(failure.kind, FailureKind::Expired(Expired::Timeout)) {
                attempt::report(&call, &cluster, &failure);
            }
            give_up(call, &cluster, &failure)
        }
    }
}

/// Tries until there is an answer to pass on, or nothing more may be tried.
async fn attempts(
    call: &Call,
    cluster: &Rc<ClusterRuntime>,
    found: &Found,
    to: &Forward,
    timeout: Option<Duration>,
    body: Option<&Rc<ClientBody>>,
) -> Result<Answer, Failure> {
    let mut retries = Retries::new(to.retry.as_deref(), &call.exchange.request.borrow());
    // What the attempt that is made takes of the limit, if it is not the first.
    let mut retrying = None;
    loop {
        call.exchange.attempts.set(call.exchange.attempts.get() + 1);
        if found.matched.virtual_host().attempt_count {
            set_attempt_count(call);
        }
        let result = attempt::attempt(call, cluster, &retries, body).await;
        let Some(pause) = retries.next(&result, body, cluster) else {
            if retries.are_exceeded(&result) {
                call.exchange.flag(ResponseFlags::UPSTREAM_RETRY_LIMIT);
                cluster.with_stats(|stats| stats.rq_retry_limit_exceeded.add(1));
            }
            return result;
        };
        drop(retrying);
        retrying = match cluster.take(Resource::Retries) {
            Ok(permit) => permit,
            Err(Overflow) => {
                call.exchange.flag(ResponseFlags::UPSTREAM_OVERFLOW);
                cluster.with_stats(|stats| stats.rq_retry_overflow.add(1));
                return result;
            }
        };
        retries.note(call.exchange.target.borrow().as_ref().and_then(|target| target.address));
        drop(result);
        cluster.with_stats(|stats| stats.rq_retry.add(1));
        self::pause(cluster, pause).await;
        prepare::tell_timeout(call, to, timeout, call.exchange.start.elapsed());
    }
}

async fn pause(cluster: &ClusterRuntime, pause: Pause) {
    let pause = match pause {
        Pause::Ours(pause) => {
            cluster.with_stats(|stats| stats.rq_retry_backoff_exponential.add(1));
            pause
        }
        Pause::Asked(pause) => {
            cluster.with_stats(|stats| stats.rq_retry_backoff_ratelimited.add(1));
            pause
        }
    };
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
}

fn set_attempt_count(call: &Call) {
    const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
    let count = call.exchange.attempts.get();
    let value = if count == 1 { HeaderValue::from_static("1") } else { HeaderValue::from(count) };
    call.exchange.request.borrow_mut().headers.insert(ATTEMPT_COUNT, value);
}

/// Passes on an instance's answer.
fn pass_on(
    call: Call,
    cluster: &Rc<ClusterRuntime>,
    answer: Answer,
    expiry: Option<Expiry>,
    cookies: Vec<HeaderValue>,
) -> Response<ResponseBody> {
    let Answer { response, origin, busy, sent } = answer;
    let (mut parts, incoming) = response.into_parts();
    let status = parts.status;
    call.exchange.code.set(status.as_u16());
    call.exchange.response_start.set(Some(Instant::now()));
    call.exchange.detail("via_upstream");
    call.exchange.grpc_status.set(retry::grpc_status(&parts.headers));
    cluster.with_stats(|stats| stats.statuses.count(status.as_u16()));
    let agrees = status == StatusCode::SWITCHING_PROTOCOLS && call.exchange.request.borrow().upgrade.is_some();
    if !agrees {
        remove_hop_by_hop(&mut parts.headers);
        if status == StatusCode::NO_CONTENT {
            parts.headers.remove(header::CONTENT_LENGTH);
        }
    }
    parts.headers.insert(SERVICE_TIME, HeaderValue::from(sent.elapsed().as_millis() as u64));
    call.change_response_headers(&mut parts.headers);
    for cookie in cookies {
        parts.headers.append(header::SET_COOKIE, cookie);
    }
    // The client's connection speaks its own version.
    parts.version = http::Version::default();
    // So is the reason phrase, which no version but HTTP/1 has: each hop writes its own, as Envoy does.
    parts.extensions.remove::<hyper::ext::ReasonPhrase>();
    if !agrees && status.is_success() && call.exchange.request.borrow().upgrade.is_some() {
        return upgrade::pass_over(call, parts);
    }
    if agrees {
        return upgrade::switch(call, Response::from_parts(parts, ()), origin, busy);
    }
    call.finish(Response::from_parts(parts, UpstreamBody::new(incoming, origin, busy, expiry)), ResponseBody::upstream)
}

/// Takes away what belongs to the instance's connection alone, and joins what Envoy joins.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
    if headers.keys_len() != headers.len() {
        join_repeated(headers, &RESPONSE_INLINE);
    }
}

fn no_cluster(call: Call, to: &Forward) -> Response<ResponseBody> {
    call.exchange.flag(ResponseFlags::NO_CLUSTER);
    call.exchange.detail("cluster_not_found");
    let status = StatusCode::from_u16(to.not_found_status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    call.reply(LocalReply::new(status, ""))
}

/// The answer where no instance gave one.
fn give_up(mut call: Call, cluster: &Rc<ClusterRuntime>, failure: &Failure) -> Response<ResponseBody> {
    let retried = call.exchange.flags.get().has_any(ResponseFlags::UPSTREAM_RETRY_LIMIT);
    let told = failure.told(retried);
    if let FailureKind::Connect(error) = &failure.kind {
        call.exchange.transport_failure.replace(Some(error.reason()));
    }
    call.exchange.flag(told.flag);
    call.exchange.detail(told.details);
    cluster.with_stats(|stats| {
        if let FailureKind::Expired(expired) = failure.kind {
            expired.count(stats);
        }
        stats.statuses.count(told.status.as_u16());
    });
    let reply = LocalReply::new(told.status, told.body);
    if let FailureKind::ClientGone = failure.kind {
        call.ending.client_is_gone();
    }
    call.reply(match failure.kind {
        FailureKind::Overflow => reply.with(OVERLOADED, HeaderValue::from_static("true")),
        _ => reply,
    })
}
