//! Who the two ends of a connection are, as series name them. Each pair has a number, which is found once for a connection: a request costs
//! no look at a name. How many pairs there are is bounded, as whoever has many certificates would make as many series.

use std::collections::HashMap;
use std::sync::Arc;

use super::requests::Reporter;

/// So many pairs of clients and this workload are told apart, on one worker.
const MOST_CLIENTS: usize = 1024;
/// So many pairs of this workload and instances are: a gateway in front of a large mesh knows more of them than a workload has clients.
const MOST_INSTANCES: usize = 8192;
/// Longer names are no SPIFFE identities (<https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md#23-maximum-spiffe-id-length>).
const LONGEST: usize = 2048;

/// Who the ends of a connection are, by the first URI of the certificate that each has shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Principals {
    /// The client; none if it has shown none, or nobody vouches for it.
    pub source: Option<Arc<str>>,
    /// The server.
    pub destination: Option<Arc<str>>,
    /// Whether each has proved to the other who it is.
    pub is_mutual: bool,
}

impl Principals {
    /// Of what the certificates say.
    pub fn new(source: Option<&str>, destination: Option<&str>, is_mutual: bool) -> Self {
        let name = |name: Option<&str>| name.filter(|name| name.len() <= LONGEST).map(Into::into);
        Self { source: name(source), destination: name(destination), is_mutual }
    }
}

/// The number of a pair; that of connections without names, if nothing else is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair(u32);

/// The pairs that one worker has seen.
#[derive(Debug)]
pub struct Pairs {
    known: Vec<Principals>,
    numbers: HashMap<Principals, Pair>,
    clients: usize,
    instances: usize,
    /// How many connections came after the bound was reached, and are counted without names.
    pub nameless: u64,
}

impl Default for Pairs {
    fn default() -> Self {
        let mut pairs = Self { known: vec![], numbers: HashMap::new(), clients: 0, instances: 0, nameless: 0 };
        for is_mutual in [false, true] {
            pairs.add(Principals { is_mutual, ..Principals::default() });
        }
        pairs
    }
}

impl Pairs {
    /// The number of a pair that `reporter` counts.
    pub fn number(&mut self, reporter: Reporter, principals: Principals) -> Pair {
        if let Some(known) = self.numbers.get(&principals) {
            return *known;
        }
        let (count, most) = match reporter {
            Reporter::Source => (&mut self.instances, MOST_INSTANCES),
            Reporter::Destination => (&mut self.clients, MOST_CLIENTS),
        };
        if *count >= most {
            self.nameless += 1;
            return Pair(u32::from(principals.is_mutual));
        }
        *count += 1;
        self.add(principals)
    }

    /// The pair of a number.
    pub fn of(&self, pair: Pair) -> Principals {
        self.known.get(pair.0 as usize).cloned().unwrap_or_default()
    }

    fn add(&mut self, principals: Principals) -> Pair {
        let pair = Pair(self.known.len() as u32);
        self.known.push(principals.clone());
        self.numbers.insert(principals, pair);
        pair
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_told_apart_until_they_are_too_many() {
        let mut pairs = Pairs::default();
        let client = |number: usize| Principals::new(Some(&format!("spiffe://a/{number}")), Some("spiffe://a/own"), true);
        let mut number = |reporter, principals| {
            let pair = pairs.number(reporter, principals);
            pairs.of(pair)
        };
        for _ in 0..2 {
            for one in 0..MOST_CLIENTS {
                assert_eq!(number(Reporter::Destination, client(one)), client(one));
            }
        }
        let nameless = |is_mutual| Principals { is_mutual, ..Principals::default() };
        assert_eq!(number(Reporter::Destination, client(MOST_CLIENTS)), nameless(true));
        assert_eq!(number(Reporter::Destination, Principals::new(None, Some("spiffe://a/b"), false)), nameless(false));
        // Instances are counted apart.
        let instance = Principals::new(Some("spiffe://a/own"), Some("spiffe://a/instance"), true);
        assert_eq!(number(Reporter::Source, instance.clone()), instance);
        assert_eq!(pairs.nameless, 2);
    }

    #[test]
    fn a_name_without_end_is_none() {
        let long = "x".repeat(LONGEST + 1);
        assert_eq!(Principals::new(Some(&long), Some("b"), true), Principals::new(None, Some("b"), true));
    }
}
