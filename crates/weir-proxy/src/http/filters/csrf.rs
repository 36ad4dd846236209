//! Requests that another site makes in its visitors' names.

use http::StatusCode;
use weir_routing::filters::csrf::CsrfPolicy;

use super::{Flow, HttpFilter, Place};
use crate::http::call::Call;
use crate::http::local_reply::LocalReply;

/// The filter.
pub(super) struct Csrf(CsrfPolicy);

impl HttpFilter for Csrf {
    type Policy = CsrfPolicy;
    type State = ();

    fn new(policy: &CsrfPolicy) -> Self {
        Self(policy.clone())
    }

    fn on_request(&self, call: &mut Call, place: &Place) -> Flow {
        call.route();
        let policy = call.found().and_then(|found| found.levels().most_specific(&place.name)).unwrap_or(&self.0);
        let Some(judged) = policy.judge(&call.exchange.request.borrow().for_routing(), || fastrand::u32(..)) else { return Flow::Continue };
        self.0.counted.count(judged);
        if !judged.is_refused() {
            return Flow::Continue;
        }
        call.exchange.detail("csrf_origin_mismatch");
        Flow::Answer(LocalReply::new(StatusCode::FORBIDDEN, "Invalid origin"))
    }
}
