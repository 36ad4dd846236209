//! What tests of the rules have in common.

use crate::kind::{KINDS, NETWORKING};
use crate::parse;
use crate::source::Source;

/// Reads a resource of a kind with that `spec`, and tells what is said of it, as `error: http[0].route`: how bad, and
/// where within the `spec`. The messages themselves are compared in `tests/messages.rs`.
pub(super) fn said(kind: &str, spec: &str) -> Vec<String> {
    said_of(kind, "name: case, namespace: default", spec)
}

/// The same with those metadata.
pub(super) fn said_of(kind: &str, metadata: &str, spec: &str) -> Vec<String> {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    let group = KINDS.iter().find(|info| info.name == kind).map_or(NETWORKING, |info| info.group);
    let text = format!("apiVersion: {group}/v1\nkind: {kind}\nmetadata: {{{metadata}}}\nspec:\n{spec}");
    let parsed = parse::parse(&Source::new("case.yaml", text));
    // What is in force instead of a refused object is not what its rules say.
    let of_rules = parsed.diagnostics.into_iter().filter(|diagnostic| diagnostic.path.to_string() != "kind");
    let diagnostics = of_rules.map(|diagnostic| {
        let path = diagnostic.path.to_string();
        let within = path.strip_prefix("spec.").unwrap_or(&path);
        format!("{}: {within}", diagnostic.severity.as_str())
    });
    diagnostics.collect()
}

/// Goes through a table of specs and what is to be said of each.
pub(super) fn check_table(kind: &str, table: &[(&str, &[&str])]) {
    check_within(kind, "…", "", table);
}

/// Goes through a table of texts, each of which takes the place of the `…` in a spec, and what is to be said of it:
/// paths begin at that one.
pub(super) fn check_within(kind: &str, spec: &str, path: &str, table: &[(&str, &[&str])]) {
    for (text, expected) in table {
        let expected: Vec<String> = expected.iter().map(|line| line.replacen(": ", &format!(": {path}"), 1)).collect();
        assert_eq!(said(kind, &spec.replace('…', text)), expected, "{text}");
    }
}
