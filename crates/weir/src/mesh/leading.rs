//! What only one of several control planes of a cluster does: it writes what became of the resources.

use tokio::task::{JoinHandle, JoinSet};
use weir_kubernetes::leader::{Election, Leader, Times, identity};
use weir_kubernetes::status::{Scope, Statuses};
use weir_pilot::Pilot;

use super::Source;
use crate::cli::SourceArgs;

/// The Lease for what is for all revisions; those of the revisions begin so, too.
const LEASE: &str = "weir-leader";
/// Names the pod that this runs in, see Istio's.
const POD: &str = "POD_NAME";

/// What this process contends for, and tells the others.
pub(crate) struct Leading {
    leaders: Vec<Leader>,
    telling: Option<(Statuses, JoinHandle<()>)>,
}

impl Leading {
    /// Begins to contend, if the source is a cluster's, and to write what is to be written.
    pub fn start(source: &Source, pilot: &Pilot, args: &SourceArgs) -> Self {
        let Some(client) = source.client() else { return Self { leaders: vec![], telling: None } };
        let pod = std::env::var(POD).unwrap_or_else(|_| format!("pid-{}", std::process::id()));
        let statuses = Statuses::new(client.clone(), pilot.clone(), &args.namespace, &args.revision, &pod);
        let telling = tokio::spawn(statuses.clone().tell());
        let own = (format!("{LEASE}-{}", args.revision), Scope::Revision(args.revision.clone()));
        let contend = |(lease, scope)| {
            let (namespace, times) = (args.namespace.clone(), Times::of(args.lease_duration));
            let leader = Leader::contend(client.clone(), Election { namespace, lease, identity: identity(&pod), times });
            tokio::spawn(statuses.clone().keep(scope, leader.leads()));
            leader
        };
        let leaders = [(LEASE.to_owned(), Scope::Common), own].map(contend).into();
        Self { leaders, telling: Some((statuses, telling)) }
    }

    /// Ends, so that another control plane goes on at once, and waits for none of this one's proxies.
    pub async fn end(self) {
        let mut ending = JoinSet::new();
        for leader in self.leaders {
            ending.spawn(leader.release());
        }
        if let Some((statuses, telling)) = self.telling {
            telling.abort();
            ending.spawn(async move {
                // Else it might tell once more.
                let _ = telling.await;
                statuses.end().await;
            });
        }
        ending.join_all().await;
    }
}
