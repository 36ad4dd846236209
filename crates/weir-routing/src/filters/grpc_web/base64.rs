//! Base64, a part at a time (<https://www.rfc-editor.org/rfc/rfc4648#section-4>).

use smallvec::SmallVec;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Why a body is no base64. Envoy answers 400 then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Bad gRPC-web request, invalid base64 data.")]
pub enum InvalidBase64 {
    /// It ends within a group of four.
    Length,
    /// It has another character, or padding where it may not be.
    Data,
}

impl InvalidBase64 {
    /// The response code details that Envoy gives.
    pub fn details(self) -> &'static str {
        match self {
            Self::Length => "grpc_base_64_decode_failed_bad_size",
            Self::Data => "grpc_base_64_decode_failed",
        }
    }
}

/// Decodes a body. As in Envoy padding may end a part, for a client may pad each of its messages; within one it is an error.
#[derive(Debug, Clone, Default)]
pub struct TextDecoder {
    /// The beginning of a group of four.
    begun: SmallVec<[u8; 4]>,
}

impl TextDecoder {
    /// Decodes a part, and appends what it gives.
    ///
    /// # Errors
    /// If it is no base64; or, where `is_last` says so, if the body does not end behind a group of four.
    pub fn decode(&mut self, part: &[u8], is_last: bool, out: &mut Vec<u8>) -> Result<(), InvalidBase64> {
        if is_last && !(self.begun.len() + part.len()).is_multiple_of(4) {
            return Err(InvalidBase64::Length);
        }
        let mut is_padded = false;
        for byte in part {
            self.begun.push(*byte);
            if let [a, b, c, d] = self.begun[..] {
                if is_padded {
                    return Err(InvalidBase64::Data);
                }
                is_padded = d == b'=';
                decode_group([a, b, c, d], out).ok_or(InvalidBase64::Data)?;
                self.begun.clear();
            }
        }
        Ok(())
    }
}

/// Bits that stand for nothing must be zero.
fn decode_group([a, b, c, d]: [u8; 4], out: &mut Vec<u8>) -> Option<()> {
    let (a, b) = (value(a)?, value(b)?);
    out.push(a << 2 | b >> 4);
    if (c, d) == (b'=', b'=') {
        return (b & 0b1111 == 0).then_some(());
    }
    let c = value(c)?;
    out.push(b << 4 | c >> 2);
    if d == b'=' {
        return (c & 0b11 == 0).then_some(());
    }
    out.push(c << 6 | value(d)?);
    Some(())
}

fn value(digit: u8) -> Option<u8> {
    Some(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

/// Encodes all of a text.
pub(super) fn encode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len().div_ceil(3) * 4);
    for group in text.chunks(3) {
        encode_group(group, &mut out);
    }
    out
}

/// Encodes one to three bytes, with padding for those that are missing.
fn encode_group(group: &[u8], out: &mut Vec<u8>) {
    let byte = |i: usize| group.get(i).copied().unwrap_or(0);
    let bits = u32::from_be_bytes([0, byte(0), byte(1), byte(2)]);
    for i in 0..4 {
        let digit = ALPHABET.get((bits >> (18 - 6 * i)) as usize & 63).copied().unwrap_or(b'=');
        out.push(if i <= group.len() { digit } else { b'=' });
    }
}

/// Encodes the frames of a gRPC body, each with padding of its own, as they pass.
#[derive(Debug, Clone, Default)]
pub struct TextEncoder {
    /// The first bytes of a frame: flags and length.
    prefix: SmallVec<[u8; 5]>,
    /// What is missing of the frame's message.
    left: u32,
    /// What waits for the third byte of its group.
    group: SmallVec<[u8; 3]>,
}

const PREFIX: usize = 5;

impl TextEncoder {
    /// Encodes a part of the body, and appends what can be said of it already.
    pub fn encode(&mut self, part: &[u8], out: &mut Vec<u8>) {
        for byte in part {
            self.group.push(*byte);
            let is_last = self.ends_frame(*byte);
            if is_last || self.group.len() == 3 {
                encode_group(&self.group, out);
                self.group.clear();
            }
        }
    }

