//! What all messages can do, compiled here and nowhere else.

use bytes::Bytes;
use prost::{DecodeError, Name};

/// A message of Envoy's API.
///
/// `prost` encodes and decodes with generic code, which every crate that calls it compiles anew, with all the messages that a
/// message holds. These functions are not generic: they are compiled once, with this crate.
pub trait Message: Name + Default {
    /// Its bytes.
    fn encode_to_vec(&self) -> Vec<u8>;

    /// The message of these bytes.
    ///
    /// # Errors
    /// If they are no such message.
    fn decode(bytes: Bytes) -> Result<Self, DecodeError>;
}

/// Implements [`Message`]; `build.rs` writes a line with it for each message.
macro_rules! compiled_once {
    ($message:ty) => {
        impl crate::Message for $message {
            #[inline(never)]
            fn encode_to_vec(&self) -> Vec<u8> {
                ::prost::Message::encode_to_vec(self)
            }

            #[inline(never)]
            fn decode(bytes: ::bytes::Bytes) -> Result<Self, ::prost::DecodeError> {
                ::prost::Message::decode(bytes)
            }
        }
    };
}
