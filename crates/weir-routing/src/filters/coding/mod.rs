//! How bodies are compressed and decompressed: Envoy's compressor and decompressor libraries, compiled.
//!
//! How much memory a library takes is its own affair, and so is how large the parts are that it gives. A client or an instance
//! sees neither.

use std::ops::RangeInclusive;

use weir_xds::core::{RuntimeFeatureFlag, TypedExtensionConfig};
use weir_xds::envoy::extensions::compression::{brotli, gzip, zstd};
use weir_xds::{Any, Message, Name};

use crate::error::CompileError;

pub(super) mod fields;

pub use fields::declared_length;

/// What a body is compressed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As zlib does it.
    Gzip {
        /// From 1, the fastest, to 9.
        level: u32,
        /// The base-two logarithm of how far back it looks.
        window_bits: u8,
    },
    /// As Google's encoder does it.
    Brotli {
        /// From 0, the fastest, to 11.
        quality: u32,
        /// The base-two logarithm of how far back it looks.
        window_bits: u32,
        /// The base-two logarithm of how much it looks at as one, where that is said.
        block_bits: Option<u32>,
        /// What the body is.
        mode: BrotliMode,
        /// Whether what comes next is guessed from what came before, which costs the decoder time.
        literal_contexts: bool,
    },
    /// As Facebook's encoder does it.
    Zstd {
        /// From 1, the fastest, to 22.
        level: i32,
        /// How it searches, from 1, the fastest, to 9, where that is said.
        strategy: Option<u8>,
        /// Whether a checksum follows.
        checksum: bool,
    },
}

/// What a body is that is compressed with Brotli.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrotliMode {
    /// Anything.
    Generic,
    /// UTF-8.
    Text,
    /// WOFF 2.0.
    Font,
}

/// How a body is decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decompression {
    /// With what it is compressed.
    pub coding: Coding,
    /// The base-two logarithm of how far it may look back, where that is said.
    pub window_bits: Option<u8>,
    /// It may become so many times as large.
    pub max_ratio: u32,
}

/// Envoy's default for gzip, and what it allows the others always.
const MAX_RATIO: u32 = 100;
/// What a library's own parts may be as large as.
const CHUNK: RangeInclusive<u32> = 4096..=65_536;

impl Coding {
    /// Its name in `accept-encoding` and `content-encoding`.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}

impl Compression {
    /// Compiles a compressor library.
    ///
    /// # Errors
    /// If there is none, or it is not known, not valid, or asks for something that is not carried out.
    pub(super) fn compile(library: Option<&TypedExtensionConfig>) -> Result<Self, CompileError> {
        let config = packed(library, "compressor_library")?;
        let compiled = if let Some(message) = unpack(config)? {
            Self::gzip(&message)
        } else if let Some(message) = unpack(config)? {
            Self::brotli(&message)
        } else if let Some(message) = unpack(config)? {
            Self::zstd(&message)
        } else {
            Err(unknown(config))
        };
        compiled.map_err(|error| error.within("compressor_library.typed_config"))
    }

    fn gzip(message: &gzip::compressor::v3::Gzip) -> Result<Self, CompileError> {
        let gzip::compressor::v3::Gzip { memory_level, compression_level, compression_strategy: _, window_bits, chunk_size } = message;
        number("memory_level", *memory_level, 1..=9)?;
        number("chunk_size", *chunk_size, CHUNK)?;
        let level = match u32::try_from(*compression_level) {
            Ok(0) => 6,
            Ok(level @ 1..=9) => level,
            _ => return Err(CompileError::new("compression_level", "is not known")),
        };
        let window_bits = number("window_bits", *window_bits, 9..=15)?.unwrap_or(12);
        Ok(Self::Gzip { level, window_bits: window_bits as u8 })
    }

    fn brotli(message: &brotli::compressor::v3::Brotli) -> Result<Self, CompileError> {
        use brotli::compressor::v3::brotli::EncoderMode;
        let brotli::compressor::v3::Brotli {
            quality,
            encoder_mode,
            window_bits,
            input_block_bits,
            chunk_size,
            disable_literal_context_modeling,
        } = message;
        number("chunk_size", *chunk_size, CHUNK)?;
        let mode = match EncoderMode::try_from(*encoder_mode) {
            Ok(EncoderMode::Default | EncoderMode::Generic) => BrotliMode::Generic,
            Ok(EncoderMode::Text) => BrotliMode::Text,
            Ok(EncoderMode::Font) => BrotliMode::Font,
            Err(_) => return Err(CompileError::new("encoder_mode", "is not known")),
        };
        Ok(Self::Brotli {
            quality: number("quality", *quality, 0..=11)?.unwrap_or(3),
            window_bits: number("window_bits", *window_bits, 10..=24)?.unwrap_or(18),
            // Envoy takes the largest, which is 16 MB for each body.
            block_bits: number("input_block_bits", *input_block_bits, 16..=24)?,
            mode,
            literal_contexts: !disable_literal_context_modeling,
        })
    }

