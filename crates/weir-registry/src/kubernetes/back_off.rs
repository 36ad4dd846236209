//! How long to wait until what broke is tried again.

use std::time::{Duration, Instant};

/// The first and the longest wait. After a restart of the API server's, news must not wait for long.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);
/// What has not broken for so long has recovered.
const RECOVERED: Duration = Duration::from_secs(30);

/// Waits that double, until nothing has broken for a while. So nobody is asked without end who answers at once, but of no use.
#[derive(Debug)]
pub struct BackOff {
    next: Duration,
    last: Option<Instant>,
}

impl Default for BackOff {
    fn default() -> Self {
        Self::new()
    }
}

impl BackOff {
    /// Nothing has broken yet.
    pub fn new() -> Self {
        Self { next: SHORTEST, last: None }
    }

    /// It broke now: how long to wait, at most.
    pub fn broke(&mut self, now: Instant) -> Duration {
        if self.last.is_none_or(|last| now.saturating_duration_since(last) > RECOVERED) {
            self.next = SHORTEST;
        }
        self.last = Some(now);
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST);
        wait
    }

    /// It broke: waits. Not all kinds are to come back at once.
    pub async fn wait(&mut self) {
        let most = self.broke(Instant::now());
        tokio::time::sleep(most.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_until_nothing_has_broken_for_a_while() {
        let (mut back_off, begin) = (BackOff::new(), Instant::now());
        for (at, wait) in [(0, 100), (1, 200), (2, 400), (3, 800), (4, 1600), (6, 2000), (8, 2000), (38, 2000), (69, 100), (70, 200)] {
            assert_eq!(back_off.broke(begin + Duration::from_secs(at)), Duration::from_millis(wait), "{at}");
        }
    }
}
