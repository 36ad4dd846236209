//! Rules of AuthorizationPolicy: Istio's, which refuse what would let in, or keep out, others than was meant.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use super::checker::Checker;
use super::{headers, values};
use crate::node::{Node, Value};
use crate::resources::AuthorizationPolicy;
use crate::resources::authorization_policy::{Action, Condition, DRY_RUN, Operation, PolicySelector, Rule, Source, dry_run};
use crate::resources::envoy_filter::PolicyTargetReference;
use crate::resources::meta::ObjectMeta;

/// What a policy may be attached to: group and kind.
pub(crate) const TARGETS: &[(&str, &str)] = &[
    ("", "Service"),
    ("core", "Service"),
    ("networking.istio.io", "ServiceEntry"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "GatewayClass"),
    ("gateway.networking.k8s.io", "HTTPRoute"),
];

/// Fields of a source that are about who asks.
const IDENTITY: &[&str] = &[
    "principals",
    "notPrincipals",
    "requestPrincipals",
    "notRequestPrincipals",
    "namespaces",
    "notNamespaces",
    "serviceAccounts",
    "notServiceAccounts",
    "trustDomains",
    "notTrustDomains",
];

/// Checks an AuthorizationPolicy.
pub(super) fn check(c: &mut Checker<'_>, meta: &ObjectMeta, policy: &AuthorizationPolicy) {
    check_dry_run(c, &meta.annotations, policy.action);
    c.field("spec", |c| {
        let has_targets = policy.targets().next().is_some();
        c.exclusive(&[("selector", policy.selector.is_some()), ("targetRefs", has_targets)]);
        c.some("selector", &policy.selector, |c, selector: &PolicySelector| {
            values::check_selector(c, "matchLabels", &selector.match_labels);
        });
        c.some("targetRef", &policy.target_ref, check_target);
        c.each("targetRefs", &policy.target_refs, check_target);
        check_action(c, policy);
        c.each("rules", &policy.rules, |c, rule| check_rule(c, rule, policy.action));
    });
}

fn check_dry_run(c: &mut Checker<'_>, annotations: &BTreeMap<String, String>, action: Action) {
    c.field("metadata", |c| {
        c.field("annotations", |c| {
            c.field(DRY_RUN, |c| match (dry_run(annotations), action) {
                (None, _) => c.error_help("it is neither true nor false", "write \"true\" or \"false\""),
                (Some(true), Action::Audit | Action::Custom) => {
                    let message = format!("a policy with the action {} cannot be tried without being carried out", action.name());
                    c.error_help(message, "remove the annotation");
                }
                _ => {}
            });
        });
    });
}

fn check_target(c: &mut Checker<'_>, target: &PolicyTargetReference) {
    if target.name.is_empty() {
        c.error_help("the target has no name", "add `name`");
    }
    if !target.namespace.is_empty() && target.namespace != c.namespace {
        c.field("namespace", |c| c.error_help("a policy is for targets of its own namespace", "leave `namespace` away"));
    }
    let is_known = TARGETS.iter().any(|(group, kind)| *group == target.group && *kind == target.kind);
    if !is_known {
        let known: Vec<String> = TARGETS.iter().map(|(group, kind)| format!("{kind} ({group:?})")).collect();
        c.error_help(format!("it cannot be attached to {} ({:?})", target.kind, target.group), format!("to {}", known.join(", ")));
    }
}

fn check_action(c: &mut Checker<'_>, policy: &AuthorizationPolicy) {
    let name = policy.provider.as_ref().map(|provider| provider.name.as_str());
    match policy.action {
        Action::Custom => {
            if name.is_none_or(str::is_empty) {
                c.error_help("it is not said who decides", "add `provider` with the `name` of one of MeshConfig's `extensionProviders`");
            }
        }
        action => {
            if name.is_some() {
                c.field("provider", |c| {
                    c.error_help(
                        format!("nobody else decides where the action is {}", action.name()),
                        "remove it, or add `action: CUSTOM`",
                    );
                });
            }
        }
    }
    if policy.rules.is_empty() && matches!(policy.action, Action::Deny | Action::Custom) {
        let message = format!("a policy with the action {} and without rules never matches", policy.action.name());
        c.error_help(message, "`rules: [{}]` matches every request");
    }
}

