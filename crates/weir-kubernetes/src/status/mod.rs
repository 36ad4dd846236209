//! The status of Istio's resources: what became of each, written where kubectl shows it.
//!
//! A status says which generation it is of (`observedGeneration`), what is to be said of it (`validationMessages`), and whether the proxies
//! have it: the condition `weir.dev/InForce` ([`desired`]). That is told once for each generation: who comes later gets it anyway, and a
//! resource that is in force is written no more when proxies come and go. What others keep in a status stays ([`document`]). What is to be
//! written when is kept by the [`ledger`], and the [`writer`] writes it, for as long as this control plane leads. Refusals are told by Events,
//! too ([`event`]).
//!
//! Every control plane tells the others how many proxies follow it and have what it has read ([`told`]), so that the one that leads counts
//! all.

mod content;
mod desired;
mod document;
mod event;
mod ledger;
mod others;
mod place;
mod teller;
#[cfg(test)]
mod tests;
mod told;
mod writer;

use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
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

/// What a control plane does for the statuses of resources.
#[derive(Clone)]
pub struct Statuses {
    client: Client,
    pilot: Pilot,
    /// Where control planes tell each other of their proxies.
    namespace: Arc<str>,
    revision: Arc<str>,
    /// Who says so in Events: the name of this process.
    instance: Arc<str>,
    /// The Lease by which others know this one.
    lease: Arc<str>,
}

impl Statuses {
    /// Those of a pilot's resources. `instance` is the name of this process, such as its Pod's; the namespace is that of the control plane.
    pub fn new(client: Client, pilot: Pilot, namespace: &str, revision: &str, instance: &str) -> Self {
        // One that is started anew is another one.
        let lease = format!("weir-pilot-{instance}-{:08x}", fastrand::u32(..)).to_lowercase();
        let [namespace, revision, instance, lease] = [namespace, revision, instance, &lease].map(Arc::from);
        Self { client, pilot, namespace, revision, instance, lease }
    }

    /// Writes the status of all resources of a scope, whenever `leads` says so. Ends when nobody tells that any more.
    pub async fn keep(self, scope: Scope, mut leads: watch::Receiver<bool>) {
        while leads.wait_for(|leads| *leads).await.is_ok() {
            let writer = writer::Writer::new(&self, &scope);
            // It is dropped where it stands when another one may lead.
            tokio::select! {
                () = writer.run() => return,
                lost = leads.wait_for(|leads| !leads) => if lost.is_err() {
                    return;
                },
            }
        }
    }

    /// Tells the other control planes of the proxies that follow this one, until it is dropped.
    pub async fn tell(self) {
        teller::Teller::new(&self).run().await;
    }

    /// Lets nobody count the proxies of this one any more, which ends.
    pub async fn end(self) {
        teller::take_back(&self.leases(), &self.lease).await;
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}
