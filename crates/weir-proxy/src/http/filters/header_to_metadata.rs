//! Values for filters and logs that are taken from headers and cookies.

use weir_routing::filters::header_to_metadata::{RoutePolicy, TakingPolicy};

use super::{Back, Flow, HttpFilter, Place};
use crate::http::body::ResponseBody;
use crate::http::call::Call;
use crate::io::response::Parts;

/// The filter.
pub(super) struct HeaderToMetadata(TakingPolicy);

impl HeaderToMetadata {
    fn policy<'p>(&'p self, call: &'p Call, place: &Place) -> &'p TakingPolicy {
        let of_route = call.found().and_then(|found| found.levels().most_specific(&place.name));
        of_route.map_or(&self.0, RoutePolicy::policy)
    }
}

impl HttpFilter for HeaderToMetadata {
    type Policy = TakingPolicy;
    type State = ();

    fn new(policy: &TakingPolicy) -> Self {
        Self(policy.clone())
    }

    fn on_request(&self, call: &mut Call, place: &Place) -> Flow {
        let exchange = &call.exchange;
        let mut request = exchange.request.borrow_mut();
        let removed = self.policy(call, place).on_request(&request.for_routing(), &mut exchange.dynamic_metadata.borrow_mut());
        for name in &removed {
            request.headers.remove(name);
        }
        Flow::Continue
    }

    fn on_response(&self, call: &mut Call, place: &Place, head: &mut Parts, _: &mut ResponseBody) -> Back {
        let all = &mut call.exchange.dynamic_metadata.borrow_mut();
        let removed = self.policy(call, place).on_answer(head.status.as_u16(), &head.headers, all);
        for name in &removed {
            head.headers.remove(name);
        }
        Back::Continue
    }
}
