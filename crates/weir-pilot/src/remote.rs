//! Whether a stream may be served: one of this machine may, one of another if who has come has shown who he is, and for no longer than that
//! is so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tokio::time::timeout;
use tonic::Status;
use weir_ads::Peer;
use weir_api::{Kind, ObjectKey};
use weir_model::{Identity, MeshSnapshot, Proxy, topology};
use weir_xds::core::Node;

use crate::authority::credential::{Bound, Credential, Registers};
use crate::node;
use crate::refusals::{Count, Refused};
use crate::shared::Shared;
use crate::workloads::registration::Registration;

/// So long a proxy waits for the mesh to hear of its Pod.
const STARTING: Duration = Duration::from_secs(5);

/// Somebody of another machine, and how he registers himself.
pub(crate) struct Remote {
    credential: Credential,
    registers: Option<Registers>,
}

/// Whether somebody may follow at all; of who comes from another machine, who that is.
///
/// # Errors
/// Why he may not.
pub(crate) async fn admit(peer: &Peer, shared: &Shared) -> Result<Option<Remote>, Refused> {
    let who = match peer {
        Peer::Tls(shown) => {
            let config = shared.mesh.borrow().config.clone();
            let credential = Credential::of(shown, &shared.judges(), &config, SystemTime::now()).await;
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
    /// Who he is.
    pub fn identity(&self) -> &Identity {
        &self.credential.identity
    }

    /// Waits a while for the mesh to hear of the Pod whose proxy this is: its proxy may be faster than the node's word of its address.
    pub async fn until_known(&self, node: &Node, mut mesh: watch::Receiver<Arc<MeshSnapshot>>) {
        let Some(Bound::Pod(name)) = &self.credential.workload else { return };
        let key = ObjectKey { kind: Kind::Pod, namespace: self.credential.identity.namespace.clone(), name: name.clone() };
        // Who names another node waits for nothing.
        let is_named = || node::recognize(node).is_ok_and(|proxy| (&proxy.namespace, &proxy.name) == (&key.namespace, &key.name));
        if mesh.borrow().workloads.get(&key).is_none() && is_named() {
            let _ = timeout(STARTING, mesh.wait_for(|mesh| mesh.workloads.get(&key).is_some())).await;
        }
    }

    /// Whether a node says no other account than his.
    ///
    /// # Errors
    /// If it does.
    pub fn agrees_with(&self, node: &Node) -> Result<(), Refused> {
        let identity = &self.credential.identity;
        let Some(other) = node::service_account(node).filter(|account| *account != identity.account) else { return Ok(()) };
        let reason = format!("the node {:?} is not of {identity}: it claims the service account {other:?}", node.id);
        Err(Refused::new(Count::WrongIdentity, Status::permission_denied(reason)))
    }

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
        let Credential { identity, ends, workload: _, is_reviewed: _ } = &self.credential;
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

#[cfg(test)]
mod tests {
    use weir_ads::{Certified, Protocol, Request, Shown, stream as ads};
    use weir_api::{Source, parse};
    use weir_registry::Catalog;
    use weir_xds::discovery::DeltaDiscoveryRequest;
    use weir_xds::resource::ResourceType;

    use super::*;
    use crate::classes::take_labels;
    use crate::shared::Options;
    use crate::stream::serve;

    /// A mesh with one workload, of this account.
    fn mesh(account: &str) -> Arc<Catalog> {
        let text = format!(
            "apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: cart, namespace: shop}}
spec: {{address: 10.0.0.1, serviceAccount: {account}, labels: {{app: {account}}}}}
"
        );
        Arc::new(Catalog::of(parse(&Source::new("mesh.yaml", text)).objects))
    }

    fn shared() -> Arc<Shared> {
        let options = Options { mesh: Arc::default(), domain: "cluster.local".to_owned(), say: Box::new(|_| {}) };
        let shared = Arc::new(Shared::new(options));
        shared.read(&mesh("cart"));
        shared
    }

    fn cart() -> Node {
        Node { id: "sidecar~10.0.0.1~cart.shop~shop.svc.cluster.local".to_owned(), ..Node::default() }
    }

    #[tokio::test]
    async fn who_is_somebody_else_when_his_turn_comes_is_sent_nothing() {
        let shared = shared();
        let admission = shared.admission.clone();
        let all = u32::try_from(admission.available_permits()).unwrap();
        let others = admission.acquire_many_owned(all).await.unwrap();
        let (mut client, mut stream) = ads::pair(Protocol::Delta);
        let ends = SystemTime::now() + Duration::from_secs(3600);
        let certificate = Ok(Some(Certified { id: "spiffe://cluster.local/ns/shop/sa/cart".to_owned(), ends }));
        stream.peer = Peer::Tls(Arc::new(Shown { peer: "192.0.2.1:7".parse().unwrap(), certificate, token: None }));
        tokio::spawn(serve(stream, shared.clone()));
        let first =
            DeltaDiscoveryRequest { node: Some(cart()), type_url: ResourceType::Cluster.type_url(), ..DeltaDiscoveryRequest::default() };
        client.requests.send(Request::Delta(first)).await.unwrap();
        // There is one thread: it has introduced itself by then, and waits.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        shared.read(&mesh("till"));
        drop(others);
        assert!(client.responses.recv().await.is_none(), "what is sent there is for another account");
        let refused = shared.refusals.statistics(0);
        assert!(refused.contains("reason=\"identity\"} 1\n"), "{refused}");
    }

    #[tokio::test]
    async fn a_proxy_of_another_machine_has_the_labels_that_were_found_whoever_else_is_at_its_address() {
        let shared = shared();
        let mesh = shared.mesh.borrow().clone();
        let own = BTreeMap::from([("app".to_owned(), "other".to_owned())]);
        let of = |came_with: Option<&BTreeMap<String, String>>| {
            let proxy = node::recognize(&cart()).unwrap();
            let mut proxy = Proxy { name: "other".to_owned(), labels: own.clone(), ..proxy };
            take_labels(&mut proxy, came_with, &mesh);
            proxy.labels.get("app").cloned()
        };
        assert_eq!([of(None), of(Some(&own))], ["other", "cart"].map(|app| Some(app.to_owned())));
    }
}
