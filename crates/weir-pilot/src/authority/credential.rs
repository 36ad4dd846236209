//! Who somebody of another machine is, by what he has shown, and whether a proxy may be his: he is an account of a namespace, and so must be
//! the workload that his proxy stands beside.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use tonic::Status;
use weir_ads::Shown;
use weir_api::resources::MeshConfig;
use weir_api::resources::workload::PROXY_TYPE;
use weir_model::workload_group::{GROUP_ANNOTATION, identity_of_instances, labels_of_instances};
use weir_model::{Identity, MeshSnapshot, Proxy, ProxyKind, Workload, topology};

use super::address;
use super::pod::Pod;
use super::reviewer::Judges;

/// Which trust domains count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'m> {
    pub trust_domain: &'m str,
    /// What it was called before.
    pub aliases: &'m [String],
}

impl<'m> Names<'m> {
    pub fn of(mesh: &'m MeshConfig) -> Self {
        Self { trust_domain: &mesh.trust_domain, aliases: &mesh.trust_domain_aliases }
    }

    /// The account that a SPIFFE id stands for: `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT`, and nothing else.
    pub fn identity(self, id: &str) -> Result<Identity, String> {
        let parts: Option<Vec<&str>> = id.strip_prefix("spiffe://").map(|rest| rest.split('/').collect());
        let Some([domain, "ns", namespace, "sa", account]) = parts.as_deref() else {
            return Err("has no SPIFFE id of a mesh".to_owned());
        };
        if *domain != self.trust_domain && !self.aliases.iter().any(|alias| alias == domain) {
            return Err(format!("is of another trust domain than {}", self.trust_domain));
        }
        // An empty account would become the default one.
        let identity = Identity { namespace: (*namespace).to_owned(), account: (*account).to_owned() };
        if identity.is_valid() { Ok(identity) } else { Err("has no SPIFFE id of a mesh".to_owned()) }
    }
}

/// The only workload that a credential is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// The WorkloadEntry of this name.
    Entry(String),
    /// An instance of the WorkloadGroup of this name.
    Group(String),
    /// The Pod of this name; no token of the mesh's own is for one.
    Pod(String),
}

impl Bound {
    /// By its kind and its name.
    pub(super) fn new(kind: &str, name: &str) -> Option<Self> {
        match kind {
            "WorkloadEntry" => Some(Self::Entry(name.to_owned())),
            "WorkloadGroup" => Some(Self::Group(name.to_owned())),
            _ => None,
        }
    }

    /// The kind of its object.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Entry(_) => "WorkloadEntry",
            Self::Group(_) => "WorkloadGroup",
            Self::Pod(_) => "Pod",
        }
    }

    /// The name of its object.
    pub fn name(&self) -> &str {
        let (Self::Entry(name) | Self::Group(name) | Self::Pod(name)) = self;
        name
    }
}

/// Who somebody is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credential {
    pub identity: Identity,
    /// The workload that it is for, if it is for one alone.
    pub workload: Option<Bound>,
    /// Until when that is so.
    pub ends: SystemTime,
    /// Whether the API server of a cluster has just said that there is this account.
    pub is_reviewed: bool,
}

/// An instance that registers itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registers {
    /// In this group.
    pub group: String,
    /// By this name.
    pub entry: String,
}

impl Credential {
    /// Who somebody is by what he has shown: a certificate goes before a token.
    ///
    /// # Errors
    /// If it does not hold, or there is nothing.
    pub async fn of(shown: &Shown, judges: &Judges, mesh: &MeshConfig, now: SystemTime) -> Result<Self, Status> {
        let peer = shown.peer;
        let unknown = |reason: String| Status::unauthenticated(format!("{peer}: {reason}"));
        let names = Names::of(mesh);
        match (&shown.certificate, &shown.token) {
            (Err(reason), _) => Err(unknown(reason.clone())),
            (Ok(Some(certified)), _) => {
                let identity = names.identity(&certified.id);
                let identity = identity.map_err(|reason| unknown(format!("the certificate of {:?} {reason}", certified.id)))?;
                // The handshake was a while ago, perhaps.
                if certified.ends <= now {
                    return Err(unknown(format!("the certificate of {:?} has ended", certified.id)));
                }
                Ok(Self { identity, workload: None, ends: certified.ends, is_reviewed: false })
            }
            (Ok(None), Some(token)) => judges.read(peer, token.text(), names, now).await,
            (Ok(None), None) => Err(unknown("shows neither a certificate of the mesh nor a token".to_owned())),
        }
    }

