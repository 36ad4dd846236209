//! What permissions and principals of Envoy's have in common: they are trees.

use weir_xds::rbac::permission::{self, Rule};
use weir_xds::rbac::principal::{self, Identifier};
use weir_xds::rbac::{Permission, Principal};

/// A condition that others can be made of.
pub(super) trait Tree: Sized {
    fn always() -> Self;
    fn all(conditions: Vec<Self>) -> Self;
    fn any(conditions: Vec<Self>) -> Self;
    fn not(condition: Self) -> Self;
}

/// A permission.
pub(super) fn permission(rule: Rule) -> Permission {
    Permission { rule: Some(rule) }
}

/// A principal.
pub(super) fn principal(identifier: Identifier) -> Principal {
    Principal { identifier: Some(identifier) }
}

impl Tree for Permission {
    fn always() -> Self {
        permission(Rule::Any(true))
    }

    fn all(rules: Vec<Self>) -> Self {
        permission(Rule::AndRules(permission::Set { rules }))
    }

    fn any(rules: Vec<Self>) -> Self {
        permission(Rule::OrRules(permission::Set { rules }))
    }

    fn not(rule: Self) -> Self {
        permission(Rule::NotRule(Box::new(rule)))
    }
}

impl Tree for Principal {
    fn always() -> Self {
        principal(Identifier::Any(true))
    }

    fn all(ids: Vec<Self>) -> Self {
        principal(Identifier::AndIds(principal::Set { ids }))
    }

    fn any(ids: Vec<Self>) -> Self {
        principal(Identifier::OrIds(principal::Set { ids }))
    }

    fn not(id: Self) -> Self {
        principal(Identifier::NotId(Box::new(id)))
    }
}
