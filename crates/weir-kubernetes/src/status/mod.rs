//! The status of Istio's resources: what became of each, written where kubectl shows it.
//!
//! A status says which generation it is of (`observedGeneration`), what is to be said of it (`validationMessages`), and whether the proxies
//! have it: the condition `weir.dev/InForce` ([`desired`]). That is told once for each generation: who comes later gets it anyway, and a
//! resource that is in force is written no more when proxies come and go. What others keep in a status stays ([`document`]). What is to be
//! written when is kept by the [`ledger`], and the [`writer`] writes it, for as long as this control plane leads. Refusals are told by Events,
//! too ([`event`]).

mod desired;
mod document;
mod event;
mod ledger;
mod place;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;

use kube::Client;
use tokio::sync::watch;
use weir_pilot::Pilot;
use weir_registry::Written;

/// Which resources one leader writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Those that are for all revisions of the control plane.
    Common,
    /// Those that are labelled `istio.io/rev` for this one.
    Revision(String),
}

impl Scope {
    fn includes(&self, written: &Written) -> bool {
        match self {
            Self::Common => written.revision.is_none(),
            Self::Revision(revision) => written.revision.as_ref() == Some(revision),
        }
    }
}

/// Writes the status of all resources of a scope, whenever `leads` says so. Ends when nobody tells that any more.
///
/// `instance` is who says so in Events: the name of this process.
pub async fn keep(client: Client, pilot: Pilot, scope: Scope, instance: String, mut leads: watch::Receiver<bool>) {
    let instance: Arc<str> = instance.into();
    while leads.wait_for(|leads| *leads).await.is_ok() {
        let writer = writer::Writer::new(client.clone(), pilot.clone(), &scope, instance.clone());
        // It is dropped where it stands when another one may lead.
        tokio::select! {
            () = writer.run() => return,
            lost = leads.wait_for(|leads| !leads) => if lost.is_err() {
                return;
            },
        }
    }
}
