//! The end of a server that others go on for: its clients leave one after the other, so that those who serve next are not asked by all at
//! once, and each is told that it may come to another.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// 2³² over the golden ratio: its multiples, taken modulo 2³², lie evenly in the range however many there are.
const STEP: u32 = 0x9e37_79b9;

/// Whether a server ends. All clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Departure(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Until when everybody is to have left, once that is decided.
    end: watch::Sender<Option<Instant>>,
    /// How many have been given a turn.
    turns: AtomicU32,
}

/// A client that is there, until this is dropped.
#[derive(Debug)]
pub(crate) struct Stay {
    end: watch::Receiver<Option<Instant>>,
    departure: Departure,
}

impl Departure {
    /// A client has come.
    pub(crate) fn enter(&self) -> Stay {
        Stay { end: self.0.end.subscribe(), departure: self.clone() }
    }

    /// Has all clients leave within this time, and waits until they have. Who comes meanwhile leaves within what is left of it.
    pub async fn begin(&self, within: Duration) {
        self.0.end.send_replace(Some(Instant::now() + within));
        self.0.end.closed().await;
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.0.end.borrow().is_some()
    }
}

impl Stay {
    /// Waits until it is this client's turn to leave.
    pub async fn turn(&mut self) {
        let Ok(end) = self.end.wait_for(Option::is_some).await.map(|end| *end) else { return pending().await };
        let nth = self.departure.0.turns.fetch_add(1, Ordering::Relaxed);
        let share = f64::from(nth.wrapping_mul(STEP)) / f64::from(u32::MAX);
        let left = end.map(|end| end.saturating_duration_since(Instant::now())).unwrap_or_default();
        sleep(left.mul_f64(share)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(10);

    async fn leave(departure: Departure, from: Instant) -> Duration {
        let mut stay = departure.enter();
        stay.turn().await;
        from.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn they_leave_one_after_the_other() {
        let (departure, now) = (Departure::default(), Instant::now());
        let clients: Vec<_> = (0..100).map(|_| tokio::spawn(leave(departure.clone(), now))).collect();
        tokio::task::yield_now().await;
        departure.begin(WITHIN).await;
        let mut left = vec![];
        for client in clients {
            left.push(client.await.unwrap());
        }
        left.sort_unstable();
        assert!(left.last().is_some_and(|last| *last <= WITHIN), "{left:?}");
        let in_each_second = |second: u64| left.iter().filter(|at| at.as_secs() == second).count();
        let fullest = (0..10).map(in_each_second).max();
        assert!(fullest.is_some_and(|most| most <= 12), "{left:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_late_is_not_kept_longer() {
        let (departure, now) = (Departure::default(), Instant::now());
        let first = tokio::spawn(leave(departure.clone(), now));
        tokio::task::yield_now().await;
        let all = tokio::spawn({
            let departure = departure.clone();
            async move { departure.begin(WITHIN).await }
        });
        sleep(WITHIN / 2).await;
        assert!(departure.has_begun());
        assert!(leave(departure, now).await <= WITHIN);
        all.await.unwrap();
        first.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_is_nothing_is_waited_for() {
        let now = Instant::now();
        Departure::default().begin(WITHIN).await;
        assert_eq!(now.elapsed(), Duration::ZERO);
    }
}
