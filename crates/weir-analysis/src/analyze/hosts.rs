//! The hosts that destinations may name, and who sees them.

use std::collections::HashMap;

use weir_api::Document;
use weir_api::resources::kubernetes::Service;
use weir_api::resources::meta::Labels;
use weir_api::resources::{ServiceEntry, WorkloadEntry};
use weir_model::DEFAULT_DOMAIN;
use weir_model::host::{expand, is_wildcard};

use super::STANDARD_GATEWAY;

/// The annotation of a Service that says who sees it.
const EXPORT_TO: &str = "networking.istio.io/exportTo";
/// The scope that is all namespaces.
pub(crate) const EVERYWHERE: &str = "*";

/// What is behind a host.
#[derive(Debug, Clone)]
pub(crate) struct Host<'i> {
    /// Its ports.
    pub(crate) ports: Vec<u32>,
    /// The labels of its instances, if a ServiceEntry selects them.
    pub(crate) selector: Option<&'i Labels>,
    /// Its instances, if a ServiceEntry lists them.
    pub(crate) endpoints: &'i [WorkloadEntry],
}

/// All hosts, each with those who see it.
#[derive(Default)]
pub(crate) struct Hosts<'i> {
    /// By full name, then by the namespace that sees it.
    by_name: HashMap<String, HashMap<String, Host<'i>>>,
    /// Wildcards by what follows the `*`.
    wildcards: HashMap<String, HashMap<String, Host<'i>>>,
    /// How many somebody wrote.
    written: usize,
}

/// The full name that a host of a document means.
pub(crate) fn full_name(host: &str, namespace: &str) -> String {
    expand(host, namespace, DEFAULT_DOMAIN)
}

/// The namespaces that `exportTo` means, or [`EVERYWHERE`].
pub(crate) fn scopes<'w>(export_to: impl Iterator<Item = &'w str>, namespace: &'w str) -> Vec<&'w str> {
    let mut scopes: Vec<&str> = export_to.map(|word| if word == "." { namespace } else { word }).collect();
    scopes.sort_unstable();
    scopes.dedup();
    if scopes.is_empty() || scopes.contains(&EVERYWHERE) { vec![EVERYWHERE] } else { scopes }
}

impl<'i> Hosts<'i> {
    /// Adds those of a ServiceEntry.
    pub(crate) fn add_entry(&mut self, document: &'i Document, entry: &'i ServiceEntry) {
        let host = Host {
            ports: entry.ports.iter().map(|port| port.number).collect(),
            selector: entry.workload_selector.as_ref().map(|selector| &selector.labels),
            endpoints: &entry.endpoints,
        };
        self.written += entry.hosts.len();
        let scopes = scopes(entry.export_to.iter().map(String::as_str), &document.meta.namespace);
        for name in &entry.hosts {
            self.add(full_name(name, &document.meta.namespace), &scopes, &host);
        }
    }

    /// Adds that of a Service.
    pub(crate) fn add_service(&mut self, document: &'i Document, service: &'i Service) {
        let meta = &document.meta;
        self.written += usize::from(document.source.path != STANDARD_GATEWAY);
        let ports = service.spec.ports.iter().filter_map(|port| u32::try_from(port.port).ok()).collect();
        let written = meta.annotations.get(EXPORT_TO).map(String::as_str).filter(|written| !written.is_empty());
        let scopes = scopes(written.into_iter().flat_map(|words| words.split(',')).map(str::trim), &meta.namespace);
        self.add(full_name(&meta.name, &meta.namespace), &scopes, &Host { ports, selector: None, endpoints: &[] });
    }

    fn add(&mut self, name: String, scopes: &[&str], host: &Host<'i>) {
        if let Some(suffix) = name.strip_prefix('*') {
            let of_suffix = self.wildcards.entry(suffix.to_owned()).or_default();
            of_suffix.extend(scopes.iter().map(|scope| ((*scope).to_owned(), host.clone())));
        }
        let of_name = self.by_name.entry(name).or_default();
        of_name.extend(scopes.iter().map(|scope| ((*scope).to_owned(), host.clone())));
    }

    /// Whether there are none but that of the standard gateway.
    pub(crate) fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// What a rule of a namespace means by a host: one that all see, or that those see who see the rule; else the narrowest wildcard
    /// that its own namespace sees.
    pub(crate) fn find(&self, host: &str, namespace: &str, export_to: &[String]) -> Option<&Host<'i>> {
        let name = full_name(host, namespace);
        let own = [namespace.to_owned()];
        let viewers = if export_to.is_empty() { &own[..] } else { export_to };
        let words = || std::iter::once(EVERYWHERE).chain(viewers.iter().map(|word| if word == "." { namespace } else { word }));
        let seen = self.by_name.get(&name).and_then(|scopes| words().find_map(|word| scopes.get(word)));
        seen.or_else(|| self.wildcard(&name, namespace))
    }

    /// Whether a rule of a namespace for all hosts of some ending is for any: one that ends so is seen where the rule is, or where it is.
    pub(crate) fn any_ends_as(&self, host: &str, namespace: &str, export_to: &[String]) -> bool {
        let Some(suffix) = host.strip_prefix('*') else { return false };
        self.by_name.keys().any(|name| name.ends_with(suffix) && self.find(name, namespace, export_to).is_some())
    }

    fn wildcard(&self, name: &str, namespace: &str) -> Option<&Host<'i>> {
        if self.wildcards.is_empty() {
            return None;
        }
        let rest = if is_wildcard(name) { name.get(1..)? } else { name };
        let suffixes = (0..=rest.len()).filter_map(|start| rest.get(start..));
        suffixes.filter_map(|suffix| self.wildcards.get(suffix)).find_map(|scopes| scopes.get(EVERYWHERE).or_else(|| scopes.get(namespace)))
    }
}
