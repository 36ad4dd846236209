//! What is to be said of a mesh's configuration, so that each thing is said once for as long as it holds.

use std::collections::{BTreeMap, HashSet};

use weir_api::Diagnostic;

/// Collects findings from their sources, and tells which are new.
#[derive(Debug, Default)]
pub struct Report {
    /// By source: the catalog, and each proxy.
    findings: BTreeMap<String, Vec<Diagnostic>>,
    said: HashSet<String>,
}

impl Report {
    /// Replaces what a source says. Returns what nobody has said yet. What no source says any more may be new again.
    pub fn replace(&mut self, source: &str, findings: Vec<Diagnostic>) -> Vec<Diagnostic> {
        self.findings.insert(source.to_owned(), findings);
        let held: HashSet<String> = self.findings.values().flatten().map(ToString::to_string).collect();
        self.said.retain(|text| held.contains(text));
        let mine = self.findings.get(source).into_iter().flatten();
        mine.filter(|finding| self.said.insert(finding.to_string())).cloned().collect()
    }

    /// Forgets a source.
    pub fn remove(&mut self, source: &str) {
        self.findings.remove(source);
    }

    /// All that is said now, each once.
    pub fn all(&self) -> Vec<&Diagnostic> {
        let mut known = HashSet::new();
        self.findings.values().flatten().filter(|finding| known.insert(finding.to_string())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_is_said_once_and_again_when_it_comes_back() {
        let mut report = Report::default();
        let texts = |found: Vec<Diagnostic>| found.iter().map(|finding| finding.message.clone()).collect::<Vec<_>>();
        let one = || vec![Diagnostic::warning("one")];
        assert_eq!(texts(report.replace("a", one())), ["one"]);
        assert!(report.replace("b", one()).is_empty());
        assert!(report.replace("a", vec![]).is_empty());
        assert!(report.replace("a", one()).is_empty(), "b still says it");
        report.remove("b");
        report.replace("a", vec![]);
        assert_eq!(texts(report.replace("a", one())), ["one"]);
    }
}
