//! What is to be said of a mesh's configuration, so that each thing is said once for as long as it holds.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weir_api::Diagnostic;

/// Collects findings from their sources, and tells which are new.
#[derive(Debug, Default)]
pub struct Report {
    /// By source: the catalog, each class of proxies, and each proxy.
    sources: BTreeMap<String, Vec<Finding>>,
    /// How often each is said now.
    said: HashMap<Arc<str>, usize>,
}

/// A report, and who is told what is new in it.
pub(crate) struct Reporter {
    report: Mutex<Report>,
    say: Box<dyn Fn(&Diagnostic) + Send + Sync>,
}

impl Reporter {
    /// Of nothing yet.
    pub fn new(say: Box<dyn Fn(&Diagnostic) + Send + Sync>) -> Self {
        Self { report: Mutex::default(), say }
    }

    /// Replaces what a source has to say, and says what is new.
    pub fn replace(&self, source: &str, findings: Vec<Diagnostic>) {
        let new = self.lock().replace(source, findings);
        new.iter().for_each(|finding| (self.say)(finding));
    }

    /// A source has nothing to say any more.
    pub fn remove(&self, source: &str) {
        self.lock().remove(source);
    }

    /// All that is said now, each once.
    pub fn all(&self) -> Vec<Diagnostic> {
        self.lock().all().into_iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A finding, with its words.
#[derive(Debug)]
struct Finding {
    diagnostic: Diagnostic,
    text: Arc<str>,
}

impl Report {
    /// Replaces what a source says. Returns what nobody has said yet. What no source says any more may be new again.
    pub fn replace(&mut self, source: &str, findings: Vec<Diagnostic>) -> Vec<Diagnostic> {
        let known = self.sources.get(source).map(Vec::as_slice).unwrap_or_default();
        if known.iter().map(|finding| &finding.diagnostic).eq(&findings) {
            return vec![];
        }
        let mut new = vec![];
        let findings: Vec<Finding> = findings
            .into_iter()
            .map(|diagnostic| {
                let text: Arc<str> = diagnostic.to_string().into();
                let count = self.said.entry(text.clone()).or_insert(0);
                if *count == 0 {
                    new.push(diagnostic.clone());
                }
                *count += 1;
                Finding { diagnostic, text }
            })
            .collect();
        self.remove(source);
        if !findings.is_empty() {
            self.sources.insert(source.to_owned(), findings);
        }
        new
    }

    /// Forgets a source.
    pub fn remove(&mut self, source: &str) {
        for finding in self.sources.remove(source).into_iter().flatten() {
            if let Some(count) = self.said.get_mut(&finding.text) {
                *count -= 1;
                if *count == 0 {
                    self.said.remove(&finding.text);
                }
            }
        }
    }

    /// All that is said now, each once.
    pub fn all(&self) -> Vec<&Diagnostic> {
        let mut known = HashSet::new();
        let all = self.sources.values().flatten();
        all.filter(|finding| known.insert(&finding.text)).map(|finding| &finding.diagnostic).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(found: &[Diagnostic]) -> Vec<&str> {
        found.iter().map(|finding| finding.message.as_str()).collect()
    }

    #[test]
    fn what_holds_is_said_once_and_again_when_it_comes_back() {
        let mut report = Report::default();
        let one = || vec![Diagnostic::warning("one")];
        assert_eq!(texts(&report.replace("a", one())), ["one"]);
        assert!(report.replace("b", one()).is_empty());
        assert!(report.replace("a", vec![]).is_empty());
        assert!(report.replace("a", one()).is_empty(), "b still says it");
        report.remove("b");
        report.replace("a", vec![]);
        assert_eq!(texts(&report.replace("a", one())), ["one"]);
    }

    #[test]
    fn a_source_may_say_the_same_twice_or_besides_something_new() {
        let mut report = Report::default();
        let say = |words: &[&str]| words.iter().map(|word| Diagnostic::warning(*word)).collect::<Vec<_>>();
        assert_eq!(texts(&report.replace("a", say(&["one", "one", "two"]))), ["one", "two"]);
        assert_eq!(texts(&report.replace("a", say(&["two", "three"]))), ["three"]);
        assert_eq!(texts(&report.replace("b", say(&["one", "two"]))), ["one"]);
        assert_eq!(report.all().len(), 3);
        report.remove("a");
        report.remove("b");
        assert!(report.all().is_empty() && report.said.is_empty());
    }
}