fn check_rule(c: &mut Checker<'_>, rule: &Rule, action: Action) {
    c.each("from", &rule.from, |c, from| match &from.source {
        None => c.error_help("the source is missing", "add `source`"),
        Some(source) => c.field("source", |c| check_source(c, source, action)),
    });
    c.each("to", &rule.to, |c, to| match &to.operation {
        None => c.error_help("the operation is missing", "add `operation`"),
        Some(operation) => c.field("operation", |c| check_operation(c, operation, action)),
    });
    c.each("when", &rule.when, |c, condition| check_condition(c, condition, action));
    if action == Action::Deny && is_about_http_alone(rule) {
        c.warn_help(
            "on ports of TCP, where there are no requests, this rule refuses every connection",
            "add `ports` to keep it to those of HTTP",
        );
    }
}

/// Whether all that a rule asks for is something that no connection of TCP has.
fn is_about_http_alone(rule: &Rule) -> bool {
    let of_operation = |operation: &Operation| {
        let (ports, others): (Vec<_>, Vec<_>) =
            operation.fields().into_iter().filter(|(_, values)| !values.is_empty()).partition(|(name, _)| name.ends_with("orts"));
        (ports.len(), others.len())
    };
    let of_source = |source: &Source| {
        let (http, others): (Vec<_>, Vec<_>) =
            source.fields().into_iter().filter(|(_, values)| !values.is_empty()).partition(|(name, _)| name.ends_with("equestPrincipals"));
        (others.len(), http.len())
    };
    let operations = rule.to.iter().filter_map(|to| to.operation.as_ref()).map(of_operation);
    let sources = rule.from.iter().filter_map(|from| from.source.as_ref()).map(of_source);
    let conditions = rule.when.iter().map(|condition| if condition.key.starts_with("request.") { (0, 1) } else { (1, 0) });
    let (others, http) = operations.chain(sources).chain(conditions).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    others == 0 && http > 0
}

fn check_source(c: &mut Checker<'_>, source: &Source, action: Action) {
    let fields = source.fields();
    if fields.iter().all(|(_, values)| values.is_empty()) {
        c.error_help("the source asks for nothing", "add what it is to be, or remove `from`");
    }
    for (name, list) in fields {
        if action == Action::Custom && !list.is_empty() && IDENTITY.contains(&name) {
            c.field(name, |c| c.error_help("who decides for us is asked before it is known who asks", "leave it to the provider"));
        }
        c.each(name, list, |c, value| {
            check_not_empty(c, value);
            if name.ends_with("pBlocks") {
                check_block(c, value);
            } else if name.ends_with("erviceAccounts") {
                check_account(c, value);
            } else if name.ends_with("rustDomains") {
                check_trust_domain(c, value);
            }
        });
    }
    let accounts = !(source.service_accounts.is_empty() && source.not_service_accounts.is_empty());
    let others = [&source.principals, &source.not_principals, &source.namespaces, &source.not_namespaces];
    if accounts && others.iter().any(|list| !list.is_empty()) {
        c.error_help("service accounts stand beside principals or namespaces, of which they are one", "keep one of them");
    }
}

/// Addresses of IPv4 are never written as those of IPv6 when they are compared.
fn check_block(c: &mut Checker<'_>, block: &str) {
    values::check_subnet(c, block);
    let address = block.split('/').next().and_then(|address| address.parse::<Ipv6Addr>().ok());
    if address.is_some_and(|address| address.to_ipv4_mapped().is_some()) {
        c.warn_help(format!("no client's address is in `{block}`"), "write it as IPv4, without `::ffff:`");
    }
}

fn check_account(c: &mut Checker<'_>, account: &str) {
    if account.contains('*') {
        c.error_help(format!("`{account}` is no service account: they have no wildcards"), "write `NAME`, or `NAMESPACE/NAME`");
    } else if account.split('/').count() > 2 || account.split('/').any(str::is_empty) {
        c.error_help(format!("`{account}` is no service account"), "write `NAME`, or `NAMESPACE/NAME`");
    }
}

