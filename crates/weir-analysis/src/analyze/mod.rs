//! What is wrong with documents as they stand together: `weir analyze`, and what the pilot writes into the status of a cluster's objects.
//!
//! Codes, levels and conditions are those of Istio's analysis (pkg/config/analysis), so that a script which knows `istioctl analyze`
//! knows this; the words are ours. One module for each family of findings; each looks at the [`Index`] of all documents and adds to
//! the [`Report`]. What is decided elsewhere is not decided again: hosts and their wildcards, labels of workloads, protocols of ports
//! and certificates are those of `weir-model` and `weir-translate`, and what is to be said of one document alone is `weir-api`'s.

mod annotations;
mod authorization;
mod claims;
mod codes;
mod conditions;
mod credentials;
mod deployments;
mod deprecated;
mod destination_rules;
mod destinations;
mod envoy_filters;
mod finding;
mod gateway_api;
mod gateways;
mod hosts;
mod images;
mod in_mesh;
mod index;
mod injection;
mod mesh_hosts;
mod networks;
mod rules;
mod schema;
mod selection;
mod service_entries;
mod services;
mod sidecars;
mod telemetry;
mod tree;
mod validity;
mod values;
mod virtual_services;
mod webhooks;

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;
use weir_api::resources::MeshConfig;
use weir_api::resources::mesh_config::IngressControllerMode;
use weir_api::{Diagnostic, Document, Node, Source, documents};

pub use codes::{ALL, Code};
use finding::Report;
pub use finding::{Finding, Printed};
use index::Index;

/// What is analysed.
pub struct Input<'i> {
    /// All documents.
    pub documents: &'i [Document],
    /// What is to be said of texts that are no documents.
    pub unreadable: &'i [Diagnostic],
    /// The mesh's configuration.
    pub mesh: &'i Arc<MeshConfig>,
    /// The same as it is written, without defaults; null if it is not.
    pub written: &'i Value,
    /// The mesh's networks, if they are known: a `MeshNetworks` and its text.
    pub networks: Option<(&'i Arc<Source>, &'i Node)>,
    /// The time at which certificates must be valid; without it none has expired.
    pub now: Option<SystemTime>,
    /// Whether the mesh has the standard gateway, though no document says so: true for files, which leave it out; false for a cluster.
    pub has_standard_gateway: bool,
    /// Whether annotations of features in their first phase are told.
    pub alpha_annotations: bool,
}

/// All that is to be said, in the order of the objects' names, and each thing once.
pub fn analyze(input: &Input<'_>) -> Vec<Finding> {
    let gateway = standard_gateway(input);
    let index = Index::new(input.documents.iter().chain(&gateway));
    let mut report = Report::default();
    for diagnostic in input.unreadable {
        report.add_alone(codes::UNREADABLE, diagnostic.clone());
    }
    schema::check(&index, input.documents.iter(), &mut report);
    rules::check(&index, input, &mut report);
    annotations::check(&index, input, &mut report);
    authorization::check(&index, input, &mut report);
    claims::check(&index, input, &mut report);
    conditions::check(&index, &mut report);
    deployments::check(&index, &mut report);
    deprecated::check(&index, &mut report);
    destination_rules::check(&index, &mut report);
    envoy_filters::check(&index, &mut report);
    gateway_api::check(&index, &mut report);
    gateways::check(&index, input, &mut report);
    injection::check(&index, input, &mut report);
    mesh_hosts::check(&index, &mut report);
    networks::check(&index, input, &mut report);
    service_entries::check(&index, input, &mut report);
    services::check(&index, &mut report);
    sidecars::check(&index, &mut report);
    telemetry::check(&index, input, &mut report);
    virtual_services::check(&index, &mut report);
    webhooks::check(&index, &mut report);
    report.finish()
}

/// The pod and the Service of the standard gateway, which a mesh of files has without saying so (`--gateway` of `weir run`), unless it
/// serves no Ingress.
fn standard_gateway(input: &Input<'_>) -> Vec<Document> {
    if !input.has_standard_gateway || input.mesh.ingress_controller_mode == IngressControllerMode::Off {
        return vec![];
    }
    let (name, namespace) = (&input.mesh.ingress_service, &input.mesh.root_namespace);
    let ports = [80, 443, 15443, 31400].map(|port| format!("{{port: {port}, name: tcp-{port}, protocol: TCP}}")).join(", ");
    let text = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: {namespace}, labels: {{{LABELS}}}}}}}\n---\n\
         {{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: {namespace}}}, spec: {{selector: {{{LABELS}}}, ports: [{ports}]}}}}\n"
    );
    documents(&Source::new(STANDARD_GATEWAY, text)).0
}

/// The text of the standard gateway, which nobody wrote.
const STANDARD_GATEWAY: &str = "(the standard gateway)";

/// The labels of the standard gateway.
const LABELS: &str = "istio: ingressgateway, app: istio-ingressgateway";
