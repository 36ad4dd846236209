//! Bytes that a check sends, or looks for.

use bytes::Bytes;
use weir_routing::CompileError;
use weir_xds::core::health_check::{Payload, payload::Payload as Content};

/// The bytes of a payload: as they are, or as hexadecimal text.
///
/// # Errors
/// If there are none, or the text is none.
pub fn compile(payload: &Payload) -> Result<Bytes, CompileError> {
    match &payload.payload {
        Some(Content::Binary(bytes)) => Ok(bytes.clone()),
        Some(Content::Text(text)) => from_hex(text).ok_or_else(|| CompileError::new("text", format!("`{text}` is not hexadecimal"))),
        None => Err(CompileError::missing("text")),
    }
}

/// The bytes of several payloads.
///
/// # Errors
/// As [`compile`].
pub fn compile_all(payloads: &[Payload]) -> Result<Vec<Bytes>, CompileError> {
    payloads.iter().map(compile).collect()
}

fn from_hex(text: &str) -> Option<Bytes> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digits = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<Vec<u32>>>()?;
    Some(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| (byte << 4) | *digit as u8)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_hexadecimal() {
        assert_eq!(from_hex("50494eff"), Some(Bytes::from_static(b"PIN\xff")));
        assert_eq!(from_hex("5"), None);
        assert_eq!(from_hex("5g"), None);
        assert_eq!(from_hex("é0"), None);
    }
}
