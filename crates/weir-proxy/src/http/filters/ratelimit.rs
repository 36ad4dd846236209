//! Limits that a service counts for many proxies.

use std::time::Instant;

use http::StatusCode;
use weir_config::flags::ResponseFlags;
use weir_http1::header::{self, HeaderName, Headers};
use weir_routing::dynamic_metadata::leave;
use weir_routing::filters::ratelimit::GlobalLimitPolicy;
use weir_routing::filters::ratelimit::answer::Heard;
use weir_routing::inline_headers::{REQUEST, RESPONSE, append};
use weir_routing::rate_limits::Counted;
use weir_xds::ratelimit_service::{RateLimitRequest, RateLimitResponse};

use super::{Back, Flow, HttpFilter, Place};
use crate::http::body::ResponseBody;
use crate::http::call::{Call, RouteAnswer};
use crate::http::header_changes::{apply_to_own, apply_to_response};
use crate::http::local_reply::LocalReply;
use crate::http::router;
use crate::http::router::routes::Found;
use crate::http::side_call::grpc::{GrpcCall, GrpcError, unary};
use crate::io::response::Parts;
use crate::stats::verdicts::Verdict;

/// The filter.
pub(super) struct RateLimit(GlobalLimitPolicy);

/// What is remembered of a request.
pub(super) struct Asked {
    /// What the service is to be asked.
    question: Option<RateLimitRequest>,
    /// What it adds to the answer.
    told: Headers,
}

impl RateLimit {
    fn question(&self, call: &Call, found: &Found, place: &Place) -> Option<RateLimitRequest> {
        let request = call.exchange.request.borrow();
        let head = request.for_routing();
        let known = call.exchange.dynamic_metadata.borrow();
        let counted = Counted {
            head: &head,
            client: call.exchange.remote.get().ip().to_canonical(),
            cluster: found.cluster_name(),
            own_cluster: "",
            known: &known,
            route: found.route().map(|route| &route.filter_metadata),
        };
        self.0.question(&counted, &found.rate_limits(), found.levels().most_specific(&place.name))
    }

    async fn ask(&self, call: &Call, question: &RateLimitRequest) -> Result<RateLimitResponse, GrpcError> {
        let service = &self.0.service;
        let mut metadata = Headers::new();
        apply_to_own(&service.metadata, &mut metadata, &call.exchange);
        let to = GrpcCall {
            cluster: &service.cluster,
            authority: &service.authority,
            path: "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit",
            metadata,
            timeout: self.0.timeout,
            most: service.most,
            signed: service.signed,
        };
        unary(&call.http.clusters, to, question).await
    }

    fn heard(&self, call: &mut Call, place: &Place, mut heard: Heard) -> Flow {
        let told = std::mem::take(&mut heard.metadata);
        leave(&mut call.exchange.dynamic_metadata.borrow_mut(), &self.0.metadata_namespace, told);
        if heard.is_over {
            router::count(call, |stats| {
                stats.verdicts.count(Verdict::RateLimitOverLimit);
                stats.statuses.count(self.0.status);
            });
            if self.0.enforced.takes(fastrand::u32(..)) {
                return Flow::Answer(self.refuse(call, &heard));
            }
        } else {
            router::count(call, |stats| stats.verdicts.count(Verdict::RateLimitOk));
        }
        let headers = &mut call.exchange.request.borrow_mut().headers;
        let said = heard.request.into_iter().filter(|(name, _)| may_be_added(name));
        said.for_each(|(name, value)| append(headers, &name, value, &REQUEST));
        if let Some(asked) = call.states.get::<Self>(place) {
            asked.told = heard.answer;
        }
        Flow::Continue
    }

    fn refuse(&self, call: &Call, heard: &Heard) -> LocalReply {
        call.exchange.flag(ResponseFlags::RATE_LIMITED);
        call.exchange.detail("request_rate_limited");
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::TOO_MANY_REQUESTS);
        let mut reply = LocalReply::new(status, heard.body.clone());
        reply.grpc_status = self.0.grpc_status;
        reply.headers = self.0.refusal(heard);
        apply_to_response(&self.0.response_headers, &mut reply.headers, &call.exchange);
        // How long it is only the answer itself knows.
        reply.headers.remove(header::CONTENT_LENGTH);
        reply
    }

    fn failed(&self, call: &Call, error: &GrpcError) -> Flow {
        tracing::debug!(cluster = &*self.0.service.cluster, %error, "the rate limit service has failed");
        router::count(call, |stats| stats.verdicts.count(Verdict::RateLimitError));
        if !self.0.denies_failure.takes(fastrand::u32(..)) {
            router::count(call, |stats| stats.verdicts.count(Verdict::RateLimitFailureModeAllowed));
            return Flow::Continue;
        }
        call.exchange.flag(ResponseFlags::RATE_LIMIT_SERVICE_ERROR);
        call.exchange.detail("rate_limiter_error");
        Flow::Answer(LocalReply::new(StatusCode::from_u16(self.0.status_on_error).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), ""))
    }
}

/// Whether a service may add a header. A second host, or another length, would leave in doubt whom a message is for, or where it ends.
fn may_be_added(name: &HeaderName) -> bool {
    *name != header::HOST && *name != header::CONTENT_LENGTH
}

impl HttpFilter for RateLimit {
    type Policy = GlobalLimitPolicy;
    type State = Asked;

    fn new(policy: &GlobalLimitPolicy) -> Self {
        Self(policy.clone())
    }

    fn on_request(&self, call: &mut Call, place: &Place) -> Flow {
        let RouteAnswer::Route(found) = call.route() else { return Flow::Continue };
        let found = found.clone();
        // As in Envoy, only what goes to a cluster that there is counts.
        if !self.0.enabled.takes(fastrand::u32(..)) || router::cluster_of(call).is_none() {
            return Flow::Continue;
        }
        let question = self.question(call, &found, place);
        if question.is_none() {
            return Flow::Continue;
        }
        call.states.put::<Self>(place, Asked { question, told: Headers::new() });
        Flow::Wait
    }

    async fn wait(&self, call: &mut Call, place: &Place) -> Flow {
        let Some(question) = call.states.get::<Self>(place).and_then(|asked| asked.question.take()) else { return Flow::Continue };
        let answer = self.ask(call, &question).await;
        call.exchange.routed.set(Some(Instant::now()));
        // What has come of the body meanwhile is not left unread, whatever is answered.
        call.waited = true;
        match answer {
            Ok(answer) => self.heard(call, place, self.0.heard(answer)),
            Err(error) => self.failed(call, &error),
        }
    }

    fn on_response(&self, call: &mut Call, place: &Place, head: &mut Parts, _: &mut ResponseBody) -> Back {
        if let Some(asked) = call.states.get::<Self>(place) {
            let said = std::mem::take(&mut asked.told).into_iter().filter(|(name, _)| may_be_added(name));
            said.for_each(|(name, value)| append(&mut head.headers, &name, value, &RESPONSE));
        }
        Back::Continue
    }
}
