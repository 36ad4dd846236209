//! The Pod that a proxy of a cluster stands beside, or is: which one, whether it is that of somebody, and its labels.
//!
//! Whether such a proxy is a gateway, it says itself, as Istio's do. That gives it nothing: what a Gateway serves is for Pods with its labels,
//! which are read of the Pod and not of what its proxy says, and keys are for accounts that may read them themselves
//! ([`KeyAccess`](crate::KeyAccess)). (Facts: pilot/pkg/xds/auth.go of Istio.)

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_api::{Kind, ObjectKey, Spec};
use weir_model::{MeshSnapshot, Proxy, ProxyKind, Workload, canonical, topology};

use super::credential::{Bound, Credential, is_of};

/// The Pod of a proxy.
pub(super) struct Pod<'m>(&'m Arc<Workload>);

impl<'m> Pod<'m> {
    /// The one of a proxy's name, unless a WorkloadEntry of that name is where it is.
    pub fn of(mesh: &'m MeshSnapshot, proxy: &Proxy) -> Option<Self> {
        let beside = Proxy { kind: ProxyKind::Sidecar, ..proxy.clone() };
        let is_entry = mesh.workload_of(&beside).is_some_and(|entry| entry.name == proxy.name);
        Self::named(mesh, proxy).filter(|_| !is_entry).map(Self)
    }

    /// The one of its name.
    pub fn named<'s>(mesh: &'s MeshSnapshot, proxy: &Proxy) -> Option<&'s Arc<Workload>> {
        mesh.workloads.get(&ObjectKey { kind: Kind::Pod, namespace: proxy.namespace.clone(), name: proxy.name.clone() })
    }

    /// The labels of a proxy of this Pod's, if it may be that of who has come.
    ///
    /// # Errors
    /// What of it is not of him.
    pub fn labels_for(&self, who: &Credential, proxy: &Proxy) -> Result<BTreeMap<String, String>, String> {
        let Self(pod) = self;
        if let Some(bound) = who.workload.as_ref().filter(|bound| !matches!(bound, Bound::Pod(name) if *name == pod.name)) {
            return Err(format!("its token is for {} {}", bound.kind(), bound.name()));
        }
        if !is_of(pod, &who.identity) {
            return Err(format!("its Pod has the service account {:?}", pod.service_account));
        }
        let own = self.addresses();
        if let Some(other) = proxy.addresses.iter().find(|address| !own.contains(address)) {
            return Err(format!("it says that it is at {other}, and its Pod is at {}", own.join(",")));
        }
        let mut labels = (*pod.labels).clone();
        for name in [topology::NETWORK, topology::NODE] {
            let said = proxy.labels.get(name).filter(|_| !labels.contains_key(name)).cloned();
            labels.extend(said.map(|said| (name.to_owned(), said)));
        }
        Ok(labels)
    }

    fn addresses(&self) -> Vec<String> {
        let Self(workload) = self;
        let others = match &workload.object.spec {
            Spec::Pod(pod) => pod.status.pod_ips.iter().map(|address| canonical(&address.ip)).collect(),
            _ => vec![],
        };
        std::iter::once(workload.address.clone()).chain(others.into_iter().filter(|other| *other != workload.address)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use weir_api::{Source, parse};
    use weir_model::{DEFAULT_DOMAIN, Identity, Interception};

    use super::*;

    const MESH: &str = "apiVersion: v1
kind: Pod
metadata: {name: cart-1, namespace: shop, labels: {app: cart}}
spec: {serviceAccountName: cart}
status: {podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00:0::1'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: till-1, namespace: shop, labels: {app: till}}
spec: {serviceAccountName: till}
status: {podIP: 10.0.0.2}
---
apiVersion: v1
kind: Pod
metadata: {name: starting, namespace: shop}
spec: {serviceAccountName: cart}
";

    fn proxy(id: &str, addresses: &[&str], labels: &[(&str, &str)]) -> Proxy {
        let (kind, address, name, namespace) = Proxy::parse_id(id).unwrap();
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let addresses = if addresses.is_empty() { vec![address] } else { addresses.iter().map(|address| (*address).to_owned()).collect() };
        Proxy { id: id.to_owned(), kind, name, namespace, labels, addresses, locality: String::new(), interception: Interception::None }
    }

    #[test]
    fn a_proxy_is_of_the_pod_of_its_name_and_account_and_has_that_ones_labels() {
        let mesh = MeshSnapshot::new(&parse(&Source::new("mesh.yaml", MESH)).objects, Arc::default(), DEFAULT_DOMAIN);
        let ends = SystemTime::now() + Duration::from_secs(60);
        let of = |account: &str, pod: Option<&str>, id: &str, addresses: &[&str], labels: &[(&str, &str)]| {
            let workload = pod.map(|name| Bound::Pod(name.to_owned()));
            let who = Credential { identity: Identity::new("shop", account), workload, ends, is_reviewed: pod.is_some() };
            who.labels_for(&mesh, &proxy(id, addresses, labels), None)
        };
        const CART: &str = "sidecar~10.0.0.1~cart-1.shop~shop.svc.cluster.local";
        let node = (topology::NODE.to_owned(), "n".to_owned());
        let expected = BTreeMap::from([("app".to_owned(), "cart".to_owned())]);
        assert_eq!(of("cart", None, CART, &[], &[]), Ok(expected.clone()));
        assert_eq!(
            of("cart", Some("cart-1"), CART, &["10.0.0.1", "fd00::1"], &[("app", "till")]),
            Ok(expected.clone()),
            "whatever it says"
        );
        let with_node = expected.into_iter().chain([node]).collect();
        assert_eq!(of("cart", Some("cart-1"), CART, &[], &[(topology::NODE, "n")]), Ok(with_node));
        assert!(of("cart", None, "router~10.0.0.1~cart-1.shop~shop.svc.cluster.local", &[], &[]).is_ok());
        for (account, pod, id, addresses, expected) in [
            ("till", None, CART, &[][..], "has the service account \"cart\""),
            ("till", Some("till-1"), CART, &[], "its token is for Pod till-1"),
            ("cart", Some("cart-2"), CART, &[], "its token is for Pod cart-2"),
            ("cart", None, CART, &["10.0.0.2"], "its Pod is at 10.0.0.1,fd00::1"),
            ("cart", None, "sidecar~10.0.0.1~cart-1.money~money.svc.cluster.local", &[], "claims the namespace \"money\""),
            ("cart", None, "sidecar~10.0.0.1~other.shop~shop.svc.cluster.local", &[], "no WorkloadEntry other"),
            ("cart", Some("starting"), "sidecar~10.0.0.9~starting.shop~shop.svc.cluster.local", &[], "no Pod starting yet"),
            ("cart", Some("starting"), "sidecar~10.0.0.9~other.shop~shop.svc.cluster.local", &[], "its token is for Pod starting"),
        ] {
            let refused = of(account, pod, id, addresses, &[]).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
        let certified = |account: &str, is_reviewed: bool, bound: Option<&str>, id: Option<&str>| {
            let workload = bound.map(|name| Bound::Pod(name.to_owned()));
            let who = Credential { identity: Identity::new("shop", account), workload, ends, is_reviewed };
            who.may_be_certified(&mesh, id.map(|id| proxy(id, &[], &[])).as_ref()).is_ok()
        };
        assert!(certified("cart", false, None, Some(CART)) && certified("new", true, Some("new-1"), None), "it starts");
        assert!(!certified("new", false, None, None), "nobody knows of it");
        assert!(!certified("till", true, Some("till-1"), Some(CART)) && !certified("till", true, None, Some(CART)));
    }
}
