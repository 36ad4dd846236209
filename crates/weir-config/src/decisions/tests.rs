use std::collections::HashSet;

use weir_xds::schema::{DeclaredField, declared_fields};
use weir_xds::walk::Below;

use super::*;

/// The resources that a proxy gets.
const RESOURCES: [&str; 6] = [
    "envoy.config.cluster.v3.Cluster",
    "envoy.config.core.v3.TypedExtensionConfig",
    "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "envoy.config.listener.v3.Listener",
    "envoy.config.route.v3.RouteConfiguration",
    "envoy.extensions.transport_sockets.tls.v3.Secret",
];

fn below(field: &DeclaredField) -> Below {
    match decision(&field.message, &field.name) {
        Some(FieldDecision::CarriedOut) | None => Below::Visit,
        Some(_) => Below::Skip,
    }
}

/// Everything that a proxy could be told.
fn within_reach() -> Vec<DeclaredField> {
    let packed: Vec<String> = tables().filter(|decided| decided.is_packed).map(Decided::full_name).collect();
    declared_fields(RESOURCES, packed.iter().map(String::as_str), below).expect("known types").collect()
}

#[test]
fn somebody_has_decided_about_every_field() {
    let undecided: Vec<String> = within_reach()
        .iter()
        .filter(|field| decision(&field.message, &field.name).is_none())
        .map(|field| format!("{}.{}", field.message, field.name))
        .collect();
    assert!(undecided.is_empty(), "nobody has decided about\n{}", undecided.join("\n"));
}

#[test]
fn decisions_are_about_fields_that_there_are() {
    let names: Vec<String> = tables().map(Decided::full_name).collect();
    let declared = declared_fields(names.iter().map(String::as_str), [], |_| Below::Skip).expect("known types");
    let declared: HashSet<(String, String)> = declared.map(|field| (field.message, field.name)).collect();
    let reached: HashSet<String> = within_reach().into_iter().map(|field| field.message).collect();
    let mut seen = HashSet::new();
    for decided in tables() {
        let message = decided.full_name();
        let is_empty = decided.fields().next().is_none();
        assert!(is_empty || reached.contains(&message), "{message} is nowhere in what a proxy gets");
        for (field, _) in decided.fields() {
            assert!(declared.contains(&(message.clone(), field.to_owned())), "{message} has no field {field}");
            assert!(seen.insert((message.clone(), field)), "{message}.{field} is decided about twice");
        }
    }
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "a message stands there twice");
}

#[test]
fn what_happens_instead_is_said() {
    for (field, decision) in tables().flat_map(Decided::fields) {
        if let FieldDecision::Reported(instead) | FieldDecision::ReportedUnlessZero(instead) = decision {
            let begins_low =
                instead.chars().next().is_some_and(|first| first.is_lowercase() || first == '`' || instead.starts_with("CONNECT"));
            let begins = begins_low || ["METADATA", "Envoy"].iter().any(|word| instead.starts_with(word));
            assert!(begins && !instead.ends_with('.'), "{field}: {instead}");
        }
    }
}

#[test]
fn defaults_are_those_of_fields_that_are_reported() {
    for default in DEFAULTS {
        assert_eq!(decision(default.holder, default.field), Some(FieldDecision::CarriedOut));
        let message = format!("{}.{}", default.holder.rsplit_once('.').expect("a package").0, default.message);
        assert!(matches!(decision(&message, default.absent), Some(FieldDecision::ReportedUnlessZero(_))), "{message}");
    }
}

#[test]
fn packed_types_are_those_that_are_looked_into() {
    assert!(may_be_packed("envoy.extensions.filters.http.router.v3.Router"));
    assert!(!may_be_packed("envoy.config.route.v3.Route"));
    assert!(!may_be_packed("envoy.extensions.load_balancing_policies.pick_first.v3.PickFirst"));
}
