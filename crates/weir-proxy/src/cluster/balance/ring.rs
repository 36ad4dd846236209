//! A ring of points: each instance owns many, and a hash belongs to the next point. When an instance leaves, only what it
//! owned moves.
//!
//! The points are Envoy's, but for their number: Envoy gives each instance just so many that the ring is as large as it must
//! be, and so more to all others when one leaves, by which nearly twice as many keys move. Here their number is a power of two.

use twox_hash::XxHash64;

use crate::cluster::host::WeightedHost;

/// The points in order, with the positions of their instances.
#[derive(Debug)]
pub struct Ring(Vec<(u64, u32)>);

impl Ring {
    /// For instances; a ring has at least `minimum` points if `maximum` allows, and no more than that many but for one of each
    /// instance.
    pub fn new(hosts: &[WeightedHost], minimum: u64, maximum: u64, by_hostname: bool) -> Self {
        let total: u64 = hosts.iter().map(|host| u64::from(host.weight)).sum();
        let Some(least) = hosts.iter().map(|host| u64::from(host.weight)).min().filter(|least| *least > 0) else { return Self(vec![]) };
        let wanted = (least * minimum).div_ceil(total).next_power_of_two();
        let of_least = wanted.min((least * maximum / total).max(1));
        let mut points = vec![];
        for (position, host) in hosts.iter().enumerate() {
            let weight = u64::from(host.weight);
            // Where weights differ by more than the ring is large, who has least has more than its share.
            let share = (weight * maximum / total).max(1);
            let key = host.host.hash_key(by_hostname);
            for number in 0..(of_least * weight / least).min(share) {
                points.push((XxHash64::oneshot(0, format!("{key}_{number}").as_bytes()), position as u32));
            }
        }
        points.sort_unstable();
        Self(points)
    }

    /// The position of a hash's instance; each further attempt takes the next point.
    pub fn choose(&self, hash: u64, attempt: u32) -> Option<usize> {
        let next = self.0.partition_point(|(point, _)| *point < hash);
        let point = (next + attempt as usize).checked_rem(self.0.len())?;
        Some(self.0[point].1 as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::balance::tests::hosts;

    #[test]
    fn no_weight_makes_a_ring_larger_than_it_may_be() {
        let weighted = hosts(&[1, u32::MAX, u32::MAX]);
        let ring = Ring::new(&weighted.list, 1024, 4096, false);
        assert!((1024..=4097).contains(&ring.0.len()), "{}", ring.0.len());
        assert!((0..3).all(|position| ring.0.iter().any(|(_, of)| *of == position)));
    }
}
