use weir_api::{Source, parse};

use super::MutualTls::{Disable, Permissive, Strict};
use super::*;
use crate::snapshot::{DEFAULT_DOMAIN, MeshSnapshot};

/// A policy; its name may be followed by more metadata.
fn policy(namespace: &str, name: &str, spec: &str) -> Arc<Object> {
    let text = format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{namespace: {namespace}, name: {name}}}\nspec: {{{spec}}}\n"
    );
    let parsed = parse(&Source::new("p.yaml", text));
    assert!(parsed.diagnostics.iter().all(|diagnostic| diagnostic.severity != Severity::Error), "{:?}", parsed.diagnostics);
    parsed.objects[0].clone()
}

fn mode(mode: &str) -> String {
    format!("mtls: {{mode: {mode}}}")
}

fn mesh(policies: &[Arc<Object>]) -> MeshSnapshot {
    MeshSnapshot::new(policies, Arc::default(), DEFAULT_DOMAIN)
}

fn at(mesh: &MeshSnapshot, namespace: &str, app: &str, port: u16) -> MutualTls {
    let labels = BTreeMap::from([("app".to_owned(), app.to_owned())]);
    let here = mesh.peer_authentications.of_namespace(namespace);
    assert_eq!(here.of_workload(&labels).at(port), here.at(&labels, port));
    here.at(&labels, port)
}

const OF_A: &str = "selector: {matchLabels: {app: a}}";

#[test]
fn the_narrower_goes_before_the_wider() {
    let of_mesh = policy("istio-system", "m", &mode("STRICT"));
    let of_namespace = policy("x", "n", &mode("DISABLE"));
    let of_workload = policy("x", "w", &format!("{OF_A}, {}, portLevelMtls: {{80: {{mode: STRICT}}, 81: {{}}}}", mode("PERMISSIVE")));
    let all = mesh(&[of_mesh.clone(), of_namespace.clone(), of_workload]);
    for (namespace, app, port, expected) in
        [("x", "a", 80, Strict), ("x", "a", 81, Permissive), ("x", "a", 82, Permissive), ("x", "b", 80, Disable), ("y", "a", 80, Strict)]
    {
        assert_eq!(at(&all, namespace, app, port), expected, "{namespace} {app} {port}");
    }
    assert_eq!(all.peer_authentications.of_namespace("x").mode, Disable);
    assert_eq!(at(&mesh(&[]), "x", "a", 80), Permissive);
    assert_eq!(at(&mesh(&[of_mesh]), "x", "a", 80), Strict);
    assert_eq!(at(&mesh(&[of_namespace]), "y", "a", 80), Permissive);
}

#[test]
fn what_is_unset_is_as_the_next_wider_policy_has_it() {
    let strict = policy("istio-system", "m", &mode("STRICT"));
    let namespace = policy("x", "n", &mode("UNSET"));
    let workload = policy("x", "w", &format!("{OF_A}, portLevelMtls: {{80: {{mode: UNSET}}, 81: {{mode: DISABLE}}}}"));
    let all = mesh(&[strict, namespace.clone(), workload]);
    assert_eq!([80, 81, 82].map(|port| at(&all, "x", "a", port)), [Strict, Disable, Strict]);
    let nobody = mesh(&[policy("istio-system", "m", ""), namespace]);
    assert_eq!(at(&nobody, "x", "a", 80), Permissive);
}