fn check_trust_domain(c: &mut Checker<'_>, domain: &str) {
    let inner = domain.strip_prefix('*').or_else(|| domain.strip_suffix('*')).unwrap_or(domain);
    if inner.contains(['*', '/']) {
        c.error_help(format!("`{domain}` is no trust domain"), "a name, with one `*` at its beginning or end");
    }
}

fn check_operation(c: &mut Checker<'_>, operation: &Operation, action: Action) {
    let fields = operation.fields();
    if fields.iter().all(|(_, values)| values.is_empty()) {
        c.error_help("the operation asks for nothing", "add what it is to be, or remove `to`");
    }
    for (name, list) in fields {
        c.each(name, list, |c, value| {
            check_not_empty(c, value);
            match name {
                "ports" | "notPorts" => check_port(c, value),
                "paths" | "notPaths" => check_path(c, value),
                // A request that is taken for another one's is let in by these, and refused by the others.
                "hosts" if matches!(action, Action::Deny | Action::Custom) => check_host(c, value),
                "notHosts" if action == Action::Allow => check_host(c, value),
                _ => {}
            }
        });
    }
}

fn check_not_empty(c: &mut Checker<'_>, value: &str) {
    if value.is_empty() {
        c.error_help("the value is empty", "`*` matches any that is not");
    }
}

fn check_port(c: &mut Checker<'_>, port: &str) {
    if !port.is_empty() && !port.parse::<u32>().is_ok_and(|port| (1..=65535).contains(&port)) {
        c.error_help(format!("`{port}` is not the number of a port"), "1 to 65535");
    }
}

/// Clients may write a port, or a dot, behind a host, and then it is another one.
fn check_host(c: &mut Checker<'_>, host: &str) {
    if !host.is_empty() && !host.contains('*') && !host.contains(':') {
        c.warn_help(
            format!("a request for `{host}:PORT` or `{host}.` is for another host to this rule"),
            format!("add `{host}:*`, or match by path or port"),
        );
    }
}

/// What Envoy takes in a template of a path: it refuses all of its listener with any other.
fn is_of_template(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&byte)
}

/// A path with `{*}` or `{**}` is a template: these stand for a whole segment, or for all that follows.
fn check_path(c: &mut Checker<'_>, path: &str) {
    if !path.contains(['{', '}']) {
        return;
    }
    let help = "`{*}` is one segment, `{**}` all that follows; no other wildcard may stand beside them";
    if path.trim_start_matches('/').len() + 1 < path.len() || path.trim_start_matches('/').contains("//") {
        return c.error_help(format!("`{path}` is no template of a path"), "each of its segments has a text or a wildcard");
    }
    let mut several = false;
    for segment in path.split('/') {
        match segment {
            "{*}" | "{**}" if several => return c.error_help("a wildcard stands behind `{**}`", help),
            "{*}" => {}
            "{**}" => several = true,
            text if text.contains(['{', '}', '*']) => return c.error_help(format!("`{path}` is no template of a path"), help),
            text if !text.bytes().all(is_of_template) => {
                return c.error_help(format!("`{text}` cannot stand in a template of a path"), "write it as it is encoded, as %20");
            }
            _ => {}
        }
    }
    if !path.starts_with('/') {
        c.error_help(format!("`{path}` is no template of a path"), "it begins with `/`");
    }
}

fn check_condition(c: &mut Checker<'_>, condition: &Condition, action: Action) {
    let Condition { key, values, not_values } = condition;
    if values.is_empty() && not_values.is_empty() {
        c.error_help("the condition asks for nothing", "add `values` or `notValues`");
    }
    c.field("key", |c| check_key(c, key, action));
    for (name, list) in [("values", values), ("notValues", not_values)] {
        c.each(name, list, |c, value| match key.as_str() {
            _ if value.is_empty() => check_not_empty(c, value),
            "source.ip" | "remote.ip" | "destination.ip" => check_block(c, value),
            "destination.port" => check_port(c, value),
            "source.serviceAccount" => check_account(c, value),
            "source.trustDomain" => check_trust_domain(c, value),
            _ => {}
        });
    }
}

