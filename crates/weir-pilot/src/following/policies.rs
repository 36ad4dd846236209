//! Which policies are for a proxy's own workload: only a change of one of them makes anew what is its alone.

use std::collections::BTreeSet;

use weir_api::Object;
use weir_model::{Changes, MeshSnapshot, Name, Proxy, WorkloadTls};

/// The policies that a proxy's own resources were made by.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Policies {
    /// AuthorizationPolicies.
    access: BTreeSet<Name>,
    /// RequestAuthentications.
    tokens: BTreeSet<Name>,
    /// What PeerAuthentications say of the workload.
    tls: WorkloadTls,
}

impl Policies {
    /// Those that are for a proxy now.
    pub fn of(mesh: &MeshSnapshot, proxy: &Proxy) -> Self {
        let root = mesh.config.root_namespace.as_str();
        let access = mesh.authorization_policies.iter().filter(|policy| policy.selects(proxy, root));
        let tokens = mesh.request_authentications_of(proxy).into_iter();
        Self {
            access: access.map(|policy| name(&policy.object)).collect(),
            tokens: tokens.map(|policy| name(&policy.object)).collect(),
            tls: mesh.peer_authentications.of_namespace(&proxy.namespace).of_workload(&proxy.labels),
        }
    }

    /// Whether one that is or was for a proxy has changed.
    pub fn have_changed(&self, mesh: &MeshSnapshot, proxy: &Proxy, changes: &Changes) -> bool {
        let Changes { authorization_policies, request_authentications, peer_authentications, .. } = changes;
        if [authorization_policies, request_authentications, peer_authentications].iter().all(|names| names.is_empty()) {
            return false;
        }
        let now = Self::of(mesh, proxy);
        let touches = |changed: &BTreeSet<Name>, before: &BTreeSet<Name>, now: &BTreeSet<Name>| {
            changed.iter().any(|name| before.contains(name) || now.contains(name))
        };
        touches(authorization_policies, &self.access, &now.access)
            || touches(request_authentications, &self.tokens, &now.tokens)
            || self.tls != now.tls
    }
}

fn name(object: &Object) -> Name {
    (object.meta.namespace.clone(), object.meta.name.clone())
}
