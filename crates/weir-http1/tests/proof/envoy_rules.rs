//! Where the codec and Envoy may differ, and why.

use weir_http1::Fault;

use crate::against_envoy::{Difference, Differs};
use crate::seen::Side;

/// A reason to differ.
pub struct Rule {
    pub name: &'static str,
    #[expect(dead_code, reason = "it is read in the list")]
    pub why: &'static str,
    pub explains: fn(&Difference) -> bool,
}

/// All of them. Where the codec accepts more, the rules of the head (`weir-config`) refuse it with Envoy's answer.
pub const RULES: &[Rule] = &[
    Rule {
        name: "the rules of the head: methods, targets, hosts, upgrades",
        why: "they are no part of the framing; weir-config refuses them with Envoy's status",
        explains: |it| {
            matches!(it.differs, Differs::TheyRefuse(400 | 403 | 404) | Differs::Status(_, 404))
                && (HEAD_RULES.contains(&&*it.details) || it.details == "http1.codec_error" && odd_request_line(&it.head()))
        },
    },
    Rule {
        name: "a CR alone in a head or in trailers",
        why: "Envoy takes it for space; RFC 9112, 2.2 allows that or a refusal, and some take it for the end of a line",
        explains: |it| matches!(it.ours.fault, Some(Fault::Field | Fault::FirstLine)) && bare_cr(&it.text()),
    },
    Rule {
        name: "folded lines",
        why: "RFC 9112, 5.2 asks for a refusal or a space; no client folds lines any more but to hide something",
        explains: |it| it.ours.fault == Some(Fault::Field) && it.text().lines().any(|line| line.starts_with([' ', '\t'])),
    },
    Rule {
        name: "chunks that are none by RFC 9112, 7.1",
        why: "Envoy passes over a LF alone, and over bytes behind a size or the data; who does not would find another end of the body",
        explains: |it| it.we_refuse(&[Fault::Chunk]),
    },
    Rule {
        name: "tabs and other space in a request line, and space behind it",
        why: "RFC 9112, 3 allows both, and warns of it: who splits the line otherwise sees another target",
        explains: |it| it.we_refuse(&[Fault::FirstLine]) && odd_space(&it.head()),
    },
    Rule {
        name: "an empty coding beside chunked",
        why: "RFC 9110, 5.6.1 has empty elements of a list ignored; who joins the lines and who takes one of them would not agree",
        explains: |it| it.we_refuse(&[Fault::Coding]) && it.head().to_lowercase().matches("transfer-encoding:").count() > 1,
    },
    Rule {
        name: "HTTP/0.9",
        why: "a request line without a version was never HTTP/1; nothing that follows it could be told apart",
        explains: |it| it.we_refuse(&[Fault::FirstLine, Fault::BrokenOff]) && has_no_version(&it.head()),
    },
    Rule {
        name: "chunks in a request of HTTP/1.0",
        why: "RFC 9112, 6.1: a coding of which HTTP/1.0 knows nothing; who sees it and who does not would not agree where the body ends",
        explains: |it| it.we_refuse(&[Fault::Length]) && it.head().lines().next().unwrap_or_default().ends_with("HTTP/1.0"),
    },
    Rule {
        name: "answers of another major version",
        why: "what they mean nobody has said; Envoy takes them for HTTP/1.1",
        explains: |it| it.case.side != Side::Requests && it.ours.fault == Some(Fault::Version),
    },
    Rule {
        name: "a length that is none in an answer without a body",
        why: "Envoy passes it on, for the next hop to guess",
        explains: |it| it.case.side != Side::Requests && it.ours.fault == Some(Fault::Length) && it.differs == Differs::TheyWait,
    },
    Rule {
        name: "a length of nothing in an interim answer",
        why: "it says what is so without it; RFC 9110, 8.6 forbids it to servers",
        explains: |it| it.case.bytes.starts_with(b"HTTP/1.1 1") && it.differs == Differs::TheyRefuse(502) && has_length(&it.case.bytes),
    },
    Rule {
        name: "an empty line before an answer",
        why: "RFC 9112, 2.2 has servers pass over them, and forbids it to nobody; where one answer ends and the next begins is plain",
        explains: |it| it.case.side != Side::Requests && it.differs == Differs::TheyRefuse(502) && empty_line_before(&it.case.bytes),
    },
    Rule {
        name: "behind a request of another version",
        why: "Envoy takes all but HTTP/1.1 for HTTP/1.0, which ends with its answer; whether a connection is kept is not for the codec",
        explains: |it| matches!(it.differs, Differs::Silent(_) | Differs::TheyWait) && it.at > 0 && it.theirs.contains("closed: true"),
    },
    Rule {
        name: "two faults at once",
        why: "another one of them is told first; the request is refused either way",
        explains: |it| match it.differs {
            Differs::Status(Fault::Field | Fault::FirstLine, 501) => true,
            // An answer that is broken behind an interim one.
            Differs::Status(_, 503) => it.case.side != Side::Requests,
            Differs::Status(Fault::Coding, 400) => {
                ["http1.codec_error", "http1.content_length_and_chunked_not_allowed"].contains(&&*it.details)
            }
            _ => false,
        },
    },
    Rule {
        name: "a status that is not three digits",
        why: "RFC 9112, 4: Envoy passes on what no client could read",
        explains: |it| it.case.side != Side::Requests && (odd_status(&it.head()) || odd_status(it.theirs.trim_start())),
    },
];

