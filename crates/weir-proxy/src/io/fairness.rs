//! Taking turns: who moves much does not do it at once. The runtime gives each task a budget of so many reads and writes for a turn;
//! here large ones cost more of it than small ones, or a few hundred bulky streams would make everybody else wait for seconds.

use std::task::{Context, Poll};

use tokio::task::coop::poll_proceed;

/// So many bytes cost as much as one read: with the runtime's budget of 128 a turn moves some 200 KiB.
const UNIT: usize = 2 << 10;

/// Takes note of bytes that a task has moved. When they were enough for one turn, it does not get more before the others had theirs.
pub fn spend(cx: &mut Context<'_>, bytes: usize) {
    for _ in 0..bytes / UNIT {
        match poll_proceed(cx) {
            Poll::Ready(budget) => budget.made_progress(),
            Poll::Pending => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::task::coop::has_budget_remaining;

    use super::*;

    #[tokio::test]
    async fn little_is_free_and_much_ends_a_turn() {
        for (bytes, goes_on) in [(1000, true), (64 << 10, true), (512 << 10, false)] {
            tokio::task::yield_now().await;
            let left = poll_fn(|cx| {
                spend(cx, bytes);
                Poll::Ready(has_budget_remaining())
            });
            assert_eq!(left.await, goes_on, "{bytes}");
        }
    }
}
