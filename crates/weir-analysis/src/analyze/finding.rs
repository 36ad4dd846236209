//! What an analysis says, and how it is collected.

use std::collections::HashSet;

use serde::Serialize;
use weir_api::{Diagnostic, Document, FieldPath, ObjectName, Severity};

use super::codes::{Code, NOT_AMONG_DOCUMENTS, NOT_FOUND};

/// Where Istio explains its codes.
const EXPLAINED: &str = "https://istio.io/latest/docs/reference/config/analysis/";
/// The annotation whose value lists the codes that are not to be said of its object, or `*` for all.
const SUPPRESS: &str = "galley.istio.io/analyze-suppress";

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of finding it is.
    pub code: &'static Code,
    /// What, where, and what would be right. Its `object` is the finding's origin.
    pub diagnostic: Diagnostic,
}

/// A finding as `istioctl analyze -o json` prints one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Printed {
    /// Its code's number.
    pub code: &'static str,
    /// `Error`, `Warning` or `Info`.
    pub level: &'static str,
    /// The object, such as `VirtualService default/reviews`; empty where it is about no object.
    pub origin: String,
    /// What is wrong, and what would be right.
    pub message: String,
    /// `file:line`; empty where the place is not known.
    pub reference: String,
    /// Where the code is explained; empty for codes of Weir.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub documentation_url: String,
}

/// Where nothing of a kind is among the documents, they are likely to be a part only of what there is: then what they name may well
/// be there, and it is no error that it is not found.
pub(super) fn judged(has_none_of_kind: bool, kind: &str) -> (&'static Code, Option<String>) {
    if has_none_of_kind {
        (NOT_AMONG_DOCUMENTS, Some(format!("there is no {kind} at all among the documents: analyse it with them")))
    } else {
        (NOT_FOUND, None)
    }
}

impl Finding {
    /// How bad it is.
    pub fn level(&self) -> Severity {
        self.diagnostic.severity
    }

    /// The same as a word.
    pub fn level_name(&self) -> &'static str {
        match self.level() {
            Severity::Error => "Error",
            Severity::Warning => "Warning",
            Severity::Info => "Info",
        }
    }

    /// Where its code is explained; none for those of Weir.
    pub fn documentation_url(&self) -> Option<String> {
        self.code.id.starts_with("IST").then(|| format!("{EXPLAINED}{}/", self.code.id.to_ascii_lowercase()))
    }

    /// The form for programs.
    pub fn printed(&self) -> Printed {
        let Diagnostic { object, path, message, help, place, .. } = &self.diagnostic;
        let at = if path.0.is_empty() { String::new() } else { format!("{path}: ") };
        let help = help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        Printed {
            code: self.code.id,
            level: self.level_name(),
            origin: object.as_ref().map(ToString::to_string).unwrap_or_default(),
            message: format!("{at}{message}{help}"),
            reference: place.as_ref().map(weir_api::Place::line).unwrap_or_default(),
            documentation_url: self.documentation_url().unwrap_or_default(),
        }
    }

    /// Findings are in the order of their objects, then of their places; so the order of files does not matter.
    fn key(&self) -> (Option<&ObjectName>, u32, &'static str, &FieldPath, &str) {
        let offset = self.diagnostic.place.as_ref().map_or(0, |place| place.span.offset);
        (self.diagnostic.object.as_ref(), offset, self.code.id, &self.diagnostic.path, &self.diagnostic.message)
    }
}

/// What was found so far.
#[derive(Default)]
pub(crate) struct Report {
    findings: Vec<Finding>,
}

impl Report {
    /// Says something of a field of a document.
    pub(crate) fn say(&mut self, code: &'static Code, document: &Document, path: FieldPath, message: impl Into<String>) {
        self.say_help(code, document, path, message, None::<String>);
    }

    /// The same, and what would be right.
    pub(crate) fn say_help(
        &mut self,
        code: &'static Code,
        document: &Document,
        path: FieldPath,
        message: impl Into<String>,
        help: impl Into<Option<String>>,
    ) {
        let place = document.place(&path);
        let mut diagnostic = Diagnostic::new(code.level, message).at(path).placed(place);
        diagnostic.object = Some(document.name());
        diagnostic.help = help.into();
        self.add(code, document, diagnostic);
    }

    /// Adds what somebody else said of a document.
    pub(crate) fn add(&mut self, code: &'static Code, document: &Document, diagnostic: Diagnostic) {
        let suppressed = document.meta.annotations.get(SUPPRESS).map(String::as_str).unwrap_or_default();
        if !suppressed.split(',').any(|word| word == "*" || word == code.id) {
            self.findings.push(Finding { code, diagnostic });
        }
    }

    /// Adds what somebody said of a text that is no document.
    pub(crate) fn add_alone(&mut self, code: &'static Code, diagnostic: Diagnostic) {
        self.findings.push(Finding { code, diagnostic });
    }

    /// All of it, each finding once, in a stable order.
    pub(crate) fn finish(mut self) -> Vec<Finding> {
        self.findings.sort_by(|a, b| a.key().cmp(&b.key()));
        let mut known = HashSet::new();
        let same = |finding: &Finding| {
            let Diagnostic { object, path, message, .. } = &finding.diagnostic;
            (finding.code.id, object.clone(), path.clone(), message.clone())
        };
        self.findings.retain(|finding| known.insert(same(finding)));
        self.findings
    }
}

/// The path of a field, by its names with points between them: `spec.gateways`.
pub(crate) fn path(names: &str) -> FieldPath {
    names.split('.').fold(FieldPath::default(), |path, name| path.key(name.to_owned()))
}

/// Names in one line: the first few, and how many more there are.
pub(crate) fn listed<S: AsRef<str>>(names: &[S]) -> String {
    const MOST: usize = 5;
    let shown: Vec<&str> = names.iter().take(MOST).map(AsRef::as_ref).collect();
    match names.len().checked_sub(MOST) {
        None | Some(0) => shown.join(", "),
        Some(more) => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(listed(&["a", "b"]), "a, b");
        assert_eq!(listed(&["a", "b", "c", "d", "e", "f", "g"]), "a, b, c, d, e and 2 more");
        assert_eq!(path("spec.gateways").to_string(), "spec.gateways");
    }
}
