//! A request's body: small ones are kept and told, large ones only counted.

use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::asked::grouped;
use crate::http::pairs;

/// Up to this size a body is kept.
const KEPT: u64 = 1024 * 1024;

/// A body that has arrived.
pub(super) struct Upload {
    size: u64,
    /// The body, empty if it is larger than [`KEPT`].
    kept: Vec<u8>,
}

impl Upload {
    /// Reads a body to its end.
    pub(super) async fn receive(mut body: Incoming) -> Result<Upload, hyper::Error> {
        let mut upload = Upload { size: 0, kept: Vec::new() };
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                upload.add(&data);
            }
        }
        Ok(upload)
    }

    fn add(&mut self, data: &[u8]) {
        self.size += data.len() as u64;
        if self.size <= KEPT {
            self.kept.extend_from_slice(data);
        } else {
            self.kept = Vec::new();
        }
    }

    /// The body as `data`, `form` and `json`.
    pub(super) fn told(&self, headers: &HeaderMap) -> (Value, Value, Value) {
        if self.size > KEPT {
            return (format!("({} bytes, counted and not kept)", self.size).into(), json!({}), Value::Null);
        }
        let Ok(text) = std::str::from_utf8(&self.kept) else {
            return (format!("data:application/octet-stream;base64,{}", base64(&self.kept)).into(), json!({}), Value::Null);
        };
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if content_type.starts_with("application/x-www-form-urlencoded") {
            return ("".into(), grouped(pairs(text)), Value::Null);
        }
        (text.into(), json!({}), serde_json::from_str(text).unwrap_or_default())
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().enumerate().fold(0u32, |bits, (i, byte)| bits | u32::from(*byte) << (16 - 8 * i));
        for digit in 0..4 {
            let six = (bits >> (18 - 6 * digit)) & 63;
            encoded.push(if digit <= chunk.len() { char::from(DIGITS[six as usize]) } else { '=' });
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_all_remainders() {
        for (bytes, encoded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(bytes.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    }

    #[test]
    fn what_is_too_large_is_counted() {
        let mut upload = Upload { size: 0, kept: Vec::new() };
        for _ in 0..3 {
            upload.add(&vec![b'x'; 512 * 1024]);
        }
        assert_eq!((upload.size, upload.kept.len()), (1536 * 1024, 0));
    }
}
