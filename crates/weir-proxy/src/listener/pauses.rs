//! How accepting goes on when the system cannot give a connection: no descriptors are left, or no memory.
//!
//! The connection stays in the kernel's queue, so that to ask again at once would fail again, for as long as that lasts.

use std::io;
use std::time::{Duration, Instant};

/// The first pause; each further one is twice as long.
const SHORTEST: Duration = Duration::from_millis(5);
/// No pause is longer, so that who waits is served soon after something is free again.
const LONGEST: Duration = Duration::from_millis(500);
/// It is not said more often than this.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// What becomes of a failure to accept.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AfterFailure {
    /// The next connection may be accepted at once.
    GoOn,
    /// Nothing is accepted for so long; if it is to be said, so often it failed since that was said last.
    Pause(Duration, Option<u64>),
}

/// The pauses of one accepting socket.
#[derive(Debug)]
pub(super) struct Pauses {
    next: Duration,
    said: Option<Instant>,
    unsaid: u64,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { next: SHORTEST, said: None, unsaid: 0 }
    }
}

impl Pauses {
    /// A connection was accepted.
    pub(super) fn accepted(&mut self) {
        self.next = SHORTEST;
    }

    /// None was.
    pub(super) fn failed(&mut self, error: &io::Error, now: Instant) -> AfterFailure {
        if is_of_one_connection(error) {
            return AfterFailure::GoOn;
        }
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST);
        self.unsaid += 1;
        let is_silent = self.said.is_some_and(|said| now.duration_since(said) < SAY_EVERY);
        let say = (!is_silent).then(|| {
            self.said = Some(now);
            std::mem::take(&mut self.unsaid)
        });
        AfterFailure::Pause(pause, say)
    }
}

/// Errors of a client that went away, or whose network did, before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted | Kind::ConnectionReset | Kind::Interrupted | Kind::HostUnreachable | Kind::NetworkUnreachable
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_are_said_once_in_a_while() {
        let (mut pauses, start) = (Pauses::default(), Instant::now());
        let no_descriptors = || io::Error::from_raw_os_error(24);
        let mut fail = |seconds| match pauses.failed(&no_descriptors(), start + Duration::from_secs(seconds)) {
            AfterFailure::Pause(pause, said) => (pause.as_millis(), said),
            AfterFailure::GoOn => panic!("it would spin"),
        };
        assert_eq!([fail(0), fail(0), fail(1)], [(5, Some(1)), (10, None), (20, None)]);
        assert_eq!((0..5).map(|_| fail(2).0).collect::<Vec<_>>(), [40, 80, 160, 320, 500]);
        assert_eq!([fail(2), fail(12)], [(500, None), (500, Some(9))]);
        pauses.accepted();
        assert_eq!(pauses.failed(&no_descriptors(), start), AfterFailure::Pause(Duration::from_millis(5), None));
    }

    #[test]
    fn a_client_that_is_gone_does_not_keep_others_waiting() {
        let mut pauses = Pauses::default();
        let mut after = |kind: io::ErrorKind| pauses.failed(&kind.into(), Instant::now());
        for kind in [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset, io::ErrorKind::Interrupted] {
            assert_eq!(after(kind), AfterFailure::GoOn, "{kind}");
        }
        assert!(matches!(after(io::ErrorKind::OutOfMemory), AfterFailure::Pause(..)));
    }
}
