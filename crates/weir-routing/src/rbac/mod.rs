//! Who may do what: Envoy's role based access control, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/rbac/v3/rbac.proto>).
//!
//! Policies are tried in the order of their names, and the first that matches decides. So that a request does not pay for those
//! that cannot match it, they are found by what they ask for ([`index`]): a path, a host, a header, the client's name or address.
//! What a policy asks for is a tree of conditions ([`condition`]) on [`Facts`].

mod address;
mod compile;
mod condition;
mod counted;
mod facts;
mod guard;
mod index;
mod principal;
mod subject;
mod template;
#[cfg(test)]
mod tests;
mod texts;

use std::sync::Arc;

use weir_xds::rbac::rbac::Action as XdsAction;
use weir_xds::rbac::{Policy as XdsPolicy, Rbac};

use crate::error::CompileError;
use condition::Condition;
use index::Index;

pub use counted::{Count, Counted};
pub use facts::{ConnectionFacts, Facts, Peer};

/// What becomes of those whom a policy matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// They are let in, and nobody else.
    Allow,
    /// They are refused, and nobody else.
    Deny,
    /// They are let in like everybody, and marked for the access log.
    Log,
}

/// Policies of one action.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What becomes of those whom a policy matches.
    pub action: Action,
    /// In the order of their names.
    policies: Arc<[Policy]>,
    index: Arc<Index>,
}

/// Whom a policy matches: those who satisfy one of its permissions and one of its principals.
#[derive(Debug)]
struct Policy {
    name: Box<str>,
    permissions: Condition,
    principals: Condition,
}

/// What the rules say of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict<'r> {
    /// Whether they let him in.
    pub allowed: bool,
    /// The policy that matched, if any did.
    pub policy: Option<&'r str>,
}

impl Rules {
    /// Compiles Envoy's message.
    ///
    /// # Errors
    /// If it is not valid, or asks for something that is not carried out: nobody may be let in by what was not understood.
    pub fn compile(rules: &Rbac) -> Result<Self, CompileError> {
        let action = match rules.action() {
            XdsAction::Allow => Action::Allow,
            XdsAction::Deny => Action::Deny,
            XdsAction::Log => Action::Log,
        };
        // No auditor is called, which is reported.
        let Rbac { action: _, policies, audit_logging_options: _ } = rules;
        // A map of the API's is in the order of its keys.
        let compile = |(name, policy): (&String, &XdsPolicy)| {
            Policy::compile(name, policy).map_err(|error| error.within(&format!("policies[{name}]")))
        };
        let policies: Arc<[Policy]> = policies.iter().map(compile).collect::<Result<_, _>>()?;
        let index = Arc::new(Index::new(&policies));
        Ok(Self { action, policies, index })
    }

    /// What they say of somebody.
    pub fn judge(&self, facts: &Facts<'_>) -> Verdict<'_> {
        let matched = self.index.first(&self.policies, facts);
        let allowed = match self.action {
            Action::Allow => matched.is_some(),
            Action::Deny => matched.is_none(),
            Action::Log => true,
        };
        Verdict { allowed, policy: matched.map(|policy| &*policy.name) }
    }

    /// The names of the policies, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.policies.iter().map(|policy| &*policy.name)
    }
}

impl Policy {
    fn compile(name: &str, policy: &XdsPolicy) -> Result<Self, CompileError> {
        let XdsPolicy { permissions, principals, condition, checked_condition, cel_config: _ } = policy;
        if condition.is_some() || checked_condition.is_some() {
            return Err(CompileError::unsupported("condition"));
        }
        Ok(Self {
            name: name.into(),
            permissions: compile::permissions(permissions).map_err(|error| error.within("permissions"))?,
            principals: compile::principals(principals).map_err(|error| error.within("principals"))?,
        })
    }

    fn matches(&self, facts: &Facts<'_>) -> bool {
        #[cfg(test)]
        tests::TRIED.set(tests::TRIED.get() + 1);
        self.permissions.holds(facts) && self.principals.holds(facts)
    }
}

/// The response code details of who is refused, in Envoy's words.
pub fn details(policy: Option<&str>) -> String {
    let name: String = policy.unwrap_or("none").chars().map(|letter| if letter.is_ascii_whitespace() { '_' } else { letter }).collect();
    format!("rbac_access_denied_matched_policy[{name}]")
}
