//! Limits that this proxy counts alone. All workers take from the same buckets, without a lock.

use std::sync::Arc;

use http::StatusCode;
use weir_config::flags::ResponseFlags;
use weir_http1::Headers;
use weir_http1::header::{self, HeaderName, HeaderValue};
use weir_routing::filters::local_ratelimit::{Bucket, Buckets, RateLimitOverride, RateLimitPolicy, RouteLimits, Verdict};
use weir_routing::rate_limits::Counted;

use super::{Back, Flow, HttpFilter, Place};
use crate::http::body::ResponseBody;
use crate::http::call::{Call, RouteAnswer};
use crate::http::header_changes::{apply_to_request, apply_to_response};
use crate::http::local_reply::LocalReply;
use crate::http::router::routes::Found;
use crate::io::clock::clock;
use crate::io::response::Parts;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The filter.
pub(super) struct LocalRateLimit(RateLimitPolicy);

/// What the client is told.
pub(super) struct Told(Vec<(HeaderName, HeaderValue)>);

impl LocalRateLimit {
    fn policy<'p>(&'p self, found: Option<&'p Found>, place: &Place) -> &'p RateLimitPolicy {
        let of_route = found.and_then(|found| found.levels().most_specific::<RateLimitOverride>(&place.name));
        of_route.map_or(&self.0, |of_route| &of_route.0)
    }

    /// What is in the buckets: those of all, or those of the connection.
    fn buckets(call: &Call, policy: &RateLimitPolicy) -> Arc<Buckets> {
        if !policy.per_connection {
            return policy.buckets.clone();
        }
        let mut of_connection = call.control.extensions.borrow_mut();
        of_connection.get_or_insert_with(|| Arc::new(policy.fresh_buckets())).clone()
    }
}

fn judge(call: &Call, found: Option<&Found>, policy: &RateLimitPolicy, buckets: &Buckets) -> Verdict {
    let request = call.exchange.request.borrow();
    let head = request.for_routing();
    let known = call.exchange.dynamic_metadata.borrow();
    let counted = Counted {
        head: &head,
        client: call.exchange.remote.get().ip().to_canonical(),
        cluster: found.and_then(Found::cluster_name),
        own_cluster: "",
        known: &known,
        route: found.and_then(Found::route).map(|route| &route.filter_metadata),
    };
    let limits = found.map_or_else(RouteLimits::default, Found::rate_limits);
    let descriptors = policy.descriptors(&counted, &limits);
    policy.judge(&descriptors, |bucket, tokens| buckets.take(policy, bucket, clock(), tokens))
}

/// How much is left, for the client.
fn told(policy: &RateLimitPolicy, buckets: &Buckets, bucket: Bucket) -> Vec<(HeaderName, HeaderValue)> {
    let Some(left) = buckets.left(policy, bucket, clock()) else { return vec![] };
    vec![(LIMIT, left.limit.into()), (REMAINING, left.remaining.into()), (RESET, left.reset.into())]
}

fn refuse(call: &Call, policy: &RateLimitPolicy, wait: Option<u64>) -> LocalReply {
    call.exchange.flag(ResponseFlags::RATE_LIMITED);
    call.exchange.detail("local_rate_limited");
    let status = StatusCode::from_u16(policy.status).unwrap_or(StatusCode::TOO_MANY_REQUESTS);
    let mut reply = LocalReply::new(status, "local_rate_limited");
    reply.grpc_status = policy.grpc_status;
    let mut headers = Headers::new();
    apply_to_response(&policy.response_headers, &mut headers, &call.exchange);
    if let Some(seconds) = wait.filter(|_| policy.retry_after && status == StatusCode::TOO_MANY_REQUESTS) {
        headers.insert_if_absent(header::RETRY_AFTER, || seconds.max(1).into());
    }
    reply.headers = headers;
    reply
}

impl HttpFilter for LocalRateLimit {
    type Policy = RateLimitPolicy;
    type State = Told;

    fn new(policy: &RateLimitPolicy) -> Self {
        Self(policy.clone())
    }

    fn on_request(&self, call: &mut Call, place: &Place) -> Flow {
        let found = match call.route() {
            RouteAnswer::Route(found) => Some(found.clone()),
            RouteAnswer::Nowhere | RouteAnswer::ToHttps | RouteAnswer::Unclear => None,
        };
        let policy = self.policy(found.as_ref(), place);
        if !policy.enabled.takes(fastrand::u32(..)) {
            return Flow::Continue;
        }
        let counted = &policy.counted;
        counted.enabled.count();
        let buckets = Self::buckets(call, policy);
        let verdict = judge(call, found.as_ref(), policy, &buckets);
        if let Some(bucket) = verdict.bucket.filter(|_| verdict.tell) {
            call.states.put::<Self>(place, Told(told(policy, &buckets, bucket)));
        }
        if verdict.allowed {
            counted.ok.count();
            return Flow::Continue;
        }
        counted.rate_limited.count();
        if !policy.enforced.takes(fastrand::u32(..)) {
            apply_to_request(&policy.request_headers, &call.exchange);
            return Flow::Continue;
        }
        counted.enforced.count();
        let wait = verdict.bucket.and_then(|bucket| buckets.left(policy, bucket, clock())).map(|left| left.reset);
        Flow::Answer(refuse(call, policy, wait))
    }

    fn on_response(&self, call: &mut Call, place: &Place, head: &mut Parts, _: &mut ResponseBody) -> Back {
        if let Some(Told(told)) = call.states.get::<Self>(place) {
            head.headers.extend(told.drain(..));
        }
        Back::Continue
    }
}
