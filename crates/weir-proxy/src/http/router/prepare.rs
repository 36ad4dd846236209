//! What is settled before the first attempt: the cluster, the request as the instance will see it, how long all
//! may take.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{InvalidUri, PathAndQuery};
use weir_routing::action::{Clusters, Forward, GrpcTimeout, HostRewrite};
use weir_routing::{Route, hash_policy};

use super::routes::Found;
use crate::http::call::Call;
use crate::http::header_changes::{apply_to_request, set_authority};
use crate::upstream::cluster::ClusterRuntime;

const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
const EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The cluster of a route, if it exists; where it has several, the one that was chosen.
pub(super) fn cluster(call: &Call, found: &Found, to: &Forward) -> Option<Rc<ClusterRuntime>> {
    let index = match &to.clusters {
        Clusters::One(index) => *index,
        Clusters::Weighted(_) => found.choice()?.cluster,
        Clusters::Header(name) => {
            let request = call.exchange.request.borrow();
            let named = request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            return call.http.clusters.get(named);
        }
    };
    found.cluster(index).cloned()
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
        (request.authority().to_owned(), request.scheme)
    };
    call.http.clusters.find_by_name(&authority, if scheme == "https" { 443 } else { 80 }).await
}

/// Makes the request what the instance will see.
///
/// # Errors
/// If the route makes of its path what cannot be sent.
pub(super) fn request(call: &Call, found: &Found, route: &Route, to: &Forward) -> Result<(), InvalidUri> {
    let chosen = found.choice();
    if let Some(chosen) = chosen {
        apply_to_request(&chosen.request_headers, &call.exchange);
        // The route takes this for what the client sent, and notes it as that where it sets another.
        if let Some(host) = chosen.host.as_deref().and_then(|host| HeaderValue::from_str(host).ok()) {
            call.exchange.request.borrow_mut().headers.insert(header::HOST, host);
        }
    }
    for changes in [&route.request_headers, &found.virtual_host().request_headers, &found.table().request_headers] {
        apply_to_request(changes, &call.exchange);
    }
    let mut head = call.exchange.request.borrow_mut();
    let head = &mut *head;
    rewrite_host(&to.host, &mut head.headers);
    let rewritten = to.path.as_ref().map(|rewrite| rewrite.apply(&route.matcher.path, head.path.as_str()));
    match rewritten {
        None => Ok(()),
        Some(path) => {
            let old = std::mem::replace(&mut head.path, PathAndQuery::try_from(path)?);
            if !call.http.config.router.suppress_envoy_headers
                && let Ok(old) = HeaderValue::from_str(old.as_str())
            {
                head.headers.insert(ORIGINAL_PATH, old);
            }
            Ok(())
        }
    }
}

fn rewrite_host(rewrite: &HostRewrite, headers: &mut HeaderMap) {
    let value = match rewrite {
        HostRewrite::To(host) => HeaderValue::from_str(host).ok(),
        HostRewrite::OfHeader(name) => headers.get(name).cloned(),
        // The instance is not chosen yet.
        HostRewrite::OfInstance | HostRewrite::Keep => None,
    };
    if let Some(value) = value {
        set_authority(headers, value);
    }
}

/// How long the answer may take in all; tells the instance, too.
pub(super) fn timeout(call: &Call, to: &Forward) -> Option<Duration> {
    let request = call.exchange.request.borrow();
    let asked = match to.grpc_timeout {
        GrpcTimeout::Honoured(max) if request.is_grpc() => {
            grpc_timeout(&request.headers).map(|asked| max.map_or(asked, |max| asked.min(max)))
        }
        _ => None,
    };
    let timeout = match (to.timeout, asked) {
        (Some(route), Some(asked)) => Some(route.min(asked)),
        (route, asked) => route.or(asked),
    };
    drop(request);
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
    if let Some(expected) = expected.filter(|_| !call.http.config.router.suppress_envoy_headers) {
        call.exchange.request.borrow_mut().headers.insert(EXPECTED_TIMEOUT, HeaderValue::from(expected.as_millis() as u64));
    }
}

/// The client's deadline, in gRPC's notation: up to eight digits and a unit
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
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
