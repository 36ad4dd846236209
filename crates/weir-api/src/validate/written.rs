//! Rules about what is written, and not about what it means: a typed resource cannot tell an empty list from none.

use super::authorization_policy;
use super::checker::Checker;
use crate::kind::Kind;
use crate::node::{Node, Value};

/// Where a VirtualService has its rules.
const RULES: &[&str] = &["http", "tls", "tcp"];

/// Checks a document of a kind of Istio's.
pub(super) fn check(c: &mut Checker<'_>, kind: Kind, document: &Node) {
    let Some(spec) = document.get("spec").filter(|spec| spec.value != Value::Null) else {
        return c.error_help("it has no `spec`", "the fields of a resource stand below `spec`");
    };
    c.field("spec", |c| {
        check_entries(c, spec);
        if kind == Kind::VirtualService {
            check_rules(c, spec);
            check_header_matches(c, spec);
        }
        if kind == Kind::AuthorizationPolicy {
            authorization_policy::check_written(c, spec);
        }
    });
}

/// A `-` with nothing behind it is mostly a slip of the hand.
fn check_entries(c: &mut Checker<'_>, node: &Node) {
    for (index, item) in node.items().iter().enumerate() {
        c.item(index, |c| match item.value {
            Value::Null => c.warn_help("the entry of the list is empty", "remove the `-`"),
            _ => check_entries(c, item),
        });
    }
    for entry in node.entries() {
        c.field(entry.key.clone(), |c| check_entries(c, &entry.node));
    }
}

/// No rules at all is a warning elsewhere; to write that there are none is an error.
fn check_rules(c: &mut Checker<'_>, spec: &Node) {
    let written = |key: &&&str| matches!(spec.get(key), Some(Node { value: Value::List(_), .. }));
    let none = RULES.iter().all(|key| spec.get(key).is_none_or(|node| node.items().is_empty()));
    if let Some(key) = RULES.iter().find(written).filter(|_| none) {
        c.field(*key, |c| c.error_help(format!("`{key}` has no rules"), "add a rule, such as `- route: [{destination: {host: …}}]`"));
    }
}

/// A header without a condition could mean two things.
fn check_header_matches(c: &mut Checker<'_>, spec: &Node) {
    let items = |node: &Node, key: &'static str| node.get(key).map(Node::items).unwrap_or_default().to_vec();
    c.each("http", &items(spec, "http"), |c, rule| {
        c.each("match", &items(rule, "match"), |c, condition| {
            for key in ["headers", "withoutHeaders", "queryParams"] {
                let entries = condition.get(key).map(Node::entries).unwrap_or_default();
                for entry in entries.iter().filter(|entry| entry.node.value == Value::Null) {
                    let help = "write `exact`, `prefix` or `regex` below it, or `{}` if it need only be there";
                    c.field(key, |c| c.field(entry.key.clone(), |c| c.error_help("the condition is empty", help)));
                }
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use crate::parse;
    use crate::source::Source;
    use crate::validate::testing::check_table;

    #[test]
    fn the_content_stands_below_spec() {
        for text in ["", "spec:\n", "hosts: [a]\n"] {
            let text = format!("apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: a}}\n{text}");
            let parsed = parse::parse(&Source::new("case.yaml", text));
            assert!(parsed.objects.is_empty() && parsed.diagnostics.iter().any(|said| said.message == "it has no `spec`"));
        }
    }

    #[test]
    fn what_is_empty_is_seen() {
        check_table(
            "VirtualService",
            &[
                ("hosts: [a]\nhttp: []", &["error: http"]),
                ("hosts: [a]\ngateways: [gw]\nhttp: []\ntcp: []", &["error: http"]),
                ("hosts: [a]\ngateways: [gw]\nhttp:", &["warning: spec"]),
                ("hosts: [a]\nhttp:\n- match:\n  -\n  route: [{destination: {host: b}}]", &["warning: http[0].match[0]"]),
                (
                    "hosts: [a]\nhttp: [{match: [{queryParams: {q: }}], route: [{destination: {host: b}}]}]",
                    &["error: http[0].match[0].queryParams.q"],
                ),
                ("hosts: [a]\nhttp: [{match: [{queryParams: {q: {}}}], route: [{destination: {host: b}}]}]", &[]),
            ],
        );
    }
}
