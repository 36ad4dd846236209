//! The descriptors of all messages that are known, and what they say of fields.

use std::collections::HashSet;
use std::sync::OnceLock;

use bytes::Bytes;
use prost_reflect::{DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, MessageDescriptor};

use crate::Any;
use crate::json_error::JsonError;

/// The type that packs another message.
pub(crate) const ANY: &str = "google.protobuf.Any";

/// How deep messages may be packed in each other. Each level is decoded for itself, so that the decoder's own limit does not hold
/// over all of them.
pub(crate) const PACKING_LIMIT: usize = 32;

fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        let descriptors: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
        // The bytes were made by this crate's own build: an empty pool can only mean a broken build.
        DescriptorPool::decode(descriptors).unwrap_or_default()
    })
}

/// The descriptor of a message's type.
pub(crate) fn descriptor(name: &str) -> Result<MessageDescriptor, JsonError> {
    pool().get_message_by_name(name).ok_or_else(|| JsonError::UnknownType(name.to_owned()))
}

/// An option that files may define beside protobuf's own.
pub(crate) fn extension(name: &str) -> Option<ExtensionDescriptor> {
    pool().get_extension_by_name(name)
}

/// All types that are known.
#[cfg(test)]
pub(crate) fn all_messages() -> impl Iterator<Item = MessageDescriptor> {
    pool().all_messages()
}

/// The message of a type that is known by name only.
pub(crate) fn decode(name: &str, bytes: Bytes) -> Result<DynamicMessage, JsonError> {
    DynamicMessage::decode(descriptor(name)?, bytes).map_err(|error| JsonError::Malformed(name.to_owned(), error))
}

/// A message of the type [`ANY`].
pub(crate) fn packed(message: &DynamicMessage) -> Any {
    let type_url = message.get_field_by_number(1).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default();
    let value = message.get_field_by_number(2).and_then(|value| value.as_bytes().cloned()).unwrap_or_default();
    Any { type_url, value }
}

/// Whether a message is a mere value (a duration, a wrapped number, a struct) in a message of its own.
pub(crate) fn is_value(message: &MessageDescriptor) -> bool {
    message.package_name() == "google.protobuf" && message.full_name() != ANY
}

/// Whether a field holds a secret, by the option `udpa.annotations.sensitive`.
pub(crate) fn is_sensitive(field: &FieldDescriptor) -> bool {
    static SENSITIVE: OnceLock<HashSet<String>> = OnceLock::new();
    SENSITIVE.get_or_init(sensitive_fields).contains(field.full_name())
}

/// Options are kept encoded, so they are read once.
fn sensitive_fields() -> HashSet<String> {
    let Some(option) = pool().get_extension_by_name("udpa.annotations.sensitive") else { return HashSet::new() };
    pool()
        .all_messages()
        .flat_map(|message| message.fields().collect::<Vec<_>>())
        .filter(|field| field.options().get_extension(&option).as_bool() == Some(true))
        .map(|field| field.full_name().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptors_say_which_fields_are_sensitive() {
        let field = |message: &str, field: &str| descriptor(message).expect("known").get_field_by_name(field).expect("declared");
        let certificate = "envoy.extensions.transport_sockets.tls.v3.TlsCertificate";
        assert!(is_sensitive(&field(certificate, "private_key")));
        assert!(is_sensitive(&field(certificate, "password")));
        assert!(!is_sensitive(&field(certificate, "certificate_chain")));
    }
}
