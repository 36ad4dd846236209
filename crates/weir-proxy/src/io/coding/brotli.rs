//! RFC 7932.

use std::io::Write;

use brotli::enc::BrotliEncoderParams;
use brotli::enc::backward_references::BrotliEncoderMode;
use brotli::writer::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState, CompressorWriter};
use weir_routing::filters::coding::BrotliMode;

use super::{Decode, Encode, Progress, Undone};

/// What the encoder gives at once.
const BUFFER: usize = 4096;

/// Until it is finished.
pub(super) struct Encoder(Option<CompressorWriter<Vec<u8>>>);

impl Encoder {
    pub(super) fn new(quality: u32, window_bits: u32, block_bits: Option<u32>, mode: BrotliMode, literal_contexts: bool) -> Self {
        let params = BrotliEncoderParams {
            quality: quality as i32,
            lgwin: window_bits as i32,
            lgblock: block_bits.unwrap_or(0) as i32,
            mode: match mode {
                BrotliMode::Generic => BrotliEncoderMode::BROTLI_MODE_GENERIC,
                BrotliMode::Text => BrotliEncoderMode::BROTLI_MODE_TEXT,
                BrotliMode::Font => BrotliEncoderMode::BROTLI_MODE_FONT,
            },
            disable_literal_context_modeling: i32::from(!literal_contexts),
            ..BrotliEncoderParams::default()
        };
        Self(Some(CompressorWriter::with_params(vec![], BUFFER, &params)))
    }
}

impl Encode for Encoder {
    fn part(&mut self, part: &[u8], out: &mut Vec<u8>) -> Result<(), Undone> {
        let writer = self.0.as_mut().ok_or(Undone::Malformed)?;
        writer.write_all(part).and_then(|()| writer.flush()).map_err(|_| Undone::Malformed)?;
        out.append(writer.get_mut());
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Undone> {
        let writer = self.0.take().ok_or(Undone::Malformed)?;
        out.append(&mut writer.into_inner());
        Ok(())
    }
}

pub(super) struct Decoder {
    state: Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>,
    total: usize,
}

impl Decoder {
    pub(super) fn new() -> Self {
        let allocator = StandardAlloc::default;
        // Strictly RFC 7932: windows beyond its 16 MiB are another coding, and would take a gibibyte for one body.
        Self { state: Box::new(BrotliState::new_strict(allocator(), allocator(), allocator())), total: 0 }
    }
}

impl Decode for Decoder {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Progress, Undone> {
        let (mut left, mut read, mut room, mut written) = (input.len(), 0, output.len(), 0);
        let result = BrotliDecompressStream(&mut left, &mut read, input, &mut room, &mut written, output, &mut self.total, &mut self.state);
        match result {
            BrotliResult::ResultFailure => Err(Undone::Malformed),
            BrotliResult::ResultSuccess => Ok(Progress { read, written, ended: true }),
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => Ok(Progress { read, written, ended: false }),
        }
    }

    /// Nothing may follow.
    fn restart(&mut self) -> Result<(), Undone> {
        Err(Undone::Malformed)
    }
}
