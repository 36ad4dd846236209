//! Values that every request is given for later filters and logs.

use weir_routing::filters::set_metadata::MetadataPolicy;

use super::{Flow, HttpFilter, Place};
use crate::http::call::Call;

/// The filter.
pub(super) struct SetMetadata(MetadataPolicy);

impl HttpFilter for SetMetadata {
    type Policy = MetadataPolicy;
    type State = ();

    fn new(policy: &MetadataPolicy) -> Self {
        Self(policy.clone())
    }

    fn on_request(&self, call: &mut Call, place: &Place) -> Flow {
        let of_route = call.found().and_then(|found| found.levels().most_specific(&place.name));
        of_route.unwrap_or(&self.0).write(&mut call.exchange.dynamic_metadata.borrow_mut());
        Flow::Continue
    }
}
