//! Which headers of a request a service may change: Envoy's `HeaderMutationRules`, compiled.

use regex::bytes::Regex;
use weir_xds::envoy::config::common::mutation_rules::v3::HeaderMutationRules;
use weir_xds::matcher::RegexMatcher;

use super::answer::Changes;
use super::mutation::{Action, Mutation};
use crate::error::CompileError;
use crate::text_match::compile_regex;

/// Which headers may be changed. What matches an expression is decided by that, and nothing else.
#[derive(Debug, Clone)]
pub(super) struct MutationRules {
    routing: bool,
    envoy: bool,
    system: bool,
    any: bool,
    allowed: Option<Regex>,
    disallowed: Option<Regex>,
    /// Whether an answer that asks for more is none.
    is_error: bool,
}

impl MutationRules {
    pub(super) fn compile(rules: &HeaderMutationRules) -> Result<Self, CompileError> {
        let HeaderMutationRules {
            allow_all_routing,
            allow_envoy,
            disallow_system,
            disallow_all,
            allow_expression,
            disallow_expression,
            disallow_is_error,
        } = rules;
        let regex = |regex: &Option<RegexMatcher>, field| {
            regex.as_ref().map(compile_regex).transpose().map_err(|error: CompileError| error.within(field))
        };
        Ok(Self {
            routing: allow_all_routing.unwrap_or(false),
            envoy: allow_envoy.unwrap_or(false),
            system: !disallow_system.unwrap_or(false),
            any: !disallow_all.unwrap_or(false),
            allowed: regex(allow_expression, "allow_expression")?,
            disallowed: regex(disallow_expression, "disallow_expression")?,
            is_error: disallow_is_error.unwrap_or(false),
        })
    }

    /// The changes that are left; none if they make the whole answer none.
    pub(super) fn apply(&self, mut changes: Changes) -> Option<Changes> {
        let asked = (changes.request.len(), changes.remove.len());
        changes.request.retain(|mutation| self.allow(mutation));
        changes.remove.retain(|name| self.allow_removal(name));
        (!self.is_error || asked == (changes.request.len(), changes.remove.len())).then_some(changes)
    }

    fn allow(&self, mutation: &Mutation) -> bool {
        let joins_system = mutation.action == Action::Join && mutation.name.starts_with(':');
        !joins_system && self.allow_name(&mutation.name)
    }

    fn allow_removal(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        !name.starts_with(':') && name != "host" && self.allow_name(&name)
    }

    fn allow_name(&self, name: &str) -> bool {
        let matches = |regex: &Option<Regex>| regex.as_ref().is_some_and(|regex| regex.is_match(name.as_bytes()));
        if matches(&self.disallowed) {
            return false;
        }
        matches(&self.allowed)
            || self.any
                && (self.system || !name.starts_with(':'))
                && (self.routing || !["host", ":authority", ":scheme", ":method"].contains(&name))
                && (self.envoy || !name.starts_with("x-envoy-"))
    }
}

#[cfg(test)]
mod tests {
    use weir_xds::json::from_value;

    use super::*;

    #[test]
    fn only_what_is_allowed_is_changed() {
        use serde_json::json;
        // For each name, whether it may be set.
        let names = ["x-a", "host", ":authority", ":method", ":path", "x-envoy-a"];
        let regex = |regex: &str| json!({ "regex": regex });
        let cases = [
            (json!({}), [true, false, false, false, true, false]),
            (json!({"allowAllRouting": true}), [true, true, true, true, true, false]),
            (json!({"allowEnvoy": true}), [true, false, false, false, true, true]),
            (json!({"allowAllRouting": true, "disallowSystem": true}), [true, true, false, false, false, false]),
            (json!({"disallowAll": true}), [false; 6]),
            (json!({"disallowAll": true, "allowExpression": regex("x-.*")}), [true, false, false, false, false, true]),
            (json!({"allowExpression": regex(".*"), "disallowExpression": regex(":.*")}), [true, true, false, false, false, true]),
        ];
        for (rules, expected) in cases {
            let compiled = MutationRules::compile(&from_value(rules.clone()).expect("a message")).expect("valid");
            let set = |name: &str| Mutation { name: name.into(), value: vec![], action: Action::Set };
            assert_eq!(names.map(|name| compiled.allow(&set(name))), expected, "{rules}");
        }
    }

    #[test]
    fn what_is_not_allowed_is_left_out_or_makes_the_answer_none() {
        use serde_json::json;
        let changes = || Changes {
            request: ["x-a", "host"].map(|name| Mutation { name: name.into(), value: vec![], action: Action::Set }).to_vec(),
            remove: ["x-b", "Host", "x-envoy-a"].map(str::to_owned).to_vec(),
            ..Changes::default()
        };
        let compile = |rules| MutationRules::compile(&from_value(rules).expect("a message")).expect("valid");
        let left = compile(json!({})).apply(changes()).expect("some are left");
        assert_eq!((left.request.len(), left.remove), (1, vec!["x-b".to_owned()]));
        assert_eq!(compile(json!({"disallowIsError": true})).apply(changes()), None);
        assert!(compile(json!({"disallowIsError": true})).apply(Changes::default()).is_some());
    }
}
