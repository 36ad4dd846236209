//! Waiting for other processes.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};

/// What has not happened after this time will not happen: a hundred times what it takes on a machine that is not busy.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// How often another process is asked.
const EVERY: Duration = Duration::from_millis(10);

/// Asks until it is so.
///
/// What happens in another process cannot be awaited, only asked for. Unlike a sleep this ends as soon as it may, and a
/// busy machine only makes it later.
///
/// # Panics
/// If it is not so after [`DEADLINE`].
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let asking = async {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if holds().await {
                return;
            }
        }
    };
    assert!(timeout(DEADLINE, asking).await.is_ok(), "not within {DEADLINE:?}: {what}");
}
