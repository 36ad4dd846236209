//! What only one of several control planes of a cluster does: it writes what became of the resources.

use weir_kubernetes::leader::{Election, Leader, Times, identity};
use weir_kubernetes::status::{self, Scope};
use weir_pilot::Pilot;

use super::Source;
use crate::cli::SourceArgs;

/// The Lease for what is for all revisions; those of the revisions begin so, too.
const LEASE: &str = "weir-leader";
/// Names the pod that this runs in, see Istio's.
const POD: &str = "POD_NAME";

/// What this process contends for.
pub(crate) struct Leading(Vec<Leader>);

impl Leading {
    /// Begins to contend, if the source is a cluster's, and to write what is to be written.
    pub fn start(source: &Source, pilot: &Pilot, args: &SourceArgs) -> Self {
        let Some(client) = source.client() else { return Self(vec![]) };
        let pod = std::env::var(POD).unwrap_or_else(|_| format!("weir-pilot-{}", std::process::id()));
        let own = (format!("{LEASE}-{}", args.revision), Scope::Revision(args.revision.clone()));
        let contend = |(lease, scope)| {
            let (namespace, times) = (args.namespace.clone(), Times::of(args.lease_duration));
            let leader = Leader::contend(client.clone(), Election { namespace, lease, identity: identity(&pod), times });
            tokio::spawn(status::keep(client.clone(), pilot.clone(), scope, pod.clone(), leader.leads()));
            leader
        };
        Self([(LEASE.to_owned(), Scope::Common), own].map(contend).into())
    }

    /// Ends, so that another control plane goes on at once.
    pub async fn end(self) {
        let mut ending = tokio::task::JoinSet::new();
        for leader in self.0 {
            ending.spawn(leader.release());
        }
        ending.join_all().await;
    }
}
