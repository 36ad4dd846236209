//! From a text to all keys that it begins with.
//!
//! Keys are filed by hash. A text is cut at each length that some key has, and each piece looked up: the cost depends on how many
//! lengths there are, which is no more than the text is long, and not on how many keys.

use smallvec::SmallVec;

use crate::map::Map;

/// Lists of route numbers, each in ascending order.
pub type Lists<'t> = SmallVec<[&'t [u32]; 8]>;

/// Keys and, for each, the numbers that were filed under it, in ascending order.
#[derive(Debug, Clone, Default)]
pub struct PrefixIndex {
    /// The lengths of the keys, in ascending order.
    lengths: Vec<usize>,
    keys: Map<Box<[u8]>, Vec<u32>>,
}

impl PrefixIndex {
    /// Whether nothing is filed.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Files a number under a key. Numbers come in ascending order.
    pub fn insert(&mut self, key: &[u8], number: u32) {
        if let Err(position) = self.lengths.binary_search(&key.len()) {
            self.lengths.insert(position, key.len());
        }
        self.keys.entry(key.into()).or_default().push(number);
    }

    /// The lists of all keys that `text` begins with, shortest key first.
    pub fn prefixes_of<'t>(&'t self, text: &[u8], found: &mut Lists<'t>) {
        for &length in &self.lengths {
            let Some(piece) = text.get(..length) else { return };
            if let Some(list) = self.keys.get(piece) {
                found.push(list);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lookup(index: &PrefixIndex, text: &str) -> Vec<u32> {
        let mut found = Lists::new();
        index.prefixes_of(text.as_bytes(), &mut found);
        found.into_iter().flatten().copied().collect()
    }

    #[test]
    fn all_prefixes_are_found_and_nothing_else() {
        let mut index = PrefixIndex::default();
        for (number, key) in ["/", "/api/v1", "/api", "/apple", "", "/api"].into_iter().enumerate() {
            index.insert(key.as_bytes(), number as u32);
        }
        assert_eq!(lookup(&index, "/api/v1/x"), [4, 0, 2, 5, 1]);
        assert_eq!(lookup(&index, "/apple"), [4, 0, 3]);
        assert_eq!(lookup(&index, "/ap"), [4, 0]);
        assert_eq!(lookup(&index, "x"), [4]);
    }

    proptest! {
        #[test]
        fn an_index_finds_what_a_scan_finds(keys in prop::collection::vec("[ab/]{0,6}", 0..40), text in "[ab/]{0,8}") {
            let mut index = PrefixIndex::default();
            for (number, key) in keys.iter().enumerate() {
                index.insert(key.as_bytes(), number as u32);
            }
            let mut found = lookup(&index, &text);
            found.sort_unstable();
            let scanned: Vec<u32> = (0..keys.len() as u32).filter(|&i| text.starts_with(&keys[i as usize])).collect();
            prop_assert_eq!(found, scanned);
        }
    }
}
