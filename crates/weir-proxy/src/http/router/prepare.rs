//! What is settled before the first attempt: the cluster, the request as the instance will see it, how long all
//! may take.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use weir_config::head::{Head, is_path};
use weir_routing::action::{Forward, HostRewrite};
use weir_routing::clusters::{ClusterChoice, Clusters};
use weir_routing::{Route, hash_policy};

use super::routes::Found;
use crate::http::call::Call;
use crate::http::header_changes::{apply_to_request, set_authority};
use crate::upstream::cluster::ClusterRuntime;

const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
const EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
/// gRPC's notation has eight digits.
const GRPC_TIMEOUT_MAX: u64 = 99_999_999;
static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The cluster of a route, if it exists; where it has several, the one that was chosen.
pub(super) fn cluster(call: &Call, found: &Found, to: &Forward) -> Option<Rc<ClusterRuntime>> {
    match &to.clusters {
        Clusters::One(choice) => named_cluster(call, found, choice),
        Clusters::Weighted(_) => named_cluster(call, found, &found.choice()?.cluster),
    }
}

/// The cluster that the configuration or the request names.
pub(super) fn named_cluster(call: &Call, found: &Found, choice: &ClusterChoice) -> Option<Rc<ClusterRuntime>> {
    match choice {
        ClusterChoice::Named(index) => found.cluster(*index).cloned(),
        ClusterChoice::Header(header) => {
            let request = call.exchange.request.borrow();
            call.http.clusters.get(header.text(&request.for_routing()).unwrap_or_default())
        }
    }
}

/// Hashes the request, so that its like go to the same instance; returns cookies that are to be issued.
pub(super) fn hash(call: &mut Call, to: &Forward) -> Vec<HeaderValue> {
    let source = call.exchange.connection.remote.ip();
    let hashed = hash_policy::evaluate(&to.hash, &call.exchange.request.borrow().for_routing(), source, || fastrand::u64(..));
    call.hash = hashed.hash;
    hashed.cookies
}

/// The address of the host that a request names, looked up now.
pub(super) async fn named(call: &Call) -> Option<SocketAddr> {
    let (authority, scheme) = {
        let request = call.exchange.request.borrow();
        (request.authority().to_owned(), request.scheme.clone())
    };
    call.http.clusters.find_by_name(&authority, if scheme == "https" { 443 } else { 80 }).await
}

/// Makes the request what the instance will see.
///
/// # Errors
/// If the route makes of its path what cannot be sent.
pub(super) fn request(call: &Call, found: &Found, route: &Route, to: &Forward) -> Result<(), InvalidPath> {
    let chosen = found.choice();
    if let Some(chosen) = chosen {
        apply_to_request(&chosen.request_headers, &call.exchange);
        // The route takes this for what the client sent, and notes it as that where it sets another.
        if let Some(host) = chosen.host.as_deref().and_then(|host| HeaderValue::from_str(host).ok()) {
            call.exchange.request.borrow_mut().headers.insert(header::HOST, host);
        }
    }
    for changes in found.table().request_changes(found.virtual_host(), route) {
        apply_to_request(changes, &call.exchange);
    }
    let mut head = call.exchange.request.borrow_mut();
    let head = &mut *head;
    let suppress_envoy_headers = call.http.config.router.suppress_envoy_headers;
    rewrite_host(to, head, suppress_envoy_headers);
    let rewritten = to.path.as_ref().map(|rewrite| rewrite.apply(&route.matcher.path, head.path.as_str()));
    match rewritten {
        None => Ok(()),
        Some(path) => {
            let old = std::mem::replace(&mut head.path, checked(path)?);
            if !suppress_envoy_headers && let Ok(old) = HeaderValue::from_str(old.as_str()) {
                head.headers.insert(ORIGINAL_PATH, old);
            }
            Ok(())
        }
    }
}

