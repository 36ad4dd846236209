//! Addresses that nobody wrote: every host of a ServiceEntry without any gets two of its own, with which sidecars answer questions of DNS, and
//! by which they tell services apart that nothing but an address does.
//!
//! No pilot remembers them, and no two need to agree: an address is a function of the hosts that there are, whichever way and in whichever
//! order a pilot came to know them, and however often it has started. The name of a host gives the order in which it tries places, and it
//! has the first that no older host has; of hosts of one age, as those of files are, the first by name counts as older. So where objects
//! say when they were made, a host that is added moves none that was there; without that, it moves one that tries the same place and has a
//! later name: with n hosts, one addition in some 130,000/n does. A host that goes leaves its place to the oldest that had
//! tried it. What moves is told to sidecars as any change is; their answers are good for 30 seconds.
//!
//! What somebody wrote himself is his, and counts by the same order: a younger host is given none of it, and an older one keeps what it was
//! given. Otherwise whoever may write a ServiceEntry would drive anybody else's host from its address, or take that over. Facts: pilot/pkg/controllers/ipallocate of Istio, which keeps its choice in the
//! object's status instead.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::definitions::ServiceAge;
use crate::service::{AutomaticAddresses, ServiceKey};
use crate::tree::{Groups, Tree};

/// Where both addresses of a host are in their ranges.
pub(super) type Place = u16;

/// Those of 240.240.0.0/16, without what ends in 255 and what begins with 255.
const PLACES: Place = 65_024;
/// So many places a host tries at most, if there are as many.
const TRIES: Place = 64;
/// The last part of an address is less than this.
const IN_A_ROW: Place = 255;

impl AutomaticAddresses {
    /// Those of a place; none where one would end in 0.
    fn at(place: Place) -> Option<Self> {
        // Both are less than 255.
        let [_, row] = ((place + 1) / IN_A_ROW).to_be_bytes();
        let [_, last] = ((place + 1) % IN_A_ROW).to_be_bytes();
        let ipv6 = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0xf0f0, u16::from_be_bytes([row, last]));
        (last != 0).then(|| Self { ipv4: Ipv4Addr::new(240, 240, row, last), ipv6 })
    }
}

/// The place of an address as it is written, if it has one.
pub(super) fn place_of(written: &str) -> Option<Place> {
    let (row, last) = match written.parse().ok()? {
        IpAddr::V4(address) => match address.octets() {
            [240, 240, row, last] => (row, last),
            _ => return None,
        },
        IpAddr::V6(address) => match address.segments() {
            [0x2001, 2, 0, 0, 0, 0, 0xf0f0, both] => both.to_be_bytes().into(),
            _ => return None,
        },
    };
    let is_given = |part: u8| Place::from(part) < IN_A_ROW;
    (is_given(row) && is_given(last) && last != 0).then(|| Place::from(row) * IN_A_ROW + Place::from(last) - 1)
}

/// The places that a host tries, one after the other.
struct Order {
    first: u32,
    step: u32,
}

impl Order {
    /// That of a host, which is the same for all times. The first place is the one that Istio gave it by its name, before it wrote its choice
    /// into objects (pilot/pkg/serviceregistry/serviceentry/auto_allocation.go): FNV-1a of namespace and name.
    fn of((host, namespace): &ServiceKey, places: Place) -> Self {
        let bytes = namespace.bytes().chain([b'/']).chain(host.bytes());
        let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let places = u32::from(places);
        let mut step = 1 + hash / places % (places - 1);
        // Otherwise some places would never come, and others twice.
        while common_divisor(step, places) != 1 {
            step += 1;
        }
        Self { first: hash % places, step }
    }

    fn at(&self, nth: Place, places: Place) -> Place {
        let at = (self.first + u32::from(nth) * self.step) % u32::from(places);
        Place::try_from(at).unwrap_or_default()
    }
}

/// The greatest one of two numbers that are not 0.
fn common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

/// A host, and since when it claims what it does.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claimant {
    age: ServiceAge,
    key: ServiceKey,
}

/// Who claims a place. Of those who wish for it the least has it, if nobody has written it who is less.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    by: Arc<Claimant>,
    /// Whether it is of an address that somebody wrote. Else the host has none, and wishes for one.
    is_written: bool,
}

impl Claim {
    fn written(key: &ServiceKey, age: ServiceAge) -> Self {
        Self { by: Arc::new(Claimant { age, key: key.clone() }), is_written: true }
    }

    fn wish(by: &Arc<Claimant>) -> Self {
        Self { by: by.clone(), is_written: false }
    }
}

/// Which host has which place.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Allocation<const N: Place = PLACES> {
    /// All who have tried a place, or have it.
    claims: Groups<Place, Claim, ()>,
    /// Each host with the number of its last try. It has that place; or none, if it has tried as many as it may.
    wishes: Tree<ServiceKey, (Arc<Claimant>, Place)>,
}

/// What becomes of a host.
pub(super) struct Wanted<'w> {
    pub key: &'w ServiceKey,
    /// Since when it has no address but is to have one; none if it is not.
    pub since: Option<ServiceAge>,
    /// The places of addresses that are no more written for it, and of those that are now, each with the age of what says so.
    pub given_up: BTreeSet<(Place, ServiceAge)>,
    pub taken: BTreeSet<(Place, ServiceAge)>,
}

