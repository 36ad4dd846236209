//! Requests of a session that go to one instance.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir_http1::header::SET_COOKIE;
use weir_routing::filters::stateful_session::{Session, SessionPolicy};

use super::{Back, Flow, HttpFilter, Place};
use crate::http::body::ResponseBody;
use crate::http::call::Call;
use crate::http::router::routes::Found;
use crate::io::response::Parts;
use crate::upstream::cluster::Wanted;

/// The filter.
pub(super) struct StatefulSession(SessionPolicy);

impl StatefulSession {
    fn policy<'p>(&'p self, found: Option<&'p Found>, place: &Place) -> Option<&'p SessionPolicy> {
        self.0.with(found.and_then(|found| found.levels().most_specific(&place.name)))
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl HttpFilter for StatefulSession {
    type Policy = SessionPolicy;
    type State = Session;

    fn new(policy: &SessionPolicy) -> Self {
        Self(policy.clone())
    }

    fn on_request(&self, call: &mut Call, place: &Place) -> Flow {
        call.route();
        let found = call.found().cloned();
        let Some(policy) = self.policy(found.as_ref(), place) else { return Flow::Continue };
        let session = policy.session(&call.exchange.request.borrow().for_routing(), now());
        let Some(session) = session else { return Flow::Continue };
        if session.names_one() {
            call.wanted = Some(Wanted { address: session.instance(), strict: policy.strict });
        }
        call.states.put::<Self>(place, session);
        Flow::Continue
    }

    fn on_response(&self, call: &mut Call, place: &Place, head: &mut Parts, _: &mut ResponseBody) -> Back {
        let found = call.found().cloned();
        let instance = call.exchange.target.borrow().as_ref().and_then(|target| target.address);
        let told = match (self.policy(found.as_ref(), place), call.states.get::<Self>(place), instance) {
            (Some(policy), Some(session), Some(instance)) => policy.tell(session, instance, now()),
            _ => None,
        };
        match told {
            Some((name, value)) if name == SET_COOKIE => drop(head.headers.append(name, value)),
            Some((name, value)) => drop(head.headers.insert(name, value)),
            None => {}
        }
        Back::Continue
    }
}
