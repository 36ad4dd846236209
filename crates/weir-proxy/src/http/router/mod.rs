//! The router, the last of the filters: it answers by the route itself (a redirect, a direct response, nothing found), or sends
//! the request on to an instance of the route's cluster, again if the route's policy says so, and brings back the answer.

mod attempt;
mod limits;
mod mirror;
mod prepare;
mod retry;
pub mod routes;
pub(super) mod upgrade;

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use weir_config::circuit_breakers::Resource;
use weir_config::cluster::Discovery;
use weir_config::flags::ResponseFlags;
use weir_http1::header::{self, HeaderName, HeaderValue, Headers};
use weir_routing::action::{Action, Forward};
use weir_routing::{Route, inline_headers, rewrite};

use super::body::ResponseBody;
use super::call::{Call, RouteAnswer, note_no_route};
use super::local_reply::LocalReply;
use crate::cluster::resources::Overflow;
use crate::exchange::failure::{Expired, Failure, FailureKind, Party};
use crate::io::response::Response;
use crate::stats::cluster::WorkerClusterStats;
use crate::upstream::aggregate;
use crate::upstream::body::ClientBody;
use crate::upstream::cluster::ClusterRuntime;
use attempt::Answer;
pub(super) use attempt::judge;
use limits::TimeLimits;
use retry::{Pause, Retries};
use routes::Found;

/// What may be read of answers to a connection of HTTP/2 before it takes them, where its streams are many.
const PARTS: usize = 2 << 20;

const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
const IS_TIMEOUT_RETRY: HeaderName = HeaderName::from_static("x-envoy-is-timeout-retry");
const DROPPED: HeaderName = HeaderName::from_static("x-envoy-drop-overload");
const ALL_DROPPED: HeaderName = HeaderName::from_static("x-envoy-unconditional-drop-overload");
const OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");
const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// Answers a request that has passed all other filters.
pub(super) async fn route(call: &mut Call) -> Response<ResponseBody> {
    let found = match call.route() {
        RouteAnswer::Nowhere => {
            note_no_route(&call.exchange);
            return call.reply(LocalReply::new(StatusCode::NOT_FOUND, Bytes::new())).await;
        }
        RouteAnswer::ToHttps => return redirect_to_https(call).await,
        RouteAnswer::Unclear => {
            call.exchange.detail("several_hosts");
            return call.reply(LocalReply::new(StatusCode::BAD_REQUEST, Bytes::new())).await;
        }
        RouteAnswer::Route(found) => found.clone(),
    };
    let Some(route) = found.route() else { return redirect_to_https(call).await };
    match &route.action {
        Action::Respond(direct) => {
            call.exchange.detail("direct_response");
            let status = StatusCode::from_u16(direct.status).unwrap_or(StatusCode::OK);
            let mut reply = LocalReply::new(status, Bytes::copy_from_slice(&direct.body));
            if status == StatusCode::CREATED || status.is_redirection() {
                // RFC 9110, 10.2.2. The route may say another place.
                reply.headers.extend(own_location(call));
            }
            call.reply(reply).await
        }
        Action::Redirect(redirect) => {
            call.exchange.detail("direct_response");
            let location = redirect.location(&route.matcher.path, &call.exchange.request.borrow().for_routing());
            self::redirect(call, redirect.status, &location).await
        }
        Action::Forward(to) => forward(call, &found, route, to).await,
    }
}

/// Takes note of the cluster that a request was for which a filter has answered: logs and metrics name it, as Envoy's do.
pub(super) fn note_cluster(call: &Call) {
    if let Some(cluster) = cluster_of(call) {
        call.exchange.cluster.replace(Some(cluster.destination()));
    }
}

/// The cluster that a request goes to, if it goes to one that there is.
pub(super) fn cluster_of(call: &Call) -> Option<Rc<ClusterRuntime>> {
    let found = call.found()?;
    prepare::cluster(call, found, found.forward()?)
}

/// Counts what a filter makes of a request, among what is counted of its cluster.
pub(super) fn count(call: &Call, count: impl FnOnce(&WorkerClusterStats)) {
    if let Some(cluster) = cluster_of(call) {
        cluster.with_stats(count);
    }
}

/// Where the client is, as a `location` header says it.
fn own_location(call: &Call) -> Option<(HeaderName, HeaderValue)> {
    let location = rewrite::to_itself(&call.exchange.request.borrow().for_routing());
    Some((header::LOCATION, HeaderValue::try_from(location).ok()?))
}

async fn redirect_to_https(call: &mut Call) -> Response<ResponseBody> {
    call.exchange.detail("direct_response");
    let location = rewrite::to_https(&call.exchange.request.borrow().for_routing());
    redirect(call, 301, &location).await
}

async fn redirect(call: &mut Call, status: u16, location: &str) -> Response<ResponseBody> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::MOVED_PERMANENTLY);
    match HeaderValue::from_str(location) {
        Ok(location) => call.reply(LocalReply::new(status, Bytes::new()).with(header::LOCATION, location)).await,
        // The request brought along what no header may hold.
        Err(_) => call.reply(LocalReply::new(StatusCode::BAD_REQUEST, Bytes::new())).await,
    }
}

