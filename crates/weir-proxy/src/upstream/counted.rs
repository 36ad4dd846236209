//! Connections and streams as the statistics see them.

use crate::stats::cluster::Tally;

/// A connection, from the moment it is open; what it takes along when it ends is counted when this is dropped.
#[derive(Debug)]
pub struct Counted {
    tally: Tally,
    /// Requests that it is busy with.
    busy: usize,
    /// Whether the other side has ended it.
    remote: bool,
}

impl Counted {
    /// A connection that has just been opened.
    pub fn new(tally: Tally) -> Self {
        tally.cx_active.add(1);
        Self { tally, busy: 0, remote: false }
    }

    /// Where it is counted.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// It takes a request.
    pub fn begin(&mut self) {
        self.tally.rq_total.add(1);
        self.tally.rq_active.add(1);
        self.busy += 1;
    }

    /// It has finished a request.
    pub fn finish(&mut self) {
        if self.busy > 0 {
            self.tally.rq_active.subtract(1);
            self.busy -= 1;
        }
    }

    /// It has finished all its requests.
    pub fn finish_all(&mut self) {
        self.tally.rq_active.subtract(self.busy as u64);
        self.busy = 0;
    }

    /// The other side has ended it.
    pub fn ended_by_peer(&mut self) {
        self.remote = true;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.tally.cx_active.subtract(1);
        if self.busy == 0 {
            return;
        }
        self.tally.rq_active.subtract(self.busy as u64);
        match self.remote {
            true => self.tally.cx_destroy_remote_with_active_rq.add(1),
            false => self.tally.cx_destroy_local_with_active_rq.add(1),
        }
    }
}
