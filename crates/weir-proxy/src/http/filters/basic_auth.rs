//! Requests that only those may make who know a password.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use http::StatusCode;
use weir_http1::header::WWW_AUTHENTICATE;
use weir_routing::filters::basic_auth::{BasicAuthPolicy, Denied, Digest, challenge};

use super::{Flow, HttpFilter, Place};
use crate::http::call::Call;
use crate::http::local_reply::LocalReply;

/// The filter.
pub(super) struct BasicAuth(BasicAuthPolicy);

/// SHA-1 is what Envoy's users are written down in; that it is broken helps nobody here who has not the hash.
fn sha1(password: &[u8]) -> Digest {
    digest(&SHA1_FOR_LEGACY_USE_ONLY, password).as_ref().try_into().unwrap_or_default()
}

impl HttpFilter for BasicAuth {
    type Policy = BasicAuthPolicy;
    type State = ();

    fn new(policy: &BasicAuthPolicy) -> Self {
        Self(policy.clone())
    }

    fn on_request(&self, call: &mut Call, place: &Place) -> Flow {
        call.route();
        let found = call.found().cloned();
        let of_route = found.as_ref().and_then(|found| found.levels().most_specific(&place.name));
        let mut request = call.exchange.request.borrow_mut();
        let Err(Denied { body, details }) = self.0.check(of_route, &mut request.headers, sha1) else {
            self.0.counted.allowed.count();
            return Flow::Continue;
        };
        self.0.counted.denied.count();
        let challenge = challenge(&request.for_routing());
        drop(request);
        call.exchange.detail(details);
        let reply = LocalReply::new(StatusCode::UNAUTHORIZED, body);
        Flow::Answer(challenge.into_iter().fold(reply, |reply, challenge| reply.with(WWW_AUTHENTICATE, challenge)))
    }
}
