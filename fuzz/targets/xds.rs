//! Messages of xDS, in their binary form or as JSON: whatever a server sends is compiled or refused. The first byte says of which kind.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use weir_config::cluster::ClusterPolicy;
use weir_config::endpoints::Assignment;
use weir_config::http::HttpConfig;
use weir_config::listener::Listener;
use weir_config::unsupported;
use weir_http1::Headers;
use weir_routing::{RequestHead, RouteTable};
use weir_xds::{Any, Message, json};

/// The message, and what the proxy says of it.
fn message<M: Message>(bytes: &[u8]) -> Option<M> {
    let message: M = if bytes.starts_with(b"{") {
        json::from_value(serde_json::from_slice(bytes).ok()?).ok()?
    } else {
        <M as Message>::decode(Bytes::copy_from_slice(bytes)).ok()?
    };
    let _ = unsupported::report(&Any::pack(&message));
    Some(message)
}

fn route(bytes: &[u8]) {
    let Some(table) = message(bytes).and_then(|routes| RouteTable::compile(&routes, None).ok()) else { return };
    let headers = Headers::new();
    for path in ["/", "/a/b?c=d"] {
        table.decide(&RequestHead { method: "GET", scheme: "http", authority: "a.test:80", path, headers: &headers, random: 4 });
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 5 {
        0 => drop(message(bytes).map(|message| ClusterPolicy::compile(&message).map(drop))),
        1 => drop(message(bytes).map(|message| Assignment::compile(&message).map(drop))),
        2 => drop(message(bytes).map(|message| Listener::compile(&message, None).map(drop))),
        3 => drop(message(bytes).map(|message| HttpConfig::compile(&message).map(drop))),
        _ => route(bytes),
    }
});
