//! Who may ask for what: Envoy's RBAC filter, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/rbac_filter>).

use weir_xds::prost_types::Struct;
use weir_xds::rbac_filter::{Rbac as Message, RbacPerRoute};
use weir_xds::values::text;

use super::Policy;
use crate::error::CompileError;
use crate::rbac::{Counted, Rules, Verdict};

/// The namespace of what it leaves behind, whatever name it has in its chain.
pub const NAMESPACE: &str = "envoy.filters.http.rbac";

/// Who is let in.
#[derive(Debug, Clone)]
pub struct RbacPolicy {
    /// The rules; without any, everybody is.
    pub rules: Option<Rules>,
    /// Rules that are only tried: what they say is left for later filters and logs.
    pub shadow: Option<Rules>,
    /// What stands before the names of what the rules leave and count.
    pub prefix: Box<str>,
    /// The same of the rules that are only tried.
    pub shadow_prefix: Box<str>,
    /// How often they let somebody in.
    pub counted: Counted,
}

/// What a route says of it: other rules, or, without any, that there are none.
#[derive(Debug, Clone)]
pub struct RbacOverride(pub Option<RbacPolicy>);

impl Policy for RbacPolicy {
    type Message = Message;

    fn compile(message: &Message) -> Result<Self, CompileError> {
        let Message {
            rules,
            rules_stat_prefix,
            matcher,
            shadow_rules,
            shadow_matcher,
            shadow_rules_stat_prefix,
            // Reported: policies are not counted one by one.
            track_per_rule_stats: _,
        } = message;
        if matcher.is_some() {
            return Err(CompileError::unsupported("matcher"));
        }
        // Who would have to be asked about would not be.
        if shadow_matcher.is_some() {
            return Err(CompileError::unsupported("shadow_matcher"));
        }
        Ok(Self {
            rules: rules.as_ref().map(Rules::compile).transpose().map_err(|error| error.within("rules"))?,
            shadow: shadow_rules.as_ref().map(Rules::compile).transpose().map_err(|error| error.within("shadow_rules"))?,
            prefix: rules_stat_prefix.as_str().into(),
            shadow_prefix: shadow_rules_stat_prefix.as_str().into(),
            counted: Counted::default(),
        })
    }
}

impl Policy for RbacOverride {
    type Message = RbacPerRoute;

    fn compile(message: &RbacPerRoute) -> Result<Self, CompileError> {
        let RbacPerRoute { rbac } = message;
        rbac.as_ref().map(RbacPolicy::compile).transpose().map(Self).map_err(|error| error.within("rbac"))
    }
}

/// What is left for later filters and logs of what rules that are only tried have said.
pub fn shadow_metadata(prefix: &str, verdict: Verdict<'_>) -> Struct {
    metadata([prefix, "shadow_effective_policy_id"], [prefix, "shadow_engine_result"], verdict)
}

/// The same of those that are in force.
pub fn enforced_metadata(prefix: &str, verdict: Verdict<'_>) -> Struct {
    metadata([prefix, "enforced_effective_policy_id"], [prefix, "enforced_engine_result"], verdict)
}

/// Each request has this made: it formats nothing, and sorts nothing.
fn metadata(id: [&str; 2], result: [&str; 2], verdict: Verdict<'_>) -> Struct {
    let mut left = Struct::default();
    if let Some(name) = verdict.policy {
        left.fields.insert(joined(id), text(name));
    }
    left.fields.insert(joined(result), text(if verdict.allowed { "allowed" } else { "denied" }));
    left
}

fn joined([prefix, name]: [&str; 2]) -> String {
    let mut joined = String::with_capacity(prefix.len() + name.len());
    joined.push_str(prefix);
    joined.push_str(name);
    joined
}

#[cfg(test)]
mod tests {
    use weir_xds::rbac::Rbac;
    use weir_xds::rbac_filter::RbacPerRoute;
    use weir_xds::xds::r#type::matcher::v3::Matcher;

    use super::*;

    #[test]
    fn what_would_let_in_who_must_not_be_is_refused() {
        let matcher = Some(Matcher::default());
        for (message, field) in [
            (Message { matcher: matcher.clone(), ..Default::default() }, "matcher"),
            (Message { shadow_matcher: matcher, ..Default::default() }, "shadow_matcher"),
        ] {
            assert_eq!(RbacPolicy::compile(&message).expect_err(field).path, field);
            let of_route = RbacOverride::compile(&RbacPerRoute { rbac: Some(message) }).expect_err(field);
            assert_eq!(of_route.path, format!("rbac.{field}"));
        }
    }

    #[test]
    fn a_route_may_have_other_rules_or_none() {
        assert!(RbacOverride::compile(&RbacPerRoute::default()).expect("valid").0.is_none());
        let none = Message::default();
        let others = RbacOverride::compile(&RbacPerRoute { rbac: Some(none.clone()) }).expect("valid").0.expect("others");
        assert!(others.rules.is_none());
        // Rules without policies let nobody in, which is not the same as none.
        let strict = Message { rules: Some(Rbac::default()), ..none };
        assert!(RbacPolicy::compile(&strict).expect("valid").rules.is_some());
    }
}
