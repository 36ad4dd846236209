//! VirtualServices for the same host in the mesh: a sidecar takes one of them, and the rules of the others have no effect.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use weir_api::Document;
use weir_model::host::is_wildcard;

use super::codes::CONFLICTING_MESH_HOSTS;
use super::finding::{Report, listed, path};
use super::hosts::{EVERYWHERE, full_name, scopes};
use super::index::Index;

/// The VirtualServices for hosts, by full name and by who sees them.
type Claims<'i> = BTreeMap<(String, &'i str), Vec<&'i Document>>;

/// Looks at all VirtualServices that apply to the mesh. Each is told once.
pub(super) fn check(index: &Index<'_>, report: &mut Report) {
    let mut claims = Claims::new();
    for (document, service) in index.virtual_services().filter(|(_, service)| service.applies_to_mesh()) {
        let namespace = document.meta.namespace.as_str();
        for scope in scopes(service.export_to.iter().map(String::as_str), namespace) {
            for host in &service.hosts {
                claims.entry((full_name(host, namespace), scope)).or_default().push(document);
            }
        }
    }
    let public = Public::of(&claims);
    let mut told = BTreeSet::new();
    for ((host, scope), own) in &claims {
        let mut documents = own.clone();
        if *scope != EVERYWHERE {
            documents.extend(public.overlapping(host));
        }
        if documents.len() < 2 {
            continue;
        }
        let names: BTreeSet<String> = documents.iter().map(|one| format!("{}/{}", one.meta.namespace, one.meta.name)).collect();
        let names: Vec<String> = names.into_iter().collect();
        for document in documents.into_iter().filter(|one| told.insert((&one.meta.namespace, &one.meta.name))) {
            let message = format!("the VirtualServices {} are all for {host} in the mesh: the rules of one alone count", listed(&names));
            let help = "put their rules into one of them, or have it delegate to the others".to_owned();
            report.say_help(CONFLICTING_MESH_HOSTS, document, path("spec.hosts"), message, help);
        }
    }
}

/// Those that all namespaces see, by their hosts.
struct Public<'c> {
    exact: HashMap<&'c str, &'c [&'c Document]>,
    /// By what follows the `*`.
    wildcards: HashMap<&'c str, &'c [&'c Document]>,
    /// In the order of their names from behind, so that those of one ending stand together.
    by_end: Vec<(String, &'c [&'c Document])>,
}

impl<'c> Public<'c> {
    fn of(claims: &'c Claims<'_>) -> Self {
        let mut public = Self { exact: HashMap::new(), wildcards: HashMap::new(), by_end: vec![] };
        for ((host, _), documents) in claims.iter().filter(|((_, scope), _)| *scope == EVERYWHERE) {
            match host.strip_prefix('*') {
                Some(suffix) => public.wildcards.insert(suffix, documents),
                None => public.exact.insert(host, documents),
            };
            public.by_end.push((backwards(host.trim_start_matches('*')), documents));
        }
        public.by_end.sort_by(|a, b| a.0.cmp(&b.0));
        public
    }

    /// Those whose host has names in common with another.
    fn overlapping(&self, host: &str) -> Vec<&'c Document> {
        let rest = host.strip_prefix('*').unwrap_or(host);
        let suffixes = (0..=rest.len()).filter_map(|start| rest.get(start..));
        let wider = suffixes.filter_map(|suffix| self.wildcards.get(suffix));
        let mut found: Vec<&Document> = wider.flat_map(|documents| documents.iter().copied()).collect();
        if is_wildcard(host) {
            let end = backwards(rest);
            let first = self.by_end.partition_point(|(name, _)| *name < end);
            let narrower = self.by_end.iter().skip(first).take_while(|(name, _)| name.starts_with(&end));
            found.extend(narrower.flat_map(|(_, documents)| documents.iter().copied()));
        } else {
            found.extend(self.exact.get(host).into_iter().flat_map(|documents| documents.iter().copied()));
        }
        found
    }
}

fn backwards(host: &str) -> String {
    host.chars().rev().collect()
}
