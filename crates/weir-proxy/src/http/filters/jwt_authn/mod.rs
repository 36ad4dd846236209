//! Requests that need a token.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use http::StatusCode;
use weir_config::head::{Head, is_path};
use weir_http1::header::WWW_AUTHENTICATE;
use weir_routing::filters::jwt_authn::{Changes, Held, JwtPolicy, KeySet, KeySource, NAMESPACE, Outcome, Passed, Refusal};
use weir_routing::inline_headers::{REQUEST, append};
use weir_xds::prost_types::Value;

use super::{Flow, HttpFilter, Place};
use crate::http::call::Call;
use crate::http::local_reply::LocalReply;
use fetched::Fetched;

mod fetched;

/// The filter.
pub(super) struct JwtAuthn {
    policy: JwtPolicy,
    /// The keys of each provider, where they are fetched: as with Envoy each worker has its own.
    keys: Vec<Fetched>,
}

impl JwtAuthn {
    /// What becomes of a request; `fetched` are the keys that it has waited for, by their providers: none where they cannot be had.
    fn judge(&self, call: &Call, place: &Place, fetched: &BTreeMap<usize, Option<Arc<KeySet>>>) -> Outcome {
        let of_route = call.found().and_then(|found| found.levels().most_specific(&place.name));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let request = call.exchange.request.borrow();
        let metadata = call.exchange.dynamic_metadata.borrow();
        let keys = |provider: usize| match (fetched.get(&provider), self.keys.get(provider)) {
            (Some(Some(keys)), _) => Held::Keys(keys.clone()),
            (None, Some(keys)) => keys.held(),
            (Some(None), _) | (None, None) => Held::Failed,
        };
        self.policy.judge(&request.for_routing(), &metadata, of_route, now, &keys)
    }

    /// None where keys are to be fetched first.
    fn settle(&self, call: &mut Call, outcome: Outcome) -> Option<Flow> {
        match outcome {
            Outcome::Fetch(_) => None,
            Outcome::Pass(passed) => {
                let Passed { changes, data, clears_route, accepted: _ } = *passed;
                if changes.path.as_ref().is_some_and(|path| !is_path(path)) {
                    return Some(unsettled());
                }
                apply(changes, &mut call.exchange.request.borrow_mut());
                leave(call, data);
                if clears_route {
                    call.find_route_anew();
                }
                Some(Flow::Continue)
            }
            Outcome::Refuse(refusal) => Some(refuse(call, *refusal)),
        }
    }
}

fn apply(changes: Changes, head: &mut Head) {
    let Changes { removed, added, path } = changes;
    removed.iter().for_each(|name| drop(head.headers.remove(name)));
    added.into_iter().for_each(|(name, value)| append(&mut head.headers, &name, value, &REQUEST));
    if let Some(path) = path {
        head.path = path;
    }
}

/// What is answered where it is not known what becomes of a request: it must not pass for that.
fn unsettled() -> Flow {
    Flow::Answer(LocalReply::new(StatusCode::UNAUTHORIZED, String::new()))
}

/// Leaves something for other filters, for routes, and for logs.
fn leave(call: &Call, data: impl IntoIterator<Item = (String, Value)>) {
    let mut data = data.into_iter().peekable();
    if data.peek().is_some() {
        let mut all = call.exchange.dynamic_metadata.borrow_mut();
        all.entry(NAMESPACE.to_owned()).or_default().fields.extend(data);
    }
}

fn refuse(call: &Call, refusal: Refusal) -> Flow {
    let Refusal { status, body, challenge, details, provider: _, data } = refusal;
    leave(call, data);
    call.exchange.detail(details);
    let reply = LocalReply::new(StatusCode::from_u16(status).unwrap_or(StatusCode::UNAUTHORIZED), body);
    Flow::Answer(challenge.into_iter().fold(reply, |reply, challenge| reply.with(WWW_AUTHENTICATE, challenge)))
}

impl HttpFilter for JwtAuthn {
    type Policy = JwtPolicy;
    type State = ();

    fn new(policy: &JwtPolicy) -> Self {
        for provider in policy.providers() {
            if let KeySource::Unusable(status) = &provider.keys {
                let (provider, error) = (&*provider.name, status.text());
                tracing::warn!(provider, error, "the keys of tokens are none: all tokens of this provider are refused");
            }
        }
        Self { policy: policy.clone(), keys: policy.providers().iter().map(|_| Fetched::default()).collect() }
    }

    fn on_request(&self, call: &mut Call, place: &Place) -> Flow {
        call.route();
        // What is taken out of the head must not come in behind the body.
        call.exchange.barred_trailers.borrow_mut().extend(self.policy.own_headers().cloned());
        let outcome = self.judge(call, place, &BTreeMap::new());
        self.settle(call, outcome).unwrap_or(Flow::Wait)
    }

    async fn wait(&self, call: &mut Call, place: &Place) -> Flow {
        // A request may have tokens of several providers, and needs the keys of one after the other.
        let mut fetched = BTreeMap::new();
        loop {
            let outcome = self.judge(call, place, &fetched);
            if let Outcome::Fetch(index) = outcome {
                let provider = self.policy.providers().get(index);
                let Some((keys, provider)) = self.keys.get(index).zip(provider) else { return unsettled() };
                let held = match &provider.keys {
                    KeySource::Remote(remote) => keys.fetch(remote, &call.http.clusters, self.policy.counted()).await,
                    KeySource::Known(_) | KeySource::Unusable(_) => None,
                };
                // Each is fetched once for one request: it is settled then, whatever has come of it.
                if fetched.insert(index, held).is_some() {
                    return unsettled();
                }
                continue;
            }
            call.exchange.routed.set(Some(Instant::now()));
            // What has come of the body meanwhile is not left unread, whatever is answered.
            call.waited = true;
            return self.settle(call, outcome).unwrap_or_else(unsettled);
        }
    }
}
