//! Cross-origin requests: preflights are answered, and answers say who may read them.

use weir_http1::header::HeaderValue;
use weir_routing::filters::cors::{CorsFilter, CorsPolicies, Verdict};

use super::{Back, Flow, HttpFilter, Place};
use crate::http::body::ResponseBody;
use crate::http::call::{Call, RouteAnswer};
use crate::http::local_reply::LocalReply;
use crate::http::router::routes::Found;
use crate::io::response::Parts;

/// The filter.
pub(super) struct Cors(CorsFilter);

/// The policies of a request, the most specific first.
fn policies<'f>(found: &'f Found, place: &Place) -> CorsPolicies<'f> {
    CorsPolicies::new(found.levels().all(&place.name).rev())
}

impl HttpFilter for Cors {
    type Policy = CorsFilter;
    /// The origin that may read the answer.
    type State = HeaderValue;

    fn new(policy: &CorsFilter) -> Self {
        Self(policy.clone())
    }

    fn on_request(&self, call: &mut Call, place: &Place) -> Flow {
        let RouteAnswer::Route(found) = call.route() else { return Flow::Continue };
        // As in Envoy, only requests that are sent on have a policy: redirects and direct responses have none.
        if found.forward().is_none() {
            return Flow::Continue;
        }
        let found = found.clone();
        let verdict = {
            let request = call.exchange.request.borrow();
            policies(&found, place).judge(request.method.as_str(), &request.headers, || fastrand::u32(..), &self.0.counted)
        };
        match verdict {
            Verdict::Forward => Flow::Continue,
            Verdict::Allow(origin) => {
                call.states.put::<Self>(place, origin);
                Flow::Continue
            }
            Verdict::Answer(headers) => {
                call.exchange.detail("cors_response");
                Flow::Answer(LocalReply::bare(headers))
            }
        }
    }

    fn on_response(&self, call: &mut Call, place: &Place, head: &mut Parts, _: &mut ResponseBody) -> Back {
        if let Some(origin) = call.states.get::<Self>(place).map(|origin| origin.clone())
            && let Some(found) = call.found()
        {
            policies(found, place).allow(origin, &mut head.headers);
        }
        Back::Continue
    }
}