    fn zstd(message: &zstd::compressor::v3::Zstd) -> Result<Self, CompileError> {
        let zstd::compressor::v3::Zstd { compression_level, enable_checksum, strategy, dictionary, chunk_size } = message;
        number("chunk_size", *chunk_size, CHUNK)?;
        if dictionary.is_some() {
            return Err(CompileError::unsupported("dictionary"));
        }
        let strategy = match u8::try_from(*strategy) {
            Ok(0) => None,
            Ok(strategy @ 1..=9) => Some(strategy),
            _ => return Err(CompileError::new("strategy", "is not known")),
        };
        let level = match compression_level {
            None | Some(0) => 3,
            // As the encoder does with larger ones.
            Some(level) => (*level).min(22) as i32,
        };
        Ok(Self::Zstd { level, strategy, checksum: *enable_checksum })
    }

    /// What it makes of a body.
    pub const fn coding(&self) -> Coding {
        match self {
            Self::Gzip { .. } => Coding::Gzip,
            Self::Brotli { .. } => Coding::Brotli,
            Self::Zstd { .. } => Coding::Zstd,
        }
    }
}

impl Decompression {
    /// Compiles a decompressor library.
    ///
    /// # Errors
    /// If there is none, or it is not known, not valid, or asks for something that is not carried out.
    pub(super) fn compile(library: Option<&TypedExtensionConfig>) -> Result<Self, CompileError> {
        let config = packed(library, "decompressor_library")?;
        let compiled = if let Some(message) = unpack(config)? {
            Self::gzip(&message)
        } else if let Some(message) = unpack(config)? {
            Self::brotli(&message)
        } else if let Some(message) = unpack(config)? {
            Self::zstd(&message)
        } else {
            Err(unknown(config))
        };
        compiled.map_err(|error| error.within("decompressor_library.typed_config"))
    }

    fn gzip(message: &gzip::decompressor::v3::Gzip) -> Result<Self, CompileError> {
        let gzip::decompressor::v3::Gzip { window_bits, chunk_size, max_inflate_ratio } = message;
        number("chunk_size", *chunk_size, CHUNK)?;
        let window_bits = number("window_bits", *window_bits, 9..=15)?.map(|bits| bits as u8);
        let max_ratio = number("max_inflate_ratio", *max_inflate_ratio, 1..=1032)?.unwrap_or(MAX_RATIO);
        Ok(Self { coding: Coding::Gzip, window_bits, max_ratio })
    }

    fn brotli(message: &brotli::decompressor::v3::Brotli) -> Result<Self, CompileError> {
        let brotli::decompressor::v3::Brotli { disable_ring_buffer_reallocation: _, chunk_size } = message;
        number("chunk_size", *chunk_size, CHUNK)?;
        Ok(Self { coding: Coding::Brotli, window_bits: None, max_ratio: MAX_RATIO })
    }

    fn zstd(message: &zstd::decompressor::v3::Zstd) -> Result<Self, CompileError> {
        let zstd::decompressor::v3::Zstd { dictionaries, chunk_size } = message;
        number("chunk_size", *chunk_size, CHUNK)?;
        if !dictionaries.is_empty() {
            return Err(CompileError::unsupported("dictionaries"));
        }
        Ok(Self { coding: Coding::Zstd, window_bits: None, max_ratio: MAX_RATIO })
    }
}

/// Whether something is done: what is said where there is no runtime that could say otherwise, and else that it is.
pub(super) fn switch(flag: Option<&RuntimeFeatureFlag>, field: &str) -> Result<bool, CompileError> {
    let Some(RuntimeFeatureFlag { default_value, runtime_key: _ }) = flag else { return Ok(true) };
    default_value.ok_or_else(|| CompileError::missing("default_value").within(field))
}

fn packed<'l>(library: Option<&'l TypedExtensionConfig>, field: &str) -> Result<&'l Any, CompileError> {
    let TypedExtensionConfig { name: _, typed_config } = library.ok_or_else(|| CompileError::missing(field))?;
    typed_config.as_ref().ok_or_else(|| CompileError::missing("typed_config").within(field))
}

