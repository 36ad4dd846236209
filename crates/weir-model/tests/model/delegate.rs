//! Delegates: which of their rules count, and what they take from the rule that refers to them.

use weir_api::FieldPath;
use weir_model::{HttpRule, MeshSnapshot};

use crate::support::{first_rule, istio, labels, mesh, written};

/// A root in `shop` with one rule that delegates, and the delegate `team/d` with its rules.
fn delegated(root: &str, delegate: &str) -> MeshSnapshot {
    mesh(&[
        istio("VirtualService", "shop/r", &format!("hosts: [a.test]\nhttp:\n- {{delegate: {{name: d, namespace: team}}, {root}}}")),
        istio("VirtualService", "team/d", &format!("http:\n{delegate}")),
    ])
}

fn rules(mesh: &MeshSnapshot) -> &[HttpRule] {
    &first_rule(mesh).http
}

fn findings(mesh: &MeshSnapshot) -> Vec<String> {
    mesh.virtual_services.findings().map(|finding| format!("{} {}", finding.path, finding.message)).collect()
}

const TO_B: &str = "route: [{destination: {host: b}}]";

#[test]
fn every_pair_of_blocks_that_fit_counts() {
    let mesh = delegated(
        "match: [{uri: {prefix: /a}}, {headers: {x: {exact: '1'}}}]",
        &format!("- {{match: [{{uri: {{exact: /a/b}}}}, {{uri: {{prefix: /c}}}}], {TO_B}}}"),
    );
    let blocks = &rules(&mesh)[0].spec.r#match;
    let uris: Vec<String> = blocks.iter().map(|block| format!("{:?} {}", block.uri.as_ref().unwrap(), block.headers.len())).collect();
    assert_eq!(uris, [r#"Exact("/a/b") 0"#, r#"Exact("/a/b") 1"#, r#"Prefix("/c") 1"#]);
}

#[test]
fn conditions_within_one_another_and_conflicts() {
    let fits = |root: &str, delegate: &str| {
        let mesh = delegated(&format!("match: [{{{root}}}]"), &format!("- {{match: [{{{delegate}}}], {TO_B}}}"));
        assert_eq!(rules(&mesh).is_empty(), !findings(&mesh).is_empty());
        !rules(&mesh).is_empty()
    };
    for (root, delegate, expected) in [
        ("uri: {prefix: /a}", "uri: {prefix: /a/b}", true),
        ("uri: {prefix: /a}", "uri: {exact: /a}", true),
        ("uri: {prefix: /a/b}", "uri: {prefix: /a}", false),
        ("uri: {prefix: /a}", "uri: {regex: /a.*}", false),
        ("uri: {regex: /a.*}", "uri: {regex: /a.*}", false),
        ("uri: {regex: /a.*}", "method: {exact: GET}", true),
        ("uri: {exact: /a}", "uri: {exact: /a}", true),
        ("uri: {exact: /a}", "uri: {exact: /a/b}", false),
        ("uri: {exact: /a}", "uri: {prefix: /a}", false),
        ("method: {exact: GET}", "method: {exact: POST}", false),
        ("headers: {x: {exact: a}}", "headers: {x: {exact: a}, y: {exact: b}}", true),
        ("headers: {x: {exact: a}}", "headers: {x: {exact: b}}", false),
        ("headers: {x: {}}", "headers: {x: {exact: b}}", false),
        ("queryParams: {q: {exact: a}}", "queryParams: {q: {exact: b}}", false),
        ("headers: {x: {exact: a}}", "withoutHeaders: {x: {exact: b}}", true),
        ("withoutHeaders: {x: {exact: a}}", "withoutHeaders: {x: {exact: b}}", false),
        ("sourceNamespace: a", "sourceNamespace: a", true),
        ("sourceNamespace: a", "sourceNamespace: b", false),
        ("sourceNamespace: a", "uri: {exact: /a}", false),
        ("uri: {exact: /a}", "sourceNamespace: a", true),
        ("sourceLabels: {app: a}", "sourceLabels: {app: a, version: v1}", true),
        ("sourceLabels: {app: a}", "sourceLabels: {app: b}", false),
        ("gateways: [x/g, mesh]", "gateways: [mesh]", true),
        ("gateways: [x/g]", "gateways: [mesh]", false),
        ("uri: {prefix: /a}, ignoreUriCase: true", "uri: {prefix: /a}", false),
        ("uri: {prefix: /a}, port: 80", "uri: {prefix: /a}, port: 81", false),
        ("uri: {prefix: /a}, port: 80", "uri: {prefix: /a}", true),
        // What is empty holds nothing, not even itself.
        ("uri: {prefix: ''}", "uri: {prefix: /a}", false),
        ("uri: {prefix: ''}", "uri: {prefix: ''}", false),
        ("uri: {prefix: ''}", "headers: {x: {exact: a}}", true),
        ("headers: {x: {exact: ''}}", "headers: {x: {exact: ''}}", false),
    ] {
        assert_eq!(fits(root, delegate), expected, "{root} then {delegate}");
    }
}

#[test]
fn one_block_that_fits_nowhere_takes_its_rule_away_and_no_other() {
    let mesh = delegated(
        "match: [{uri: {prefix: /a}}]",
        &format!("- {{match: [{{uri: {{prefix: /a/b}}}}, {{uri: {{prefix: /c}}}}], {TO_B}}}\n- {{name: rest, {TO_B}}}"),
    );
    assert_eq!(rules(&mesh).len(), 1);
    assert_eq!(rules(&mesh)[0].spec.name, "rest");
    let found: Vec<_> = mesh.virtual_services.findings().collect();
    let [finding] = found.as_slice() else { panic!("{:?}", findings(&mesh)) };
    assert_eq!(finding.path, FieldPath::default().key("spec").key("http").index(0).key("match"));
    assert_eq!(finding.object.as_ref().unwrap().to_string(), "VirtualService team/d");
}

#[test]
fn names_are_joined_and_conditions_of_both_hold() {
    let mesh = delegated(
        "name: root, match: [{name: m, uri: {prefix: /a}, headers: {x: {exact: '1'}}, port: 80, sourceLabels: {app: a}, gateways: [mesh]}]",
        &format!("- {{name: leaf, match: [{{name: n, headers: {{z: {{exact: '2'}}}}, sourceLabels: {{version: v1}}}}], {TO_B}}}"),
    );
    let spec = &rules(&mesh)[0].spec;
    let block = &spec.r#match[0];
    assert_eq!((spec.name.as_str(), block.name.as_str()), ("root-leaf", "m-n"));
    assert_eq!(block.headers.keys().collect::<Vec<_>>(), ["x", "z"]);
    assert_eq!((block.port, block.gateways.as_slice()), (80, ["mesh".to_owned()].as_slice()));
    assert_eq!(labels(&block.source_labels), "app=a,version=v1");
    assert!(block.uri.is_some());
}

#[test]
fn settings_of_the_delegate_win_as_wholes() {
    let mesh = delegated(
        "timeout: 5s, retries: {attempts: 7}, headers: {request: {set: {root: '1'}}}, rewrite: {uri: /root}",
        &format!("- {{headers: {{response: {{set: {{leaf: '1'}}}}}}, timeout: 1s, {TO_B}}}"),
    );
    let spec = &rules(&mesh)[0].spec;
    assert_eq!(spec.timeout.unwrap().to_std().as_secs(), 1);
    assert_eq!(spec.retries.as_ref().unwrap().attempts, 7);
    assert_eq!(spec.rewrite.as_ref().unwrap().uri, "/root");
    let headers = spec.headers.as_ref().unwrap();
    assert!(headers.request.is_none() && headers.response.is_some());
}

#[test]
fn short_names_are_of_the_delegates_namespace_and_its_place_is_told() {
    let mesh = delegated("match: [{uri: {prefix: /a}}]", &format!("- {TO_B}"));
    let rule = &rules(&mesh)[0];
    assert_eq!(rule.spec.route[0].destination.as_ref().unwrap().host, "b.team.svc.cluster.local");
    assert_eq!(written(&rule.origin), TO_B);
    let destinations = first_rule(&mesh).destinations_for("shop");
    assert_eq!(destinations.map(|destination| destination.host.as_str()).collect::<Vec<_>>(), ["b.team.svc.cluster.local"]);
}

#[test]
fn a_delegate_that_is_missing_or_private_takes_away_one_rule() {
    let root = "hosts: [a.test]\nhttp:\n- {match: [{uri: {prefix: /a}}], delegate: {name: d}}\n- {route: [{destination: {host: c}}]}";
    let root = || istio("VirtualService", "shop/r", root);
    let private = istio("VirtualService", "team/d", &format!("exportTo: ['.']\nhttp:\n- {TO_B}"));
    let elsewhere = root().replace("name: d", "name: d, namespace: team");
    for (documents, expected) in [
        (vec![root()], "there is no VirtualService shop/d without hosts"),
        (vec![elsewhere, private], "team/d is not exported to the namespace shop"),
    ] {
        let mesh = mesh(&documents);
        let rules = &first_rule(&mesh).http;
        assert_eq!(rules.len(), 1, "{expected}");
        assert_eq!(rules[0].spec.route[0].destination.as_ref().unwrap().host, "c.shop.svc.cluster.local");
        assert!(matches!(findings(&mesh).as_slice(), [only] if only.contains(expected)), "{:?}", findings(&mesh));
    }
}
