//! Chunks (RFC 9112, 7.1), read strictly: every end of a line is CR LF, and sizes are hexadecimal digits. Envoy is more lenient; two
//! parties that are lenient in different ways do not agree where a request ends.

use bytes::{Buf, BytesMut};
use memchr::memchr_iter;

use crate::{Fault, HeadReader, Headers, Limits, fields};

/// What a body may waste on extensions and leading zeros, in all: they say nothing to anybody.
const MOST_WASTE: u32 = 16 << 10;

/// Reads chunks.
#[derive(Debug)]
pub(crate) struct ChunkReader {
    at: At,
    waste: u32,
    limits: Limits,
}

/// Where it stands.
#[derive(Debug)]
enum At {
    /// In the size, of which so many digits have come.
    Size {
        size: u64,
        digits: u32,
    },
    /// In the space behind the size.
    Space(u64),
    /// In the extensions.
    Extension(u64, Quoted),
    /// Before the line feed that ends the line of the size.
    SizeEnd(u64),
    /// In the data, of which so many bytes are missing.
    Data(u64),
    /// Before the CR behind the data.
    DataCr,
    /// Before the LF behind the data.
    DataLf,
    /// Behind the last chunk.
    Trailers(HeadReader),
    Done,
    /// Behind something that is no chunk.
    Lost(Fault),
}

/// Whether a byte of an extension stands in a quoted string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quoted {
    No,
    Yes,
    /// Behind a backslash.
    Escaped,
}

impl Quoted {
    fn behind(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::No, b'"') | (Self::Escaped, _) => Self::Yes,
            (Self::Yes, b'"') => Self::No,
            (Self::Yes, b'\\') => Self::Escaped,
            _ => self,
        }
    }
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Next {
    /// So many bytes of data stand at the front of the input, not more than there are.
    Data(usize),
    /// The end, with trailers if there are any.
    End(Option<Headers>),
    /// More bytes are needed.
    More,
}

impl ChunkReader {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { at: At::Size { size: 0, digits: 0 }, waste: 0, limits }
    }

    /// Goes on to data or to the end; what is between is taken off the input.
    ///
    /// # Errors
    /// If what comes is no chunk; and again whenever it is asked.
    pub(crate) fn next(&mut self, input: &mut BytesMut) -> Result<Next, Fault> {
        self.advance(input).inspect_err(|fault| self.at = At::Lost(*fault))
    }

    fn advance(&mut self, input: &mut BytesMut) -> Result<Next, Fault> {
        loop {
            match &mut self.at {
                At::Data(missing) => {
                    let here = usize::try_from(*missing).unwrap_or(usize::MAX).min(input.len());
                    return Ok(if here == 0 { Next::More } else { Next::Data(here) });
                }
                At::Trailers(_) => return self.trailers(input),
                At::Done => return Ok(Next::End(None)),
                At::Lost(fault) => return Err(*fault),
                _ => {}
            }
            if input.is_empty() {
                return Ok(Next::More);
            }
            let byte = input.get_u8();
            self.step(byte)?;
        }
    }

    /// Takes note of data that was taken off the input.
    pub(crate) fn took(&mut self, bytes: usize) {
        if let At::Data(missing) = &mut self.at {
            *missing = missing.saturating_sub(bytes as u64);
            if *missing == 0 {
                self.at = At::DataCr;
            }
        }
    }

    fn step(&mut self, byte: u8) -> Result<(), Fault> {
        let at = match (std::mem::replace(&mut self.at, At::Done), byte) {
            (At::Size { size, digits }, digit) if digit.is_ascii_hexdigit() => {
                if size > u64::MAX >> 4 {
                    return Err(Fault::Chunk);
                }
                if digits >= 16 {
                    self.waste()?;
                }
                At::Size { size: size << 4 | value(digit), digits: digits.saturating_add(1) }
            }
            (At::Size { digits: 0, .. }, _) => return Err(Fault::Chunk),
            (At::Size { size, .. } | At::Space(size), b' ' | b'\t') => {
                self.waste()?;
                At::Space(size)
            }
            (At::Size { size, .. } | At::Space(size), b';') => At::Extension(size, Quoted::No),
            // A line that ends in a quoted string ends elsewhere for who reads quoted strings otherwise.
            (At::Size { size, .. } | At::Space(size) | At::Extension(size, Quoted::No), b'\r') => At::SizeEnd(size),
            (At::Extension(size, quoted), b'\t' | b' '..=b'~' | 0x80..) => {
                self.waste()?;
                At::Extension(size, quoted.behind(byte))
            }
            (At::SizeEnd(0), b'\n') => At::Trailers(HeadReader::default()),
            (At::SizeEnd(size), b'\n') => At::Data(size),
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size { size: 0, digits: 0 },
            _ => return Err(Fault::Chunk),
        };
        self.at = at;
        Ok(())
    }

    fn waste(&mut self) -> Result<(), Fault> {
        self.waste += 1;
        if self.waste > MOST_WASTE { Err(Fault::Chunk) } else { Ok(()) }
    }

    /// What is behind the last chunk: trailers, or at once the empty line.
    fn trailers(&mut self, input: &mut BytesMut) -> Result<Next, Fault> {
        let At::Trailers(reader) = &mut self.at else { return Ok(Next::End(None)) };
        match **input {
            [] | [b'\r'] => return Ok(Next::More),
            [b'\r', b'\n', ..] => {
                input.advance(2);
                self.at = At::Done;
                return Ok(Next::End(None));
            }
            [b'\r' | b'\n', ..] => return Err(Fault::Chunk),
            _ => {}
        }
        let Some(lines) = reader.take(input, &self.limits)? else { return Ok(Next::More) };
        if !ends_strictly(&lines) {
            return Err(Fault::Chunk);
        }
        self.at = At::Done;
        let mut trailers = Headers::new();
        fields::read(&mut trailers, &lines, 0, &self.limits, None)?;
        Ok(Next::End(Some(trailers)))
    }
}

/// Whether each line ends in CR LF. Who takes a LF alone for an end, and who does not, would not agree where the body ends.
fn ends_strictly(lines: &[u8]) -> bool {
    memchr_iter(b'\n', lines).all(|at| at.checked_sub(1).and_then(|before| lines.get(before)) == Some(&b'\r'))
}

fn value(digit: u8) -> u64 {
    u64::from(if digit.is_ascii_digit() { digit & 0xf } else { (digit & 0xf) + 9 })
}