/// Sends a request on.
async fn forward(call: &mut Call, found: &Found, route: &Route, to: &Forward) -> Response<ResponseBody> {
    let Some(cluster) = prepare::cluster(call, found, to) else { return no_cluster(call, to).await };
    call.exchange.cluster.replace(Some(cluster.destination()));
    let cluster = aggregate::member(&call.http.clusters, cluster, fastrand::u64(..));
    if let Some(dropped) = drop_overload(call, &cluster) {
        return call.reply(dropped).await;
    }
    // What headers tell of attempts, they tell before the first is made.
    call.exchange.attempts.set(1);
    if prepare::request(call, found, route, to).is_err() {
        return call.reply(LocalReply::new(StatusCode::BAD_REQUEST, "")).await;
    }
    if cluster.with_policy(|policy| policy.discovery == Discovery::OfRequest) {
        call.named = Box::pin(prepare::named(call)).await;
        if call.named.is_none() {
            return give_up(call, &cluster, &FailureKind::Unresolved.into()).await;
        }
    }
    let by_hash = !to.hash.is_empty() && cluster.with_policy(|policy| policy.lb.balance.is_by_hash());
    let cookies = if by_hash { prepare::hash(call, to) } else { vec![] };
    let timeout = prepare::timeout(call, to);
    let body = call.body.take().and_then(|inbound| ClientBody::new(inbound, to.retry.is_some(), call.exchange.clone()));
    let duration = prepare::stream_limit(call, to, call.http.config.max_stream_duration);
    let mut expiry = TimeLimits::new(timeout, duration, to, &call.http.config).watch(&call.exchange, body.as_ref());
    let result = {
        let attempts = attempts(call, &cluster, found, to, timeout, body.as_ref());
        match &mut expiry {
            None => attempts.await,
            Some(expiry) => tokio::select! {
                biased;
                result = attempts => result,
                expired = expiry => Err(Failure::after_sending(FailureKind::Expired(expired))),
            },
        }
    };
    match result {
        Ok(mut answer) => {
            answer.expiry = limits::watch_answer(expiry, to.retry.as_deref(), &call.exchange);
            let is_early = body.is_some_and(|body| !body.has_ended());
            pass_on(call, &cluster, answer, is_early, cookies).await
        }
        Err(failure) => {
            if matches!(failure.kind, FailureKind::Expired(Expired::Timeout)) {
                attempt::report(call, &cluster, &failure);
            }
            if let Some(body) = body.filter(|_| failure.party() != Party::Ourselves) {
                body.take_in().await;
            }
            give_up(call, &cluster, &failure).await
        }
    }
}

