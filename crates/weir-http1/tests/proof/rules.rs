//! Where the codec and hyper may differ, and why.

use std::cmp::Ordering;

use weir_http1::Fault;

use crate::generate::Case;
use crate::seen::{Message, Seen, Side};

/// Where they do.
pub struct Difference<'a> {
    pub case: &'a Case,
    pub ours: &'a Seen,
    pub theirs: &'a Seen,
    /// The first message that is not the same.
    pub at: usize,
}

impl Difference<'_> {
    /// The first one, if there is one.
    pub fn find<'a>(case: &'a Case, ours: &'a Seen, theirs: &'a Seen) -> Option<Difference<'a>> {
        let length = ours.messages.len().max(theirs.messages.len());
        let alike = |at: &usize| matches!((ours.messages.get(*at), theirs.messages.get(*at)), (Some(a), Some(b)) if same(case.side, a, b));
        let at = (0..length).find(|at| !alike(at)).unwrap_or(length);
        // Where an answer ends matters; behind a request that closes its connection nothing is read.
        let alike_at_end = ours.clean == theirs.clean && (!ours.clean || case.side == Side::Requests || ours.rest == theirs.rest);
        (at < length || !alike_at_end).then_some(Difference { case, ours, theirs, at })
    }

    /// How it is.
    pub fn kind(&self) -> Kind {
        // How far each has come: nothing, a head, a whole message.
        let far = |seen: &Seen| match seen.messages.get(self.at) {
            Some(message) => 1 + u8::from(message.complete),
            None => 2 * u8::from(seen.clean),
        };
        match far(self.ours).cmp(&far(self.theirs)) {
            Ordering::Less => Kind::WeRefuse,
            Ordering::Greater => Kind::TheyRefuse,
            Ordering::Equal => Kind::Other,
        }
    }

    /// The fault of the codec, if it is about this message.
    pub fn fault(&self) -> Option<Fault> {
        let is_here = self.ours.messages.get(self.at).is_none_or(|message| !message.complete);
        self.ours.fault.filter(|_| is_here)
    }

    /// The head of this message, as far as the codec knows where it begins.
    pub fn head(&self) -> &[u8] {
        let bytes = self.all();
        let end = (0..bytes.len()).find(|at| bytes[*at..].starts_with(b"\n\n") || bytes[*at..].starts_with(b"\n\r\n"));
        &bytes[..end.unwrap_or(bytes.len())]
    }

    /// What follows its head.
    pub fn body(&self) -> &[u8] {
        let bytes = &self.all()[self.head().len()..];
        bytes.strip_prefix(b"\n\n").or_else(|| bytes.strip_prefix(b"\n\r\n")).unwrap_or_default()
    }

    fn all(&self) -> &[u8] {
        &self.case.bytes[self.ours.starts.get(self.at).copied().unwrap_or(self.ours.last)..]
    }

    /// How many lines of its head have this name.
    pub fn lines(&self, name: &str) -> usize {
        let names = self.head().split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b':').next());
        names.filter(|found| found.eq_ignore_ascii_case(name.as_bytes())).count()
    }

    /// For people.
    pub fn told(&self) -> String {
        let Self { case, ours, theirs, .. } = self;
        let (side, text) = (case.side, String::from_utf8_lossy(&case.bytes));
        let mut out = format!("{:?} {side:?}\n{text:?}\ncut at {:?}\nthe codec:\n", self.kind(), case.cuts);
        out += &format!("{}\nthe other:\n{}", ours.told(), theirs.told());
        out
    }
}

/// Who refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    WeRefuse,
    TheyRefuse,
    /// Both refuse or both accept, but not the same.
    Other,
}

fn same(side: Side, ours: &Message, theirs: &Message) -> bool {
    let body = match (ours.complete, theirs.complete) {
        (true, true) => ours.body == theirs.body && ours.trailers == theirs.trailers,
        // Who gives up first has read less.
        (false, false) => ours.body.starts_with(&theirs.body) || theirs.body.starts_with(&ours.body),
        _ => false,
    };
    body && ours.fields == theirs.fields && first(side, &ours.first) == theirs.first
}

/// The first line of the codec, whose target nobody has looked at, as hyper tells it.
fn first(side: Side, text: &str) -> String {
    match text.split_once(' ').and_then(|(method, target)| Some((method, target.parse::<http::Uri>().ok()?))) {
        Some((method, target)) if side == Side::Requests => format!("{method} {target}"),
        _ => text.to_owned(),
    }
}

