//! `weir proxy-config`: what a proxy has, or was sent, as tables.

mod clusters;
mod endpoints;
mod listeners;
mod routes;
mod secrets;

use std::process::ExitCode;

use serde_json::Value;

use super::dump::{Dump, Section, text};
use crate::cli::{Output, ProxyConfig};
use crate::print;

/// Asks, and prints.
///
/// # Errors
/// If nobody answers, or there is no such proxy.
pub(crate) fn run(what: &ProxyConfig) -> anyhow::Result<ExitCode> {
    let of = what.of();
    let dump = Dump::fetch(of.ask.admin, of.proxy.as_deref())?;
    let (found, table) = match what {
        ProxyConfig::Clusters(args) => {
            let found = clusters::filter(dump.of(Section::Clusters), args);
            (list(&found), clusters::table(&found))
        }
        ProxyConfig::Listeners(args) => {
            let found = listeners::filter(dump.of(Section::Listeners), args);
            (list(&found), listeners::table(&found))
        }
        ProxyConfig::Routes(args) => {
            let found = routes::filter(dump.of(Section::Routes), args);
            (list(&found), routes::table(&found, args.fqdn.as_deref()))
        }
        ProxyConfig::Endpoints(args) => {
            let found = endpoints::filter(&dump, args);
            (endpoints::list(&found), endpoints::table(&found))
        }
        ProxyConfig::Secrets(args) => {
            let found = secrets::filter(dump.of(Section::Secrets), args);
            (list(&found), secrets::table(&found))
        }
        ProxyConfig::All(_) => (dump.whole().clone(), all(&dump)),
    };
    match of.ask.output {
        Output::Table => print::result(&table),
        output => print::value(&found, output)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(resources: &[&Value]) -> Value {
    resources.iter().map(|resource| (*resource).clone()).collect()
}

fn all(dump: &Dump) -> String {
    let tables = [
        clusters::table(&dump.of(Section::Clusters)),
        listeners::table(&dump.of(Section::Listeners)),
        routes::table(&dump.of(Section::Routes), None),
        endpoints::table(&endpoints::all(dump)),
        secrets::table(&dump.of(Section::Secrets)),
    ];
    tables.join("\n")
}

/// The object that a resource was made of, `reviews.default`, where its metadata names one.
fn made_of(resource: &Value) -> String {
    let path = text(resource, "/metadata/filter_metadata/istio/config");
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match parts.as_slice() {
        ["apis", _, _, "namespaces", namespace, _, name] => format!("{name}.{namespace}"),
        _ => String::new(),
    }
}

fn dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}
