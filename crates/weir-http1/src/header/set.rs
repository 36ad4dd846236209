//! Sets of known names: what a head has of them is one look.

use super::HeaderName;
use super::known::{MOST, number_of_constant};
use super::name::Name;

const BITS: usize = u64::BITS as usize;

/// A set of known names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NameSet([u64; MOST / BITS]);

impl NameSet {
    /// Of these names.
    ///
    /// # Panics
    /// If one of them is not known. In a constant that is found when it is compiled.
    #[expect(clippy::panic, reason = "in a constant it is found when it is compiled")]
    pub const fn of(names: &[&str]) -> Self {
        let (mut set, mut at) = ([0; MOST / BITS], 0);
        while at < names.len() {
            match number_of_constant(names[at].as_bytes()) {
                Some(number) => set[number as usize / BITS] |= 1 << (number as usize % BITS),
                None => panic!("no known name in lower case"),
            }
            at += 1;
        }
        Self(set)
    }

    /// Whether a name is one of them.
    pub fn contains(&self, name: &HeaderName) -> bool {
        matches!(name.0, Name::Known(number) if self.has(number))
    }

    /// Adds a name, if it is a known one.
    pub fn insert(&mut self, name: &HeaderName) {
        if let Name::Known(number) = name.0 {
            self.add(number);
        }
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|bits| *bits == 0)
    }

    /// Those that are in both.
    #[inline]
    pub fn and(&self, other: &Self) -> Self {
        let [a, b] = self.0;
        let [c, d] = other.0;
        Self([a & c, b & d])
    }

    /// The names, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = HeaderName> + use<> {
        let [mut low, mut high] = self.0;
        std::iter::from_fn(move || {
            let (bits, before) = if low == 0 { (&mut high, BITS as u8) } else { (&mut low, 0) };
            let number = u8::try_from(bits.trailing_zeros()).ok().filter(|_| *bits != 0)?;
            *bits &= *bits - 1;
            Some(HeaderName(Name::Known(before + number)))
        })
    }

    #[inline]
    pub(super) fn has(&self, number: u8) -> bool {
        self.0.get(usize::from(number) / BITS).is_some_and(|bits| bits >> (usize::from(number) % BITS) & 1 == 1)
    }

    /// Adds a name by its number; whether it was there.
    pub(super) fn add(&mut self, number: u8) -> bool {
        let was_there = self.has(number);
        if let Some(bits) = self.0.get_mut(usize::from(number) / BITS) {
            *bits |= 1 << (usize::from(number) % BITS);
        }
        was_there
    }

    pub(super) fn take(&mut self, number: u8) {
        if let Some(bits) = self.0.get_mut(usize::from(number) / BITS) {
            *bits &= !(1 << (usize::from(number) % BITS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::{HOST, TE, X_REQUEST_ID};

    #[test]
    fn sets_have_what_was_put_into_them() {
        const SET: NameSet = NameSet::of(&["x-request-id", "host"]);
        assert_eq!(SET.iter().collect::<Vec<_>>(), [HOST, X_REQUEST_ID]);
        assert!(SET.contains(&HOST) && !SET.contains(&TE) && !SET.contains(&HeaderName::from_static("x-own")));
        let mut other = NameSet::of(&["host"]);
        assert_eq!((SET.and(&other), SET.and(&NameSet::of(&["te"])).is_empty()), (other, true));
        let Name::Known(number) = HOST.0 else { panic!("it is known") };
        assert!(other.add(number));
        other.take(number);
        assert!(other.is_empty() && !other.add(number));
    }
}
