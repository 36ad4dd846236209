//! Bodies in the codings of HTTP (RFC 9110, 8.4.1), part by part: what comes in is told at once, so that a client that reads an
//! answer as it comes still can, and what comes out is bounded whatever a body claims.

use bytes::{Buf, Bytes};
use weir_routing::filters::coding::{Coding, Compression, Decompression};

mod brotli;
mod gzip;
mod zstd;

/// What comes out at once is no larger.
const PART: usize = 16 << 10;

/// Why a body cannot be encoded or decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undone {
    /// It is not in its coding; or the library has failed.
    #[error("it is not in its coding")]
    Malformed,
    /// It becomes larger than it may.
    #[error("it becomes too large")]
    TooLarge,
    /// It ends too early.
    #[error("it ends too early")]
    Cut,
}

/// A library that encodes.
trait Encode {
    /// Encodes a part, so far that the other side can read it.
    fn part(&mut self, part: &[u8], out: &mut Vec<u8>) -> Result<(), Undone>;

    /// What comes behind the last part.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Undone>;
}

/// A library that decodes.
trait Decode {
    /// Goes on as far as there is something to read and room to write.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Progress, Undone>;

    /// Begins anew, with what stands behind the end.
    fn restart(&mut self) -> Result<(), Undone>;
}

/// How far a library came.
struct Progress {
    read: usize,
    written: usize,
    /// Whether it has come to an end.
    ended: bool,
}

/// Puts a body into a coding.
pub struct Encoder(Box<dyn Encode>);

impl Encoder {
    /// A body that begins.
    pub fn new(compression: &Compression) -> Result<Self, Undone> {
        Ok(Self(match compression {
            Compression::Gzip { level, window_bits } => Box::new(gzip::Encoder::new(*level, *window_bits)),
            Compression::Brotli { quality, window_bits, block_bits, mode, literal_contexts } => {
                Box::new(brotli::Encoder::new(*quality, *window_bits, *block_bits, *mode, *literal_contexts))
            }
            Compression::Zstd { level, strategy, checksum } => Box::new(zstd::Encoder::new(*level, *strategy, *checksum)?),
        }))
    }

    /// What becomes of a part.
    pub fn part(&mut self, part: &[u8]) -> Result<Bytes, Undone> {
        let mut out = vec![];
        self.0.part(part, &mut out)?;
        Ok(out.into())
    }

    /// What comes behind the last part.
    pub fn finish(&mut self) -> Result<Bytes, Undone> {
        let mut out = vec![];
        self.0.finish(&mut out)?;
        Ok(out.into())
    }
}

/// Takes a body out of a coding.
pub struct Decoder {
    library: Box<dyn Decode>,
    /// What has come and is not read yet.
    input: Bytes,
    /// Whether nothing is missing.
    is_whole: bool,
    /// Whether anything has come.
    has_begun: bool,
    /// Whether all has come out of what was read: a decoder that is asked again and again in vain breaks off.
    is_drained: bool,
    max_ratio: u64,
    /// How many bytes have come, and come out.
    counts: (u64, u64),
}

impl Decoder {
    /// A body that begins.
    pub fn new(decompression: &Decompression) -> Result<Self, Undone> {
        let library: Box<dyn Decode> = match decompression.coding {
            Coding::Gzip => Box::new(gzip::Decoder::new()),
            Coding::Brotli => Box::new(brotli::Decoder::new()),
            Coding::Zstd => Box::new(zstd::Decoder::new()?),
        };
        Ok(Self {
            library,
            input: Bytes::new(),
            is_whole: true,
            has_begun: false,
            is_drained: true,
            max_ratio: decompression.max_ratio.into(),
            counts: (0, 0),
        })
    }

    /// Takes a part, when nothing more comes of those before.
    pub fn feed(&mut self, part: Bytes) {
        self.counts.0 += part.len() as u64;
        self.input = part;
    }

    /// The next that comes of what has been taken; nothing until there is another part.
    pub fn more(&mut self) -> Result<Option<Bytes>, Undone> {
        if self.input.is_empty() && self.is_drained {
            return Ok(None);
        }
        let mut out = vec![0; PART];
        let mut length = 0;
        while let Some(room) = out.get_mut(length..).filter(|room| !room.is_empty()) {
            if self.input.is_empty() && (self.is_whole || self.is_drained) {
                break;
            }
            if self.is_whole && self.has_begun {
                self.library.restart()?;
            }
            let size = room.len();
            let Progress { read, written, ended } = self.library.step(&self.input, room)?;
            self.is_drained = written < size;
            self.input.advance(read.min(self.input.len()));
            (self.is_whole, self.has_begun) = (ended, true);
            length += written;
            self.counts.1 += written as u64;
            if read == 0 && written == 0 && !ended {
                break;
            }
        }
        // However little has come, a part may come out.
        if self.counts.1 > self.counts.0.saturating_mul(self.max_ratio).max(PART as u64) {
            return Err(Undone::TooLarge);
        }
        out.truncate(length);
        Ok((length > 0).then(|| out.into()))
    }

    /// Comes to the end: how many bytes have come, and come out.
    pub fn finish(&self) -> Result<(u64, u64), Undone> {
        if self.is_whole { Ok(self.counts) } else { Err(Undone::Cut) }
    }
}

#[cfg(test)]
mod tests;
