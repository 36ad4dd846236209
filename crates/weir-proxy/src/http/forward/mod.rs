//! Sends a request on to an instance of the route's cluster, again if the route's policy says so, and brings
//! back the answer.

pub(in crate::http) mod attempt;
pub(in crate::http) mod limits;
mod mirror;
mod prepare;
mod retry;

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;
use weir_routing::Route;
use weir_routing::action::Forward;

use super::filters::{self, Passed};
use super::handle::Call;
use super::local_reply::LocalReply;
use super::request_body::Source;
use super::response_body::{ResponseBody, UpstreamBody};
use crate::balance::outlier::Outcome;
use crate::config::cluster::Discovery;
use crate::log::flags::ResponseFlags;
use crate::upstream::resources::{Overflow, Resource};
use crate::worker::cluster::ClusterRuntime;
use crate::worker::routes::Matched;
use attempt::{Answer, Failure};
use limits::{Expired, Expiry, Limits};
use retry::{Pause, Retries};

const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
const IS_TIMEOUT_RETRY: HeaderName = HeaderName::from_static("x-envoy-is-timeout-retry");
const OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");
const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// Sends a request on.
pub(super) async fn forward(mut call: Call, matched: &Matched, route: &Route, to: &Forward, incoming: Incoming) -> Response<ResponseBody> {
    let cluster = prepare::cluster(&mut call, matched, to);
    call.exchange.cluster.replace(cluster.clone());
    let mut begun = call.exchange.start;
    if let Some(filters) = &route.filters {
        match Box::pin(filters::pass(call, filters)).await {
            Passed::On(passed, held) => {
                call = passed;
                begun = held.unwrap_or(begun);
            }
            Passed::Answered(response) => return response,
        }
    }
    let Some(cluster) = cluster else { return no_cluster(call, to) };
    if prepare::request(&call, matched, route, to).is_err() {
        return call.reply(LocalReply::new(StatusCode::BAD_REQUEST, ""));
    }
    if cluster.policy().discovery == Discovery::OfRequest {
        call.named = prepare::named(&call).await;
        if call.named.is_none() {
            return give_up(call, &cluster, &Failure::Unresolved);
        }
    }
    let by_hash = !to.hash.is_empty() && cluster.policy().lb.balance.is_by_hash();
    let cookies = if by_hash { prepare::hash(&mut call, to) } else { vec![] };
    let upgrade = call.exchange.request.borrow().upgrade.clone();
    if let Some(protocol) = upgrade {
        return super::upgrade::upgrade(call, &cluster, &protocol).await;
    }
    let timeout = prepare::timeout(&call, to);
    let body = Source::new(incoming, to.retry.is_some(), call.exchange.clone());
    if !to.mirrors.is_empty() {
        mirror::mirror(&call, matched, to, body.as_ref());
    }
    let duration = prepare::stream_limit(&call, to, call.http.config.max_stream_duration);
    let mut expiry = Limits::new(timeout, duration, to, &call.http.config).watch(&call.exchange, body.as_ref(), begun);
    let attempts = attempts(&call, &cluster, matched, to, timeout, body.as_ref());
    let result = match &mut expiry {
        None => attempts.await,
        Some(expiry) => tokio::select! {
            biased;
            result = attempts => result,
            expired = expiry => Err(Failure::Expired(expired, body.as_ref().is_none_or(|body| body.has_ended()))),
        },
    };
    if let (Err(Failure::Expired(Expired::Timeout, _)), Some(target)) = (&result, call.exchange.target.borrow().as_ref()) {
        cluster.report(&target.host, Outcome::TimedOut);
    }
    match result {
        Ok(answer) => {
            let expiry = limits::watch_answer(expiry, to.retry.as_deref(), &call.exchange);
            pass_on(call, &cluster, answer, expiry, cookies)
        }
        Err(failure) => give_up(call, &cluster, &failure),
    }
}