/// The answer to a request that the cluster's endpoints are to be spared, if it is such a one.
fn drop_overload(call: &Call, cluster: &ClusterRuntime) -> Option<LocalReply> {
    const ALL: u32 = 1_000_000;
    let dropped = cluster.dropped_millionths();
    if dropped == 0 || fastrand::u32(..ALL) >= dropped {
        return None;
    }
    let (flag, details, body, header) = match dropped {
        ALL => (ResponseFlags::ALL_DROPPED, "unconditional_drop_overload", "unconditional drop overload", ALL_DROPPED),
        _ => (ResponseFlags::DROPPED, "drop_overload", "drop overload", DROPPED),
    };
    call.exchange.flag(flag);
    call.exchange.detail(details);
    cluster.with_stats(|stats| stats.statuses.count(503));
    let reply = LocalReply::new(StatusCode::SERVICE_UNAVAILABLE, body);
    Some(match call.http.config.router.suppress_envoy_headers {
        true => reply,
        false => reply.with(header, HeaderValue::from_static("true")),
    })
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
    // Whether the attempt before took too long, if there was one.
    let mut timed_out = None;
    loop {
        if found.virtual_host().attempt_count {
            set_attempt_count(call);
        }
        if let Some(took_too_long) = timed_out.filter(|_| found.virtual_host().tells_timeout_retry) {
            let told = HeaderValue::from_static(if took_too_long { "true" } else { "false" });
            call.exchange.request.borrow_mut().headers.insert(IS_TIMEOUT_RETRY, told);
        }
        let pause = {
            let result = match attempt::choose(call, cluster, &retries) {
                Ok(target) => {
                    if timed_out.is_none() {
                        // What goes to nobody is not copied to anybody.
                        mirror::mirror(call, found, to, body);
                    }
                    attempt::attempt(call, cluster, target, to, body).await
                }
                Err(failure) => Err(failure),
            };
            let Some(pause) = retries.next(&result, body, cluster) else {
                if retries.are_exceeded(&result) {
                    call.exchange.flag(ResponseFlags::UPSTREAM_RETRY_LIMIT);
                    cluster.with_stats(|stats| stats.rq_retry_limit_exceeded.add(1));
                }
                return result;
            };
            drop(retrying);
            retrying = match cluster.take(to.priority, Resource::Retries) {
                Ok(permit) => permit,
                Err(Overflow) => {
                    call.exchange.flag(ResponseFlags::UPSTREAM_OVERFLOW);
                    cluster.with_stats(|stats| stats.rq_retry_overflow.add(1));
                    return result;
                }
            };
            retries.note(call.exchange.target.borrow().as_ref().and_then(|target| target.address));
            timed_out = Some(matches!(&result, Err(failure) if matches!(failure.kind, FailureKind::Expired(Expired::Attempt))));
            pause
        };
        cluster.with_stats(|stats| stats.rq_retry.add(1));
        Box::pin(self::pause(cluster, pause)).await;
        call.exchange.attempts.set(call.exchange.attempts.get() + 1);
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
    call.exchange.request.borrow_mut().headers.insert(ATTEMPT_COUNT, attempt_count(call));
}

fn attempt_count(call: &Call) -> HeaderValue {
    let count = call.exchange.attempts.get();
    if count == 1 { HeaderValue::from_static("1") } else { HeaderValue::from(count) }
}

/// The number of attempts for the client, if its virtual host asks for it; before the route's own changes.
fn tell_attempts(call: &Call, headers: &mut Headers) {
    if call.found().is_some_and(|found| found.virtual_host().attempt_count_in_answer) {
        headers.insert(ATTEMPT_COUNT, attempt_count(call));
    }
}

/// Passes on an instance's answer; `is_early` says that it came before the end of the request.
async fn pass_on(
    call: &mut Call,
    cluster: &Rc<ClusterRuntime>,
    mut answer: Answer,
    is_early: bool,
    cookies: Vec<HeaderValue>,
) -> Response<ResponseBody> {
    let mut parts = std::mem::take(&mut answer.head);
    let status = parts.status;
    call.exchange.code.set(status.as_u16());
    let now = Instant::now();
    call.exchange.response_start.set(Some(now));
    call.exchange.detail("via_upstream");
    call.exchange.grpc_status.set(retry::grpc_status(&parts.headers));
    cluster.with_stats(|stats| stats.statuses.count(status.as_u16()));
    let agrees = status == StatusCode::SWITCHING_PROTOCOLS && call.exchange.request.borrow().upgrade.is_some();
    if !agrees && status == StatusCode::NO_CONTENT {
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    inline_headers::join_repeated(&mut parts.headers, &inline_headers::RESPONSE);
    // Envoy measures from the end of the request, which who asks for another protocol never comes to.
    let is_early = is_early || call.exchange.request.borrow().upgrade.is_some();
    if !is_early && !call.http.config.router.suppress_envoy_headers {
        parts.headers.insert(SERVICE_TIME, small_number(now.duration_since(answer.sent).as_millis() as u64));
    }
    tell_attempts(call, &mut parts.headers);
    call.change_response_headers(&mut parts.headers);
    for cookie in cookies {
        parts.headers.append(header::SET_COOKIE, cookie);
    }
    if !agrees && status.is_success() && call.exchange.request.borrow().upgrade.is_some() {
        return Box::pin(upgrade::pass_over(call, parts)).await;
    }
    if agrees {
        return Box::pin(upgrade::switch(call, parts, answer)).await;
    }
    if !call.exchange.is_http1() {
        // Each stream may wait with as much as was read at once for a window of its client's.
        answer.read_at_most(PARTS / call.control.streams.get().max(1));
    }
    let mut body = ResponseBody::upstream(answer);
    call.finish(&mut parts, &mut body).await;
    Response::from_parts(parts, body)
}

/// A number, most of which are of one digit: those need no memory.
fn small_number(number: u64) -> HeaderValue {
    const DIGITS: &str = "0123456789";
    let digit = usize::try_from(number).ok().and_then(|at| DIGITS.get(at..=at));
    digit.map_or_else(|| HeaderValue::from(number), HeaderValue::from_static)
}

async fn no_cluster(call: &mut Call, to: &Forward) -> Response<ResponseBody> {
    call.exchange.flag(ResponseFlags::NO_CLUSTER);
    call.exchange.detail("cluster_not_found");
    let status = StatusCode::from_u16(to.not_found_status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    call.reply(LocalReply::new(status, "")).await
}

/// The answer where no instance gave one.
async fn give_up(call: &mut Call, cluster: &Rc<ClusterRuntime>, failure: &Failure) -> Response<ResponseBody> {
    if let FailureKind::Connect(error) = &failure.kind {
        call.exchange.transport_failure.replace(Some(error.logged()));
    }
    let mut reply = call.fail(failure);
    cluster.with_stats(|stats| {
        // Those of attempts were counted with the attempts.
        if let FailureKind::Expired(expired @ Expired::Timeout) = failure.kind {
            expired.count(stats);
        }
        stats.statuses.count(reply.status.as_u16());
    });
    tell_attempts(call, &mut reply.headers);
    let reply = match failure.kind {
        FailureKind::Overflow if !call.http.config.router.suppress_envoy_headers => {
            reply.with(OVERLOADED, HeaderValue::from_static("true"))
        }
        _ => reply,
    };
    call.reply(reply).await
}
