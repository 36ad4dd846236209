//! ServiceEntries: addresses where TCP takes them, and one protocol for a port of a host.

use std::collections::{BTreeMap, BTreeSet};

use weir_api::resources::ServiceEntry;
use weir_api::resources::service_entry::ServiceEntryStatus;
use weir_api::{Document, FieldPath};

use super::Input;
use super::codes::{ADDRESSES_REQUIRED, CONFLICTING_PROTOCOLS};
use super::finding::{Report, listed, path};
use super::hosts::{EVERYWHERE, scopes};
use super::index::Index;

/// The settings of proxies by which names get addresses.
const CAPTURE: &str = "ISTIO_META_DNS_CAPTURE";
const ALLOCATE: [&str; 2] = ["ISTIO_META_DNS_AUTO_ALLOCATE", "PILOT_ENABLE_IP_AUTOALLOCATE"];

/// Looks at all ServiceEntries.
pub(super) fn check(index: &Index<'_>, input: &Input<'_>, report: &mut Report) {
    let metadata = &input.written["defaultConfig"]["proxyMetadata"];
    let is_set = |name: &str| metadata[name] == "true";
    let allocates = is_set(CAPTURE) && ALLOCATE.iter().any(|name| is_set(name));
    if !allocates {
        for (document, entry) in index.service_entries() {
            check_addresses(document, entry, report);
        }
    }
    check_protocols(index, report);
}

fn check_addresses(document: &Document, entry: &ServiceEntry, report: &mut Report) {
    if !entry.addresses.is_empty() || !ServiceEntryStatus::read(document.node()).addresses.is_empty() {
        return;
    }
    for (number, port) in entry.ports.iter().enumerate() {
        if port.protocol.is_empty() || port.protocol.eq_ignore_ascii_case("TCP") {
            let message =
                format!("TCP is told apart by addresses, and there are none: port {} takes connections for all hosts", port.number);
            let help = "set `addresses`, or a protocol that tells its host (HTTP, TLS)".to_owned();
            let at = path("spec.ports").index(number);
            let field = if port.protocol.is_empty() { at } else { at.key("protocol") };
            report.say_help(ADDRESSES_REQUIRED, document, field, message, help);
        }
    }
}

/// Whoever sees several ServiceEntries for a host and port gets one of their protocols. Each is told once.
fn check_protocols(index: &Index<'_>, report: &mut Report) {
    type Claim<'i> = (String, &'i Document, FieldPath);
    let mut claims: BTreeMap<(&str, u32), BTreeMap<&str, Vec<Claim<'_>>>> = BTreeMap::new();
    for (document, entry) in index.service_entries() {
        for scope in scopes(entry.export_to.iter().map(String::as_str), &document.meta.namespace) {
            for host in &entry.hosts {
                for (number, port) in entry.ports.iter().enumerate() {
                    let claim = (port.protocol.to_ascii_uppercase(), document, path("spec.ports").index(number).key("protocol"));
                    claims.entry((host, port.number)).or_default().entry(scope).or_default().push(claim);
                }
            }
        }
    }
    let mut told = BTreeSet::new();
    for ((host, port), by_scope) in &claims {
        for (scope, own) in by_scope {
            let public = if *scope == EVERYWHERE { None } else { by_scope.get(EVERYWHERE) };
            let all: Vec<_> = own.iter().chain(public.into_iter().flatten()).collect();
            let protocols: BTreeSet<&str> = all.iter().map(|(protocol, ..)| protocol.as_str()).collect();
            if protocols.len() < 2 {
                continue;
            }
            let names: BTreeSet<String> = all.iter().map(|(_, document, _)| name(document)).collect();
            let (names, protocols): (Vec<String>, Vec<&str>) = (names.into_iter().collect(), protocols.into_iter().collect());
            for (_, document, at) in all.into_iter().filter(|(_, document, _)| told.insert(name(document))) {
                let message = format!(
                    "the ServiceEntries {} say different protocols for port {port} of {host}: {}",
                    listed(&names),
                    protocols.join(", ")
                );
                report.say_help(CONFLICTING_PROTOCOLS, document, at.clone(), message, "say one protocol".to_owned());
            }
        }
    }
}

fn name(document: &Document) -> String {
    format!("{}/{}", document.meta.namespace, document.meta.name)
}