/// Attributes that have no name in brackets.
const ATTRIBUTES: &[&str] = &[
    "source.ip",
    "remote.ip",
    "source.namespace",
    "source.principal",
    "source.serviceAccount",
    "source.trustDomain",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "destination.ip",
    "destination.port",
    "connection.sni",
];

/// What HTTP/2 writes among the headers of a request.
const PSEUDO_HEADERS: &[&str] = &[":method", ":path", ":authority", ":scheme"];

fn check_key(c: &mut Checker<'_>, key: &str, action: Action) {
    if action == Action::Custom
        && (key.starts_with("request.auth.")
            || matches!(key, "source.namespace" | "source.principal" | "source.serviceAccount" | "source.trustDomain"))
    {
        return c.error_help("who decides for us is asked before it is known who asks", "leave it to the provider");
    }
    if ATTRIBUTES.contains(&key) {
        return;
    }
    match named(key) {
        // What HTTP/2 has for headers is one.
        Some(("request.headers", name)) if PSEUDO_HEADERS.contains(&name) => {}
        Some(("request.headers", name)) if name.starts_with(':') => {
            c.error_help(format!("requests have no `{name}`"), format!("they have {}", PSEUDO_HEADERS.join(", ")));
        }
        Some(("request.headers", name)) => headers::check_name(c, name),
        Some(("request.auth.claims", path)) if path.split("][").any(str::is_empty) => {
            c.error_help("a claim has no name", "`request.auth.claims[a][b]` is b within a");
        }
        Some(("request.auth.claims", _)) => {}
        Some((attribute, _)) if attribute.starts_with("experimental.envoy.filters.") => {}
        _ => {
            let known = format!("{}, `request.headers[NAME]`, `request.auth.claims[NAME]`", ATTRIBUTES.join(", "));
            c.error_help(format!("unknown attribute `{key}`"), format!("known are {known}"));
        }
    }
}

/// An attribute, and the name that it has in brackets.
fn named(key: &str) -> Option<(&str, &str)> {
    let (attribute, rest) = key.split_once('[')?;
    let name = rest.strip_suffix(']')?;
    (!name.is_empty()).then_some((attribute, name))
}

