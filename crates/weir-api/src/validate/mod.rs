//! Whether a resource makes sense: Istio's rules, and some more, for what can be told from one resource alone.
//!
//! An error refuses the resource; a warning lets it pass and says what will not be as it was probably meant.
//! Paths begin at the root of the document; whoever has the text adds the places.

mod authorization_policy;
mod checker;
mod destination_rule;
mod envoy_filter;
mod gateway;
mod headers;
mod hosts;
mod http_action;
mod http_route;
mod ingress;
mod load_balancer;
mod mesh_config;
mod mesh_effects;
mod peer_authentication;
mod preflight;
mod re2;
mod reachable;
mod request_authentication;
mod rule;
mod server_tls;
mod service;
mod service_entry;
mod sidecar;
#[cfg(test)]
mod testing;
mod values;
mod virtual_service;
mod workload;
mod written;

use crate::diagnostic::{Diagnostic, Severity};
use crate::kind::Kind;
use crate::node::Node;
use crate::resources::MeshConfig;
use crate::resources::Spec;
use crate::resources::authorization_policy::DRY_RUN;
use crate::resources::meta::ObjectMeta;
pub(crate) use authorization_policy::TARGETS;
use checker::Checker;
pub use envoy_filter::takes_version;

/// What is to be said of a resource.
pub fn check(meta: &ObjectMeta, spec: &Spec) -> Vec<Diagnostic> {
    let mut checker = Checker::new(&meta.namespace);
    let c = &mut checker;
    workload::check_namespace(c, meta);
    match spec {
        Spec::VirtualService(spec) => c.field("spec", |c| virtual_service::check(c, spec)),
        Spec::DestinationRule(spec) => c.field("spec", |c| destination_rule::check(c, spec)),
        Spec::Gateway(spec) => gateway::check(c, &meta.name, spec),
        Spec::ServiceEntry(spec) => c.field("spec", |c| service_entry::check(c, meta, spec)),
        Spec::WorkloadEntry(spec) => workload::check_entry(c, meta, spec),
        Spec::WorkloadGroup(spec) => c.field("spec", |c| workload::check_group(c, spec)),
        Spec::Sidecar(spec) => c.field("spec", |c| sidecar::check(c, spec)),
        Spec::EnvoyFilter(spec) => c.field("spec", |c| envoy_filter::check(c, spec)),
        Spec::RequestAuthentication(spec) => c.field("spec", |c| request_authentication::check(c, spec)),
        Spec::AuthorizationPolicy(spec) => {
            authorization_policy::check(c, meta, spec);
            return checker.finish();
        }
        Spec::PeerAuthentication(spec) => c.field("spec", |c| peer_authentication::check(c, spec)),
        // The API server has checked what is its own.
        Spec::Ingress(ingress) => {
            if ingress.is_ours(meta) {
                c.field("spec", |c| ingress::check(c, ingress));
            }
            return checker.finish();
        }
        Spec::Service(written) => {
            c.field("spec", |c| service::check(c, &written.spec));
            return checker.finish();
        }
        Spec::EndpointSlice(_) | Spec::Endpoints(_) => return checker.finish(),
        Spec::Node(_) | Spec::Namespace(_) | Spec::Secret(_) | Spec::ConfigMap(_) => return checker.finish(),
        // But whom a certificate is for is not left to who wrote a file.
        Spec::Pod(pod) => {
            c.field("spec", |c| workload::check_pod(c, pod));
            return checker.finish();
        }
    }
    // Only AuthorizationPolicies can be tried without being carried out.
    if meta.annotations.contains_key(DRY_RUN) {
        c.field("metadata", |c| {
            c.field("annotations", |c| {
                c.field(DRY_RUN, |c| c.error_help("the resource cannot be tried without being carried out", "remove the annotation"))
            });
        });
    }
    checker.finish()
}

/// What is to be said of the text of a resource of Istio's, besides [`check`].
pub fn check_text(kind: Kind, document: &Node) -> Vec<Diagnostic> {
    let mut checker = Checker::new("");
    written::check(&mut checker, kind, document);
    checker.finish()
}

/// What is to be said of a mesh's configuration, and of its text; paths begin at its root.
pub fn check_mesh_config(mesh: &MeshConfig, text: &Node) -> Vec<Diagnostic> {
    let mut checker = Checker::new("");
    mesh_config::check(&mut checker, mesh);
    let mut found = checker.finish();
    if found.iter().all(|diagnostic| diagnostic.severity != Severity::Error) {
        found.extend(mesh_effects::check(text));
    }
    found
}
