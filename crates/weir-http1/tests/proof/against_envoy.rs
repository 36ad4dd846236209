//! The codec and a stock Envoy, on the same bytes.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use weir_http1::Fault;
use weir_http1::Headers;

use crate::codec;
use crate::envoy::{self, Envoy, Lane, Patience};
use crate::envoy_rules;
use crate::generate::Case;
use crate::seen::{Message, Seen, Side};
use crate::shrink::shrink;
use crate::{against_hyper::number, envoy_answers};

/// How many cases there are, unless `WEIR_PROOF_ENVOY_CASES` says otherwise; `WEIR_PROOF_SEED` begins elsewhere.
const CASES: u64 = 3_000;
const LANES: usize = 8;
/// How long it may take to make a case small.
const SHRINK: Duration = Duration::from_secs(5);

/// What became of a case: for each request what differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Differs {
    /// The codec refuses, and the backend got it.
    WeRefuse(Fault),
    /// The codec accepts, and Envoy answers with this itself.
    TheyRefuse(u16),
    /// The codec accepts, and Envoy waits or closes.
    TheyWait,
    /// Both refuse, with other statuses.
    Status(Fault, u16),
    /// Both refuse, Envoy without a word; the codec knows at once.
    Silent(Fault),
    /// Both accept, and what the backend or the client got is not the same.
    Content(&'static str),
}

/// A difference, with what is needed to judge it.
pub struct Difference {
    pub differs: Differs,
    pub case: Case,
    pub ours: Seen,
    /// Which of the messages it is about.
    pub at: usize,
    /// What Envoy made of it, for people.
    pub theirs: String,
    /// Its own words for what is wrong.
    pub details: String,
}

impl Difference {
    /// The message that it is about, and all behind it.
    pub fn text(&self) -> String {
        let start = self.ours.starts.get(self.at).copied().unwrap_or(self.ours.last);
        String::from_utf8_lossy(&self.case.bytes[start..]).into_owned()
    }

    /// The head of that message.
    pub fn head(&self) -> String {
        let text = self.text();
        let end = [text.find("\n\n"), text.find("\n\r\n")].into_iter().flatten().min();
        text[..end.unwrap_or(text.len())].trim_end_matches('\r').to_owned()
    }

    fn told(&self) -> String {
        let text = String::from_utf8_lossy(&self.case.bytes);
        format!(
            "{:?} at {} of {:?}\n{text:?}\nthe codec:\n{}\nEnvoy:\n{}",
            self.differs,
            self.at,
            self.case.side,
            self.ours.told(),
            self.theirs
        )
    }
}

/// The status that says what is wrong, as Envoy does.
fn status_of(fault: Fault) -> u16 {
    match fault {
        Fault::TooLarge | Fault::TooMany => 431,
        Fault::Coding => 501,
        _ => 400,
    }
}

/// Compares one case. A difference must show twice, the second time with more patience.
pub fn compare(lane: &Lane, case: &Case) -> Option<Difference> {
    once(lane, case, HASTY)?;
    let second = once(lane, case, PATIENT)?;
    // What is explained need not be seen again.
    if envoy_rules::explain(&second).is_some() { Some(second) } else { once(lane, case, PATIENT) }
}

fn once(lane: &Lane, case: &Case, patience: Patience) -> Option<Difference> {
    match case.side {
        Side::Requests => requests(lane, case, patience),
        Side::Answers { head } => envoy_answers::compare(lane, case, head, patience),
    }
}

const HASTY: Patience = Patience { linger: Duration::from_millis(10), most: Duration::from_millis(200) };
const PATIENT: Patience = Patience { linger: Duration::from_millis(100), most: Duration::from_millis(900) };

fn requests(lane: &Lane, case: &Case, patience: Patience) -> Option<Difference> {
    let pieces = case.pieces();
    let ours = codec::read(case.side, &pieces);
    lane.backend.reset(None);
    let heads: Vec<bool> = ours.messages.iter().map(|message| message.first.starts_with("HEAD ")).collect();
    let complete = ours.messages.iter().filter(|message| message.complete).count();
    let refused = ours.fault.is_some_and(|fault| fault != Fault::BrokenOff);
    let expected = complete + usize::from(refused);
    let got = envoy::ask(lane.address, &pieces, patience, |bytes| answers(bytes, &heads).len() >= expected);
    let answers = answers(&got.bytes, &heads);
    let seen = lane.backend.seen.lock().expect("nobody panics").clone();
    let (at, differs) = first(&ours, &answers, &seen)?;
    let mut theirs = format!("  {answers:?}, closed: {}\n  {:?}\n", got.closed, String::from_utf8_lossy(&got.bytes));
    theirs += &Seen { messages: seen, ..Seen::default() }.told();
    let details = answers.get(at).map(|(_, details)| details.clone()).unwrap_or_default();
    Some(Difference { differs, case: case.clone(), ours, at, theirs, details })
}

/// The first difference.
fn first(ours: &Seen, answers: &[Answer], seen: &[Message]) -> Option<(usize, Differs)> {
    for (at, message) in ours.messages.iter().enumerate().filter(|(_, message)| message.complete) {
        let differs = match (answers.get(at).map(|(status, _)| *status), seen.get(at)) {
            (Some(200), Some(theirs)) => content(message, theirs),
            (Some(status), _) => Some(Differs::TheyRefuse(status)),
            (None, _) => Some(Differs::TheyWait),
        };
        if let Some(differs) = differs {
            return Some((at, differs));
        }
    }
    let at = ours.messages.iter().filter(|message| message.complete).count();
    let differs = match (ours.fault, answers.get(at).map(|(status, _)| *status)) {
        (Some(fault), Some(200)) => Differs::WeRefuse(fault),
        (Some(Fault::BrokenOff), _) | (None, _) => return None,
        (Some(fault), Some(status)) if status != status_of(fault) => Differs::Status(fault, status),
        (Some(_), Some(_)) => return None,
        (Some(fault), None) => Differs::Silent(fault),
    };
    Some((at, differs))
}

