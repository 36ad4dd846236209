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

    fn on_request(&self, call: &mut Call, _: &Place) -> Flow {
        // Envoy accepts what a route says of this filter, and does not look at it.
        self.0.write(&mut call.exchange.dynamic_metadata.borrow_mut());
        Flow::Continue
    }
}