impl<const N: Place> Allocation<N> {
    const TRIES: Place = if N < TRIES { N } else { TRIES };

    /// The addresses of a host; none if it has no need of any, or all that it may have are taken.
    pub fn of(&self, key: &ServiceKey) -> Option<AutomaticAddresses> {
        self.place(key).and_then(AutomaticAddresses::at)
    }

    fn place(&self, key: &ServiceKey) -> Option<Place> {
        let (_, nth) = self.wishes.get(key)?;
        (*nth < Self::TRIES).then(|| Order::of(key, N).at(*nth, N))
    }

    /// Takes in what becomes of a host. All whose addresses may not be what they were are added to `moved`.
    pub fn update(&mut self, wanted: Wanted<'_>, moved: &mut BTreeSet<ServiceKey>) {
        let Wanted { key, since, given_up, taken } = wanted;
        for (place, age) in given_up {
            self.claims.remove(&place, &Claim::written(key, age));
            self.fill(place, moved);
        }
        for (place, age) in taken {
            let driven_away = self.claim(place, Claim::written(key, age)).flatten();
            if let Some((other, nth)) = driven_away.and_then(|other| self.next_try(other)) {
                self.seek(other, nth, moved);
            }
        }
        if self.wishes.get(key).map(|(wish, _)| &wish.age) == since.as_ref() {
            return;
        }
        self.withdraw(key, moved);
        if let Some(age) = since {
            self.seek(Arc::new(Claimant { age, key: key.clone() }), 0, moved);
        }
    }

    /// Puts a claim on a place. None if another's goes before it; else the host that has had the place, if one has.
    fn claim(&mut self, place: Place, claim: Claim) -> Option<Option<Arc<Claimant>>> {
        let first = self.first(place);
        let is_refused = first.as_ref().is_some_and(|first| *first < claim);
        self.claims.insert(place, claim, ());
        match first {
            _ if is_refused => None,
            Some(Claim { by, is_written: false }) => Some(Some(by)),
            Some(_) | None => Some(None),
        }
    }

    fn first(&self, place: Place) -> Option<Claim> {
        self.claims.members(&place).next().map(|(claim, ())| claim.clone())
    }

    /// A host looks for a place, from this try on; whoever it drives away, from the next one on.
    fn seek(&mut self, wish: Arc<Claimant>, nth: Place, moved: &mut BTreeSet<ServiceKey>) {
        let mut seeking = Some((wish, nth));
        while let Some((wish, nth)) = seeking.take() {
            moved.insert(wish.key.clone());
            let driven_away = self.take_first(wish, nth);
            seeking = driven_away.and_then(|other| self.next_try(other));
        }
    }

    /// A host takes the first place that it may have, from this try on. Whoever has had it is driven away.
    fn take_first(&mut self, wish: Arc<Claimant>, from: Place) -> Option<Arc<Claimant>> {
        let order = Order::of(&wish.key, N);
        for nth in from..Self::TRIES {
            let place = order.at(nth, N);
            if AutomaticAddresses::at(place).is_none() {
                continue;
            }
            if let Some(driven_away) = self.claim(place, Claim::wish(&wish)) {
                self.wishes.insert_mut(wish.key.clone(), (wish, nth));
                return driven_away;
            }
        }
        self.wishes.insert_mut(wish.key.clone(), (wish, Self::TRIES));
        None
    }

    /// Where a host goes on that has lost its place.
    fn next_try(&self, wish: Arc<Claimant>) -> Option<(Arc<Claimant>, Place)> {
        let (_, nth) = self.wishes.get(&wish.key)?;
        Some((wish, nth + 1))
    }

    /// A host wants no place any more.
    fn withdraw(&mut self, key: &ServiceKey, moved: &mut BTreeSet<ServiceKey>) {
        let Some((wish, nth)) = self.wishes.get(key).cloned() else { return };
        let had = self.place(key);
        self.wishes.remove_mut(key);
        moved.insert(key.clone());
        self.take_back(&wish, 0, nth);
        if let Some(place) = had {
            self.fill(place, moved);
        }
    }

    /// Takes back a host's claims from one try to another.
    fn take_back(&mut self, wish: &Arc<Claimant>, from: Place, to: Place) {
        let order = Order::of(&wish.key, N);
        for nth in (from..=to).take_while(|nth| *nth < Self::TRIES) {
            self.claims.remove(&order.at(nth, N), &Claim::wish(wish));
        }
    }

    /// Somebody has left a place: the oldest who had been refused there takes it, and leaves another.
    fn fill(&mut self, left: Place, moved: &mut BTreeSet<ServiceKey>) {
        let mut left = Some(left);
        while let Some(place) = left.take() {
            let Some(Claim { by: wish, is_written: false }) = self.first(place) else { return };
            let Some((_, last)) = self.wishes.get(&wish.key).cloned() else { return };
            let had = self.place(&wish.key);
            let order = Order::of(&wish.key, N);
            let Some(nth) = (0..last).find(|nth| order.at(*nth, N) == place) else { return };
            self.take_back(&wish, nth + 1, last);
            moved.insert(wish.key.clone());
            self.wishes.insert_mut(wish.key.clone(), (wish, nth));
            left = had;
        }
    }
}

#[cfg(test)]
mod tests;
