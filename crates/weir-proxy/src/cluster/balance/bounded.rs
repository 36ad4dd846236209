//! Choice by hash with bounded loads: an instance that is busier than its share allows passes on what its hashes bring it, to the
//! next in an order that follows from the hash (<https://arxiv.org/abs/1608.01350>, with the jumps of
//! <https://arxiv.org/abs/1908.08762>, as Envoy has them).

use crate::cluster::host::WeightedHost;

/// How busy instances may be.
#[derive(Debug)]
pub struct Bounds {
    /// So many percent of its share of the requests under way an instance may have.
    percent: u64,
    /// The sum of the weights.
    weights: u64,
}

impl Bounds {
    /// For instances.
    pub fn new(hosts: &[WeightedHost], percent: u32) -> Self {
        Self { percent: percent.into(), weights: hosts.iter().map(|host| u64::from(host.weight)).sum() }
    }

    /// Who takes a request whose hash brings it to `first`.
    pub fn choose(&self, hosts: &[WeightedHost], hash: u64, first: usize) -> usize {
        let under_way: u64 = hosts.iter().map(|host| u64::from(host.host.load())).sum();
        let slots = ((under_way + 1) * self.percent).div_ceil(100);
        let busy = |position: usize| hosts.get(position).map_or(f64::MAX, |host| self.busy(host, slots));
        if busy(first) <= 1.0 {
            return first;
        }
        let mut others: Vec<usize> = (0..hosts.len()).filter(|position| *position != first).collect();
        fastrand::Rng::with_seed(hash).shuffle(&mut others);
        let free = others.iter().copied().find(|position| busy(*position) <= 1.0);
        // Where all are too busy, the least of them.
        let least = || [first].into_iter().chain(others.iter().copied()).min_by(|one, two| busy(*one).total_cmp(&busy(*two)));
        free.or_else(least).unwrap_or(first)
    }

    /// How busy an instance is: above 1, too busy.
    fn busy(&self, host: &WeightedHost, slots: u64) -> f64 {
        let own = (slots * u64::from(host.weight)).div_ceil(self.weights.max(1)).max(1);
        f64::from(host.host.load()) / own as f64
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::cluster::balance::tests::hosts;

    #[test]
    fn who_is_too_busy_passes_on_what_its_hashes_bring_it() {
        let hosts = hosts(&[1; 4]).list;
        let bounds = Bounds::new(&hosts, 150);
        let load = |position: usize, requests: u32| hosts[position].host.active.store(requests, Ordering::Relaxed);
        assert_eq!(bounds.choose(&hosts, 7, 0), 0);
        // Of 9 requests, with the one that comes, one and a half times a fourth: 4 slots each.
        load(0, 4);
        load(1, 4);
        assert_eq!(bounds.choose(&hosts, 7, 0), 0);
        load(0, 5);
        let other = bounds.choose(&hosts, 7, 0);
        assert!(other != 0 && bounds.choose(&hosts, 7, 0) == other, "like requests go to the same");
        let others: std::collections::BTreeSet<usize> = (0..50).map(|hash| bounds.choose(&hosts, hash, 0)).collect();
        assert_eq!(others, [1, 2, 3].into());
        // Where there is nobody else, the least busy of those who are there.
        let pair = &hosts[..2];
        let bounds = Bounds::new(pair, 100);
        load(0, 6);
        load(1, 3);
        assert_eq!(bounds.choose(pair, 7, 0), 1);
    }

    #[test]
    fn shares_go_by_weight() {
        let hosts = hosts(&[1, 3]).list;
        let bounds = Bounds::new(&hosts, 100);
        hosts[0].host.active.store(2, Ordering::Relaxed);
        hosts[1].host.active.store(5, Ordering::Relaxed);
        // 8 slots: 2 for the first, 6 for the second.
        assert_eq!((bounds.choose(&hosts, 1, 0), bounds.choose(&hosts, 1, 1)), (0, 1));
        hosts[0].host.active.store(4, Ordering::Relaxed);
        assert_eq!(bounds.choose(&hosts, 1, 0), 1);
    }
}
