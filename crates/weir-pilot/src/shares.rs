//! Places that many share: nobody has more than an eighth of them, so that one alone keeps out nobody else.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The part that one may have.
const PART: usize = 8;

/// So many places, and who has them.
#[derive(Debug)]
pub struct Shares<K: Eq + Hash> {
    places: usize,
    taken: Arc<Mutex<Taken<K>>>,
}

#[derive(Debug)]
struct Taken<K> {
    all: usize,
    by: HashMap<K, usize>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Share<K: Eq + Hash> {
    who: K,
    taken: Arc<Mutex<Taken<K>>>,
}

/// Where somebody is, as far as he cannot easily be elsewhere too: one machine often has a whole network of IPv6.
pub fn place_of(peer: IpAddr) -> IpAddr {
    const NETWORK: u128 = !0 << 64;
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
        address => address,
    }
}

impl<K: Eq + Hash> Clone for Shares<K> {
    fn clone(&self) -> Self {
        Self { places: self.places, taken: self.taken.clone() }
    }
}

impl<K: Eq + Hash + Clone> Shares<K> {
    /// So many that nobody has yet.
    pub fn of(places: usize) -> Self {
        Self { places, taken: Arc::new(Mutex::new(Taken { all: 0, by: HashMap::new() })) }
    }

    /// A place for somebody; none, if there is none left, or none for him.
    pub fn take(&self, who: K) -> Option<Share<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.by.get(&who).copied().unwrap_or_default();
        if taken.all >= self.places || own >= (self.places / PART).max(1) {
            return None;
        }
        taken.all += 1;
        taken.by.insert(who.clone(), own + 1);
        Some(Share { who, taken: self.taken.clone() })
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        let is_last = taken.by.get_mut(&self.who).is_none_or(|own| {
            *own = own.saturating_sub(1);
            *own == 0
        });
        if is_last {
            taken.by.remove(&self.who);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_alone_takes_no_more_than_an_eighth() {
        let shares = Shares::of(16);
        let own: Vec<_> = (0..3).map(|_| shares.take("a")).collect();
        assert_eq!(own.iter().flatten().count(), 2);
        let others: Vec<_> = (0..20).filter_map(|who| shares.take(["b", "c", "d", "e", "f", "g", "h", "i", "j"][who % 9])).collect();
        assert_eq!(others.len(), 14);
        drop(own);
        assert!(shares.take("z").is_some() && shares.take("a").is_some());
        drop(others);
        assert!(shares.taken.lock().unwrap().by.is_empty());
        assert!(Shares::of(0).take("a").is_none());
        assert!(Shares::of(3).take("a").is_some(), "who comes first to few places has one");
    }

    #[test]
    fn a_network_of_a_machine_is_one_place() {
        let of = |address: &str| place_of(address.parse().unwrap()).to_string();
        assert_eq!(
            ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "2001:db8::2:0:0:1"].map(of),
            ["192.0.2.1", "192.0.2.1", "2001:db8::", "2001:db8::"]
        );
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
    }
}
