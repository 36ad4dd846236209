//! The codec and hyper, on the same bytes.

use std::collections::BTreeMap;
use std::env;
use std::time::Instant;

use crate::generate::Case;
use crate::rules::{self, Difference};
use crate::seen::Side;
use crate::shrink::shrink;
use crate::{codec, hyper_peer};

/// How many cases there are, unless `WEIR_PROOF_CASES` says otherwise; `WEIR_PROOF_SEED` begins elsewhere.
const CASES: u64 = 100_000;
const THREADS: u64 = 4;

pub fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// How a case is read: the name of the rule that explains how it differs, or else what differs.
fn verdict(case: &Case) -> Option<Result<&'static str, String>> {
    let pieces = case.pieces();
    let (ours, theirs) = (codec::read(case.side, &pieces), hyper_peer::read(case.side, &pieces));
    let difference = Difference::find(case, &ours, &theirs)?;
    let told = || format!("{:?} {:?} {}", difference.kind(), difference.fault(), theirs.error);
    Some(rules::explain(&difference).map(|rule| rule.name).ok_or_else(told))
}

fn told(case: &Case) -> String {
    let pieces = case.pieces();
    let (ours, theirs) = (codec::read(case.side, &pieces), hyper_peer::read(case.side, &pieces));
    Difference::find(case, &ours, &theirs).map_or_else(String::new, |difference| difference.told())
}

/// How often each rule explained something.
type Explained = BTreeMap<&'static str, u64>;
/// What nothing explains, with a seed.
type Unexplained = BTreeMap<String, (u64, u64)>;

fn check(seeds: impl Iterator<Item = u64>) -> (Explained, Unexplained) {
    let (mut explained, mut unexplained) = (Explained::new(), Unexplained::new());
    for seed in seeds {
        match verdict(&Case::new(seed)) {
            Some(Ok(rule)) => *explained.entry(rule).or_default() += 1,
            Some(Err(kind)) => unexplained.entry(kind).or_insert((seed, 0)).1 += 1,
            None => {}
        }
    }
    (explained, unexplained)
}

#[test]
fn they_read_the_same_but_for_what_stands_in_the_list() {
    let (first, cases, started) = (number("WEIR_PROOF_SEED", 0), number("WEIR_PROOF_CASES", CASES), Instant::now());
    let part = |thread| (first + thread..first + cases).step_by(THREADS as usize);
    let parts: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || check(part(thread)))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    });
    let (mut explained, mut unexplained) = (Explained::new(), Unexplained::new());
    for (some, others) in parts {
        some.into_iter().for_each(|(rule, count)| *explained.entry(rule).or_default() += count);
        others.into_iter().for_each(|(kind, (seed, count))| unexplained.entry(kind).or_insert((seed, 0)).1 += count);
    }
    eprintln!("{cases} cases from seed {first} on in {:?}", started.elapsed());
    explained.iter().for_each(|(rule, count)| eprintln!("  {count:6} {rule}"));
    let mut report = String::new();
    for (kind, (seed, count)) in &unexplained {
        let small = shrink(Case::new(*seed), |case| verdict(case) == Some(Err(kind.clone())));
        report += &format!("\n== seed {seed} and {count} in all: {kind}\n{}\n", told(&small));
    }
    assert!(unexplained.is_empty(), "{report}");
    let unused: Vec<_> = rules::RULES.iter().map(|rule| rule.name).filter(|name| !explained.contains_key(name)).collect();
    eprintln!("  explain nothing: {unused:?}");
}

/// What the comparison has found, made small.
const FOUND: &[(Side, &str)] = &[
    (Side::Requests, "\rGET / HTTP/1.1\r\n\r\n"),
    (Side::Requests, "GET / HTTP/1.1\r\n\r\n\r\r"),
    (Side::Requests, "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: 1\n\n"),
    (Side::Requests, "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: 1\r\n\nGET / HTTP/1.1\r\n\r\n"),
    (Side::Answers { head: false }, "HTTP/1.1 200 \u{c}\r\n\r\n"),
    (Side::Answers { head: false }, "HTTP/1.1 199 \r\r\n\r\nHTTP/1.1 200\r\ncontent-length: 0\r\n\r\n"),
    (Side::Answers { head: false }, "HTTP/1.1 102\r\n\r\n\rHTTP/1.1 200\r\ncontent-length: 0\r\n\r\n"),
];

#[test]
fn what_was_found_once_is_mended() {
    let none = codec::read(FOUND[0].0, &[FOUND[0].1.into()]);
    assert!(none.messages.is_empty() && none.fault.is_some(), "{}", none.told());
    for (side, text) in FOUND {
        for cuts in [vec![], (1..text.len()).collect()] {
            let case = Case { side: *side, bytes: text.as_bytes().to_vec(), cuts };
            assert!(!matches!(verdict(&case), Some(Err(_))), "{}", told(&case));
        }
    }
}
