//! What is to be said of each document alone, by the rules of `weir validate`; and what Weir does not do of what is asked.

use std::sync::Arc;

use weir_api::{Diagnostic, Document, Object, Severity, Topic};
use weir_translate::{patch_values, unsupported};

use super::codes::{
    Code, DEFINED_TWICE, INEFFECTIVE_MATCH, NEEDLESS_CONDITION, NOT_CARRIED_OUT, PROXY_WILL_NOT, SCHEMA_ERROR, SCHEMA_WARNING,
    UNREACHABLE_RULE, UNREADABLE,
};
use super::finding::{Report, path};
use super::index::Index;
use crate::preview::{Said, of_patch};

/// Looks at each document.
pub(super) fn check<'i>(index: &Index<'_>, documents: impl Iterator<Item = &'i Document>, report: &mut Report) {
    for document in documents {
        for diagnostic in &document.diagnostics {
            say(document, diagnostic.clone(), report);
        }
        if let Some(object) = document.object().filter(|_| !document.is_refused()) {
            for diagnostic in unsupported::findings(std::slice::from_ref(object)) {
                let code = if diagnostic.severity == Severity::Error { SCHEMA_ERROR } else { NOT_CARRIED_OUT };
                report.add(code, document, diagnostic);
            }
            foreseen(document, object, report);
        }
    }
    for (document, first) in &index.twice {
        let first = first.place(&path("metadata.name")).map(|place| format!(" ({place})")).unwrap_or_default();
        let message = format!("the same kind, namespace and name stand twice{first}: this one does not count");
        report.say_help(DEFINED_TWICE, document, path("metadata.name"), message, "give it another name, or take one away".to_owned());
    }
}

fn say(document: &Document, mut diagnostic: Diagnostic, report: &mut Report) {
    let code: &Code = match (diagnostic.topic, diagnostic.severity) {
        // What is nothing to a mesh is not amiss.
        (_, Severity::Info) => return,
        (Topic::Unreadable, _) => UNREADABLE,
        (Topic::NotCarriedOut, _) => NOT_CARRIED_OUT,
        (Topic::UnreachableRule, _) => UNREACHABLE_RULE,
        (Topic::IneffectiveMatch, _) => INEFFECTIVE_MATCH,
        (Topic::NeedlessCondition, _) => NEEDLESS_CONDITION,
        (Topic::Validity, Severity::Error) => SCHEMA_ERROR,
        (Topic::Validity, Severity::Warning) => SCHEMA_WARNING,
    };
    diagnostic.severity = code.level;
    report.add(code, document, diagnostic);
}

/// What Weir's own proxy will say of what an EnvoyFilter puts in.
fn foreseen(document: &Document, object: &Arc<Object>, report: &mut Report) {
    for patch in patch_values(object) {
        for said in of_patch(&patch.value, patch.is_whole) {
            let message = match said {
                Said::Refused(reason) => format!("Weir's own proxy will refuse it: {reason}"),
                Said::PassedOver(field) => format!("Weir's own proxy passes over a part of it: {field}"),
            };
            report.say(PROXY_WILL_NOT, document, patch.path.key("patch").key("value"), message);
        }
    }
}
