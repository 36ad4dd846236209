//! The assignments that a client's clusters need, and that it has not asked for.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_xds::resource::ResourceType;

use super::subscription::Subscription;
use crate::set::ResourceSet;

/// Their names.
#[derive(Debug, Default)]
pub(super) struct Assignments {
    lacking: BTreeSet<Arc<str>>,
    /// Those that were waited for in vain: the client may have refused their clusters, and then never asks for them.
    given_up: BTreeSet<Arc<str>>,
    /// Whether they must be counted anew: a name went that others may still need.
    is_stale: bool,
}

impl Assignments {
    /// A cluster needs another assignment than before.
    pub fn replace(&mut self, before: Option<Arc<str>>, now: Option<Arc<str>>, is_asked_for: impl FnOnce(&str) -> bool) {
        if before == now {
            return;
        }
        self.is_stale |= before.is_some_and(|name| self.lacking.contains(&name));
        self.lacking.extend(now.filter(|name| !is_asked_for(name)));
    }

    /// The client has asked for one.
    pub fn asked_for(&mut self, name: &str) {
        self.lacking.remove(name);
        self.given_up.remove(name);
    }

    /// Whether any was waited for in vain.
    pub fn any_given_up(&self) -> bool {
        !self.given_up.is_empty()
    }

    /// A cluster that needs this one is another than before: the client may ask for it now.
    pub fn hope_for(&mut self, name: &str) {
        self.is_stale |= self.given_up.remove(name);
    }

    /// Those that the client lacks now are not waited for any more.
    pub fn give_up(&mut self, target: &ResourceSet, asked_for: &Subscription) {
        if self.is_stale {
            self.count(target, asked_for);
        }
        self.given_up.append(&mut self.lacking);
    }

    /// The client asks for others than before.
    pub fn recount(&mut self) {
        self.is_stale = true;
    }

    /// Whether they must be counted anew.
    pub fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// Whether the client lacks any.
    pub fn lack(&mut self, target: &ResourceSet, asked_for: &Subscription) -> bool {
        if self.is_stale {
            // A client that has just come has asked for none yet.
            if asked_for.is_empty() {
                return needed(target).any(|name| !self.given_up.contains(&name));
            }
            self.count(target, asked_for);
        }
        !self.lacking.is_empty()
    }

    fn count(&mut self, target: &ResourceSet, asked_for: &Subscription) {
        let kind = ResourceType::Endpoint;
        let is_asked_for = |name: &str| asked_for.has(kind, name, || target.get(kind, name).is_some());
        self.is_stale = false;
        self.given_up.retain(|name| !is_asked_for(name));
        self.lacking = needed(target).filter(|name| !is_asked_for(name) && !self.given_up.contains(name)).collect();
    }
}

/// The assignments that the clusters of a set need.
fn needed(target: &ResourceSet) -> impl Iterator<Item = Arc<str>> {
    target.of(ResourceType::Cluster).filter_map(|(_, cluster)| cluster.endpoints.clone())
}