#[test]
fn the_oldest_of_one_width_counts_and_the_others_are_told_of() {
    let old = "creationTimestamp: '2020-01-01T00:00:00Z'";
    let new = "creationTimestamp: '2021-01-01T00:00:00Z'";
    let all = mesh(&[
        policy("x", &format!("a, {new}"), &mode("DISABLE")),
        policy("x", &format!("b, {old}"), &mode("STRICT")),
        policy("x", &format!("c, {new}"), &format!("{OF_A}, {}", mode("PERMISSIVE"))),
        policy("x", &format!("d, {old}"), &format!("{OF_A}, {}", mode("DISABLE"))),
        policy("istio-system", "w", &format!("{OF_A}, {}", mode("STRICT"))),
    ]);
    assert_eq!((at(&all, "x", "b", 80), at(&all, "x", "a", 80), at(&all, "istio-system", "a", 80)), (Strict, Disable, Permissive));
    let said: Vec<String> = all.peer_authentications.findings().map(ToString::to_string).collect();
    let [root, younger] = said.as_slice() else { panic!("{said:?}") };
    assert!(root.contains("PeerAuthentication istio-system/w: spec.selector: it has no effect: in the root namespace"), "{root}");
    assert!(younger.contains("PeerAuthentication x/a: spec: it has no effect: PeerAuthentication x/b says it"), "{younger}");
}

#[test]
fn a_change_is_listed_and_a_namespace_that_it_is_not_about_stays_the_same() {
    let first = mesh(&[policy("x", "n", &mode("STRICT")), policy("y", "n", &mode("STRICT"))]);
    let (old, new) = (policy("x", "n", &mode("STRICT")), policy("x", "n", &mode("DISABLE")));
    let next = first.update(&[ObjectChange { old: Some(old), new: Some(new) }], None, &[]);
    let of = |mesh: &MeshSnapshot, namespace: &str| mesh.peer_authentications.of_namespace(namespace).clone();
    assert!(Arc::ptr_eq(&of(&first, "y"), &of(&next, "y")) && Arc::ptr_eq(&of(&first, "z"), &of(&next, "z")));
    assert_eq!((of(&next, "x").mode, next.changes.peer_authentications.len()), (Disable, 1));
    assert!(!next.changes.only_endpoints() && !next.changes.is_empty());
    let of_mesh = ObjectChange::added(policy("istio-system", "m", &mode("STRICT")));
    let last = next.update(&[of_mesh], None, &[]);
    assert_eq!((of(&last, "z").mode, of(&last, "x").mode), (Strict, Disable));
}

/// What counts of a policy that is refused.
fn refused(namespace: &str, name: &str, spec: &str) -> Arc<Object> {
    let text = format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{namespace: {namespace}, name: {name}}}\nspec: {{{spec}}}\n"
    );
    let parsed = parse(&Source::new("p.yaml", text));
    let errors: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
    assert!(errors.iter().any(|error| error.contains("if there was none, it counts as STRICT")), "{errors:?}");
    parsed.stand_ins[0].clone()
}

#[test]
fn a_policy_that_is_refused_is_strict_for_what_it_selects() {
    let of = |policies: &[Arc<Object>]| {
        let all = mesh(policies);
        [("x", "a"), ("x", "b"), ("y", "a")].map(|(namespace, app)| at(&all, namespace, app, 80))
    };
    // For all of the namespace.
    assert_eq!(of(&[refused("x", "n", &mode("MUTUAL"))]), [Strict, Strict, Permissive]);
    // For some workloads.
    let ports = "portLevelMtls: {http: {mode: DISABLE}}";
    assert_eq!(of(&[refused("x", "w", &format!("{OF_A}, {ports}, {}", mode("DISABLE")))]), [Strict, Permissive, Permissive]);
    // For whom cannot be told: it may be for anybody, whatever else is said.
    let open =
        [policy("x", "n", &mode("DISABLE")), policy("x", "w", &format!("selector: {{matchLabels: {{app: b}}}}, {}", mode("DISABLE")))];
    for unreadable in
        ["selector: {matchLabels: {app: '*'}}", "selector: {matchLabel: {app: a}}", "selektor: {matchLabels: {app: a}}", "selector: 1"]
    {
        let all = [&open[..], &[refused("x", "z", unreadable)]].concat();
        assert_eq!(of(&all), [Strict, Strict, Permissive], "{unreadable}");
    }
    // For the whole mesh.
    assert_eq!(of(&[refused("istio-system", "m", &mode("MUTUAL"))]), [Strict; 3]);
    assert_eq!(of(&[refused("istio-system", "m", "selector: 1")]), [Strict; 3]);
}
