//! Whether a stream may be served: one of this machine may, one of another if who has come has shown who he is, and for no longer than that
//! is so.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use tonic::Status;
use weir_ads::Peer;
use weir_model::{MeshSnapshot, Proxy, topology};

use crate::authority::credential::{Credential, Registers};
use crate::refusals::{Count, Refused};
use crate::shared::Shared;
use crate::workloads::registration::Registration;

/// Somebody of another machine, and how he registers himself.
pub(crate) struct Remote {
    credential: Credential,
    registers: Option<Registers>,
}

/// Whether somebody may follow at all; of who comes from another machine, who that is.
///
/// # Errors
/// Why he may not.
pub(crate) fn admit(peer: &Peer, shared: &Shared) -> Result<Option<Remote>, Refused> {
    let who = match peer {
        Peer::Tls(shown) => {
            let tokens = shared.tokens.get().map(|tokens| &**tokens);
            let credential = Credential::of(shown, tokens, &shared.mesh.borrow().config, SystemTime::now());
            let credential = credential.map_err(|status| Refused::new(Count::WrongCredential, status))?;
            return Ok(Some(Remote { credential, registers: None }));
        }
        _ if peer.is_here() || shared.serves_elsewhere.load(Ordering::Relaxed) => return Ok(None),
        Peer::Tcp { peer, .. } | Peer::Stranger { peer, .. } => peer.to_string(),
        _ => "who comes".to_owned(),
    };
    let reason = format!(
        "{who} is on another machine, and what it asks for would pass in plain text: --tls-xds serves it by TLS; --plaintext-xds allows that"
    );
    Err(Refused::new(Count::FromElsewhere, Status::unauthenticated(reason)))
}

impl Remote {
    /// Looks whether a proxy that has come is his, and gives it the labels of its workload.
    ///
    /// # Errors
    /// What of it is not.
    pub fn take(&mut self, proxy: &mut Proxy, registration: Option<&Registration>, mesh: &MeshSnapshot) -> Result<(), Refused> {
        self.registers = registration.map(|own| Registers { group: own.group.clone(), entry: own.key().1 });
        proxy.labels = self.labels(mesh, proxy)?;
        Ok(())
    }

    fn labels(&self, mesh: &MeshSnapshot, proxy: &Proxy) -> Result<BTreeMap<String, String>, Refused> {
        let labels = self.credential.labels_for(mesh, proxy, self.registers.as_ref());
        labels.map_err(|reason| Refused::new(Count::WrongIdentity, Status::permission_denied(reason)))
    }

    /// Until when what he has shown holds.
    pub fn ends(&self, now: Instant) -> Instant {
        now + self.credential.ends.duration_since(SystemTime::now()).unwrap_or_default()
    }

    /// Whether it holds now: a stream lasts no longer than that.
    ///
    /// # Errors
    /// If it has ended.
    pub fn still_holds(&self, proxy: Option<&Proxy>) -> Result<(), Refused> {
        let Credential { identity, ends, workload: _ } = &self.credential;
        if *ends > SystemTime::now() {
            return Ok(());
        }
        let proxy = proxy.map_or("a proxy", |proxy| &proxy.id);
        let reason = format!("{proxy}: what it has shown to be {identity} has ended: it may come again with another certificate");
        Err(Refused::new(Count::WrongCredential, Status::unauthenticated(reason)))
    }

    /// Whether a proxy is still his, as the mesh is now. One whose workload has other labels now comes again.
    ///
    /// # Errors
    /// If it is not.
    pub fn is_still_his(&self, proxy: &Proxy, mesh: &MeshSnapshot) -> Result<(), Refused> {
        let came_with = Proxy { labels: topology_of(proxy), ..proxy.clone() };
        if self.labels(mesh, &came_with)? == proxy.labels {
            return Ok(());
        }
        let reason = format!("the workload of {} has other labels now: it may come again", proxy.id);
        Err(Refused::new(Count::WrongIdentity, Status::aborted(reason)))
    }
}

/// What the labels of a proxy say of where it runs, which its workload does not.
fn topology_of(proxy: &Proxy) -> BTreeMap<String, String> {
    let own = [topology::NETWORK, topology::NODE].into_iter();
    own.filter_map(|name| Some((name.to_owned(), proxy.labels.get(name)?.clone()))).collect()
}
