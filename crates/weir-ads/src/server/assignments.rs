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
            let mut needed = target.of(ResourceType::Cluster).filter_map(|(_, cluster)| cluster.endpoints.clone());
            // A client that has just come has asked for none yet.
            if asked_for.is_empty() {
                return needed.next().is_some();
            }
            self.is_stale = false;
            self.lacking = needed.filter(|name| !asked_for.has(name, || target.get(ResourceType::Endpoint, name).is_some())).collect();
        }
        !self.lacking.is_empty()
    }
}
