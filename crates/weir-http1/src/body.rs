//! The body of a message, as it is read.

use bytes::{Buf, Bytes, BytesMut};

use crate::chunked::{ChunkReader, Next};
use crate::{Fault, Headers, Length, Limits};

/// Reads a body.
#[derive(Debug)]
pub struct BodyReader(State);

#[derive(Debug)]
enum State {
    /// So many bytes are missing.
    Exact(u64),
    Chunked(ChunkReader),
    UntilClose,
    /// The data has been read, and these stand behind it.
    Trailers(Headers),
    Done,
}

/// A part of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// Bytes of it; never none.
    Data(Bytes),
    /// What stands behind it.
    Trailers(Headers),
}

impl BodyReader {
    /// Of a body of this length. `limits` are those of its trailers.
    pub fn new(length: Length, limits: Limits) -> Self {
        Self(match length {
            Length::None | Length::Exact(0) => State::Done,
            Length::Exact(length) => State::Exact(length),
            Length::Chunked => State::Chunked(ChunkReader::new(limits)),
            Length::UntilClose => State::UntilClose,
        })
    }

    /// Whether all of it has been read.
    pub fn is_done(&self) -> bool {
        matches!(self.0, State::Done)
    }

    /// How much is missing, where that is known.
    pub fn missing(&self) -> Option<u64> {
        match &self.0 {
            State::Done => Some(0),
            State::Exact(missing) => Some(*missing),
            State::Chunked(_) | State::UntilClose | State::Trailers(_) => None,
        }
    }

    /// Reads what is there. Without a part it [is done](Self::is_done), or needs more bytes.
    ///
    /// Many small chunks make one part: nobody pays for the way in which a peer cuts its body.
    ///
    /// # Errors
    /// If it is malformed; nothing more can be read then.
    pub fn read(&mut self, input: &mut BytesMut) -> Result<Option<Part>, Fault> {
        match &mut self.0 {
            State::Done => Ok(None),
            State::UntilClose => Ok(take(input, input.len()).map(Part::Data)),
            State::Exact(missing) => {
                let here = usize::try_from(*missing).unwrap_or(usize::MAX).min(input.len());
                *missing -= here as u64;
                if *missing == 0 {
                    self.0 = State::Done;
                }
                Ok(take(input, here).map(Part::Data))
            }
            State::Chunked(chunks) => {
                let (data, end) = read_chunks(chunks, input)?;
                if let Some(trailers) = end {
                    self.0 = trailers.map_or(State::Done, State::Trailers);
                }
                match data {
                    Some(data) => Ok(Some(Part::Data(data))),
                    None => Ok(self.take_trailers()),
                }
            }
            State::Trailers(_) => Ok(self.take_trailers()),
        }
    }

    fn take_trailers(&mut self) -> Option<Part> {
        match std::mem::replace(&mut self.0, State::Done) {
            State::Trailers(trailers) => Some(Part::Trailers(trailers)),
            other => {
                self.0 = other;
                None
            }
        }
    }

    /// The connection has ended, and all that came before has been read.
    ///
    /// # Errors
    /// If the body had not.
    pub fn end(&mut self) -> Result<(), Fault> {
        match self.0 {
            State::Done => Ok(()),
            State::UntilClose => {
                self.0 = State::Done;
                Ok(())
            }
            State::Trailers(_) => Ok(()),
            State::Exact(_) | State::Chunked(_) => Err(Fault::BrokenOff),
        }
    }
}

/// Takes bytes off the front. They share the memory of the input only where they are most of it: who keeps a part keeps no more than
/// twice its size.
fn take(input: &mut BytesMut, length: usize) -> Option<Bytes> {
    if length == 0 {
        return None;
    }
    if is_most(input, length) {
        // Memory that nobody else needs is not divided.
        return Some(if length == input.len() { std::mem::take(input) } else { input.split_to(length) }.freeze());
    }
    let part = Bytes::copy_from_slice(input.get(..length).unwrap_or_default());
    input.advance(length);
    Some(part)
}

fn is_most(input: &BytesMut, length: usize) -> bool {
    length >= input.capacity() / 2
}

/// What is there in chunks: data in one part, and, at the end, whether there are trailers.
type Chunks = (Option<Bytes>, Option<Option<Headers>>);