    /// Whether a proxy may be his, as the mesh is now. The labels of its workload, and nothing that it says of them itself.
    ///
    /// # Errors
    /// What of the proxy is not of this identity.
    pub fn labels_for(
        &self,
        mesh: &MeshSnapshot,
        proxy: &Proxy,
        registers: Option<&Registers>,
    ) -> Result<BTreeMap<String, String>, String> {
        let wrong = |reason: String| format!("the node {:?} is not of {}: {reason}", proxy.id, self.identity);
        if proxy.namespace != self.identity.namespace {
            return Err(wrong(format!("it claims the namespace {:?}", proxy.namespace)));
        }
        if let Some(pod) = registers.is_none().then(|| Pod::of(mesh, proxy)).flatten() {
            return pod.labels_for(self, proxy).map_err(wrong);
        }
        let (identity, mut labels) = match registers {
            Some(registers) => self.instance(mesh, proxy, registers),
            None => self.entry(mesh, proxy),
        }
        .map_err(wrong)?;
        if identity != self.identity {
            return Err(wrong(format!("its workload is {identity}")));
        }
        let kind = ProxyKind::of_workload(&labels);
        if kind != proxy.kind {
            return Err(wrong(format!("its workload has a {}: its label {PROXY_TYPE} says which", kind.name())));
        }
        // All workloads are looked at, for gateways alone.
        if kind == ProxyKind::Router
            && let Some(other) = shared_account(mesh, &self.identity)
        {
            return Err(wrong(format!("{other} has this account, too, and could be the gateway: give it one of its own")));
        }
        for (name, value) in &proxy.labels {
            match labels.get(name) {
                Some(own) if own == value => {}
                // The mesh cannot know where it runs, and says nothing of it.
                None if [topology::NETWORK, topology::NODE].contains(&name.as_str()) => drop(labels.insert(name.clone(), value.clone())),
                _ => return Err(wrong(format!("it claims the label {name}={value}, which its workload has not"))),
            }
        }
        Ok(labels)
    }

    /// Who an instance is that registers itself, and its labels.
    fn instance(&self, mesh: &MeshSnapshot, proxy: &Proxy, registers: &Registers) -> Result<(Identity, BTreeMap<String, String>), String> {
        let Registers { group, entry } = registers;
        if proxy.kind != ProxyKind::Sidecar {
            return Err("a gateway does not register itself: its workload is a WorkloadEntry".to_owned());
        }
        if self.workload.as_ref().is_some_and(|bound| *bound != Bound::Group(group.clone())) {
            return Err(format!("its token is not for WorkloadGroup {group}"));
        }
        let found = mesh.groups.get(&proxy.namespace, group).ok_or_else(|| format!("there is no WorkloadGroup {group}"))?;
        let address = match proxy.addresses.as_slice() {
            [only] if proxy.name == *entry => only,
            _ => return Err(format!("its name is to be {entry}, that of its entry, and its address one")),
        };
        address::check(address)?;
        let identity = identity_of_instances(found);
        let is_of_group = |workload: &Workload| {
            is_of(workload, &identity) && workload.object.meta.annotations.get(GROUP_ANNOTATION).is_some_and(|of| of == group)
        };
        // What is sent there is for others.
        if let Some(other) = mesh.workloads.at(address).find(|workload| !is_of_group(workload)) {
            return Err(format!("its address is that of {}", other.object.name()));
        }
        // Nor is it where a service has an instance that is somebody else, whoever wrote that down.
        if let Some((service, other)) = mesh.instances_of(proxy).iter().find(|(_, other)| other.identity() != identity) {
            return Err(format!("its address is that of an instance of {} that is {}", service.object.name(), other.identity()));
        }
        // The names of two entries may be one: they are put together of words.
        let named = mesh.workloads.named(&proxy.namespace, entry);
        if let Some(other) = named.filter(|workload| workload.address != *address || !is_of_group(workload)) {
            return Err(format!("its name is that of {} at {}", other.object.name(), other.address));
        }
        Ok((identity, labels_of_instances(found)))
    }

