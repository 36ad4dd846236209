//! Requests that go in a circle between content delivery networks.

use http::StatusCode;
use weir_routing::filters::cdn_loop::CdnLoopPolicy;

use super::{Flow, HttpFilter, Place};
use crate::http::call::Call;
use crate::http::local_reply::LocalReply;

/// The filter.
pub(super) struct CdnLoop(CdnLoopPolicy);

impl HttpFilter for CdnLoop {
    type Policy = CdnLoopPolicy;
    type State = ();

    fn new(policy: &CdnLoopPolicy) -> Self {
        Self(policy.clone())
    }

    fn on_request(&self, call: &mut Call, _: &Place) -> Flow {
        let passed = self.0.pass(&mut call.exchange.request.borrow_mut().headers);
        let Err(stopped) = passed else { return Flow::Continue };
        let (status, body, details) = stopped.told();
        call.exchange.detail(details);
        Flow::Answer(LocalReply::new(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY), body))
    }
}
