//! Who the two ends of a connection are, as series name them. Each pair has a number, which is found once for a connection: a request costs
//! no look at a name. How many pairs there are is bounded, as whoever has many certificates would make as many series.

use std::collections::HashMap;
use std::sync::Arc;

use weir_config::workload::Workload;

use super::requests::Reporter;

/// So many pairs of clients and this workload are told apart, on one worker.
const MOST_CLIENTS: usize = 1024;
/// So many pairs of this workload and instances are: a gateway in front of a large mesh knows more of them than a workload has clients.
const MOST_INSTANCES: usize = 8192;
/// So many workloads that the other side of a pair tells to be are: a service account is that of one, or of a few.
const MOST_WORKLOADS_OF_ONE: usize = 32;
/// So many more are told without their versions: each release is a workload of its own, and who lives long sees many of them.
const MOST_WITHOUT_VERSION: usize = MOST_WORKLOADS_OF_ONE;
/// So many are of all pairs together.
const MOST_WORKLOADS: usize = 16384;
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

/// Who the ends of a connection are, and which workload the other side tells to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parties {
    /// By their certificates.
    pub principals: Principals,
    /// The other side's workload, as it tells itself.
    pub workload: Option<Workload>,
}

/// The number of a pair; that of connections without names, if nothing else is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair(u32);

/// The pairs that one worker has seen.
#[derive(Debug)]
pub struct Pairs {
    known: Vec<Parties>,
    numbers: HashMap<Principals, Pair>,
    /// The numbers of what the other side of each pair tells to be.
    workloads: HashMap<Pair, HashMap<Workload, Pair>>,
    clients: usize,
    instances: usize,
    told: usize,
    /// How many connections came after the bound was reached, and are counted without names.
    pub nameless: u64,
    /// How many workloads were told of after both bounds were reached, and are counted by their principals alone.
    pub unnamed: u64,
}

impl Default for Pairs {
    fn default() -> Self {
        let (numbers, workloads) = (HashMap::new(), HashMap::new());
        let mut pairs = Self { known: vec![], numbers, workloads, clients: 0, instances: 0, told: 0, nameless: 0, unnamed: 0 };
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

    /// The number of a pair whose other side tells to be a workload. One account stands for a few of these; whoever tells of more is
    /// counted without a version, and of still more as the account alone, and takes nothing from the others.
    pub fn number_of_workload(&mut self, pair: Pair, workload: &Workload) -> Pair {
        let own = self.known_or_new(pair, workload, MOST_WORKLOADS_OF_ONE);
        let of_any_version = || Workload { version: String::new(), ..workload.clone() };
        let most = MOST_WORKLOADS_OF_ONE + MOST_WITHOUT_VERSION;
        own.or_else(|| self.known_or_new(pair, &of_any_version(), most)).unwrap_or_else(|| {
            self.unnamed += 1;
            pair
        })
    }

    /// The number of a pair whose other side tells to be this workload, as long as it has no more than `most` of them. A number that was
    /// not given out stands for nobody.
    fn known_or_new(&mut self, pair: Pair, workload: &Workload, most: usize) -> Option<Pair> {
        let principals = self.known.get(pair.0 as usize)?.principals.clone();
        let of_pair = self.workloads.entry(pair).or_default();
        if let Some(known) = of_pair.get(workload) {
            return Some(*known);
        }
        // Pairs without names stand for all who came too late.
        let is_nameless = principals.source.is_none() && principals.destination.is_none();
        if is_nameless || of_pair.len() >= most || self.told >= MOST_WORKLOADS {
            return None;
        }
        self.told += 1;
        let number = Pair(self.known.len() as u32);
        self.known.push(Parties { principals, workload: Some(workload.clone()) });
        of_pair.insert(workload.clone(), number);
        Some(number)
    }

    /// Who stands behind a number.
    pub fn of(&self, pair: Pair) -> Parties {
        self.known.get(pair.0 as usize).cloned().unwrap_or_default()
    }

    fn add(&mut self, principals: Principals) -> Pair {
        let pair = Pair(self.known.len() as u32);
        self.known.push(Parties { principals: principals.clone(), workload: None });
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
            pairs.of(pair).principals
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

    fn workload(number: usize) -> Workload {
        Workload { name: number.to_string(), ..Workload::default() }
    }

    #[test]
    fn who_tells_to_be_many_workloads_takes_nothing_from_others() {
        let mut pairs = Pairs::default();
        let mut of = |name: &str| pairs.number(Reporter::Destination, Principals::new(Some(name), Some("spiffe://a/own"), true));
        let (liar, honest) = (of("spiffe://a/liar"), of("spiffe://a/honest"));
        let told: Vec<Pair> = (0..5000).map(|number| pairs.number_of_workload(liar, &workload(number))).collect();
        let apart: std::collections::BTreeSet<&Pair> = told.iter().collect();
        let most = MOST_WORKLOADS_OF_ONE + MOST_WITHOUT_VERSION;
        assert_eq!((apart.len(), pairs.unnamed), (most + 1, 5000 - most as u64));
        assert!(told[most..].iter().all(|pair| *pair == liar));
        // Those that are known stay so.
        assert_eq!(pairs.number_of_workload(liar, &workload(0)), told[0]);
        assert_eq!(pairs.of(told[1]).workload, Some(workload(1)));
        assert_eq!(pairs.of(told[1]).principals, pairs.of(liar).principals);
        let own = pairs.number_of_workload(honest, &workload(7));
        assert_eq!(pairs.of(own).workload, Some(workload(7)));
        assert_ne!(own, told[7]);
    }

    /// A client whose releases a server has seen too many of is still named, though not by its release.
    #[test]
    fn a_workload_of_many_versions_keeps_its_name() {
        let mut pairs = Pairs::default();
        let pair = pairs.number(Reporter::Destination, Principals::new(Some("spiffe://a/b"), Some("spiffe://a/own"), true));
        let release = |version: usize| Workload { version: format!("v{version}"), ..workload(7) };
        for version in 0..1000 {
            let number = pairs.number_of_workload(pair, &release(version));
            let expected = if version < MOST_WORKLOADS_OF_ONE { release(version) } else { workload(7) };
            assert_eq!(pairs.of(number).workload, Some(expected));
        }
        assert_eq!((pairs.told, pairs.unnamed), (MOST_WORKLOADS_OF_ONE + 1, 0));
        // Another of the account has a place as well.
        let other = pairs.number_of_workload(pair, &Workload { version: "v1".to_owned(), ..workload(8) });
        assert_eq!(pairs.of(other).workload, Some(workload(8)));
    }

    #[test]
    fn all_workloads_together_are_bounded_and_none_is_told_of_who_has_no_name() {
        let mut pairs = Pairs::default();
        for number in 0..MOST_CLIENTS {
            let pair = pairs.number(Reporter::Destination, Principals::new(Some(&number.to_string()), None, true));
            for told in 0..MOST_WORKLOADS_OF_ONE {
                pairs.number_of_workload(pair, &workload(told));
            }
        }
        assert_eq!(pairs.told, MOST_WORKLOADS);
        assert_eq!(pairs.number_of_workload(Pair(1), &workload(0)), Pair(1));
    }

    #[test]
    fn a_name_without_end_is_none() {
        let long = "x".repeat(LONGEST + 1);
        assert_eq!(Principals::new(Some(&long), Some("b"), true), Principals::new(None, Some("b"), true));
    }
}
