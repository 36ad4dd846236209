//! Who tells how workloads are. A sidecar whose connection is half open comes back by a second stream before the first one is seen
//! to have died: what the first one told last must not stand against what the second one tells. And what a sidecar told holds
//! only as long as there is one.

use std::collections::{BTreeSet, HashMap};

use weir_model::WorkloadKey;

/// The proxies that may tell, and what each of them told of.
#[derive(Debug, Default)]
pub(super) struct Tellers {
    proxies: HashMap<String, Teller>,
    /// The proxy by whose word it is known how a workload is.
    told_by: HashMap<WorkloadKey, String>,
    /// How many streams there have been.
    count: u64,
}

#[derive(Debug, Default)]
struct Teller {
    /// Its streams that live, from the oldest to the newest.
    open: Vec<u64>,
    /// The last one that came, even if it has ended.
    newest: u64,
    /// What it told of.
    of: BTreeSet<WorkloadKey>,
}

impl Tellers {
    /// A proxy comes, by a stream that is its newest.
    pub fn come(&mut self, proxy: &str) -> u64 {
        self.count += 1;
        let teller = self.proxies.entry(proxy.to_owned()).or_default();
        teller.open.push(self.count);
        teller.newest = self.count;
        self.count
    }

    /// Whether this is the newest of the proxy's streams that live.
    pub fn is_newest(&self, proxy: &str, stream: u64) -> bool {
        self.proxies.get(proxy).and_then(|teller| teller.open.last()) == Some(&stream)
    }

    /// A stream ends. If it was the last one of a proxy that told something: what to tell [`Self::take_gone`] later.
    pub fn go(&mut self, proxy: &str, stream: u64) -> Option<u64> {
        let teller = self.proxies.get_mut(proxy)?;
        teller.open.retain(|open| *open != stream);
        if teller.open.is_empty() && teller.of.is_empty() {
            self.proxies.remove(proxy);
            return None;
        }
        teller.open.is_empty().then_some(teller.newest)
    }

    /// Forgets a proxy that has not come back since. The workloads of which it is known by its word how they are.
    pub fn take_gone(&mut self, proxy: &str, newest: u64) -> BTreeSet<WorkloadKey> {
        let is_gone = self.proxies.get(proxy).is_some_and(|teller| teller.open.is_empty() && teller.newest == newest);
        let of = if is_gone { self.proxies.remove(proxy).map(|teller| teller.of) } else { None };
        let of = of.unwrap_or_default();
        of.iter().for_each(|key| drop(self.told_by.remove(key)));
        of
    }

    /// A proxy has told of a workload.
    pub fn told(&mut self, key: &WorkloadKey, proxy: &str) {
        if self.told_by.get(key).is_some_and(|by| by == proxy) {
            return;
        }
        self.forget(key);
        if let Some(teller) = self.proxies.get_mut(proxy) {
            teller.of.insert(key.clone());
            self.told_by.insert(key.clone(), proxy.to_owned());
        }
    }

    /// What was told of a workload does not count any more.
    pub fn forget(&mut self, key: &WorkloadKey) {
        if let Some(teller) = self.told_by.remove(key).and_then(|proxy| self.proxies.get_mut(&proxy)) {
            teller.of.remove(key);
        }
    }
}
