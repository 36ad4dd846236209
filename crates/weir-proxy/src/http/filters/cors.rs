//! Cross-origin requests: preflights are answered, and answers say who may read them.

use http::header::HeaderValue;
use http::response::Parts;
use weir_routing::cors::Verdict;

use super::{Flow, HttpFilter};
use crate::http::call::{Call, RouteAnswer};
use crate::http::local_reply::LocalReply;

/// The filter.
pub(super) struct Cors;

/// The origin that may read the answer.
pub(super) struct State(HeaderValue);

impl HttpFilter for Cors {
    fn on_request(&self, call: &mut Call) -> Flow {
        let RouteAnswer::Route(found) = call.route() else { return Flow::Continue };
        let Some(cors) = found.route().and_then(|route| route.filters.as_ref()?.cors.as_ref()) else { return Flow::Continue };
        let verdict = {
            let found = found.clone();
            let _ = &found;
            cors.clone()
        };
        let verdict = {
            let request = call.exchange.request.borrow();
            verdict.judge(request.method.as_str(), &request.headers)
        };
        match verdict {
            Verdict::Forward => Flow::Continue,
            Verdict::Allow(origin) => {
                call.states.cors = Some(State(origin));
                Flow::Continue
            }
            Verdict::Answer(headers) => {
                call.exchange.detail("cors_response");
                Flow::Answer(LocalReply::bare(headers))
            }
        }
    }

    fn on_response(&self, call: &mut Call, head: &mut Parts) {
        let Some(State(origin)) = call.states.cors.take() else { return };
        let matched = call.exchange.matched.borrow();
        let filters = matched.as_ref().and_then(|matched| matched.route()).and_then(|route| route.filters.as_deref());
        if let Some(cors) = filters.and_then(|filters| filters.cors.as_ref()) {
            cors.allow(origin, &mut head.headers);
        }
    }
}