const HEAD_RULES: &[&str] = &[
    "http1.invalid_url",
    "http1.invalid_scheme",
    "http.invalid_authority",
    "missing_host_header",
    "path_normalization_failed",
    "absolute_path_rejected",
    "upgrade_failed",
];

const KNOWN_METHODS: &[&str] = &["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"];

impl Difference {
    fn we_refuse(&self, faults: &[Fault]) -> bool {
        // Where Envoy is silent it waits for a body.
        matches!(self.differs, Differs::WeRefuse(fault) | Differs::Silent(fault) if faults.contains(&fault))
    }
}

/// Whether it has a method that Envoy does not know, or a target that is neither a path nor a URI, or not in ASCII.
fn odd_request_line(head: &str) -> bool {
    let mut words = head.split([' ', '\r', '\n']).filter(|word| !word.is_empty());
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let is_url = target.starts_with('/') || target.starts_with("http://") || target.starts_with("https://");
    !KNOWN_METHODS.contains(&method) || !is_url || !target.is_ascii() || target.contains(['#', '"'])
}

fn odd_space(head: &str) -> bool {
    let line = head.trim_start_matches(['\r', '\n']).lines().next().unwrap_or_default();
    line.contains(['\t', '\u{b}', '\u{c}']) || line.starts_with(' ') || line.ends_with(' ')
}

fn has_no_version(head: &str) -> bool {
    let line = head.trim_start().lines().next().unwrap_or_default();
    !line.split(' ').skip(2).any(|word| word.starts_with("HTTP/"))
}

fn bare_cr(head: &str) -> bool {
    head.replace("\r\n", "\n").contains('\r')
}

fn has_length(bytes: &[u8]) -> bool {
    String::from_utf8_lossy(bytes).to_lowercase().contains("content-length:")
}

fn empty_line_before(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\n")
        || bytes.starts_with(b"\r\n")
        || [&b"\n\n\n"[..], b"\n\n\r\n", b"\n\r\n\n", b"\n\r\n\r\n"]
            .iter()
            .any(|lines| bytes.windows(lines.len()).any(|window| window == *lines))
}

fn odd_status(head: &str) -> bool {
    let status = head.split([' ', '\r', '\n']).nth(1).unwrap_or_default();
    !matches!(status.as_bytes(), [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'])
}

/// The rule that explains a difference.
pub fn explain(difference: &Difference) -> Option<&'static Rule> {
    RULES.iter().find(|rule| (rule.explains)(difference))
}
