//! The filters of a connection manager: all that are put in, replaced and taken out first, in order, then all merges. So a name
//! that a merge gives is never an anchor.

use std::sync::Arc;

use weir_api::resources::envoy_filter::{ApplyTo, EnvoyConfigObjectMatch};
use weir_xds::hcm::HttpFilter;

use super::edit::edit;
use super::filters::{self, Configured};
use super::matching;
use super::work::{Patch, Work};

/// Patches the filters. `is_here` says whether a patch is for the connection manager that they are of.
pub(super) fn patch(work: &Work<'_>, filters: &mut Vec<HttpFilter>, is_here: &dyn Fn(&EnvoyConfigObjectMatch) -> bool) {
    let patches: Vec<&Arc<Patch>> = work.of(ApplyTo::HttpFilter).filter(|patch| is_here(&patch.matched)).collect();
    for patch in &patches {
        let name = matching::http_filter(&patch.matched);
        let is_anchor = |filter: &HttpFilter| Some(filter.name.as_str()) == name;
        let is_anchor: Option<&dyn Fn(&HttpFilter) -> bool> = if name.is_some() { Some(&is_anchor) } else { None };
        if edit(filters, patch.operation, is_anchor, patch.value()) {
            work.done(patch);
        }
    }
    for filter in filters.iter_mut() {
        for patch in &patches {
            if let Some(lists) = patch.merges().filter(|_| matching::http_filter(&patch.matched) == Some(filter.name())) {
                filters::merge(work, patch, filter, lists);
            }
        }
        filters::discover(work, ApplyTo::HttpFilter, filter);
    }
}
