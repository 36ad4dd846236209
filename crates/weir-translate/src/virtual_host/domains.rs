//! The names and addresses that clients call a service by.
//!
//! Facts: `generateVirtualHostDomains` in pilot/pkg/networking/core/httproute.go of Istio.

use std::collections::HashSet;
use std::sync::Arc;

use weir_model::{Registry, Resolution, Service};

use crate::context::Context;
use crate::names::{bracketed, host_and_port};

/// The domains of a service, and those of them that are short for its full name.
pub(super) struct Domains {
    pub all: Vec<String>,
    pub short: HashSet<String>,
}

/// The domains of a service for a client. With a port, each stands once without it and once with it.
pub(super) fn of_service(context: &Context<'_>, service: &Service, port: Option<u16>) -> Domains {
    let (namespace, domain) = (&context.proxy.namespace, &context.mesh.domain);
    let mut names: Vec<String> = vec![];
    let mut short = HashSet::new();
    for hostname in std::iter::once(&service.hostname).chain(&service.aliases) {
        let mut shortened = short_names(hostname, namespace, domain);
        shortened.insert(0, format!("{hostname}."));
        with_port(&mut names, hostname, port);
        shortened.iter().for_each(|name| with_port(&mut names, name, port));
        short.extend(shortened);
    }
    if service.resolution == Resolution::Passthrough && service.registry == Registry::Kubernetes {
        let instances: Vec<String> = names.iter().map(|name| format!("*.{name}")).collect();
        names.extend(instances);
    }
    // A range of addresses is no name.
    for address in context.addresses(service).iter().filter(|address| address.parse::<std::net::IpAddr>().is_ok()) {
        with_port(&mut names, address, port);
    }
    Domains { all: names, short }
}

/// The domains of a host that is no service's.
pub(super) fn of_host(host: &str, port: Option<u16>) -> Vec<String> {
    let mut names = vec![];
    with_port(&mut names, host, port);
    names
}

fn with_port(names: &mut Vec<String>, name: &str, port: Option<u16>) {
    names.push(bracketed(name));
    if let Some(port) = port {
        names.push(host_and_port(name, port));
    }
}

/// What a service of the mesh's domain is called for short: by its name alone only within its namespace.
fn short_names(hostname: &Arc<str>, namespace: &str, domain: &str) -> Vec<String> {
    let Some((name, owner)) =
        hostname.strip_suffix(domain).and_then(|rest| rest.strip_suffix(".svc.")).and_then(|rest| rest.split_once('.'))
    else {
        return vec![];
    };
    if owner.contains('.') {
        return vec![];
    }
    match owner == namespace {
        true => vec![name.to_owned(), format!("{name}.{owner}.svc"), format!("{name}.{owner}")],
        false => vec![format!("{name}.{owner}"), format!("{name}.{owner}.svc")],
    }
}

/// Gives each domain to the first virtual host that claims it.
#[derive(Default)]
pub(super) struct Claims {
    taken: HashSet<String>,
    /// The full names of services: none of them is taken by what is short for another.
    full: HashSet<String>,
}

impl Claims {
    pub fn new(full: impl Iterator<Item = String>) -> Self {
        Self { taken: HashSet::new(), full: full.collect() }
    }

    /// Those of the domains that nothing had before.
    pub fn claim(&mut self, domains: Domains) -> Vec<String> {
        let Domains { all, short } = domains;
        let free =
            |domain: &String| !(short.contains(domain) && self.full.contains(domain)) && self.taken.insert(domain.to_ascii_lowercase());
        let mut free = free;
        all.into_iter().filter(|domain| free(domain)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shortened_within_the_mesh_only() {
        let short = |hostname: &str, namespace: &str| short_names(&hostname.into(), namespace, "cluster.local");
        assert_eq!(short("reviews.default.svc.cluster.local", "default"), ["reviews", "reviews.default.svc", "reviews.default"]);
        assert_eq!(short("reviews.default.svc.cluster.local", "other"), ["reviews.default", "reviews.default.svc"]);
        assert!(short("reviews.example.com", "default").is_empty());
        assert!(short("a.b.c.svc.cluster.local", "c").is_empty());
    }
}
