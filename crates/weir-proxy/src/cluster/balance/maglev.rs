//! A table that is filled by the instances in turn, each by a permutation of its own: nearly equal shares, and little moves
//! when one leaves (Google's Maglev, 3.4, as Envoy fills the table).

use twox_hash::XxHash64;

use crate::cluster::host::WeightedHost;

/// For each slot the position of its instance.
#[derive(Debug)]
pub struct Maglev(Vec<u32>);

struct Candidate {
    position: u32,
    offset: u64,
    skip: u64,
    weight: f64,
    target: f64,
    next: u64,
}

impl Maglev {
    /// For instances; `size` is a prime.
    pub fn new(hosts: &[WeightedHost], size: u64, by_hostname: bool) -> Self {
        const EMPTY: u32 = u32::MAX;
        let Some(most) = hosts.iter().map(|host| host.weight).max().filter(|_| size > 1) else { return Self(vec![]) };
        let mut candidates: Vec<(String, Candidate)> = hosts
            .iter()
            .enumerate()
            .map(|(position, host)| {
                let key = host.host.hash_key(by_hostname).into_owned();
                let candidate = Candidate {
                    position: position as u32,
                    offset: XxHash64::oneshot(0, key.as_bytes()) % size,
                    skip: XxHash64::oneshot(1, key.as_bytes()) % (size - 1) + 1,
                    weight: f64::from(host.weight),
                    target: 0.0,
                    next: 0,
                };
                (key, candidate)
            })
            .collect();
        // The table must not depend on the order in which the instances are told.
        candidates.sort_by(|(one, _), (two, _)| one.cmp(two));
        let (mut table, mut filled, mut round) = (vec![EMPTY; size as usize], 0, 1.0);
        while filled < size {
            for (_, candidate) in &mut candidates {
                // Who has less weight than the heaviest sits out some rounds.
                if filled == size || round * candidate.weight < candidate.target {
                    continue;
                }
                candidate.target += f64::from(most);
                let slot = loop {
                    let slot = (candidate.offset + candidate.skip * candidate.next) % size;
                    candidate.next += 1;
                    if table[slot as usize] == EMPTY {
                        break slot;
                    }
                };
                table[slot as usize] = candidate.position;
                filled += 1;
            }
            round += 1.0;
        }
        Self(table)
    }

    /// The position of a hash's instance; each further attempt looks elsewhere.
    pub fn choose(&self, hash: u64, attempt: u32) -> Option<usize> {
        let hash = if attempt == 0 { hash } else { hash ^ (u64::MAX - u64::from(attempt) + 1) };
        let slot = hash.checked_rem(self.0.len() as u64)?;
        Some(self.0[slot as usize] as usize)
    }
}
