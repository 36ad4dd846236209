//! Requests that a service decides about.

use std::time::Instant;

use http::{Method, StatusCode};
use weir_config::flags::ResponseFlags;
use weir_config::head::{Head, is_path};
use weir_http1::header::{self, HeaderName, HeaderValue};
use weir_routing::filters::ext_authz::answer::{Changes, Decision, Denial};
use weir_routing::filters::ext_authz::mutation::{Action, Mutation};
use weir_routing::filters::ext_authz::question::Body;
use weir_routing::filters::ext_authz::{Asking, BodyRules, ExtAuthzPolicy};
use weir_routing::inline_headers::{REQUEST, RESPONSE};
use weir_routing::metadata_match::MetadataMatch;

use super::buffer::too_large;
use super::{Back, Flow, HttpFilter, Place};
use crate::exchange::failure::Failure;
use crate::http::body::ResponseBody;
use crate::http::call::{Call, RouteAnswer};
use crate::http::local_reply::LocalReply;
use crate::http::router;
use crate::http::router::routes::Found;
use crate::io::response::Parts;
use crate::stats::verdicts::Verdict;
use crate::upstream::body::inbound::Held;

mod ask;
pub mod connections;

const FAILURE_ALLOWED: HeaderName = HeaderName::from_static("x-envoy-auth-failure-mode-allowed");

/// The filter.
pub(super) struct ExtAuthz(ExtAuthzPolicy);

impl ExtAuthz {
    /// How a request is decided about, if it is.
    fn asking<'p>(&'p self, found: Option<&'p Found>, place: &Place) -> Option<Asking<'p>> {
        self.0.asking(found.map(Found::levels).unwrap_or_default().all(&place.name))
    }

    fn carry_out(&self, call: &mut Call, place: &Place, decision: Decision) -> Flow {
        match decision {
            Decision::Allow(changes) => {
                self.0.counted.ok.count();
                router::count(call, |stats| stats.verdicts.count(Verdict::ExtAuthzOk));
                self.allow(call, place, *changes);
                Flow::Continue
            }
            Decision::Deny(denial) => {
                self.0.counted.denied.count();
                router::count(call, |stats| stats.verdicts.count(Verdict::ExtAuthzDenied));
                if self.0.shadow { Flow::Continue } else { self.deny(call, *denial) }
            }
            Decision::Error(denial) => {
                self.0.counted.error.count();
                router::count(call, |stats| stats.verdicts.count(Verdict::ExtAuthzError));
                if self.0.allows_failure {
                    self.allow_failure(call);
                    return Flow::Continue;
                }
                if self.0.shadow { Flow::Continue } else { self.fail(call, denial.map(|denial| *denial)) }
            }
            Decision::Invalid => {
                self.0.counted.invalid.count();
                router::count(call, |stats| stats.verdicts.count(Verdict::ExtAuthzInvalid));
                refuse(call, "ext_authz_invalid", LocalReply::new(StatusCode::INTERNAL_SERVER_ERROR, ""))
            }
        }
    }

    fn allow(&self, call: &mut Call, place: &Place, changes: Changes) {
        let changed = changes.change_request();
        apply(&changes, &mut call.exchange.request.borrow_mut());
        if !changes.answer.is_empty() {
            call.states.put::<Self>(place, changes.answer);
        }
        if changed && self.0.clears_route {
            call.find_route_anew();
        }
    }

    fn allow_failure(&self, call: &Call) {
        self.0.counted.failure_mode_allowed.count();
        router::count(call, |stats| stats.verdicts.count(Verdict::ExtAuthzFailureModeAllowed));
        if self.0.tells_failure {
            call.exchange.request.borrow_mut().headers.append(FAILURE_ALLOWED, HeaderValue::from_static("true"));
        }
    }

    fn deny(&self, call: &Call, denial: Denial) -> Flow {
        let reply = reply(denial, StatusCode::FORBIDDEN);
        if self.0.counts_denied {
            router::count(call, |stats| stats.statuses.count(reply.status.as_u16()));
        }
        refuse(call, "ext_authz_denied", reply)
    }

    fn fail(&self, call: &Call, denial: Option<Denial>) -> Flow {
        let usual = StatusCode::from_u16(self.0.status_on_error).unwrap_or(StatusCode::FORBIDDEN);
        let reply = denial.map_or_else(|| LocalReply::new(usual, ""), |denial| reply(denial, usual));
        refuse(call, "ext_authz_error", reply)
    }
}

fn refuse(call: &Call, details: &'static str, reply: LocalReply) -> Flow {
    call.exchange.flag(ResponseFlags::UNAUTHORIZED);
    call.exchange.detail(details);
    Flow::Answer(reply)
}

