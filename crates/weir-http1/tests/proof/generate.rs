//! Valid messages, as many kinds as there are.

use fastrand::Rng;

use crate::mutate;
use crate::seen::Side;

/// Bytes, and the pieces in which they come.
#[derive(Debug, Clone)]
pub struct Case {
    pub side: Side,
    pub bytes: Vec<u8>,
    /// Where they are cut.
    pub cuts: Vec<usize>,
}

impl Case {
    /// The case of a seed: always the same one.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let side = if rng.bool() { Side::Requests } else { Side::Answers { head: rng.u8(..6) == 0 } };
        Self::of(side, &mut rng)
    }

    /// A case of one side.
    pub fn of(side: Side, rng: &mut Rng) -> Self {
        let mut bytes = match side {
            Side::Requests => requests(rng),
            Side::Answers { .. } => answers(rng),
        };
        for _ in 0..rng.usize(0..4) {
            mutate::once(&mut bytes, rng);
        }
        let cuts = cuts(bytes.len(), rng);
        Self { side, bytes, cuts }
    }

    pub fn pieces(&self) -> Vec<Vec<u8>> {
        let cuts = self.cuts.iter().copied().filter(|cut| *cut < self.bytes.len());
        let starts: Vec<usize> = std::iter::once(0).chain(cuts).collect();
        let ends = starts.iter().copied().skip(1).chain([self.bytes.len()]);
        starts.iter().zip(ends).map(|(start, end)| self.bytes[*start..end].to_vec()).collect()
    }
}

/// Mostly few pieces, sometimes single bytes.
fn cuts(length: usize, rng: &mut Rng) -> Vec<usize> {
    if length == 0 {
        return vec![];
    }
    match rng.u8(..8) {
        0 => (1..length).collect(),
        1..=3 => vec![],
        _ => {
            let mut cuts: Vec<usize> = (0..rng.usize(1..6)).map(|_| rng.usize(..length)).collect();
            cuts.sort_unstable();
            cuts.dedup();
            cuts
        }
    }
}

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.usize(..from.len())]
}

fn chance(rng: &mut Rng, one_in: u8) -> bool {
    rng.u8(..one_in) == 0
}

/// Up to three, one behind the other.
fn requests(rng: &mut Rng) -> Vec<u8> {
    (0..rng.usize(1..4)).flat_map(|_| request(rng)).collect()
}

fn request(rng: &mut Rng) -> Vec<u8> {
    let mut out = if chance(rng, 12) { b"\r\n".to_vec() } else { vec![] };
    let method = pick(rng, &["GET", "GET", "POST", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "X-own!", "get"]);
    let target =
        pick(rng, &["/", "/a", "/a/b?c=d&e", "/%41%00", "/a;b=c//d/../e", "http://a.test/x?y", "*", "/a#b", "/?", "/\u{e9}", "//"]);
    let version = if chance(rng, 12) { "1.0" } else { "1.1" };
    out.extend_from_slice(format!("{method} {target} HTTP/{version}\r\n").as_bytes());
    let mut lines = vec![spaced("Host", "a.test", rng)];
    lines.extend(fields(rng));
    let chunked = version == "1.1" && chance(rng, 3);
    let body = body(chunked, rng);
    if chunked {
        lines.push(spaced("Transfer-Encoding", pick(rng, &["chunked", "chunked", "Chunked", "CHUNKED"]), rng));
    } else if !body.is_empty() || chance(rng, 4) {
        lines.push(spaced("Content-Length", &length(body.len(), rng), rng));
    }
    if chance(rng, 16) {
        lines.push(spaced("Connection", pick(rng, &["close", "keep-alive", "Close, x", "x,keep-alive", "te"]), rng));
    }
    if chance(rng, 30) {
        lines.push(spaced("Expect", "100-continue", rng));
    }
    finish(out, lines, &body, rng)
}

/// Interim ones, one that answers, and perhaps what is not asked for.
fn answers(rng: &mut Rng) -> Vec<u8> {
    let mut out = vec![];
    while chance(rng, 6) {
        let line = pick(rng, &["100 Continue", "103 Early Hints", "102", "199 x"]);
        let head = format!("HTTP/1.1 {line}\r\n").into_bytes();
        let lines = fields(rng);
        out.extend(finish(head, lines, b"", rng));
    }
    out.extend(answer(rng));
    if chance(rng, 6) {
        out.extend(answer(rng));
    }
    out
}