fn content(ours: &Message, theirs: &Message) -> Option<Differs> {
    let what = if first_line(&ours.first) != theirs.first {
        "first line"
    } else if ours.body != theirs.body {
        "body"
    } else if own(&ours.fields) != own(&theirs.fields) {
        "fields"
    } else if ours.trailers.as_ref().map(own).unwrap_or_default() != theirs.trailers.as_ref().map(own).unwrap_or_default() {
        "trailers"
    } else {
        return None;
    };
    Some(Differs::Content(what))
}

/// A request line as a proxy sends it on: of an absolute target the path.
fn first_line(first: &str) -> String {
    let (method, target) = first.split_once(' ').unwrap_or((first, ""));
    let Some((_, rest)) = target.split_once("://").filter(|_| !target.starts_with('/')) else { return first.to_owned() };
    match rest.find(['/', '?']) {
        Some(path) => format!("{method} {}", &rest[path..]),
        None => format!("{method} /"),
    }
}

/// The fields that proxies leave alone: those that no standard knows.
pub fn own(fields: &Headers) -> Vec<(String, Vec<u8>)> {
    let is_own = |name: &str| matches!(name, "x-a" | "x-b" | "x-t" | "x-u" | "digest" | "!#$%&'*+-.^_`|~");
    let own = fields.iter().filter(|(name, _)| is_own(name.as_str()));
    let mut own: Vec<_> = own.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    own.sort_by(|a, b| a.0.cmp(&b.0));
    own
}

/// An answer: its status, and where it is Envoy's own, Envoy's words for what is wrong.
type Answer = (u16, String);

/// The answers that have come, interim ones aside.
fn answers(mut bytes: &[u8], heads: &[bool]) -> Vec<Answer> {
    let mut answers: Vec<Answer> = vec![];
    while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let status: u16 = head.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        bytes = &bytes[end + 4..];
        if (100..200).contains(&status) && status != 101 {
            continue;
        }
        let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let length = value("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let has_body = !heads.get(answers.len()).copied().unwrap_or(false);
        bytes = bytes.get(if has_body { length } else { 0 }..).unwrap_or_default();
        answers.push((status, value("x-details").unwrap_or_default().to_owned()));
    }
    answers
}

type Kinds = BTreeMap<Result<&'static str, String>, (u64, u64)>;

/// The name of the rule that explains a difference, or what differs.
fn verdict(difference: Option<Difference>) -> Option<Result<&'static str, String>> {
    let difference = difference?;
    let side = difference.case.side;
    Some(
        envoy_rules::explain(&difference)
            .map(|rule| rule.name)
            .ok_or_else(|| format!("{:?} {} {:?}", difference.differs, difference.details.trim(), side)),
    )
}

fn check(lane: &Lane, cases: impl Iterator<Item = (u64, Case)>) -> Kinds {
    let mut kinds = Kinds::new();
    for (seed, case) in cases {
        if let Some(verdict) = verdict(compare(lane, &case)) {
            kinds.entry(verdict).or_insert((seed, 0)).1 += 1;
        }
    }
    kinds
}

/// Requests of odd seeds, answers of even ones.
fn case_of(seed: u64) -> Case {
    let mut rng = Rng::with_seed(seed);
    let side = if seed % 2 == 1 { Side::Requests } else { Side::Answers { head: rng.u8(..6) == 0 } };
    Case::of(side, &mut rng)
}

#[test]
fn they_read_the_same_but_for_what_stands_in_the_list() {
    let Some(program) = envoy::program() else { return };
    let folder = tempfile::tempdir().expect("there is room");
    let envoy = Envoy::start(&program, LANES, folder.path());
    let (first, cases, started) = (number("WEIR_PROOF_SEED", 0), number("WEIR_PROOF_ENVOY_CASES", CASES), Instant::now());
    let part = |lane: usize| (first + lane as u64..first + cases).step_by(LANES).map(|seed| (seed, case_of(seed)));
    let kinds: Vec<Kinds> = thread::scope(|scope| {
        let threads: Vec<_> = envoy.lanes.iter().enumerate().map(|(at, lane)| scope.spawn(move || check(lane, part(at)))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    });
    let mut all = Kinds::new();
    for (kind, (seed, count)) in kinds.into_iter().flatten() {
        all.entry(kind).or_insert((seed, 0)).1 += count;
    }
    eprintln!("{cases} cases from seed {first} on beside Envoy in {:?}", started.elapsed());
    let (mut report, lane) = (String::new(), &envoy.lanes[0]);
    for (kind, (seed, count)) in &all {
        match kind {
            Ok(rule) => eprintln!("  {count:6} {rule}"),
            Err(kind) => {
                let until = Instant::now() + SHRINK;
                let same = |case: &Case| Instant::now() < until && verdict(once(lane, case, HASTY)) == Some(Err(kind.clone()));
                let told = once(lane, &shrink(case_of(*seed), same), PATIENT).map_or_else(String::new, |difference| difference.told());
                report += &format!("\n== seed {seed} and {count} in all: {kind}\n{told}\n");
            }
        }
    }
    assert!(report.is_empty(), "{report}");
}