/// The answer that a service asks for. How long it is only the answer itself knows.
fn reply(denial: Denial, usual: StatusCode) -> LocalReply {
    let Denial { status, headers, body } = denial;
    let mut reply = LocalReply::new(status.filter(|status| status.as_u16() >= 200).unwrap_or(usual), body);
    headers.iter().for_each(|mutation| mutation.apply(&mut reply.headers, &RESPONSE));
    reply.headers.remove(header::CONTENT_LENGTH);
    reply
}

/// Changes a request as a service asks for.
fn apply(changes: &Changes, head: &mut Head) {
    changes.request.iter().for_each(|mutation| change(mutation, head));
    for name in changes.removable() {
        head.headers.remove(&name);
    }
    if !changes.query.is_empty() {
        set_path(head, changes.query.apply(&head.path));
    }
}

/// Changes a header, or what a request of HTTP/2 says as headers.
fn change(mutation: &Mutation, head: &mut Head) {
    let text = String::from_utf8_lossy(&mutation.value);
    match mutation.name.as_str() {
        ":path" => set_path(head, text.into_owned()),
        ":method" => head.method = Method::from_bytes(text.as_bytes()).unwrap_or(std::mem::take(&mut head.method)),
        ":authority" | "host" => {
            // A request has one.
            let host = Mutation { name: "host".to_owned(), value: mutation.value.clone(), action: Action::Set };
            host.apply(&mut head.headers, &REQUEST);
        }
        _ => mutation.apply(&mut head.headers, &REQUEST),
    }
}

/// Sets a path, if it can be one.
fn set_path(head: &mut Head, path: String) {
    if is_path(&path) {
        head.path = path;
    }
}

/// As much of a request's body as the service gets. It stays for who reads it next.
///
/// # Errors
/// What becomes of a request whose body is too large, or breaks off.
async fn body(call: &mut Call, rules: Option<BodyRules>) -> Result<Option<Body>, Flow> {
    let is_upgrade = call.exchange.request.borrow().upgrade.is_some();
    let Some(BodyRules { most, partial }) = rules.filter(|_| !is_upgrade) else { return Ok(None) };
    let Some(body) = call.body.as_mut().filter(|body| !body.is_end_stream()) else { return Ok(None) };
    let held = if partial { body.hold_some(most).await } else { body.hold(most).await };
    match held {
        Ok(Held::All(size)) => {
            let bytes = body.held(most);
            Ok(Some(Body { is_partial: bytes.len() < size, size: size as u64, bytes }))
        }
        Ok(Held::TooLarge(size)) => Err(too_large(call, size)),
        Err(kind) => Err(Flow::Fail(Failure::from(kind))),
    }
}

impl HttpFilter for ExtAuthz {
    type Policy = ExtAuthzPolicy;
    /// What the answer gets.
    type State = Vec<Mutation>;

    fn new(policy: &ExtAuthzPolicy) -> Self {
        Self(policy.clone())
    }

    fn on_request(&self, call: &mut Call, place: &Place) -> Flow {
        let found = match call.route() {
            // As in Envoy nobody is asked about what goes nowhere.
            RouteAnswer::Nowhere | RouteAnswer::Unclear => return Flow::Continue,
            RouteAnswer::ToHttps => None,
            RouteAnswer::Route(found) => Some(found.clone()),
        };
        if self.asking(found.as_ref(), place).is_none() {
            return Flow::Continue;
        }
        let is_marked = |marked: &MetadataMatch| marked.holds(&call.exchange.dynamic_metadata.borrow());
        match self.0.enabled.takes(fastrand::u32(..)) && self.0.enabled_metadata.as_ref().is_none_or(is_marked) {
            true => Flow::Wait,
            false => {
                self.0.counted.disabled.count();
                if self.0.denies_others { self.fail(call, None) } else { Flow::Continue }
            }
        }
    }

    async fn wait(&self, call: &mut Call, place: &Place) -> Flow {
        let found = call.found().cloned();
        let Some(asking) = self.asking(found.as_ref(), place) else { return Flow::Continue };
        let body = match body(call, asking.body).await {
            Ok(body) => body,
            Err(flow) => return flow,
        };
        let decision = ask::ask(&self.0, call, &asking, body.as_ref()).await;
        call.exchange.routed.set(Some(Instant::now()));
        // What has come of the body meanwhile is not left unread, whatever is answered.
        call.waited = true;
        self.carry_out(call, place, decision)
    }

    fn on_response(&self, call: &mut Call, place: &Place, head: &mut Parts, _: &mut ResponseBody) -> Back {
        let length = head.headers.get(header::CONTENT_LENGTH).cloned();
        for mutation in call.states.get::<Self>(place).map(std::mem::take).unwrap_or_default() {
            mutation.apply(&mut head.headers, &RESPONSE);
        }
        // How long it is no service knows.
        match length {
            Some(length) => drop(head.headers.insert(header::CONTENT_LENGTH, length)),
            None => drop(head.headers.remove(header::CONTENT_LENGTH)),
        }
        Back::Continue
    }
}