fn answer(rng: &mut Rng) -> Vec<u8> {
    let version = if chance(rng, 10) { "1.0" } else { "1.1" };
    let plain = ["200 OK", "200 OK", "200", "404 Not Found", "500 \u{e9}", "999 odd", "206 Partial Content", "200 "];
    let bare = ["204 No Content", "304 Not Modified", "101 Switching Protocols"];
    let empty = chance(rng, 8);
    let line = if empty { pick(rng, &bare) } else { pick(rng, &plain) };
    let head = format!("HTTP/{version} {line}\r\n").into_bytes();
    let mut lines = fields(rng);
    let chunked = !empty && version == "1.1" && chance(rng, 2);
    let body = if empty { vec![] } else { body(chunked, rng) };
    if chunked {
        lines.push(spaced("Transfer-Encoding", pick(rng, &["chunked", "chunked", "Chunked"]), rng));
    } else if !empty && !chance(rng, 3) {
        lines.push(spaced("Content-Length", &length(body.len(), rng), rng));
    }
    if chance(rng, 12) {
        lines.push(spaced("Connection", pick(rng, &["close", "keep-alive", "Close, x"]), rng));
    }
    finish(head, lines, &body, rng)
}

fn finish(mut out: Vec<u8>, mut lines: Vec<String>, body: &[u8], rng: &mut Rng) -> Vec<u8> {
    rng.shuffle(&mut lines);
    out.extend_from_slice(lines.concat().as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out
}

fn length(length: usize, rng: &mut Rng) -> String {
    if chance(rng, 12) { format!("{length:08}") } else { length.to_string() }
}

/// A line of a field, with space where it may be.
fn spaced(name: &str, value: &str, rng: &mut Rng) -> String {
    let name = match rng.u8(..4) {
        0 => name.to_lowercase(),
        1 => name.to_uppercase(),
        _ => name.to_owned(),
    };
    let before = pick(rng, &[" ", " ", " ", "", "  ", "\t", " \t "]);
    let after = pick(rng, &["", "", "", "", " ", "\t", " \t"]);
    format!("{name}:{before}{value}{after}\r\n")
}

fn fields(rng: &mut Rng) -> Vec<String> {
    const NAMES: &[&str] = &["X-A", "x-a", "x-b", "Accept", "Cookie", "x_under", "!#$%&'*+-.^_`|~", "Content-Type", "Via", "Date"];
    const VALUES: &[&str] =
        &["1", "", "a b", "a, b", "\u{e9}", "a\tb", "\"q\\\"\"", "gzip", "x=1; y=2", "close", "chunked", "5", ":", "a:b"];
    (0..rng.usize(..4)).map(|_| spaced(pick(rng, NAMES), pick(rng, VALUES), rng)).collect()
}

fn data(rng: &mut Rng) -> Vec<u8> {
    const DATA: &[&str] =
        &["", "x", "hello", "0\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "a\nb\r\nc", "HTTP/1.1 200 OK\r\n\r\n", "0123456789abcdef"];
    match rng.u8(..6) {
        0 => (0..rng.usize(..40)).map(|_| rng.u8(..)).collect(),
        _ => pick(rng, DATA).repeat(rng.usize(1..4)).into_bytes(),
    }
}

fn body(chunked: bool, rng: &mut Rng) -> Vec<u8> {
    if !chunked {
        return if chance(rng, 2) { vec![] } else { data(rng) };
    }
    let mut out = vec![];
    for _ in 0..rng.usize(..4) {
        let data = data(rng);
        if !data.is_empty() {
            out.extend_from_slice(size(data.len(), rng).as_bytes());
            out.extend_from_slice(&data);
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(size(0, rng).as_bytes());
    while chance(rng, 4) {
        out.extend_from_slice(spaced(pick(rng, &["X-T", "x-u", "Digest"]), pick(rng, &["1", "", "a b"]), rng).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// The line before a chunk.
fn size(length: usize, rng: &mut Rng) -> String {
    let digits = match rng.u8(..8) {
        0 => format!("{length:X}"),
        1 => format!("{length:04x}"),
        _ => format!("{length:x}"),
    };
    let extension = pick(rng, &["", "", "", "", "", "", ";a", ";a=b", ";a=\"b c\"", ";a;b=1", " ;a = b", " ", "\t", ";", ";\u{e9}"]);
    format!("{digits}{extension}\r\n")
}
