//! Small values that xDS messages are full of: durations, fractions, addresses, metadata.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

use crate::core::{Address, Metadata, Pipe, SocketAddress, address, socket_address};
use crate::types::{FractionalPercent, fractional_percent::DenominatorType};

/// A protobuf duration of a standard one.
pub fn duration(duration: Duration) -> prost_types::Duration {
    // Longer than a protobuf duration can be is as good as for ever.
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX).min(315_576_000_000);
    prost_types::Duration { seconds, nanos: duration.subsec_nanos() as i32 }
}

/// A standard duration of a protobuf one; a negative one is zero.
pub fn std_duration(duration: &prost_types::Duration) -> Duration {
    Duration::try_from(*duration).unwrap_or_default()
}

/// The address of a TCP socket.
pub fn socket_address(ip: impl Into<String>, port: u16) -> Address {
    let port_specifier = Some(socket_address::PortSpecifier::PortValue(port.into()));
    let socket = SocketAddress { address: ip.into(), port_specifier, ..Default::default() };
    Address { address: Some(address::Address::SocketAddress(socket)) }
}

/// How the address of a Unix socket begins, where it is written as one.
pub const UNIX: &str = "unix://";

/// An address as people write it: that of a Unix socket begins with [`UNIX`] and has no port.
pub fn address(written: &str, port: u16) -> Address {
    match written.strip_prefix(UNIX) {
        Some(path) => Address { address: Some(address::Address::Pipe(Pipe { path: path.to_owned(), ..Default::default() })) },
        None => socket_address(written, port),
    }
}

/// The path of an address, if it is that of a Unix socket; `@` begins a name in the abstract namespace, as in Envoy.
pub fn socket_path(address: &Address) -> Option<&str> {
    match &address.address {
        Some(address::Address::Pipe(Pipe { path, mode: _ })) => Some(path),
        _ => None,
    }
}

/// The host (an IP address or a name) and port of an address, if it is that of a TCP socket of this process's own network.
pub fn host_and_port(address: &Address) -> Option<(&str, u16)> {
    let Some(address::Address::SocketAddress(socket)) = &address.address else { return None };
    let SocketAddress { protocol, address, port_specifier, network_namespace_filepath, resolver_name: _, ipv4_compat: _ } = socket;
    let Some(socket_address::PortSpecifier::PortValue(port)) = port_specifier else { return None };
    if *protocol != socket_address::Protocol::Tcp as i32 || !network_namespace_filepath.is_empty() {
        return None;
    }
    Some((address, u16::try_from(*port).ok()?))
}

/// The socket of an address, if it has an IP address.
pub fn to_socket_addr(address: &Address) -> Option<SocketAddr> {
    let (host, port) = host_and_port(address)?;
    Some(SocketAddr::new(host.parse::<IpAddr>().ok()?, port))
}

/// The share of requests that a fraction stands for, in millionths.
pub fn millionths(percent: &FractionalPercent) -> u32 {
    let factor = match percent.denominator() {
        DenominatorType::Hundred => 10_000,
        DenominatorType::TenThousand => 100,
        DenominatorType::Million => 1,
    };
    percent.numerator.saturating_mul(factor).min(1_000_000)
}

/// A text as a value of a protobuf `Struct`.
pub fn text(text: impl Into<String>) -> Value {
    Value { kind: Some(Kind::StringValue(text.into())) }
}

/// A JSON object as a protobuf `Struct`.
pub fn structure(fields: &serde_json::Map<String, serde_json::Value>) -> Struct {
    Struct { fields: fields.iter().map(|(name, field)| (name.clone(), value(field))).collect() }
}

/// A `google.protobuf.Struct` as bytes; the same of the same.
pub fn encode_struct(fields: &Struct) -> Vec<u8> {
    prost::Message::encode_to_vec(fields)
}

/// The `google.protobuf.Struct` of these bytes.
///
/// # Errors
/// If they are none, or values lie in each other without end.
pub fn decode_struct(bytes: &[u8]) -> Result<Struct, prost::DecodeError> {
    prost::Message::decode(bytes)
}

/// A JSON value as a protobuf `Value`.
pub fn value(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(flag) => Kind::BoolValue(*flag),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(items) => Kind::ListValue(ListValue { values: items.iter().map(value).collect() }),
        Json::Object(fields) => Kind::StructValue(structure(fields)),
    };
    Value { kind: Some(kind) }
}

/// A protobuf value as JSON; whole numbers are written without a point.
pub fn json(kind: &Kind) -> serde_json::Value {
    use serde_json::Value as Json;
    let of = |value: &Value| value.kind.as_ref().map_or(Json::Null, json);
    match kind {
        Kind::NullValue(_) => Json::Null,
        Kind::BoolValue(flag) => Json::Bool(*flag),
        Kind::NumberValue(number) if number.fract() == 0.0 && number.abs() < 1e15 => Json::from(*number as i64),
        Kind::NumberValue(number) => Json::from(*number),
        Kind::StringValue(text) => Json::String(text.clone()),
        Kind::ListValue(list) => Json::Array(list.values.iter().map(of).collect()),
        Kind::StructValue(fields) => Json::Object(fields.fields.iter().map(|(name, value)| (name.clone(), of(value))).collect()),
    }
}

/// Metadata with one text: `namespace` and `key` as in `%METADATA(ROUTE:namespace:key)%`.
pub fn set_metadata(metadata: &mut Metadata, namespace: &str, key: &str, value: Value) {
    let fields = metadata.filter_metadata.entry(namespace.to_owned()).or_default();
    fields.fields.insert(key.to_owned(), value);
}

/// The text at `namespace` and `key`, if there is one.
pub fn metadata_text<'m>(metadata: &'m Metadata, namespace: &str, key: &str) -> Option<&'m str> {
    match metadata.filter_metadata.get(namespace)?.fields.get(key)?.kind.as_ref()? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_another_kind_is_none() {
        let of = |change: fn(&mut SocketAddress)| {
            let mut address = super::socket_address("10.0.0.1", 80);
            if let Some(address::Address::SocketAddress(socket)) = &mut address.address {
                change(socket);
            }
            to_socket_addr(&address).is_some()
        };
        assert!(of(|_| {}));
        assert!(!of(|socket| socket.protocol = socket_address::Protocol::Udp as i32));
        assert!(!of(|socket| socket.network_namespace_filepath = "/run/netns/other".into()));
        assert!(!of(|socket| socket.port_specifier = Some(socket_address::PortSpecifier::PortValue(65_536))));
        assert!(!of(|socket| socket.port_specifier = Some(socket_address::PortSpecifier::NamedPort("http".into()))));
    }
}
