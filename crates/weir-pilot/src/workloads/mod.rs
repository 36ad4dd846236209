//! What the pilot knows of workloads that nobody has written down: instances that registered themselves
//! ([`registration`]), and how workloads are that their sidecars probe.
//!
//! All of it is in memory, as long as the pilot lives: a sidecar registers again, and tells again how its workload is, when
//! it comes back. Until they have had time to, proxies that come back keep the configuration that they have.

pub(crate) mod registration;
mod tellers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_api::{Kind, Object, ObjectChange, ObjectKey};
use weir_model::tree::Tree;
use weir_model::{MeshSnapshot, Proxy, ProxyKind, Workload, WorkloadHealth, WorkloadKey, workload_group};
use weir_registry::Catalog;

use registration::Registration;
use tellers::Tellers;

/// The entries of instances that registered themselves.
pub(crate) type Entries = Tree<ObjectKey, Arc<Object>>;

/// What is known of workloads besides the catalog.
#[derive(Debug, Default)]
pub(crate) struct Workloads {
    /// How those are that are probed.
    pub health: WorkloadHealth,
    /// By whose word.
    tellers: Tellers,
    registered: BTreeMap<WorkloadKey, Registered>,
    /// The entries of those, where their groups are there.
    entries: Entries,
    /// Those that came or went since the entries were made.
    moved: BTreeSet<WorkloadKey>,
    /// Those of whose health something new is known.
    flipped: BTreeSet<WorkloadKey>,
}

/// An instance that registered itself.
#[derive(Debug)]
struct Registered {
    by: Registration,
    /// How many streams of it are open.
    streams: usize,
    /// How often it has gone: what was to happen when it had gone is off when it came back.
    departures: u64,
    /// Its entry, and the group that it was made of.
    made: Option<(Arc<Object>, Arc<Object>)>,
}

impl Workloads {
    /// An instance has come, or come back, on another machine or on this one.
    ///
    /// # Errors
    /// If its entry's name is that of an instance of another group or address: names are put together of words, and two may be one. Of
    /// another machine, also if an instance of another group is at its address.
    pub fn register(&mut self, registration: Registration, is_remote: bool) -> Result<(), String> {
        let own = registration.key();
        let is_taken = |(key, known): &(&WorkloadKey, &Registered)| match **key == own {
            true => !known.by.is_same_instance(&registration),
            false => is_remote && known.by.is_in_the_way_of(&registration),
        };
        if let Some(((namespace, name), _)) = self.registered.iter().find(is_taken) {
            return Err(format!("WorkloadEntry {namespace}/{name} is of another instance"));
        }
        let new = || Registered { by: registration.clone(), streams: 0, departures: 0, made: None };
        let known = self.registered.entry(registration.key()).or_insert_with(new);
        known.streams += 1;
        self.moved.insert(registration.key());
        if !known.by.is_like(&registration) {
            (known.by, known.made) = (registration, None);
        }
        Ok(())
    }

    /// An instance has gone. If no stream of it is left: what to tell [`Self::expire`] later.
    pub fn leave(&mut self, key: &WorkloadKey) -> Option<u64> {
        let known = self.registered.get_mut(key)?;
        known.streams = known.streams.saturating_sub(1);
        known.departures += 1;
        (known.streams == 0).then_some(known.departures)
    }

    /// Forgets an instance that has not come back since. Whether it is forgotten.
    pub fn expire(&mut self, key: &WorkloadKey, departures: u64) -> bool {
        let is_gone = self.registered.get(key).is_some_and(|known| known.streams == 0 && known.departures == departures);
        if is_gone {
            self.registered.remove(key);
            self.moved.insert(key.clone());
        }
        is_gone
    }

    /// The entries of instances that registered themselves, as they were last made.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// Makes the entries of instances that came or went; where groups changed, those of all. There are entries of groups that
    /// there still are. Returns the keys of those that are not what they were.
    pub fn update_entries(&mut self, catalog: &Catalog, has_other_groups: bool) -> Vec<ObjectKey> {
        let mut again = std::mem::take(&mut self.moved);
        if has_other_groups {
            again.extend(self.registered.keys().cloned());
        }
        let mut touched = vec![];
        for (namespace, name) in again {
            let made = self.registered.get_mut(&(namespace.clone(), name.clone())).and_then(|known| known.entry(catalog));
            let key = ObjectKey { kind: Kind::WorkloadEntry, namespace, name };
            if self.entries.get(&key).map(Arc::as_ptr) == made.as_ref().map(Arc::as_ptr) {
                continue;
            }
            match made {
                Some(entry) => self.entries.insert_mut(key.clone(), entry),
                None => self.entries = self.entries.remove(&key),
            }
            touched.push(key);
        }
        touched
    }

    /// The workloads of whose health something else is known than when this was last asked.
    pub fn take_flipped(&mut self) -> Vec<WorkloadKey> {
        std::mem::take(&mut self.flipped).into_iter().collect()
    }

    /// A proxy comes that may tell how its workload is. The number of its stream.
    pub fn come(&mut self, proxy: &str) -> u64 {
        self.tellers.come(proxy)
    }

    /// Whether what this stream of a proxy tells counts: it is its newest.
    pub fn heeds(&self, proxy: &str, stream: u64) -> bool {
        self.tellers.is_newest(proxy, stream)
    }