/// What a typed policy cannot tell: an empty list, or an empty entry, would ask for nothing, and so match everything.
pub(super) fn check_written(c: &mut Checker<'_>, spec: &Node) {
    c.each("rules", spec.get("rules").map(Node::items).unwrap_or_default(), |c, rule| {
        if rule.value == Value::Null {
            return c.error_help("the rule is empty", "`{}` matches every request");
        }
        for key in ["from", "to", "when"] {
            let Some(list) = rule.get(key) else { continue };
            if matches!(list.value, Value::List(_)) && list.items().is_empty() {
                c.field(key, |c| c.error_help("the list is empty", format!("remove `{key}`, which means any")));
            }
            c.each(key, list.items(), |c, item| {
                if item.value == Value::Null {
                    c.error_help("the entry of the list is empty", "remove the `-`");
                }
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use crate::validate::testing::check_within;

    #[test]
    fn what_would_mean_others_than_was_meant_is_refused() {
        check_within(
            "AuthorizationPolicy",
            "{…}",
            "",
            &[
                ("", &[]),
                ("rules: [{}]", &[]),
                ("action: DENY", &["error: spec"]),
                ("action: DENY, rules: [{}]", &[]),
                ("action: CUSTOM, rules: [{}]", &["error: spec"]),
                ("action: CUSTOM, provider: {name: a}", &["error: spec"]),
                ("action: CUSTOM, provider: {name: a}, rules: [{}]", &[]),
                ("provider: {name: a}", &["error: provider"]),
                ("selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: a}]", &["error: spec"]),
                ("targetRefs: [{kind: Pod, name: a}]", &["error: targetRefs[0]"]),
                ("rules: [{from: [{}]}]", &["error: rules[0].from[0]"]),
                ("rules: [{from: [{source: {}}]}]", &["error: rules[0].from[0].source"]),
                ("rules: [{from: []}]", &["error: rules[0].from"]),
                ("rules: [{to: [{operation: {}}]}]", &["error: rules[0].to[0].operation"]),
                ("rules: [{to: [{operation: {ports: ['0']}}]}]", &["error: rules[0].to[0].operation.ports[0]"]),
                ("rules: [{to: [{operation: {paths: ['/a/{*}.txt']}}]}]", &["error: rules[0].to[0].operation.paths[0]"]),
                ("rules: [{to: [{operation: {paths: ['/{**}/{*}']}}]}]", &["error: rules[0].to[0].operation.paths[0]"]),
                ("rules: [{to: [{operation: {paths: ['/a/{*}/b/{**}']}}]}]", &[]),
                ("rules: [{to: [{operation: {paths: ['/a b/{*}']}}]}]", &["error: rules[0].to[0].operation.paths[0]"]),
                ("rules: [{to: [{operation: {paths: ['//{*}']}}]}]", &["error: rules[0].to[0].operation.paths[0]"]),
                ("rules: [{to: [{operation: {paths: ['/a//{*}']}}]}]", &["error: rules[0].to[0].operation.paths[0]"]),
                ("rules: [{to: [{operation: {paths: ['/é/{**}']}}]}]", &["error: rules[0].to[0].operation.paths[0]"]),
                ("rules: [{to: [{operation: {paths: ['/a%20b/{*}/']}}]}]", &[]),
                ("rules: [{to: [{operation: {methods: ['']}}]}]", &["error: rules[0].to[0].operation.methods[0]"]),
                ("rules: [{to: [{operation: {hosts: [a.test]}}]}]", &[]),
                ("rules: [{to: [{operation: {notHosts: [a.test]}}]}]", &["warning: rules[0].to[0].operation.notHosts[0]"]),
                (
                    "action: DENY, rules: [{to: [{operation: {hosts: [a.test, 'a.test:*'], ports: ['80']}}]}]",
                    &["warning: rules[0].to[0].operation.hosts[0]"],
                ),
                ("rules: [{from: [{source: {ipBlocks: [a]}}]}]", &["error: rules[0].from[0].source.ipBlocks[0]"]),
                ("rules: [{from: [{source: {serviceAccounts: ['a/b/c']}}]}]", &["error: rules[0].from[0].source.serviceAccounts[0]"]),
                ("rules: [{from: [{source: {serviceAccounts: [a], namespaces: [b]}}]}]", &["error: rules[0].from[0].source"]),
                ("rules: [{when: [{key: request.header, values: [a]}]}]", &["error: rules[0].when[0].key"]),
                ("rules: [{when: [{key: 'request.headers[x-a]', values: [a]}]}]", &[]),
                ("rules: [{when: [{key: 'request.headers[:path]', values: [a]}]}]", &[]),
                ("rules: [{when: [{key: 'request.headers[:foo]', values: [a]}]}]", &["error: rules[0].when[0].key"]),
                ("rules: [{when: [{key: 'request.headers[::x]', values: [a]}]}]", &["error: rules[0].when[0].key"]),
                ("rules: [{when: [{key: 'request.auth.claims[a][]', values: [a]}]}]", &["error: rules[0].when[0].key"]),
                ("rules: [{when: [{key: 'request.auth.claims[a][b]', values: [a]}]}]", &[]),
                ("rules: [{when: [{key: destination.port, values: ['']}]}]", &["error: rules[0].when[0].values[0]"]),
                ("rules: [{when: [{key: source.ip, notValues: ['']}]}]", &["error: rules[0].when[0].notValues[0]"]),
                ("rules: [{when: [{key: source.ip, values: ['::ffff:10.0.0.0/104']}]}]", &["warning: rules[0].when[0].values[0]"]),
                ("rules: [{when: [{key: source.ip}]}]", &["error: rules[0].when[0]"]),
                ("action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]", &["warning: rules[0]"]),
                ("action: DENY, rules: [{to: [{operation: {methods: [GET], ports: ['80']}}]}]", &[]),
            ],
        );
    }
}
