//! RFC 1952, by zlib.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::{Decode, Encode, PART, Progress, Undone};

/// As far back as anybody may look.
const WIDEST: u8 = 15;

pub(super) struct Encoder(Compress);

impl Encoder {
    pub(super) fn new(level: u32, window_bits: u8) -> Self {
        Self(Compress::new_gzip(Compression::new(level.min(9)), window_bits.clamp(9, WIDEST)))
    }

    fn run(&mut self, part: &[u8], flush: FlushCompress, out: &mut Vec<u8>) -> Result<(), Undone> {
        let begin = self.0.total_in();
        loop {
            out.reserve(PART.min(part.len() + 64));
            let read = usize::try_from(self.0.total_in() - begin).unwrap_or(usize::MAX);
            let status = self.0.compress_vec(part.get(read..).unwrap_or_default(), out, flush).map_err(|_| Undone::Malformed)?;
            // Where there is room left, all has been said.
            if status == Status::StreamEnd || out.len() < out.capacity() {
                return Ok(());
            }
        }
    }
}

impl Encode for Encoder {
    fn part(&mut self, part: &[u8], out: &mut Vec<u8>) -> Result<(), Undone> {
        self.run(part, FlushCompress::Sync, out)
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Undone> {
        self.run(&[], FlushCompress::Finish, out)
    }
}

pub(super) struct Decoder {
    window_bits: u8,
    stream: Decompress,
}

impl Decoder {
    pub(super) fn new(window_bits: Option<u8>) -> Self {
        let window_bits = window_bits.unwrap_or(WIDEST).clamp(9, WIDEST);
        Self { window_bits, stream: Decompress::new_gzip(window_bits) }
    }
}

impl Decode for Decoder {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Progress, Undone> {
        let (before_in, before_out) = (self.stream.total_in(), self.stream.total_out());
        let status = self.stream.decompress(input, output, FlushDecompress::None).map_err(|_| Undone::Malformed)?;
        let read = self.stream.total_in() - before_in;
        let written = self.stream.total_out() - before_out;
        Ok(Progress { read: read as usize, written: written as usize, ended: status == Status::StreamEnd })
    }

    /// A file may be made of several (RFC 1952, 2.2).
    fn restart(&mut self) -> Result<(), Undone> {
        self.stream = Decompress::new_gzip(self.window_bits);
        Ok(())
    }
}
