//! CORS and the conditions of its rule: a browser's preflight is a request of its own, which must meet them as well.

use super::checker::Checker;
use crate::resources::StringMatch;
use crate::resources::virtual_service::{HttpMatchRequest, HttpRoute};

/// The headers that a preflight may have: its own, and those of every request of a browser.
const OF_PREFLIGHTS: [&str; 7] =
    ["origin", "access-control-request-method", "access-control-request-headers", "host", "user-agent", "accept", "referer"];

/// Warns of a rule with a `corsPolicy` that no preflight reaches.
pub(super) fn check(c: &mut Checker<'_>, route: &HttpRoute) {
    if route.cors_policy.is_none() || route.r#match.is_empty() {
        return;
    }
    let missed: Vec<String> = route.r#match.iter().filter_map(missed).collect();
    if missed.len() == route.r#match.len() {
        let message = format!("no preflight meets this rule, whose `corsPolicy` should answer it: {}", missed.join("; "));
        let help = "add a condition for preflights: `method: {exact: OPTIONS}`, with headers such as `access-control-request-headers`";
        c.field("match", |c| c.warn_help(message, help));
    }
}

/// What a condition asks for that a preflight has not.
fn missed(block: &HttpMatchRequest) -> Option<String> {
    if let Some(StringMatch::Exact(method)) = &block.method
        && method != "OPTIONS"
    {
        return Some(format!("its method is OPTIONS, not {method}"));
    }
    let own = |name: &&String| !OF_PREFLIGHTS.contains(&name.to_ascii_lowercase().as_str()) && !name.starts_with([':', '@']);
    block.headers.keys().find(own).map(|name| format!("it has no header `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::said;

    #[test]
    fn preflights_meet_the_conditions_of_their_rule() {
        for (condition, expected) in [
            ("", false),
            ("match: [{uri: {prefix: /a}}], ", false),
            ("match: [{method: {exact: GET}}], ", true),
            ("match: [{headers: {x-tenant: {exact: a}}}], ", true),
            ("match: [{headers: {Origin: {regex: '.+'}}}], ", false),
            ("match: [{headers: {x-tenant: {exact: a}}}, {method: {exact: OPTIONS}}], ", false),
        ] {
            let rule = format!(
                "http: [{{{condition}corsPolicy: {{allowOrigins: [{{exact: 'https://a.test'}}]}}, route: [{{destination: {{host: c}}}}]}}]"
            );
            let said = said("VirtualService", &format!("hosts: [a.test]\n{rule}"));
            assert_eq!(said.contains(&"warning: http[0].match".to_owned()), expected, "{condition}: {said:?}");
        }
    }
}
