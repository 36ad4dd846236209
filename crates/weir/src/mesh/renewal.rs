//! Certificates that are asked for anew before their time: the workload has another service account, or the authority is another one.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use weir_ads::certificates::IstioCertificateRequest;

use super::authority::Ask;

/// So long it is waited before the authority is asked again that does not answer, or whose change has not led to a certificate.
const PAUSE: Duration = Duration::from_secs(30);
/// So long it is waited at least before it is asked again: an authority that answers at once is not asked all the time.
const BREATH: Duration = Duration::from_secs(1);

/// What a proxy's certificate was made of, as the authority calls it; nothing before the first.
#[derive(Debug, Clone, Default)]
pub(super) struct Known(watch::Sender<String>);

impl Known {
    pub fn set(&self, state: String) {
        self.0.send_replace(state);
    }

    fn get(&self) -> String {
        self.0.borrow().clone()
    }

    /// Waits until it is something else, but not for ever.
    async fn changes_from(&self, state: &str) {
        let _ = timeout(PAUSE, self.0.subscribe().wait_for(|now| now != state)).await;
    }
}

/// Notifies who has a proxy certified when that is to be done again, for as long as he is there.
pub(super) fn follow(id: &str, known: &Known, again: &Arc<Notify>, ask: Ask) {
    tokio::spawn(run(id.to_owned(), known.clone(), Arc::downgrade(again), ask));
}

async fn run(id: String, known: Known, again: Weak<Notify>, ask: Ask) {
    let mut failures = 0;
    while again.strong_count() > 0 {
        let state = known.get();
        if state.is_empty() {
            // There is no certificate yet, or of an authority that tells of no changes.
            known.changes_from(&state).await;
            continue;
        }
        let asked = ask(IstioCertificateRequest::for_changes(&id, &state)).await;
        failures = if asked.is_ok() { 0 } else { failures + 1 };
        match asked {
            Ok(answer) if answer.state == state => sleep(BREATH).await,
            Ok(_) => {
                tracing::info!(proxy = %id, "is to have another certificate");
                again.upgrade().iter().for_each(|again| again.notify_one());
                known.changes_from(&state).await;
            }
            Err(error) => {
                tell(&id, &error, failures);
                sleep(PAUSE).await;
            }
        }
    }
}

/// Tells of failures in a row once. The first alone may be a pilot that starts anew, of which other lines tell.
fn tell(id: &str, error: &str, failures: u64) {
    match failures {
        1 => tracing::debug!(proxy = %id, error, "does not hear whether it is to have another certificate"),
        2 => tracing::warn!(proxy = %id, error, "does not hear whether it is to have another certificate, and goes on asking"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use weir_ads::certificates::IstioCertificateResponse;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_authority_that_answers_or_refuses_at_once_is_not_asked_all_the_time() {
        for (answer, expected) in [(Ok("one"), 10..=61), (Err("no"), 2..=3)] {
            let (known, again, asked) = (Known::default(), Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
            known.set("one".to_owned());
            let count = asked.clone();
            let ask: Ask = Arc::new(move |_| {
                count.fetch_add(1, Ordering::Relaxed);
                let answer = answer.map(|state| IstioCertificateResponse { state: state.to_owned(), ..Default::default() });
                Box::pin(std::future::ready(answer.map_err(str::to_owned)))
            });
            follow("id", &known, &again, ask);
            assert!(tokio::time::timeout(Duration::from_secs(60), again.notified()).await.is_err());
            let asked = asked.load(Ordering::Relaxed);
            assert!(expected.contains(&asked), "{asked}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_certificate_is_asked_for_when_another_one_would_be_issued() {
        let (known, again, now) = (Known::default(), Arc::new(Notify::new()), Arc::new(Mutex::new("one".to_owned())));
        let answers = now.clone();
        let ask: Ask = Arc::new(move |request| {
            assert_eq!(request.node(), Some("id"));
            let state = answers.lock().unwrap().clone();
            Box::pin(async move {
                // As long as nothing changes, the answer takes its time.
                sleep(Duration::from_secs(15)).await;
                Ok(IstioCertificateResponse { state, ..IstioCertificateResponse::default() })
            })
        });
        follow("id", &known, &again, ask);
        let is_told = async || tokio::time::timeout(Duration::from_secs(120), again.notified()).await.is_ok();
        assert!(!is_told().await, "there is none yet");
        known.set("one".to_owned());
        assert!(!is_told().await, "it is as it was");
        *now.lock().unwrap() = "two".to_owned();
        assert!(is_told().await);
        known.set("two".to_owned());
        assert!(!is_told().await);
    }
}
