//! What EnvoyFilters changed of what a call meets on its way.

use weir_translate::Change;
use weir_xds::lines::of_messages;
use weir_xds::resource::ResourceType;

use super::Explainer;
use super::answer::Answer;

/// So many lines of a change are told.
const LINES: usize = 6;
/// Where connection managers stand, which is where most of what is patched stands.
const MANAGER: &str = "filters[envoy.filters.network.http_connection_manager].typed_config.";

impl<'t> Explainer<'t> {
    /// Tells also what was changed by EnvoyFilters.
    #[must_use]
    pub fn with_changes(self, changes: &'t [Change]) -> Self {
        Self { changes, ..self }
    }

    /// Says what EnvoyFilters changed of a resource, at the place of the first patch that did.
    pub(super) fn patched(&self, kind: ResourceType, name: &str, answer: &mut Answer) {
        let Some(change) = self.changes.iter().find(|change| change.kind == kind && change.name == name) else { return };
        let mut who: Vec<String> = change.by.iter().map(|origin| origin.object.name().to_string()).collect();
        who.dedup();
        let why = match &change.before {
            None => format!("the {} was added", kind.name()),
            Some(before) => told(of_messages(Some(before), change.after.as_ref())),
        };
        let place = change.by.first().and_then(|origin| origin.place()).map(|place| place.line());
        answer.step_at(format!("{} changed by {}", kind.name(), who.join(", ")), why, place.as_deref());
    }
}

fn told(mut lines: Vec<String>) -> String {
    let more = lines.len().saturating_sub(LINES);
    lines.truncate(LINES);
    lines.iter_mut().for_each(|line| *line = line.replace(MANAGER, ""));
    if more > 0 {
        lines.push(format!("and {more} lines more"));
    }
    lines.join("; ")
}
