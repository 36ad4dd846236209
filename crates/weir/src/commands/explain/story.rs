//! An answer as a story: one step a line, with the place of the rule that decided.

use weir_analysis::explain::{Answer, Call, Protocol, Tls};
use weir_model::{Proxy, ProxyKind};

use crate::print;

/// Tells the way of a call, from a proxy that has a name, or from any.
pub(super) fn tell(call: &Call, proxy: &Proxy, is_known: bool, answer: &Answer) -> String {
    let rows = answer.steps.iter().map(|step| {
        let place = step.source.as_ref().map(|place| format!("{}:{}", place.file, place.line)).unwrap_or_default();
        vec![step.what.clone(), step.why.clone(), place]
    });
    format!("{}\n\n{}\n{}\n", question(call, proxy, is_known), print::table(&["WHAT", "WHY", "WHERE"], rows.collect()), end(answer))
}

fn question(call: &Call, proxy: &Proxy, is_known: bool) -> String {
    let host = call.host.as_deref().unwrap_or_default();
    let what = match call.protocol {
        Protocol::Tcp => format!("a connection to {}", call.destination()),
        Protocol::Http | Protocol::Http2 => {
            let scheme = if call.tls == Tls::Plaintext { "http" } else { "https" };
            let (method, path) = (call.method.as_deref().unwrap_or("GET"), call.path.as_deref().unwrap_or("/"));
            format!("{method} {scheme}://{host}{path}, sent to port {}", call.port)
        }
    };
    let who = match (proxy.kind, is_known) {
        (ProxyKind::Router, false) => "a gateway".to_owned(),
        (ProxyKind::Router, true) => format!("the gateway {}", proxy.name),
        (ProxyKind::Sidecar, false) => "the sidecar of a client".to_owned(),
        (ProxyKind::Sidecar, true) => format!("the sidecar of {}", proxy.name),
    };
    format!("{what}, at {who} in namespace {}", proxy.namespace)
}

/// The last line: where it went.
fn end(answer: &Answer) -> String {
    let names: Vec<&str> = answer.clusters.iter().map(|share| share.name.as_str()).collect();
    match (&answer.error, names.as_slice()) {
        (Some(error), _) => format!("It goes nowhere: {error:?}."),
        (None, []) => "The proxy answers itself.".to_owned(),
        (None, names) => format!("It goes to {}.", names.join(" or ")),
    }
}
