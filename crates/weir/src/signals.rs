//! What the system tells a process: end, and reopen the logs.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, SIGTERM and SIGHUP.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    /// What SIGHUP tells.
    hung_up: Told,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// End.
    End,
    /// Open the log files anew: somebody has moved them.
    Reopen,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// If the system does not allow it.
    pub fn new() -> io::Result<Self> {
        let of = |kind| signal(kind);
        Ok(Self {
            interrupt: of(SignalKind::interrupt())?,
            terminate: of(SignalKind::terminate())?,
            hangup: of(SignalKind::hangup())?,
            hung_up: Told::Reopen,
        })
    }

    /// From now on SIGHUP tells to end: it comes when the terminal is closed, and what runs for whoever sits there is of no use without.
    pub fn end_with_terminal(&mut self) {
        self.hung_up = Told::End;
    }

    /// Waits for the next.
    pub async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::End,
            _ = self.terminate.recv() => Told::End,
            _ = self.hangup.recv() => self.hung_up,
        }
    }

    /// Waits until it is told to end, with nothing to reopen.
    pub async fn end(&mut self) {
        while self.next().await != Told::End {}
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn a_closed_terminal_ends_what_runs_for_it_and_nothing_else() {
        for (ends, expected) in [(false, Told::Reopen), (true, Told::End)] {
            let mut signals = Signals::new().unwrap();
            if ends {
                signals.end_with_terminal();
            }
            kill_process(getpid(), Signal::HUP).unwrap();
            assert_eq!(signals.next().await, expected);
        }
    }
}