/// A reason to differ.
pub struct Rule {
    pub name: &'static str,
    pub kind: Kind,
    #[expect(dead_code, reason = "it is read in the list")]
    pub why: &'static str,
    pub explains: fn(&Difference<'_>) -> bool,
}

/// All of them. Where hyper refuses and the codec does not, RFC 9112 and Envoy both accept.
pub const RULES: &[Rule] = &[
    Rule {
        name: "a length twice",
        kind: Kind::WeRefuse,
        why: "hyper takes equal ones for one; Envoy refuses them",
        explains: |it| it.fault() == Some(Fault::Length) && (it.lines("content-length") > 1 || it.head().contains(&b',')),
    },
    Rule {
        name: "a length and a coding",
        kind: Kind::WeRefuse,
        why: "hyper goes by the coding (RFC 9112, 6.3, 3 allows it); Envoy refuses both together, as smuggling",
        explains: |it| it.fault() == Some(Fault::Length) && it.lines("content-length") > 0 && it.lines("transfer-encoding") > 0,
    },
    Rule {
        name: "other codings than chunked",
        kind: Kind::WeRefuse,
        why: "hyper reads what ends in chunked, and answers of any coding to the end; nobody here takes the others off (RFC 9112, 6.1)",
        explains: |it| it.fault() == Some(Fault::Coding),
    },
    Rule {
        name: "a length of what has no body",
        kind: Kind::WeRefuse,
        why: "hyper ignores the lines of 1xx, 204, 304 and of answers to HEAD; one that cannot be read is in doubt for the next hop",
        explains: |it| it.case.side != Side::Requests && it.fault() == Some(Fault::Length),
    },
    Rule {
        name: "control characters and open quotes in the extension of a chunk",
        kind: Kind::WeRefuse,
        why: "hyper refuses CR and LF in them only; RFC 9112, 7.1.1 allows none of them",
        explains: |it| it.fault() == Some(Fault::Chunk) && it.body().iter().any(|byte| is_odd_in_extension(*byte)),
    },
    Rule {
        name: "a line feed alone in trailers",
        kind: Kind::WeRefuse,
        why: "hyper takes some for line ends; who does and who does not would not agree where the body ends",
        explains: |it| it.fault() == Some(Fault::Chunk) && bare_line_feed(it.body()),
    },
    Rule {
        name: "CRs alone behind the last request",
        kind: Kind::WeRefuse,
        why: "hyper passes over them where they come in pieces, and refuses them where they come at once",
        explains: |it| it.fault() == Some(Fault::BrokenOff) && only_line_ends(it),
    },
    Rule {
        name: "more than one space in a request line",
        kind: Kind::TheyRefuse,
        why: "RFC 9112, 3 allows it, and Envoy does it; the target has no space in it either way",
        explains: |it| it.case.side == Side::Requests && first_line(it.head()).windows(2).any(|pair| pair == b"  "),
    },
    Rule {
        name: "versions that nobody knows",
        kind: Kind::TheyRefuse,
        why: "a server may answer them (RFC 9110, 2.5), and Envoy does; the framing of HTTP/1.1 is that of all of them",
        explains: |it| it.case.side == Side::Requests && ![&b"HTTP/1.0"[..], b"HTTP/1.1"].contains(&version(first_line(it.head()))),
    },
    Rule {
        name: "targets that are no URI",
        kind: Kind::TheyRefuse,
        why: "the rules of the head look at the target, not the codec: Envoy takes more of them than hyper",
        explains: |it| it.case.side == Side::Requests && !is_uri(target(first_line(it.head()))),
    },
    Rule {
        name: "later versions of HTTP/1 in answers",
        kind: Kind::TheyRefuse,
        why: "RFC 9110, 2.5 has them read as the latest that is known, and Envoy does it",
        explains: |it| it.case.side != Side::Requests && is_later(&it.case.bytes),
    },
    Rule {
        name: "chunks in an answer of HTTP/1.0",
        kind: Kind::TheyRefuse,
        why: "RFC 9112, 6.1 has it read, and the connection closed behind it; Envoy reads it",
        explains: |it| it.case.side != Side::Requests && it.head().starts_with(b"HTTP/1.0") && it.lines("transfer-encoding") == 1,
    },
];

/// Whether some status line, of an interim answer perhaps, is of HTTP/1.2 or later.
fn is_later(answers: &[u8]) -> bool {
    answers.windows(8).any(|word| word.starts_with(b"HTTP/1.") && matches!(word[7], b'2'..=b'9'))
}

fn only_line_ends(it: &Difference<'_>) -> bool {
    let rest = &it.case.bytes[it.case.bytes.len() - it.ours.rest..];
    it.at == it.ours.messages.len() && rest.iter().all(|byte| b"\r\n".contains(byte))
}

fn is_odd_in_extension(byte: u8) -> bool {
    byte == b'"' || byte.is_ascii_control() && !b"\r\n\t".contains(&byte)
}

fn bare_line_feed(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\n") || bytes.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r')
}

fn first_line(head: &[u8]) -> &[u8] {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// hyper takes other bytes than ASCII in some places only.
fn is_uri(target: &[u8]) -> bool {
    target.is_ascii() && http::Uri::try_from(target).is_ok()
}

fn version(line: &[u8]) -> &[u8] {
    line.rsplit(|byte| *byte == b' ').next().unwrap_or_default()
}

fn target(line: &[u8]) -> &[u8] {
    line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).nth(1).unwrap_or_default()
}

/// The rule that explains a difference.
pub fn explain(difference: &Difference<'_>) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.kind == difference.kind() && (rule.explains)(difference))
}
