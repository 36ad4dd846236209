//! What is to be said of a mesh's configuration, so that each thing is said once for as long as it holds.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use weir_api::Diagnostic;

/// Who says something of a mesh's configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The pilot, of a part of the configuration, whoever follows it.
    Configuration(String),
    /// A class of proxies, by its number, for as long as it has members.
    Class(u64),
    /// A proxy, by its id, for as long as it follows.
    Proxy(String),
}

/// Collects findings from their sources, and tells which are new.
#[derive(Debug, Default)]
pub struct Report {
    sources: BTreeMap<Source, Vec<Finding>>,
    /// How often each is said now.
    said: HashMap<Arc<str>, usize>,
}

/// A report, and who is told what is new in it.
pub(crate) struct Reporter {
    report: Mutex<Report>,
    say: Box<dyn Fn(&Diagnostic) + Send + Sync>,
    /// Changes whenever something else may be said.
    changed: watch::Sender<()>,
}

impl Reporter {
    /// Of nothing yet.
    pub fn new(say: Box<dyn Fn(&Diagnostic) + Send + Sync>) -> Self {
        Self { report: Mutex::default(), say, changed: watch::Sender::new(()) }
    }

    /// Sees a change whenever something else may be said.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Replaces what a source has to say, and says what is new.
    pub fn replace(&self, source: &Source, findings: Vec<Diagnostic>) {
        let new = self.lock().replace(source, findings);
        self.changed.send_replace(());
        new.iter().for_each(|finding| (self.say)(finding));
    }

    /// A source has nothing to say any more.
    pub fn remove(&self, source: &Source) {
        self.lock().remove(source);
        self.changed.send_replace(());
    }

    /// All that is said now, each once.
    pub fn all(&self) -> Vec<Diagnostic> {
        self.lock().all().into_iter().cloned().collect()
    }

    /// What of it is said whoever follows.
    pub fn of_configuration(&self) -> Vec<Diagnostic> {
        let report = self.lock();
        let sources = report.sources.iter().filter(|(source, _)| matches!(source, Source::Configuration(_)));
        sources.flat_map(|(_, findings)| findings).map(|finding| finding.diagnostic.clone()).collect()
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
    pub fn replace(&mut self, source: &Source, findings: Vec<Diagnostic>) -> Vec<Diagnostic> {
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
            self.sources.insert(source.clone(), findings);
        }
        new
    }

    /// Forgets a source.
    pub fn remove(&mut self, source: &Source) {
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

    fn source(name: &str) -> Source {
        Source::Configuration(name.to_owned())
    }

    fn texts(found: &[Diagnostic]) -> Vec<&str> {
        found.iter().map(|finding| finding.message.as_str()).collect()
    }

    #[test]
    fn what_holds_is_said_once_and_again_when_it_comes_back() {
        let mut report = Report::default();
        let one = || vec![Diagnostic::warning("one")];
        assert_eq!(texts(&report.replace(&source("a"), one())), ["one"]);
        assert!(report.replace(&source("b"), one()).is_empty());
        assert!(report.replace(&source("a"), vec![]).is_empty());
        assert!(report.replace(&source("a"), one()).is_empty(), "b still says it");
        report.remove(&source("b"));
        report.replace(&source("a"), vec![]);
        assert_eq!(texts(&report.replace(&source("a"), one())), ["one"]);
    }

    #[test]
    fn a_source_may_say_the_same_twice_or_besides_something_new() {
        let mut report = Report::default();
        let say = |words: &[&str]| words.iter().map(|word| Diagnostic::warning(*word)).collect::<Vec<_>>();
        assert_eq!(texts(&report.replace(&source("a"), say(&["one", "one", "two"]))), ["one", "two"]);
        assert_eq!(texts(&report.replace(&source("a"), say(&["two", "three"]))), ["three"]);
        assert_eq!(texts(&report.replace(&source("b"), say(&["one", "two"]))), ["one"]);
        assert_eq!(report.all().len(), 3);
        report.remove(&source("a"));
        report.remove(&source("b"));
        assert!(report.all().is_empty() && report.said.is_empty());
    }
}