fn read_chunks(chunks: &mut ChunkReader, input: &mut BytesMut) -> Result<Chunks, Fault> {
    let mut shared: Option<Bytes> = None;
    let mut joined = BytesMut::new();
    let end = loop {
        let has_data = shared.is_some() || !joined.is_empty();
        match chunks.next(input) {
            // A large part goes alone, so that it need not be copied.
            Ok(Next::Data(_)) if shared.is_some() => break None,
            Ok(Next::Data(length)) => {
                if !has_data && is_most(input, length) {
                    shared = take(input, length);
                } else {
                    joined.extend_from_slice(input.get(..length).unwrap_or_default());
                    input.advance(length);
                }
                chunks.took(length);
            }
            Ok(Next::End(trailers)) => break Some(trailers),
            Ok(Next::More) => break None,
            // What was good comes first; the fault is told when more is asked for.
            Err(_) if has_data => break None,
            Err(fault) => return Err(fault),
        }
    };
    let data = shared.or_else(|| (!joined.is_empty()).then(|| joined.freeze()));
    Ok((data, end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { bytes: 100, fields: 4 };

    /// Data, trailers, and what is left over; or what came before a fault.
    type Read = Result<(Vec<u8>, Option<Headers>, Vec<u8>), (Vec<u8>, Fault)>;

    /// Reads a body whose bytes come in pieces of this size.
    fn read_in_pieces(length: Length, bytes: &[u8], size: usize) -> Read {
        let (mut reader, mut input) = (BodyReader::new(length, LIMITS), BytesMut::new());
        let (mut data, mut trailers) = (vec![], None);
        for piece in bytes.chunks(size) {
            input.extend_from_slice(piece);
            loop {
                match reader.read(&mut input) {
                    Ok(Some(Part::Data(part))) => {
                        assert!(!part.is_empty());
                        data.extend_from_slice(&part);
                    }
                    Ok(Some(Part::Trailers(fields))) => trailers = Some(fields),
                    Ok(None) => break,
                    Err(fault) => {
                        assert_eq!(reader.read(&mut input), Err(fault), "it stays so");
                        return Err((data, fault));
                    }
                }
            }
        }
        reader.end().map_err(|fault| (data.clone(), fault))?;
        Ok((data, trailers, input.to_vec()))
    }

    #[test]
    fn bodies_end_where_their_length_says() {
        for size in 1..12 {
            assert_eq!(read_in_pieces(Length::Exact(5), b"hello GET", size), Ok((b"hello".into(), None, b" GET".into())));
            assert_eq!(read_in_pieces(Length::None, b"GET", size), Ok((vec![], None, b"GET".into())));
            assert_eq!(read_in_pieces(Length::UntilClose, b"hello", size), Ok((b"hello".into(), None, vec![])));
            assert_eq!(read_in_pieces(Length::Exact(9), b"hello", size), Err((b"hello".into(), Fault::BrokenOff)));
        }
    }

    #[test]
    fn chunks_are_read_strictly() {
        let fine = [
            ("0\r\n\r\nnext", ""),
            ("5\r\nhello\r\n0\r\n\r\nnext", "hello"),
            ("1\r\nh\r\n4\r\nello\r\n00\r\n\r\nnext", "hello"),
            ("a;n=\"v\";w\r\n0123456789\r\n0;x\r\n\r\nnext", "0123456789"),
            ("00000000000000000005 \t\r\nhello\r\n0\r\n\r\nnext", "hello"),
            ("a;n=\"\\\"\";w\r\n0123456789\r\n0\r\n\r\nnext", "0123456789"),
            ("A\r\n0123456789\r\n0\r\n\r\nnext", "0123456789"),
        ];
        let bad = [
            ("zz\r\n", ""),
            ("\r\n", ""),
            ("-1\r\n", ""),
            ("+5\r\nhello", ""),
            ("0x5\r\nhello", ""),
            (" 5\r\nhello", ""),
            ("5\nhello\n0\n\n", ""),
            ("5;a\nhello", ""),
            ("5;a\0\r\nhello", ""),
            ("5;a=\"\r\nhello\r\n0\r\n\r\n", ""),
            ("5;a=\"b\\\"\r\nhello\r\n0\r\n\r\n", ""),
            ("5\r\rhello", ""),
            ("5\r\nhello!\r\n", "hello"),
            ("5\r\nhello\n0\r\n\r\n", "hello"),
            ("5\r\nhello\r\n\r\n", "hello"),
            ("5\r\nhello\r\n0\r\n\n", "hello"),
            ("5\r\nhello\r\n0\r\n\rx", "hello"),
            ("5\r\nhello\r\n0\r\nx: 1\n\n", "hello"),
            ("5\r\nhello\r\n0\r\nx: 1\r\n\n", "hello"),
            ("5\r\nhello\r\n0\r\nx: 1\ny: 2\r\n\r\n", "hello"),
            ("10000000000000000\r\n", ""),
            ("fffffffffffffffff\r\n", ""),
        ];
        for size in 1..30 {
            for (text, data) in fine {
                let read = read_in_pieces(Length::Chunked, text.as_bytes(), size);
                assert_eq!(read, Ok((data.into(), None, b"next".into())), "{text:?} by {size}");
            }
            for (text, data) in bad {
                assert_eq!(read_in_pieces(Length::Chunked, text.as_bytes(), size), Err((data.into(), Fault::Chunk)), "{text:?} by {size}");
            }
            for text in ["5\r\nhell", "5\r\nhello\r\n", "5\r\nhello\r\n0\r\n", "5\r\nhello\r\n0\r\nx: 1\r\n"] {
                assert!(matches!(read_in_pieces(Length::Chunked, text.as_bytes(), size), Err((_, Fault::BrokenOff))), "{text:?} by {size}");
            }
        }
    }

    #[test]
    fn trailers_have_limits() {
        let read = |trailers: &str| read_in_pieces(Length::Chunked, format!("1\r\nx\r\n0\r\n{trailers}\r\nnext").as_bytes(), 7);
        let (data, trailers, rest) = read("x-a: 1\r\nx-b: 2\r\n").expect("fine");
        assert_eq!((data, rest), (b"x".to_vec(), b"next".to_vec()));
        assert_eq!(trailers.expect("they come")["x-b"], "2");
        assert_eq!(read("a:\r\nb:\r\nc:\r\nd:\r\ne:\r\n"), Err((b"x".into(), Fault::TooMany)));
        assert_eq!(read(&format!("a: {}\r\n", "x".repeat(100))), Err((b"x".into(), Fault::TooLarge)));
        assert_eq!(read("a b: 1\r\n"), Err((b"x".into(), Fault::Field)));
    }

    #[test]
    fn what_says_nothing_is_bounded() {
        let extension = format!("1;{}\r\nx\r\n", "e".repeat(1000));
        assert!(read_in_pieces(Length::Chunked, (extension.repeat(16) + "0\r\n\r\n").as_bytes(), 999).is_ok());
        assert!(matches!(read_in_pieces(Length::Chunked, extension.repeat(17).as_bytes(), 999), Err((_, Fault::Chunk))));
        assert!(matches!(read_in_pieces(Length::Chunked, "0".repeat(17_000).as_bytes(), 999), Err((_, Fault::Chunk))));
    }

    #[test]
    fn a_part_pins_no_more_than_twice_its_size() {
        let mut input = BytesMut::with_capacity(1 << 16);
        input.extend_from_slice(b"x");
        let part = BodyReader::new(Length::Exact(9), LIMITS).read(&mut input);
        assert_eq!(part, Ok(Some(Part::Data("x".into()))));
        // Nothing shares the input's memory: it is all there.
        input.reserve((1 << 16) - 8);
        assert!(input.capacity() <= 1 << 16, "{}", input.capacity());
        let mut small = BytesMut::from("1\r\na\r\n".repeat(500).as_str());
        let part = BodyReader::new(Length::Chunked, LIMITS).read(&mut small);
        assert!(matches!(part, Ok(Some(Part::Data(data))) if data.len() == 500), "single bytes come together");
    }

    proptest! {
        #[test]
        fn what_is_written_in_chunks_is_read(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            size in 1_usize..60,
            with_trailers in any::<bool>(),
        ) {
            let mut bytes = vec![];
            for chunk in &chunks {
                crate::encode::chunk_size(chunk.len(), &mut bytes);
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(crate::encode::CHUNK_END);
            }
            let mut trailers = Headers::new();
            trailers.insert("x-t", crate::HeaderValue::from_static("1"));
            let trailers = with_trailers.then_some(trailers);
            crate::encode::last_chunk(trailers.as_ref(), crate::Case::Lower, &mut bytes);
            bytes.extend_from_slice(b"rest");
            prop_assert_eq!(read_in_pieces(Length::Chunked, &bytes, size), Ok((chunks.concat(), trailers, b"rest".to_vec())));
        }

        #[test]
        fn nothing_that_comes_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), size in 1_usize..60) {
            let _ = read_in_pieces(Length::Chunked, &bytes, size);
        }
    }
}