    /// Who the workload is that a WorkloadEntry stands for, and its labels.
    fn entry(&self, mesh: &MeshSnapshot, proxy: &Proxy) -> Result<(Identity, BTreeMap<String, String>), String> {
        match &self.workload {
            Some(Bound::Entry(name)) if *name != proxy.name => return Err(format!("its token is for WorkloadEntry {name}")),
            Some(Bound::Group(group)) => {
                return Err(format!("its token is for an instance of WorkloadGroup {group}, which it does not name"));
            }
            Some(Bound::Pod(name)) if *name != proxy.name => return Err(format!("its token is for Pod {name}")),
            Some(Bound::Pod(name)) => return Err(format!("the mesh knows no Pod {name} yet, or no address of it: it may come again")),
            _ => {}
        }
        let beside = Proxy { kind: ProxyKind::Sidecar, ..proxy.clone() };
        let found =
            mesh.workload_of(&beside).filter(|workload| workload.name == proxy.name && proxy.addresses == [workload.address.clone()]);
        let workload = found.ok_or_else(|| format!("there is no WorkloadEntry {} at {}", proxy.name, proxy.addresses.join(",")))?;
        Ok((Identity::new(&workload.namespace, &workload.service_account), (*workload.labels).clone()))
    }

    /// Whether he may have a certificate, for a proxy of that id if he names one. The mesh need not know an instance yet that will register
    /// itself; but it must know the account.
    ///
    /// # Errors
    /// Why not.
    pub fn may_be_certified(&self, mesh: &MeshSnapshot, proxy: Option<&Proxy>) -> Result<(), String> {
        let Self { identity, workload: bound, ends: _, is_reviewed } = self;
        if let Some(proxy) = proxy {
            if proxy.namespace != identity.namespace {
                return Err(format!("the node {:?} is not of {identity}", proxy.id));
            }
            if matches!(bound, Some(Bound::Entry(name) | Bound::Pod(name)) if *name != proxy.name) {
                return Err(format!("the node {:?} is not the workload that the token is for", proxy.id));
            }
            // Another may be known at its address by now, as long as it has not registered itself.
            let known = mesh.workload_of(proxy).filter(|workload| workload.name == proxy.name);
            let pod = Pod::named(mesh, proxy).filter(|_| known.is_none());
            if known.or(pod).is_some_and(|workload| !is_of(workload, identity)) {
                return Err(format!("the workload of the node {:?} is not {identity}", proxy.id));
            }
        }
        let group_is =
            |name: &String| mesh.groups.get(&identity.namespace, name).is_some_and(|group| identity_of_instances(group) == *identity);
        let is_there = match bound {
            Some(Bound::Group(name)) => group_is(name),
            Some(Bound::Entry(name)) => mesh.workloads.iter().any(|workload| workload.name == *name && is_of(workload, identity)),
            // The mesh need not know it yet: it starts.
            _ if *is_reviewed => true,
            None | Some(Bound::Pod(_)) => {
                mesh.workloads.iter().any(|workload| is_of(workload, identity))
                    || mesh.groups.of_namespace(&identity.namespace).any(|group| identity_of_instances(group) == *identity)
            }
        };
        if is_there { Ok(()) } else { Err(format!("the mesh knows no workload of {identity} that this is for")) }
    }
}

