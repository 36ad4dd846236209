//! `google.protobuf.Any`: a message inside a message, with its type's name.

use bytes::Bytes;
use prost::Name;

use crate::Message;

/// A packed message. Unlike prost's own type it shares its bytes when it is cloned, so that one encoding
/// serves all who are sent the same resource.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Any {
    /// `type.googleapis.com/` and the full name of the type.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The message, encoded.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// Why an [`Any`] does not give the message that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum AnyError {
    /// It holds another type.
    #[error("expected {expected}, found {found}")]
    Type {
        /// The type that was asked for.
        expected: String,
        /// The type that it holds.
        found: String,
    },
    /// Its bytes are no such message.
    #[error("malformed {type_url}: {source}")]
    Malformed {
        /// The type that it claims to be.
        type_url: String,
        /// What the decoder says.
        source: prost::DecodeError,
    },
}

impl Any {
    /// Packs a message.
    pub fn pack<M: Message>(message: &M) -> Self {
        Self { type_url: M::type_url(), value: Message::encode_to_vec(message).into() }
    }

    /// Whether it holds an `M`.
    pub fn is<M: Name>(&self) -> bool {
        self.type_name() == M::full_name()
    }

    /// The full name of the type that it holds, without the domain in front.
    pub fn type_name(&self) -> &str {
        type_name(&self.type_url)
    }

    /// Unpacks an `M`.
    ///
    /// # Errors
    /// If it holds something else, or bytes that are no `M`.
    pub fn unpack<M: Message>(&self) -> Result<M, AnyError> {
        if !self.is::<M>() {
            return Err(AnyError::Type { expected: M::full_name(), found: self.type_name().to_owned() });
        }
        <M as Message>::decode(self.value.clone()).map_err(|source| AnyError::Malformed { type_url: self.type_url.clone(), source })
    }
}

/// The full name of a type, without the domain in front.
pub(crate) fn type_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

/// So that generated code may name it as it names its own messages.
impl Name for Any {
    const NAME: &'static str = "Any";
    const PACKAGE: &'static str = "google.protobuf";

    fn full_name() -> String {
        "google.protobuf.Any".to_owned()
    }

    fn type_url() -> String {
        "type.googleapis.com/google.protobuf.Any".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Cluster;
    use crate::route::Route;

    #[test]
    fn what_is_packed_comes_out_again() {
        let cluster = Cluster { name: "outbound|9080||reviews".into(), ..Default::default() };
        let any = Any::pack(&cluster);
        assert_eq!(any.type_url, "type.googleapis.com/envoy.config.cluster.v3.Cluster");
        assert_eq!(any.unpack::<Cluster>().expect("a cluster"), cluster);
        assert!(matches!(any.unpack::<Route>(), Err(AnyError::Type { .. })));
    }
}