/// Tries until there is an answer to pass on, or nothing more may be tried.
async fn attempts(
    call: &Call,
    cluster: &Rc<ClusterRuntime>,
    matched: &Matched,
    to: &Forward,
    timeout: Option<Duration>,
    body: Option<&Rc<Source>>,
) -> Result<Answer, Failure> {
    let mut retries = Retries::new(to.retry.as_deref(), &call.exchange.request.borrow());
    // What the attempt that is made takes of the limit, if it is not the first.
    let mut retrying = None;
    // Whether the attempt before took too long, if there was one.
    let mut timed_out = None;
    loop {
        call.exchange.attempts.set(call.exchange.attempts.get() + 1);
        if matched.virtual_host().attempt_count {
            set_attempt_count(call);
        }
        if let Some(took_too_long) = timed_out.filter(|_| matched.virtual_host().tells_timeout_retry) {
            let told = HeaderValue::from_static(if took_too_long { "true" } else { "false" });
            call.exchange.request.borrow_mut().headers.insert(IS_TIMEOUT_RETRY, told);
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
        retries.note(call.exchange.target.borrow().as_ref().map(|target| target.host.address));
        timed_out = Some(matches!(result, Err(Failure::AttemptTimedOut)));
        drop(result);
        cluster.with_stats(|stats| stats.rq_retry.add(1));
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        prepare::tell_timeout(call, to, timeout, call.exchange.start.elapsed());
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
fn tell_attempts(call: &Call, headers: &mut HeaderMap) {
    let told = call.exchange.matched.borrow().as_ref().is_some_and(|matched| matched.virtual_host().attempt_count_in_answer);
    if told {
        headers.insert(ATTEMPT_COUNT, attempt_count(call));
    }
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
    remove_hop_by_hop(&mut parts.headers);
    parts.headers.insert(SERVICE_TIME, HeaderValue::from(sent.elapsed().as_millis() as u64));
    tell_attempts(&call, &mut parts.headers);
    call.change_response_headers(&mut parts.headers);
    for cookie in cookies {
        parts.headers.append(header::SET_COOKIE, cookie);
    }
    // The client's connection speaks its own version.
    parts.version = http::Version::default();
    // So is the reason phrase, which no version but HTTP/1 has: each hop writes its own, as Envoy does.
    parts.extensions.clear();
    let body = UpstreamBody { incoming, origin, busy, expiry, ended: false, broken: None };
    call.finish(Response::from_parts(parts, body), ResponseBody::upstream)
}

/// Takes away what belongs to the instance's connection alone, and joins what Envoy joins.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
    if headers.keys_len() != headers.len() && headers.get_all(header::VARY).iter().nth(1).is_some() {
        super::head::join(headers, &header::VARY);
    }
}

fn no_cluster(call: Call, to: &Forward) -> Response<ResponseBody> {
    call.exchange.flag(ResponseFlags::NO_CLUSTER);
    call.exchange.detail("cluster_not_found");
    let status = StatusCode::from_u16(to.not_found_status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    call.reply(LocalReply::new(status, ""))
}

/// The answer where no instance gave one.
pub(in crate::http) fn give_up(call: Call, cluster: &Rc<ClusterRuntime>, failure: &Failure) -> Response<ResponseBody> {
    let retried = call.exchange.flags.get().has_any(ResponseFlags::UPSTREAM_RETRY_LIMIT);
    let (status, flag, details, body) = failure.describe(retried);
    if let Failure::Connect(error) = failure {
        call.exchange.transport_failure.replace(Some(error.reason()));
    }
    call.exchange.flag(flag);
    call.exchange.detail(details);
    cluster.with_stats(|stats| {
        if let Failure::Expired(expired, _) = failure {
            limits::count_expired(*expired, stats);
        }
        stats.statuses.count(status.as_u16());
    });
    let mut reply = LocalReply::new(status, body);
    tell_attempts(&call, &mut reply.headers);
    call.reply(match failure {
        Failure::Overflow => reply.with(OVERLOADED, HeaderValue::from_static("true")),
        _ => reply,
    })
}