/// A workload that is no gateway and has this account, by its name, if there is one. By a certificate it is whoever has its account: were that a gateway, it would have
/// the keys that this serves by.
pub fn shared_account(mesh: &MeshSnapshot, identity: &Identity) -> Option<String> {
    let is_sidecar = |workload: &&Arc<Workload>| ProxyKind::of_workload(&workload.labels) == ProxyKind::Sidecar;
    let entry = mesh.workloads.iter().filter(is_sidecar).find(|workload| is_of(workload, identity));
    let group = || mesh.groups.of_namespace(&identity.namespace).find(|group| identity_of_instances(group) == *identity);
    entry.map(|workload| workload.object.name().to_string()).or_else(|| group().map(|group| group.name().to_string()))
}

pub(super) fn is_of(workload: &Workload, identity: &Identity) -> bool {
    Identity::new(&workload.namespace, &workload.service_account) == *identity
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use weir_ads::{Certified, Token};
    use weir_api::{Source, parse};
    use weir_model::{DEFAULT_DOMAIN, Interception};

    use super::*;

    const MESH: &str = "apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart, namespace: shop}
spec: {address: 10.0.0.1, serviceAccount: cart, labels: {app: cart, version: v1}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: till, namespace: shop}
spec: {address: 10.0.0.2, serviceAccount: till, labels: {app: till}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: carts, namespace: shop}
spec:
  metadata: {labels: {app: cart}}
  template: {serviceAccount: cart, labels: {tier: back}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: carts-10.0.0.7-vms, namespace: shop, annotations: {istio.io/autoRegistrationGroup: carts}}
spec: {address: 10.0.0.7, network: vms, serviceAccount: cart, labels: {app: cart}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: carts-10.0.0.6, namespace: shop}
spec: {address: 10.0.0.5, serviceAccount: cart, labels: {app: cart}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: edge, namespace: shop}
spec: {address: 10.0.0.30, serviceAccount: edge, labels: {istio: edge, weir.dev/proxy-type: router}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: door, namespace: shop}
spec: {address: 10.0.0.31, serviceAccount: cart, labels: {istio: door, weir.dev/proxy-type: router}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: safe, namespace: shop}
spec: {address: 'FD00:0::3', serviceAccount: safe, labels: {app: safe}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: selected, namespace: shop}
spec:
  hosts: [selected.example.com]
  ports: [{number: 80, name: tcp}]
  resolution: STATIC
  workloadSelector: {labels: {app: cart}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: in-place, namespace: shop}
spec:
  hosts: [in-place.example.com]
  ports: [{number: 80, name: tcp}]
  resolution: STATIC
  endpoints:
  - {address: 10.0.0.20, serviceAccount: bank}
  - {address: 'FD00::0:21', serviceAccount: bank}
  - {address: 10.0.0.22, serviceAccount: cart}
  - {address: 10.0.0.23}
";

    fn mesh() -> MeshSnapshot {
        MeshSnapshot::new(&parse(&Source::new("mesh.yaml", MESH)).objects, Arc::default(), DEFAULT_DOMAIN)
    }

    fn credential(account: &str, workload: Option<Bound>) -> Credential {
        let ends = SystemTime::now() + Duration::from_secs(60);
        Credential { identity: Identity::new("shop", account), workload, ends, is_reviewed: false }
    }

    fn proxy(id: &str, labels: &[(&str, &str)]) -> Proxy {
        let (kind, address, name, namespace) = Proxy::parse_id(id).unwrap();
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let addresses = vec![address];
        Proxy { id: id.to_owned(), kind, name, namespace, labels, addresses, locality: String::new(), interception: Interception::None }
    }

    const CART: &str = "sidecar~10.0.0.1~cart.shop~shop.svc.cluster.local";
    const INSTANCE: &str = "sidecar~10.0.0.9~carts-10.0.0.9.shop~shop.svc.cluster.local";

    fn written(labels: &BTreeMap<String, String>) -> String {
        labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn a_proxy_has_the_labels_of_its_workload_whatever_it_says_of_them() {
        let entry = || Some(Bound::Entry("cart".to_owned()));
        for (credential, claims, expected) in [
            (credential("cart", None), &[][..], "app=cart,version=v1"),
            (credential("cart", entry()), &[("app", "cart")], "app=cart,version=v1"),
            (credential("cart", entry()), &[("topology.istio.io/network", "n")], "app=cart,topology.istio.io/network=n,version=v1"),
        ] {
            assert_eq!(credential.labels_for(&mesh(), &proxy(CART, claims), None).map(|labels| written(&labels)), Ok(expected.to_owned()));
        }
        let edge = proxy("router~10.0.0.30~edge.shop~shop.svc.cluster.local", &[]);
        let labels = credential("edge", Some(Bound::Entry("edge".to_owned()))).labels_for(&mesh(), &edge, None);
        assert_eq!(labels.map(|labels| written(&labels)), Ok("istio=edge,weir.dev/proxy-type=router".to_owned()), "a gateway, too");
        let registers = Registers { group: "carts".to_owned(), entry: "carts-10.0.0.9".to_owned() };
        for bound in [None, Some(Bound::Group("carts".to_owned()))] {
            let labels = credential("cart", bound).labels_for(&mesh(), &proxy(INSTANCE, &[]), Some(&registers));
            assert_eq!(labels.map(|labels| written(&labels)), Ok("app=cart,tier=back".to_owned()));
        }
        // A service may have it as an instance, by a selector or in place, as long as it is who it is.
        let registers = Registers { group: "carts".to_owned(), entry: "carts-10.0.0.22".to_owned() };
        let id = "sidecar~10.0.0.22~carts-10.0.0.22.shop~shop.svc.cluster.local";
        assert!(credential("cart", None).labels_for(&mesh(), &proxy(id, &[]), Some(&registers)).is_ok());
        // Another one of its group may have the address in another network.
        let (id, entry) = ("sidecar~10.0.0.7~carts-10.0.0.7-lan.shop~shop.svc.cluster.local", "carts-10.0.0.7-lan".to_owned());
        let registers = Registers { group: "carts".to_owned(), entry };
        assert!(credential("cart", None).labels_for(&mesh(), &proxy(id, &[]), Some(&registers)).is_ok());
    }

    #[test]
    fn a_proxy_that_is_somebody_else_is_refused() {
        let registers = |group: &str, entry: &str| Some(Registers { group: group.to_owned(), entry: entry.to_owned() });
        let (cart, entry) = (|| credential("cart", None), |name: &str| credential("cart", Some(Bound::Entry(name.to_owned()))));
        let group = |name: &str| credential("cart", Some(Bound::Group(name.to_owned())));
        let at = |id: &str| proxy(id, &[]);
        for (credential, proxy, registers, expected) in [
            (cart(), at("sidecar~10.0.0.1~cart.money~money.svc.cluster.local"), None, "claims the namespace \"money\""),
            (
                cart(),
                at("router~10.0.0.1~cart.shop~shop.svc.cluster.local"),
                None,
                "its workload has a sidecar: its label weir.dev/proxy-type",
            ),
            (cart(), at("router~10.0.0.8~cart.shop~shop.svc.cluster.local"), None, "there is no WorkloadEntry cart at 10.0.0.8"),
            (
                cart(),
                at("router~10.0.0.9~carts-10.0.0.9.shop~shop.svc.cluster.local"),
                registers("carts", "carts-10.0.0.9"),
                "a gateway does not register itself",
            ),
            (
                cart(),
                at("router~10.0.0.31~door.shop~shop.svc.cluster.local"),
                None,
                "WorkloadEntry shop/cart has this account, too, and could be the gateway",
            ),
            (credential("edge", None), at("sidecar~10.0.0.30~edge.shop~shop.svc.cluster.local"), None, "its workload has a router"),
            (cart(), at("sidecar~10.0.0.2~till.shop~shop.svc.cluster.local"), None, "its workload is ns/shop/sa/till"),
            (cart(), at("sidecar~10.0.0.1~till.shop~shop.svc.cluster.local"), None, "no WorkloadEntry till at 10.0.0.1"),
            (cart(), at("sidecar~10.0.0.3~cart.shop~shop.svc.cluster.local"), None, "no WorkloadEntry cart at 10.0.0.3"),
            (cart(), Proxy { addresses: vec!["10.0.0.1".into(), "10.0.0.2".into()], ..at(CART) }, None, "no WorkloadEntry cart at 10"),
            (cart(), proxy(CART, &[("app", "till")]), None, "label app=till"),
            (cart(), proxy(CART, &[("role", "admin")]), None, "label role=admin"),
            (entry("other"), at(CART), None, "its token is for WorkloadEntry other"),
            (group("carts"), at(CART), None, "an instance of WorkloadGroup carts"),
            (entry("cart"), at(INSTANCE), registers("carts", "carts-10.0.0.9"), "not for WorkloadGroup carts"),
            (group("other"), at(INSTANCE), registers("carts", "carts-10.0.0.9"), "not for WorkloadGroup carts"),
            (cart(), at(INSTANCE), registers("none", "none-10.0.0.9"), "no WorkloadGroup none"),
            (cart(), at(CART), registers("carts", "carts-10.0.0.1"), "its name is to be carts-10.0.0.1"),
            (
                cart(),
                at("sidecar~10.0.0.2~carts-10.0.0.2.shop~shop.svc.cluster.local"),
                registers("carts", "carts-10.0.0.2"),
                "its address is that of WorkloadEntry shop/till",
            ),
            // Also where both are of one account.
            (
                cart(),
                at("sidecar~10.0.0.1~carts-10.0.0.1.shop~shop.svc.cluster.local"),
                registers("carts", "carts-10.0.0.1"),
                "its address is that of WorkloadEntry shop/cart",
            ),
            (
                cart(),
                at("sidecar~10.0.0.6~carts-10.0.0.6.shop~shop.svc.cluster.local"),
                registers("carts", "carts-10.0.0.6"),
                "its name is that of WorkloadEntry shop/carts-10.0.0.6 at 10.0.0.5",
            ),
            (
                cart(),
                Proxy { addresses: vec!["fd00::3".to_owned()], ..at(INSTANCE) },
                registers("carts", "carts-10.0.0.9"),
                "its address is that of WorkloadEntry shop/safe",
            ),
            (
                cart(),
                at("sidecar~10.0.0.20~carts-10.0.0.20.shop~shop.svc.cluster.local"),
                registers("carts", "carts-10.0.0.20"),
                "its address is that of an instance of ServiceEntry shop/in-place that is ns/shop/sa/bank",
            ),
            (
                cart(),
                Proxy { addresses: vec!["fd00::21".to_owned()], ..at(INSTANCE) },
                registers("carts", "carts-10.0.0.9"),
                "that is ns/shop/sa/bank",
            ),
            (
                cart(),
                at("sidecar~10.0.0.23~carts-10.0.0.23.shop~shop.svc.cluster.local"),
                registers("carts", "carts-10.0.0.23"),
                "that is ns/shop/sa/default",
            ),
            (
                cart(),
                Proxy { addresses: vec!["::ffff:10.0.0.2".to_owned()], ..at(INSTANCE) },
                registers("carts", "carts-10.0.0.9"),
                "is written otherwise: 10.0.0.2",
            ),
            (
                cart(),
                Proxy { addresses: vec!["169.254.169.254".to_owned()], ..at(INSTANCE) },
                registers("carts", "carts-10.0.0.9"),
                "leads to no other machine",
            ),
            (credential("till", None), at(INSTANCE), registers("carts", "carts-10.0.0.9"), "its workload is ns/shop/sa/cart"),
        ] {
            let refused = credential.labels_for(&mesh(), &proxy, registers.as_ref()).unwrap_err();
            assert!(refused.contains(expected) && refused.contains(&proxy.id), "{refused}");
        }
    }

    #[test]
    fn who_the_mesh_knows_may_be_certified() {
        let of = |account: &str, bound: Option<Bound>, id: Option<&str>| {
            let proxy = id.map(|id| proxy(id, &[]));
            credential(account, bound).may_be_certified(&mesh(), proxy.as_ref()).is_ok()
        };
        let (entry, group) = (|name: &str| Some(Bound::Entry(name.to_owned())), |name: &str| Some(Bound::Group(name.to_owned())));
        assert!(of("cart", None, None) && of("cart", None, Some(CART)) && of("cart", entry("cart"), Some(CART)));
        assert!(of("cart", group("carts"), Some(INSTANCE)) && of("cart", group("carts"), None));
        assert!(of("cart", group("carts"), Some("sidecar~10.0.0.2~carts-10.0.0.2.shop~shop.svc.cluster.local")), "where another one is");
        assert!(!of("thief", None, None), "nobody has this account");
        assert!(!of("cart", entry("gone"), None) && !of("cart", group("gone"), None));
        assert!(!of("till", entry("cart"), None), "the entry has another account now");
        assert!(!of("cart", entry("till"), Some(CART)));
        assert!(!of("till", None, Some(CART)), "the node is another workload");
        assert!(!of("cart", None, Some("sidecar~10.0.0.1~cart.money~money.svc.cluster.local")));
    }

    #[tokio::test]
    async fn who_shows_nothing_or_what_does_not_hold_is_nobody() {
        let mut mesh = MeshConfig::default();
        (mesh.trust_domain, mesh.trust_domain_aliases) = ("td".to_owned(), vec!["old".to_owned()]);
        let (peer, now) = ("192.0.2.1:7".parse().unwrap(), SystemTime::now());
        let of = async |certificate: Result<Option<Certified>, String>, token: Option<Token>| {
            let shown = Shown { peer, certificate, token };
            let found = Credential::of(&shown, &Judges::default(), &mesh, now).await;
            found.map(|known| known.identity).map_err(|status| status.message().to_owned())
        };
        let until = |id: &str, ends| Ok(Some(Certified { id: id.to_owned(), ends }));
        let certified = |id: &str| until(id, now + Duration::from_secs(1));
        let cart = Identity::new("shop", "cart");
        assert_eq!(of(certified("spiffe://td/ns/shop/sa/cart"), None).await, Ok(cart.clone()));
        assert_eq!(of(certified("spiffe://old/ns/shop/sa/cart"), Some(Token::new("x"))).await, Ok(cart));
        for (certificate, token, expected) in [
            (Ok(None), None, "neither a certificate of the mesh nor a token"),
            (Ok(None), Some(Token::new("x")), "signs no tokens"),
            (until("spiffe://td/ns/shop/sa/cart", now), None, "has ended"),
            (until("spiffe://td/ns/shop/sa/cart", now), Some(Token::new("x")), "has ended"),
            (Err("it has ended".to_owned()), Some(Token::new("x")), "it has ended"),
            (certified("spiffe://other/ns/shop/sa/cart"), None, "another trust domain"),
            (certified("spiffe://td/ns/shop/sa/"), None, "no SPIFFE id of a mesh"),
            (certified("spiffe://td/ns/shop/sa/a/ns/money/sa/b"), None, "no SPIFFE id of a mesh"),
            (certified("spiffe://td/ns/Shop/sa/a"), None, "no SPIFFE id of a mesh"),
        ] {
            let refused = of(certificate, token).await.unwrap_err();
            assert!(refused.starts_with("192.0.2.1:7: ") && refused.contains(expected), "{refused}");
        }
    }
}
