//! What attackers and broken programs make of a message.

use fastrand::Rng;

/// Lines that say where a message ends, in ways that not everybody reads alike.
const FRAMING: &[&str] = &[
    "Content-Length: 5",
    "Content-Length: 0",
    "Content-Length: +5",
    "Content-Length: -1",
    "Content-Length: 0x5",
    "Content-Length: 5, 5",
    "Content-Length: 5 6",
    "Content-Length: ",
    "Content-Length: 18446744073709551616",
    "Content-Length : 5",
    "Content-Length:\u{b}5",
    "Content_Length: 5",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding:chunked",
    "Transfer-Encoding: Chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunked,",
    "Transfer-Encoding: ,chunked",
    "Transfer-Encoding: \u{b}chunked",
    "Transfer-Encoding:\tchunked\t",
    "Transfer-Encoding : chunked",
    " Transfer-Encoding: chunked",
    "X: y\rTransfer-Encoding: chunked",
    "X: y\nTransfer-Encoding: chunked",
    "Transfer-Encoding:\r\n chunked",
    "Transfer_Encoding: chunked",
    "Transfer-Encoding",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: transfer-encoding",
    "Trailer: x-t",
    "Upgrade: h2c",
    "Host: b.test",
];

const BYTES: &[u8] = b"\r\n \t\0:;,\x0b\x0c\x7f\x80\xff\"0x-+/?#";

/// Changes one thing.
pub fn once(bytes: &mut Vec<u8>, rng: &mut Rng) {
    if bytes.is_empty() {
        return;
    }
    let at = rng.usize(..bytes.len());
    match rng.u8(..20) {
        0 => bytes[at] = rng.u8(..),
        1 => bytes[at] ^= 1 << rng.u8(..8),
        2..=4 => bytes.insert(at, BYTES[rng.usize(..BYTES.len())]),
        5 => drop(bytes.remove(at)),
        6 => at_end_of_line(bytes, rng, |end, _| *end = b"\n".to_vec()),
        7 => at_end_of_line(bytes, rng, |end, _| *end = b"\r".to_vec()),
        8 => at_end_of_line(bytes, rng, |end, _| *end = b"\r\r\n".to_vec()),
        9 => at_end_of_line(bytes, rng, |end, rng| end.insert(0, BYTES[rng.usize(..BYTES.len())])),
        10 => at_end_of_line(bytes, rng, |end, rng| end.push(if rng.bool() { b' ' } else { b'\t' })),
        11 => lines(bytes, rng, |lines, at, _| lines.insert(at, lines[at].clone())),
        12 => lines(bytes, rng, |lines, at, _| drop(lines.remove(at))),
        13 => lines(bytes, rng, |lines, at, rng| {
            let other = rng.usize(..lines.len());
            lines.swap(at, other);
        }),
        14 | 15 => lines(bytes, rng, |lines, at, rng| {
            let line = FRAMING[rng.usize(..FRAMING.len())];
            lines.insert((at + 1).min(lines.len()), format!("{line}\r\n").into_bytes());
        }),
        16 | 17 => number(bytes, rng),
        18 => bytes.truncate(at),
        _ => {
            let to = (at + rng.usize(1..20)).min(bytes.len());
            let part = bytes[at..to].to_vec();
            let into = rng.usize(..bytes.len());
            bytes.splice(into..into, part);
        }
    }
}

/// Changes how one of the lines ends.
fn at_end_of_line(bytes: &mut Vec<u8>, rng: &mut Rng, change: impl FnOnce(&mut Vec<u8>, &mut Rng)) {
    let ends: Vec<usize> = (0..bytes.len().saturating_sub(1)).filter(|at| bytes[*at..].starts_with(b"\r\n")).collect();
    if let Some(at) = rng.choice(ends) {
        let mut end = b"\r\n".to_vec();
        change(&mut end, rng);
        bytes.splice(at..at + 2, end);
    }
}

fn lines(bytes: &mut Vec<u8>, rng: &mut Rng, change: impl FnOnce(&mut Vec<Vec<u8>>, usize, &mut Rng)) {
    let mut lines: Vec<Vec<u8>> = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let at = rng.usize(..lines.len());
    change(&mut lines, at, rng);
    *bytes = lines.concat();
}

/// Changes one of the numbers.
fn number(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let digits: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at].is_ascii_digit()).collect();
    let Some(at) = rng.choice(digits) else { return };
    match rng.u8(..6) {
        0 => bytes[at] = b'0' + rng.u8(..10),
        1 => bytes.insert(at, b'0' + rng.u8(..10)),
        2 => bytes[at] = b"abcdefABCDEFg"[rng.usize(..13)],
        3 => drop(bytes.splice(at..at, *b"0x")),
        4 => drop(bytes.splice(at..at, *b"fffffffffffffffe")),
        _ => bytes.insert(at, b"+-._ "[rng.usize(..5)]),
    }
}