    /// A stream of a proxy has ended. If that was the last one: what to tell [`Self::fall_silent`] later.
    pub fn go(&mut self, proxy: &str, stream: u64) -> Option<u64> {
        self.tellers.go(proxy, stream)
    }

    /// Forgets what a proxy told that has not come back since. The workloads of which that is forgotten.
    pub fn fall_silent(&mut self, proxy: &str, newest: u64) -> BTreeSet<WorkloadKey> {
        let forgotten = self.tellers.take_gone(proxy, newest);
        for key in &forgotten {
            self.health.remove(key);
            self.flipped.insert(key.clone());
        }
        forgotten
    }

    /// Takes what a sidecar says of workloads. Those of which that is new.
    pub fn report(&mut self, proxy: &str, keys: impl Iterator<Item = WorkloadKey>, is_well: bool) -> Vec<WorkloadKey> {
        let new: Vec<WorkloadKey> = keys
            .inspect(|key| self.tellers.told(key, proxy))
            .filter(|key| self.health.insert(key.clone(), is_well) != Some(is_well))
            .collect();
        self.flipped.extend(new.iter().cloned());
        new
    }

    /// Forgets how workloads were that there are no more, after these objects changed and these workloads told something.
    pub fn forget_gone(&mut self, mesh: &MeshSnapshot, objects: &[ObjectChange], told: &[WorkloadKey]) {
        let gone = objects.iter().filter_map(|change| change.old.as_ref()).map(|object| workload_group::key(object));
        for (namespace, name) in gone.chain(told.iter().cloned()) {
            if mesh.workloads.named(&namespace, &name).is_none() {
                let key = (namespace, name);
                self.health.remove(&key);
                self.tellers.forget(&key);
            }
        }
    }
}

impl Registered {
    /// Its entry, made anew if its group is another one than before; none without its group.
    fn entry(&mut self, catalog: &Catalog) -> Option<Arc<Object>> {
        let key = ObjectKey { kind: Kind::WorkloadGroup, namespace: self.by.namespace.clone(), name: self.by.group.clone() };
        let Some(group) = catalog.get(&key) else {
            self.made = None;
            return None;
        };
        if !self.made.as_ref().is_some_and(|(_, of)| Arc::ptr_eq(of, group)) {
            // It made one when the instance came.
            let entry = self.by.entry(group).inspect_err(|reason| {
                tracing::error!(group = %group.name(), "the entry of an instance that registered itself is wrong: {reason}");
            });
            self.made = entry.ok().map(|entry| (entry, group.clone()));
        }
        self.made.as_ref().map(|(entry, _)| entry.clone())
    }
}

/// The workloads of a sidecar: the one that it stands beside, or else all at its addresses.
pub(crate) fn beside(mesh: &MeshSnapshot, proxy: &Proxy) -> Vec<WorkloadKey> {
    let key = |workload: &Arc<Workload>| (workload.namespace.clone(), workload.name.clone());
    if let Some(workload) = mesh.workload_of(proxy) {
        return vec![key(workload)];
    }
    if proxy.kind != ProxyKind::Sidecar {
        return vec![];
    }
    let here = proxy.addresses.iter().flat_map(|address| mesh.workloads.at_in(&proxy.namespace, address));
    let own: BTreeSet<WorkloadKey> = here.map(key).collect();
    own.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use weir_model::Interception;
    use weir_xds::core::Node;

    use super::*;

    /// An instance of this group, at this address and in this network.
    fn instance(group: &str, address: &str, network: &str) -> Registration {
        let proxy = Proxy {
            id: String::new(),
            kind: ProxyKind::Sidecar,
            name: String::new(),
            namespace: "shop".to_owned(),
            labels: BTreeMap::new(),
            addresses: vec![address.to_owned()],
            locality: String::new(),
            interception: Interception::None,
        };
        let said = serde_json::json!({"AUTO_REGISTER_GROUP": group, "NETWORK": network});
        let metadata = said.as_object().map(weir_xds::values::structure);
        Registration::read(&Node { metadata, ..Node::default() }, &proxy).unwrap()
    }

    #[test]
    fn no_instance_takes_the_place_of_one_of_another_group_or_address() {
        let mut workloads = Workloads::default();
        let first = || instance("reviews", "10.0.0.1", "10.0.0.2");
        let other = || instance("reviews-10.0.0.1", "10.0.0.2", "");
        assert_eq!(first().key(), other().key());
        workloads.register(first(), true).unwrap();
        for is_remote in [true, false] {
            assert!(workloads.register(other(), is_remote).unwrap_err().contains("shop/reviews-10.0.0.1-10.0.0.2 is of another instance"));
            assert_eq!(workloads.register(first(), is_remote), Ok(()), "it comes back");
        }
        // Only what is known of this machine's proxies says that one machine is of two groups.
        assert!(workloads.register(instance("ratings", "10.0.0.1", ""), true).is_err());
        assert!(workloads.register(instance("ratings", "10.0.0.1", ""), false).is_ok());
        assert!(workloads.register(instance("reviews", "10.0.0.1", "vms"), true).is_err(), "ratings are there");
        assert!(workloads.register(instance("ratings", "10.0.0.3", ""), true).is_ok());
    }
}
