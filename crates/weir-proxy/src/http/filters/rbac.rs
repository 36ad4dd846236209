//! Who may ask for what.

use http::StatusCode;
use weir_routing::filters::rbac::{NAMESPACE, RbacOverride, RbacPolicy, enforced_metadata, shadow_metadata};
use weir_routing::rbac::{Action, Count, Facts, Rules, Verdict, details};
use weir_xds::prost_types::value::Kind;
use weir_xds::prost_types::{Struct, Value};

use super::{Flow, HttpFilter, Place};
use crate::http::call::Call;
use crate::http::local_reply::LocalReply;
use crate::http::router::routes::Found;

/// Where it says whether the access log is to have the request.
const COMMON: &str = "envoy.common";
const LOG_HINT: &str = "access_log_hint";

/// The filter.
pub(super) struct Rbac(RbacPolicy);

impl HttpFilter for Rbac {
    type Policy = RbacPolicy;
    type State = ();

    fn new(policy: &RbacPolicy) -> Self {
        Self(policy.clone())
    }

    fn on_request(&self, call: &mut Call, place: &Place) -> Flow {
        call.route();
        let of_route = call.found().and_then(|found| found.levels().most_specific(&place.name));
        let policy = match of_route {
            None => &self.0,
            Some(RbacOverride(Some(policy))) => policy,
            Some(RbacOverride(None)) => return Flow::Continue,
        };
        if let Some(shadow) = &policy.shadow {
            let verdict = judge(shadow, call);
            self.0.counted.add(Count::of(verdict.allowed, true));
            leave(call, NAMESPACE, shadow_metadata(&policy.shadow_prefix, verdict));
        }
        let Some(rules) = &policy.rules else { return Flow::Continue };
        let verdict = judge(rules, call);
        // Also what a route's own rules refuse: only the filter's numbers are told.
        self.0.counted.add(Count::of(verdict.allowed, false));
        leave(call, NAMESPACE, enforced_metadata(&policy.prefix, verdict));
        if rules.action == Action::Log {
            let hint = Value { kind: Some(Kind::BoolValue(verdict.policy.is_some())) };
            leave(call, COMMON, Struct { fields: [(LOG_HINT.to_owned(), hint)].into() });
        }
        if verdict.allowed {
            return Flow::Continue;
        }
        call.exchange.detail(details(verdict.policy));
        Flow::Answer(LocalReply::new(StatusCode::FORBIDDEN, "RBAC: access denied"))
    }
}

fn judge<'r>(rules: &'r Rules, call: &Call) -> Verdict<'r> {
    let exchange = &call.exchange;
    let (request, metadata) = (exchange.request.borrow(), exchange.dynamic_metadata.borrow());
    rules.judge(&Facts {
        connection: exchange.connection.facts(),
        remote: exchange.remote.get().ip(),
        request: Some(request.for_routing()),
        metadata: &metadata,
        route: call.found().and_then(Found::route).map(|route| &route.filter_metadata),
    })
}

/// Leaves values for later filters and logs.
fn leave(call: &Call, namespace: &str, values: Struct) {
    let mut all = call.exchange.dynamic_metadata.borrow_mut();
    match all.get_mut(namespace) {
        Some(known) => known.fields.extend(values.fields),
        None => drop(all.insert(namespace.to_owned(), values)),
    }
}
