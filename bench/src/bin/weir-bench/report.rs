//! All results together.

use weir_bench::h2load::Load;

use crate::idle::IdleConnections;
use crate::noise::TOO_MUCH;
use crate::rounds::Series;
use crate::workloads::{Latencies, Measured};

/// What was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub floods: Vec<Measured<Load>>,
    pub latencies: Option<Latencies>,
    pub idle: Vec<IdleConnections>,
}

impl Report {
    /// Whether others were busy on the two cores, so that the numbers are not to be trusted.
    pub fn is_noisy(&self) -> bool {
        fn noisy<L>(peers: &[Series<L>]) -> bool {
            peers.iter().any(|one| one.median(|round| round.others) > TOO_MUCH)
        }
        self.floods.iter().any(|(_, peers)| noisy(peers)) || self.latencies.as_ref().is_some_and(|latencies| noisy(&latencies.peers))
    }
}