/// The message, if it is of this type.
fn unpack<M: Message + Name + Default>(config: &Any) -> Result<Option<M>, CompileError> {
    if !config.is::<M>() {
        return Ok(None);
    }
    config.unpack().map(Some).map_err(|error| CompileError::new("typed_config", error.to_string()))
}

fn unknown(config: &Any) -> CompileError {
    CompileError::new("", format!("the library `{}` is not supported", config.type_name()))
}

fn number(field: &str, value: Option<u32>, range: RangeInclusive<u32>) -> Result<Option<u32>, CompileError> {
    match value {
        Some(value) if !range.contains(&value) => {
            Err(CompileError::new(field, format!("must be from {} to {}", range.start(), range.end())))
        }
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library<M: Message + Name>(message: &M) -> Option<TypedExtensionConfig> {
        Some(TypedExtensionConfig { name: "l".into(), typed_config: Some(Any::pack(message)) })
    }

    #[test]
    fn what_is_not_said_is_as_envoy_has_it() {
        let compile = |library: Option<TypedExtensionConfig>| Compression::compile(library.as_ref()).expect("valid");
        assert_eq!(compile(library(&gzip::compressor::v3::Gzip::default())), Compression::Gzip { level: 6, window_bits: 12 });
        let brotli =
            |block_bits| Compression::Brotli { quality: 3, window_bits: 18, block_bits, mode: BrotliMode::Generic, literal_contexts: true };
        let message = brotli::compressor::v3::Brotli::default();
        assert_eq!(compile(library(&message)), brotli(None));
        assert_eq!(compile(library(&brotli::compressor::v3::Brotli { input_block_bits: Some(20), ..message })), brotli(Some(20)));
        let zstd = zstd::compressor::v3::Zstd { compression_level: Some(99), ..Default::default() };
        assert_eq!(compile(library(&zstd)), Compression::Zstd { level: 22, strategy: None, checksum: false });
        let gzip = gzip::decompressor::v3::Gzip::default();
        let expected = Decompression { coding: Coding::Gzip, window_bits: None, max_ratio: 100 };
        assert_eq!(Decompression::compile(library(&gzip).as_ref()), Ok(expected));
    }

    #[test]
    fn what_envoy_refuses_or_is_not_carried_out_is_refused() {
        use gzip::compressor::v3::Gzip;
        let dictionary = Some(weir_xds::core::DataSource::default());
        let cases = [
            (None, ""),
            (Some(TypedExtensionConfig::default()), "typed_config"),
            (library(&TypedExtensionConfig::default()), "typed_config"),
            (library(&Gzip { window_bits: Some(8), ..Default::default() }), "typed_config.window_bits"),
            (library(&Gzip { memory_level: Some(10), ..Default::default() }), "typed_config.memory_level"),
            (library(&Gzip { chunk_size: Some(1), ..Default::default() }), "typed_config.chunk_size"),
            (library(&Gzip { compression_level: 10, ..Default::default() }), "typed_config.compression_level"),
            (library(&brotli::compressor::v3::Brotli { quality: Some(12), ..Default::default() }), "typed_config.quality"),
            (library(&brotli::compressor::v3::Brotli { encoder_mode: 9, ..Default::default() }), "typed_config.encoder_mode"),
            (library(&zstd::compressor::v3::Zstd { dictionary, ..Default::default() }), "typed_config.dictionary"),
            (library(&zstd::compressor::v3::Zstd { strategy: 10, ..Default::default() }), "typed_config.strategy"),
        ];
        for (library, field) in cases {
            let path = Compression::compile(library.as_ref()).expect_err(field).path;
            assert_eq!(path.trim_end_matches('.'), format!("compressor_library.{field}").trim_end_matches('.'), "{library:?}");
        }
        let bomb = gzip::decompressor::v3::Gzip { max_inflate_ratio: Some(1033), ..Default::default() };
        assert!(Decompression::compile(library(&bomb).as_ref()).is_err());
        assert!(Decompression::compile(library(&Gzip::default()).as_ref()).is_err(), "it compresses");
    }
}
