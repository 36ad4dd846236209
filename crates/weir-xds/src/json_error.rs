//! Why a message cannot be looked into.

use crate::fields::Malformed;

/// Why a message has no JSON form, or a JSON value is no message.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// No type of that name is known.
    #[error("unknown message type {0}")]
    UnknownType(String),
    /// The bytes are not of the type that they claim to be.
    #[error("malformed {0}: {1}")]
    Malformed(String, Malformed),
    /// The value has a field that the type has not, or one of another type.
    #[error("{0}: {1}")]
    Value(String, serde_json::Error),
    /// The message is of another type than the one beside it.
    #[error("{found} is no {expected}")]
    OtherType {
        /// The type that the other is of.
        expected: String,
        /// The type that this one is of.
        found: String,
    },
    /// Messages are packed in each other without end.
    #[error("{0} is packed too deep")]
    TooDeep(String),
}
