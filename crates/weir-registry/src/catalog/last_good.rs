//! What stays in force of a text's last version when its new one is broken.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use weir_api::{Kind, Object, ObjectKey, ObjectName, Parsed, Severity};

use super::Text;

/// What a text's new version holds: an object that says the same at the same place is the one of its last version.
pub(crate) fn taken_over(before: &Text, mut parsed: Parsed) -> Text {
    let kept = kept(before, &parsed);
    let known: HashMap<ObjectKey, &Arc<Object>> = before.objects.iter().map(|object| (object.key(), object)).collect();
    // Of what was never good, something safe takes the place.
    let is_kept = |object: &Arc<Object>| kept.iter().any(|kept| kept.key() == object.key());
    // A document that cannot be read at all is taken for that policy of its kind which is missing.
    let keeps = |kind: Kind| kept.iter().any(|kept| kept.kind == kind);
    let is_known = |object: &Arc<Object>| is_kept(object) || (keeps(object.kind) && object.node.entries().is_empty());
    let stand_ins: Vec<_> = std::mem::take(&mut parsed.stand_ins).into_iter().filter(|object| !is_known(object)).collect();
    let same = |object: Arc<Object>| known.get(&object.key()).filter(|known| ***known == object).map_or(object, |known| (*known).clone());
    Text {
        objects: parsed.objects.into_iter().chain(stand_ins).map(same).collect(),
        kept,
        diagnostics: parsed.diagnostics,
        changed: None,
        written: None,
    }
}

/// The objects of a text's last version that its new version still means to hold: those that it refuses by name, or,
/// where something is so broken that it has no name, all that are missing.
fn kept(before: &Text, now: &Parsed) -> Vec<Arc<Object>> {
    let errors = || now.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    // A kind that does not exist, or no name, may be any of them.
    let is_nameless = |name: &ObjectName| name.name.is_empty() || !Kind::is_name(&name.kind);
    let has_nameless = errors().any(|error| error.object.as_ref().is_none_or(is_nameless));
    let refused: HashSet<&ObjectName> = errors().filter_map(|error| error.object.as_ref()).collect();
    let present: HashSet<ObjectName> = now.objects.iter().map(|object| object.name()).collect();
    let last = before.objects.iter().chain(&before.kept);
    // What stands in for a resource stays as well where that may only have lost its name; one that is refused by name has its own.
    let stood_for: HashSet<ObjectName> = now.stand_ins.iter().map(|object| object.name()).collect();
    let stays = |object: &&Arc<Object>| {
        let name = object.name();
        let is_missing = !present.contains(&name);
        match object.stands_in() {
            true => is_missing && has_nameless && !stood_for.contains(&name),
            false => is_missing && (has_nameless || refused.contains(&name)),
        }
    };
    last.filter(stays).cloned().collect()
}
