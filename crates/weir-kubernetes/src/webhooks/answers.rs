//! What is answered at which path, counted, and told in the log.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use weir_inject::admission::End;
use weir_inject::{Answer, Settings, review};

use super::validation::validate;

/// So many lines are logged of reviews within a while; of the others only their number is.
const MOST_LINES: u32 = 200;
const WHILE: Duration = Duration::from_secs(10);
/// So many characters of a line: who asks wrote parts of it.
const LONGEST_LINE: usize = 512;

/// What is counted: Istio's names where it has one, and what they are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    Injections,
    Injected,
    NotInjected,
    Skipped,
    Valid,
    Invalid,
    NotValidated,
    Connections,
    Handshakes,
}

const NAMES: [(&str, Count); 9] = [
    ("sidecar_injection_requests_total", Count::Injections),
    ("sidecar_injection_success_total", Count::Injected),
    ("sidecar_injection_failure_total", Count::NotInjected),
    ("sidecar_injection_skip_total", Count::Skipped),
    ("galley_validation_passed", Count::Valid),
    ("galley_validation_failed", Count::Invalid),
    ("galley_validation_http_error", Count::NotValidated),
    ("weir_webhooks_refused_connections_total", Count::Connections),
    ("weir_webhooks_failed_handshakes_total", Count::Handshakes),
];

/// What the webhooks are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    Inject,
    Validate,
}

impl Task {
    /// The one at a path.
    pub fn at(path: &str) -> Option<Self> {
        let is = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        match () {
            () if is("/inject") => Some(Self::Inject),
            () if is("/validate") => Some(Self::Validate),
            () => None,
        }
    }
}

/// What answers.
pub(super) struct Answers {
    settings: watch::Receiver<Arc<Settings>>,
    counted: [AtomicU64; NAMES.len()],
    lines: Mutex<Lines>,
}

/// How many lines were logged since when, and how many were not.
struct Lines {
    since: Instant,
    told: u32,
    not_told: u64,
}

impl Answers {
    /// Injects as these say at the time.
    pub fn new(settings: watch::Receiver<Arc<Settings>>) -> Self {
        let lines = Lines { since: Instant::now(), told: 0, not_told: 0 };
        Self { settings, counted: Default::default(), lines: Mutex::new(lines) }
    }

    /// Answers a call.
    pub fn answer(&self, task: Task, path: &str, content_type: Option<&str>, body: &[u8]) -> Answer {
        let answer = match task {
            Task::Inject => {
                let settings = self.settings.borrow().clone();
                review(path, content_type, body, &settings)
            }
            Task::Validate => validate(content_type, body),
        };
        self.counts(task, answer.end).into_iter().for_each(|count| self.count(count));
        // What is good need not be told.
        if (task, answer.end) != (Task::Validate, End::Allowed) {
            self.tell(&answer.log);
        }
        answer
    }

    fn counts(&self, task: Task, end: End) -> Vec<Count> {
        match (task, end) {
            (Task::Inject, End::Changed) => vec![Count::Injections, Count::Injected],
            (Task::Inject, End::Allowed) => vec![Count::Injections, Count::Skipped],
            (Task::Inject, End::Refused | End::NotUnderstood) => vec![Count::Injections, Count::NotInjected],
            (Task::Validate, End::Allowed | End::Changed) => vec![Count::Valid],
            (Task::Validate, End::Refused) => vec![Count::Invalid],
            (Task::Validate, End::NotUnderstood) => vec![Count::NotValidated],
        }
    }

    /// Counts one more.
    pub fn count(&self, count: Count) {
        if let Some(counter) = self.counted.get(count as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Logs a line, but not so many that whoever asks again and again fills a disk.
    pub fn tell(&self, line: &str) {
        let Some(not_told) = self.may_tell(Instant::now()) else { return };
        let line: String = line.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(LONGEST_LINE).collect();
        match not_told {
            0 => tracing::info!("webhook: {line}"),
            not_told => tracing::info!(not_told, "webhook: {line}"),
        }
    }

    /// Whether a line may be logged now, and how many were not before it.
    fn may_tell(&self, now: Instant) -> Option<u64> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(lines.since) > WHILE {
            (lines.since, lines.told) = (now, 0);
        }
        if lines.told >= MOST_LINES {
            lines.not_told += 1;
            return None;
        }
        lines.told += 1;
        Some(std::mem::take(&mut lines.not_told))
    }

    /// What was counted, as Prometheus reads it.
    pub fn statistics(&self) -> String {
        let mut text = String::new();
        for ((name, _), counter) in NAMES.iter().zip(&self.counted) {
            // Writing to a string does not fail.
            let _ = writeln!(text, "# TYPE {name} counter\n{name} {}", counter.load(Ordering::Relaxed));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> Answers {
        Answers::new(watch::channel(Arc::default()).1)
    }

    #[test]
    fn paths_are_istios() {
        for (path, task) in [
            ("/inject", Some(Task::Inject)),
            ("/inject/cluster/a/net/b", Some(Task::Inject)),
            ("/validate", Some(Task::Validate)),
            ("/validate/", Some(Task::Validate)),
            ("/injected", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(Task::at(path), task, "{path}");
        }
    }

    #[test]
    fn what_is_answered_is_counted() {
        for (index, (_, count)) in NAMES.iter().enumerate() {
            assert_eq!(*count as usize, index);
        }
        let answers = answers();
        let pod = br#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u", "operation": "CREATE",
            "kind": {"group": "", "version": "v1", "kind": "Pod"}, "object": {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "p"}]}}}}"#;
        let json = Some("application/json");
        assert_eq!(answers.answer(Task::Inject, "/inject", json, pod).end, End::Changed);
        assert_eq!(answers.answer(Task::Inject, "/inject", json, b"{}").end, End::NotUnderstood);
        assert_eq!(answers.answer(Task::Validate, "/validate", json, b"{}").end, End::NotUnderstood);
        let statistics = answers.statistics();
        for line in [
            "sidecar_injection_requests_total 2\n",
            "sidecar_injection_success_total 1\n",
            "sidecar_injection_failure_total 1\n",
            "galley_validation_http_error 1\n",
            "# TYPE galley_validation_passed counter\ngalley_validation_passed 0\n",
        ] {
            assert!(statistics.contains(line), "no {line:?} in {statistics}");
        }
    }

    #[test]
    fn nobody_fills_a_disk() {
        let (answers, begin) = (answers(), Instant::now());
        let told = (0..MOST_LINES + 50).filter(|_| answers.may_tell(begin).is_some()).count();
        assert_eq!(told, MOST_LINES as usize);
        assert_eq!(answers.may_tell(begin + WHILE * 2), Some(50));
        assert_eq!(answers.may_tell(begin + WHILE * 2), Some(0));
    }
}
