//! Sidecar resources, and which of them is a proxy's. They are never merged (pilot/pkg/model/sidecar.go of Istio).

use std::sync::Arc;

use weir_api::resources::sidecar::Sidecar as Written;
use weir_api::{Object, Spec};

use crate::proxy::{Proxy, ProxyKind, selects};

/// A Sidecar resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Sidecar {
    /// What it says.
    pub spec: Arc<Written>,
    /// The object that defines it.
    pub object: Arc<Object>,
}

impl Sidecar {
    /// The one that an object defines.
    pub(crate) fn read(object: &Arc<Object>) -> Option<Self> {
        match &object.spec {
            Spec::Sidecar(written) => Some(Self { spec: Arc::new(written.clone()), object: object.clone() }),
            _ => None,
        }
    }
}

/// The Sidecar of a proxy: the oldest that selects its workload, else the oldest for the whole namespace, else
/// the one for the whole root namespace, which is for all.
pub fn sidecar_of<'s>(sidecars: &'s [Sidecar], proxy: &Proxy, root: &str) -> Option<&'s Sidecar> {
    if proxy.kind == ProxyKind::Router {
        return None;
    }
    let own = |sidecar: &&Sidecar| sidecar.object.meta.namespace == proxy.namespace;
    let selector = |sidecar: &&Sidecar| sidecar.spec.workload_selector.as_ref().map(|selector| selector.labels.clone());
    let selecting = |sidecar: &&Sidecar| selector(sidecar).is_some_and(|labels| selects(&labels, &proxy.labels));
    let for_all = |sidecar: &&Sidecar| sidecar.spec.workload_selector.is_none();
    let of_root = |sidecar: &&Sidecar| sidecar.object.meta.namespace == root;
    let find = |which: &dyn Fn(&&Sidecar) -> bool| sidecars.iter().find(which);
    find(&|sidecar| own(sidecar) && selecting(sidecar))
        .or_else(|| find(&|sidecar| own(sidecar) && for_all(sidecar)))
        .or_else(|| find(&|sidecar| of_root(sidecar) && for_all(sidecar)))
}
