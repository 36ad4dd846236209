//! RFC 8878. Windows are as RFC 9659 has them: 8 MB at the most, else a small body could take any room.

use zstd::stream::raw::{self, CParameter, DParameter, Operation, OutBuffer};
use zstd::zstd_safe::Strategy;

use super::{Decode, Encode, PART, Progress, Undone};

/// The base-two logarithm of the widest window.
const WIDEST: u32 = 23;
/// Levels beyond take wider windows.
const LAST_NARROW: i32 = 19;

pub(super) struct Encoder(raw::Encoder<'static>);

impl Encoder {
    pub(super) fn new(level: i32, strategy: Option<u8>, checksum: bool) -> Result<Self, Undone> {
        let mut encoder = raw::Encoder::new(level).map_err(|_| Undone::Malformed)?;
        let mut set = |parameter| encoder.set_parameter(parameter).map_err(|_| Undone::Malformed);
        if level > LAST_NARROW {
            set(CParameter::WindowLog(WIDEST))?;
        }
        if let Some(strategy) = strategy.and_then(by_number) {
            set(CParameter::Strategy(strategy))?;
        }
        if checksum {
            set(CParameter::ChecksumFlag(true))?;
        }
        Ok(Self(encoder))
    }

    /// Lets the library write until it has nothing more to say.
    fn write(
        &mut self,
        out: &mut Vec<u8>,
        mut say: impl FnMut(&mut raw::Encoder<'static>, &mut OutBuffer<'_, [u8]>) -> std::io::Result<usize>,
    ) -> Result<(), Undone> {
        let mut chunk = [0; PART];
        loop {
            let mut written = OutBuffer::around(&mut chunk[..]);
            let left = say(&mut self.0, &mut written).map_err(|_| Undone::Malformed)?;
            out.extend_from_slice(written.as_slice());
            if left == 0 {
                return Ok(());
            }
        }
    }
}

/// The strategies of `zstd.h`, which Envoy numbers as it does.
fn by_number(number: u8) -> Option<Strategy> {
    Some(match number {
        1 => Strategy::ZSTD_fast,
        2 => Strategy::ZSTD_dfast,
        3 => Strategy::ZSTD_greedy,
        4 => Strategy::ZSTD_lazy,
        5 => Strategy::ZSTD_lazy2,
        6 => Strategy::ZSTD_btlazy2,
        7 => Strategy::ZSTD_btopt,
        8 => Strategy::ZSTD_btultra,
        9 => Strategy::ZSTD_btultra2,
        _ => return None,
    })
}

impl Encode for Encoder {
    fn part(&mut self, mut part: &[u8], out: &mut Vec<u8>) -> Result<(), Undone> {
        let mut chunk = [0; PART];
        while !part.is_empty() {
            let status = self.0.run_on_buffers(part, &mut chunk).map_err(|_| Undone::Malformed)?;
            out.extend_from_slice(chunk.get(..status.bytes_written).unwrap_or_default());
            part = part.get(status.bytes_read..).unwrap_or_default();
        }
        self.write(out, |encoder, written| encoder.flush(written))
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Undone> {
        self.write(out, |encoder, written| encoder.finish(written, true))
    }
}

pub(super) struct Decoder(raw::Decoder<'static>);

impl Decoder {
    pub(super) fn new() -> Result<Self, Undone> {
        let mut decoder = raw::Decoder::new().map_err(|_| Undone::Malformed)?;
        decoder.set_parameter(DParameter::WindowLogMax(WIDEST)).map_err(|_| Undone::Malformed)?;
        Ok(Self(decoder))
    }
}

impl Decode for Decoder {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Progress, Undone> {
        let status = self.0.run_on_buffers(input, output).map_err(|_| Undone::Malformed)?;
        Ok(Progress { read: status.bytes_read, written: status.bytes_written, ended: status.remaining == 0 })
    }

    /// Frames may follow each other.
    fn restart(&mut self) -> Result<(), Undone> {
        Ok(())
    }
}