    /// Encodes what is left where the body ends within a frame.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.group.is_empty() {
            encode_group(&self.group, out);
        }
        *self = Self::default();
    }

    /// Counts a byte; whether it is the last of its frame.
    fn ends_frame(&mut self, byte: u8) -> bool {
        if self.prefix.len() < PREFIX {
            self.prefix.push(byte);
            if let [_, a, b, c, d] = self.prefix[..] {
                self.left = u32::from_be_bytes([a, b, c, d]);
            }
        } else {
            self.left = self.left.saturating_sub(1);
        }
        let ends = self.prefix.len() == PREFIX && self.left == 0;
        if ends {
            self.prefix.clear();
        }
        ends
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(parts: &[&[u8]]) -> Result<Vec<u8>, InvalidBase64> {
        let (mut decoder, mut out) = (TextDecoder::default(), vec![]);
        for part in parts {
            decoder.decode(part, false, &mut out)?;
        }
        decoder.decode(b"", true, &mut out).map(|()| out)
    }

    /// A text in two or three parts.
    fn cut(text: &[u8], one: prop::sample::Index, other: prop::sample::Index) -> [&[u8]; 3] {
        let (one, other) = (one.index(text.len() + 1), other.index(text.len() + 1));
        let (one, other) = (one.min(other), one.max(other));
        [&text[..one], &text[one..other], &text[other..]]
    }

    fn frame(message: &[u8]) -> Vec<u8> {
        [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat()
    }

    type Case = (&'static [u8], Result<&'static [u8], InvalidBase64>);

    /// As Envoy 1.40 took and refused them.
    #[test]
    fn only_strict_base64_is_taken() {
        let cases: [Case; 15] = [
            (b"", Ok(b"")),
            (b"AAAA", Ok(b"\0\0\0")),
            (b"AAA=", Ok(b"\0\0")),
            (b"AA==", Ok(b"\0")),
            (b"AAAAAAA=", Ok(b"\0\0\0\0\0")),
            (b"+/+/", Ok(b"\xfb\xff\xbf")),
            (b"AAA", Err(InvalidBase64::Length)),
            (b"AAAA\r\n", Err(InvalidBase64::Length)),
            (b"AAB=", Err(InvalidBase64::Data)),
            (b"AB==", Err(InvalidBase64::Data)),
            (b"A===", Err(InvalidBase64::Data)),
            (b"====", Err(InvalidBase64::Data)),
            (b"AAA=AAAA", Err(InvalidBase64::Data)),
            (b"A A=", Err(InvalidBase64::Data)),
            (b"AA-_", Err(InvalidBase64::Data)),
        ];
        for (text, expected) in cases {
            let mut out = vec![];
            let found = TextDecoder::default().decode(text, true, &mut out).map(|()| out.as_slice());
            assert_eq!(found, expected, "{}", String::from_utf8_lossy(text));
        }
        assert_eq!(decode(&[b"AAA=", b"AAAA"]), Ok(vec![0; 5]));
        assert_eq!(decode(&[b"AAA=A", b"AAA"]), Ok(vec![0; 5]));
    }

    #[test]
    fn each_frame_has_its_own_padding() {
        let (mut encoder, mut out) = (TextEncoder::default(), vec![]);
        encoder.encode(&[frame(b""), frame(b"a"), frame(b"ab")].concat(), &mut out);
        assert_eq!(out, b"AAAAAAA=AAAAAAFhAAAAAAJhYg==");
        // What ends too early ends somewhere.
        encoder.encode(b"\0\0\0\0", &mut out);
        encoder.finish(&mut out);
        assert!(out.ends_with(b"AAAAAA=="));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_however_it_is_cut(text: Vec<u8>, one: prop::sample::Index, other: prop::sample::Index) {
            let encoded = encode(&text);
            prop_assert_eq!(decode(&cut(&encoded, one, other)), Ok(text));
        }

        #[test]
        fn what_is_taken_is_what_would_be_written(text in "[A-Za-z0-9+/=]{0,40}") {
            if let Ok(decoded) = decode(&[text.as_bytes()]) {
                prop_assert_eq!(encode(&decoded), text.as_bytes());
            }
        }

        #[test]
        fn frames_are_encoded_alike_however_they_are_cut(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5),
            one: prop::sample::Index,
            other: prop::sample::Index,
        ) {
            let frames: Vec<Vec<u8>> = messages.iter().map(|message| frame(message)).collect();
            let expected: Vec<u8> = frames.iter().flat_map(|frame| encode(frame)).collect();
            let body = frames.concat();
            let (mut encoder, mut out) = (TextEncoder::default(), vec![]);
            for part in cut(&body, one, other) {
                encoder.encode(part, &mut out);
            }
            encoder.finish(&mut out);
            prop_assert_eq!(out, expected);
        }
    }
}