/// A path that a rewrite has made.
fn checked(path: String) -> Result<String, InvalidPath> {
    if is_path(&path) { Ok(path) } else { Err(InvalidPath) }
}

/// What a route makes of a path cannot be sent.
#[derive(Debug)]
pub(super) struct InvalidPath;

fn rewrite_host(to: &Forward, head: &mut Head, suppress_envoy_headers: bool) {
    let value = match &to.host {
        HostRewrite::To(host) => HeaderValue::from_str(host).ok(),
        HostRewrite::OfHeader(name) => head.headers.get(name).cloned(),
        HostRewrite::OfPath(substitution) => HeaderValue::from_str(&substitution.apply(head.for_routing().path_only())).ok(),
        // That is done when one is chosen.
        HostRewrite::OfInstance | HostRewrite::Keep => None,
    };
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        set_authority(&mut head.headers, value, to.append_forwarded_host, suppress_envoy_headers);
    }
}

/// How long the answer may take in all; tells the instance, too.
pub(super) fn timeout(call: &Call, to: &Forward) -> Option<Duration> {
    let timeout = if to.timeouts.tells_grpc() {
        let request = call.exchange.request.borrow();
        let is_grpc = request.is_grpc();
        to.timeouts.answer(is_grpc, if is_grpc { grpc_timeout(&request.headers) } else { None })
    } else {
        // Whatever a call asks for: its head need not be searched for it.
        to.timeouts.usual()
    };
    tell_timeout(call, to, timeout, Duration::ZERO);
    timeout
}

/// Tells the instance how long its answer may take, when some of the time has passed.
pub(super) fn tell_timeout(call: &Call, to: &Forward, timeout: Option<Duration>, passed: Duration) {
    // Zero would say that there is no limit.
    let timeout = timeout.map(|timeout| timeout.saturating_sub(passed).max(Duration::from_millis(1)));
    let per_try = to.retry.as_ref().and_then(|retry| retry.per_try_timeout);
    let expected = match (timeout, per_try) {
        (Some(timeout), Some(per_try)) => Some(timeout.min(per_try)),
        (timeout, per_try) => timeout.or(per_try),
    };
    let Some(expected) = expected.map(|expected| expected.as_millis() as u64) else { return };
    let mut request = call.exchange.request.borrow_mut();
    if !call.http.config.router.suppress_envoy_headers {
        request.headers.insert(EXPECTED_TIMEOUT, HeaderValue::from(expected));
    }
    if to.timeouts.tells_grpc()
        && request.is_grpc()
        && let Ok(told) = HeaderValue::from_str(&format!("{}m", expected.min(GRPC_TIMEOUT_MAX)))
    {
        request.headers.insert(&GRPC_TIMEOUT, told);
    }
}

/// How long the stream may last in all. Of a gRPC call the instance is told what became of the deadline, where the route speaks
/// of its streams.
pub(super) fn stream_limit(call: &Call, to: &Forward, listener: Option<Duration>) -> Option<Duration> {
    if !to.timeouts.tells_grpc_of_streams() {
        // Whatever a call asks for: its head need not be searched for it.
        return listener;
    }
    let mut request = call.exchange.request.borrow_mut();
    let asked = if to.timeouts.limits_stream_by_grpc() { grpc_timeout(&request.headers) } else { None };
    let limit = to.timeouts.stream(asked, listener);
    if !request.is_grpc() {
        return limit;
    }
    match limit {
        Some(limit) => {
            let told = HeaderValue::from_str(&format!("{}m", (limit.as_millis() as u64).min(GRPC_TIMEOUT_MAX)));
            told.into_iter().for_each(|told| drop(request.headers.insert(&GRPC_TIMEOUT, told)));
        }
        // The route takes away the limit that the listener has set, and the deadline with it.
        None if listener.is_some() => drop(request.headers.remove(&GRPC_TIMEOUT)),
        None => {}
    }
    limit
}

/// The client's deadline, in gRPC's notation: up to eight digits and a unit
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(&GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}
