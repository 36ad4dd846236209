//! Texts of which policies need one, and the places of those that do.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::subject::Part;

/// Places of policies, as they are found.
pub(super) type Found = SmallVec<[u32; 16]>;

/// Texts that a value is, begins with or ends with.
#[derive(Debug, Default)]
pub(super) struct Texts {
    whole: Table,
    /// How it begins: one table for each length, the shortest first.
    begin: Vec<(usize, Table)>,
    /// How it ends.
    end: Vec<(usize, Table)>,
}

/// Texts that are compared with the whole of what is looked up.
#[derive(Debug, Default)]
struct Table {
    sieve: Sieve,
    places: HashMap<Box<[u8]>, SmallVec<[u32; 2]>, foldhash::fast::RandomState>,
}

/// What can be seen of a text at a glance: most values of requests are none of the texts, and need not be hashed to know that.
#[derive(Debug, Default)]
struct Sieve {
    /// A bit for each length, the last one for all that are longer.
    lengths: u64,
    first: Bytes,
    last: Bytes,
}

/// A bit for each byte.
#[derive(Debug, Default)]
struct Bytes([u64; 4]);

impl Texts {
    /// Adds a text that a policy needs; policies come in their order.
    pub(super) fn add(&mut self, part: Part, text: Box<[u8]>, place: u32) {
        let table = match part {
            Part::Whole => &mut self.whole,
            Part::Begin => of_length(&mut self.begin, text.len()),
            Part::End => of_length(&mut self.end, text.len()),
        };
        table.add(text, place);
    }

    /// Finds those that need something which a value is.
    pub(super) fn find(&self, value: &[u8], found: &mut Found) {
        self.whole.find(value, found);
        for (length, table) in &self.begin {
            let Some(begin) = value.get(..*length) else { break };
            table.find(begin, found);
        }
        for (length, table) in &self.end {
            let Some(end) = value.len().checked_sub(*length).and_then(|start| value.get(start..)) else { break };
            table.find(end, found);
        }
    }
}

/// The table of a length.
fn of_length(tables: &mut Vec<(usize, Table)>, length: usize) -> &mut Table {
    let at = match tables.binary_search_by_key(&length, |(length, _)| *length) {
        Ok(at) => at,
        Err(at) => {
            tables.insert(at, (length, Table::default()));
            at
        }
    };
    &mut tables[at].1
}

impl Table {
    fn add(&mut self, text: Box<[u8]>, place: u32) {
        self.sieve.add(&text);
        let places = self.places.entry(text).or_default();
        if places.last() != Some(&place) {
            places.push(place);
        }
    }

    fn find(&self, text: &[u8], found: &mut Found) {
        if self.sieve.passes(text)
            && let Some(places) = self.places.get(text)
        {
            found.extend_from_slice(places);
        }
    }
}

impl Sieve {
    fn add(&mut self, text: &[u8]) {
        let Self { lengths, first, last } = self;
        *lengths |= 1 << text.len().min(63);
        first.add(text.first());
        last.add(text.last());
    }

    fn passes(&self, text: &[u8]) -> bool {
        self.lengths >> text.len().min(63) & 1 == 1 && self.last.has(text.last()) && self.first.has(text.first())
    }
}

impl Bytes {
    fn add(&mut self, byte: Option<&u8>) {
        if let Some(byte) = byte {
            self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
        }
    }

    /// Whether it is among them; nothing always is.
    fn has(&self, byte: Option<&u8>) -> bool {
        byte.is_none_or(|byte| self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_finds_the_texts_that_it_is_begins_and_ends_with() {
        let long = "/".repeat(200);
        let all = [
            (Part::Whole, "/a/b"),
            (Part::Whole, ""),
            (Part::Begin, "/a/"),
            (Part::Begin, "/a/b"),
            (Part::End, "/b"),
            (Part::End, "b"),
            (Part::Whole, &long),
            (Part::Begin, "/"),
        ];
        let mut texts = Texts::default();
        for (place, (part, text)) in (0..).zip(all) {
            texts.add(part, text.as_bytes().into(), place);
            texts.add(part, text.as_bytes().into(), place);
        }
        let cases: [(&str, &[u32]); 8] = [
            ("/a/b", &[0, 2, 3, 4, 5, 7]),
            ("", &[1]),
            ("/a/c", &[2, 7]),
            ("b", &[5]),
            (&long, &[6, 7]),
            (&long[..199], &[7]),
            ("/A/b", &[4, 5, 7]),
            ("é", &[]),
        ];
        for (value, expected) in cases {
            let mut found = Found::new();
            texts.find(value.as_bytes(), &mut found);
            found.sort_unstable();
            assert_eq!(found[..], *expected, "{value}");
        }
    }
}
