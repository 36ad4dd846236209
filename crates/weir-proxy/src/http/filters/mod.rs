//! The filters of a connection manager, in the order of its configuration; the router, which is always the last, is a module of
//! its own.
//!
//! A filter sees a request's head and body before the router does, and the head and body of every answer, be it an instance's
//! or one of ours. It may answer, wait, change what it sees, or drop the route that was found so that it is found anew. What no
//! filter asks for costs nothing. What each is to do is pure data of [`weir_routing::filters`], where every filter that stands
//! here has a module of the same name.
//!
//! A new filter is a file here, its `mod` line and its line in the list below.

use std::rc::Rc;
use std::sync::Arc;

use weir_routing::filters::{Filter as Configured, FilterPolicy};

use super::body::ResponseBody;
use super::call::Call;
use super::local_reply::LocalReply;
use super::router;
use crate::exchange::failure::Failure;
use crate::io::response::Parts;

mod admission_control;
mod bandwidth_limit;
mod basic_auth;
mod buffer;
mod cdn_loop;
mod compressor;
mod cors;
mod csrf;
mod custom_response;
mod decompressor;
mod ext_authz;
mod fault;
mod grpc_http1_bridge;
mod grpc_web;
mod header_mutation;
mod header_to_metadata;
mod health_check;
mod jwt_authn;
mod local_ratelimit;
pub mod lua;
mod peer_metadata;
mod ratelimit;
mod rbac;
mod set_metadata;
mod stateful_session;
mod whole;

pub use ext_authz::connections::ask as ask_about_connection;

/// What a filter makes of a request.
pub(super) enum Flow {
    /// It goes on.
    Continue,
    /// It has been answered.
    Answer(LocalReply),
    /// It failed.
    Fail(Failure),
    /// It is held back: [`HttpFilter::wait`] says for how long.
    Wait,
}

/// What a filter makes of an answer.
pub(super) enum Back {
    /// It goes on.
    Continue,
    /// It is held back: [`HttpFilter::wait_back`] says for how long.
    Wait,
    /// It is another one now, which no other filter sees.
    Replaced,
}

/// Where a filter stands in its chain.
pub(super) struct Place {
    /// Its position.
    position: usize,
    /// Its name there, by which routes speak of it.
    pub(super) name: Arc<str>,
    /// Whether it does something only where a route says so.
    disabled: bool,
}

/// What a filter does, for one worker. What it does not name it does not do.
trait HttpFilter: Sized {
    /// What the connection manager says of it.
    type Policy;
    /// What it remembers of a request.
    type State;

    /// For a chain.
    fn new(policy: &Self::Policy) -> Self;

    /// Looks at a request before it is sent on.
    fn on_request(&self, _: &mut Call, _: &Place) -> Flow {
        Flow::Continue
    }

    /// Holds a request back; what becomes of it then.
    async fn wait(&self, _: &mut Call, _: &Place) -> Flow {
        Flow::Continue
    }

    /// Looks at the head of an answer, and at its body.
    fn on_response(&self, _: &mut Call, _: &Place, _: &mut Parts, _: &mut ResponseBody) -> Back {
        Back::Continue
    }

    /// Holds an answer back.
    async fn wait_back(&self, _: &mut Call, _: &Place, _: &mut Parts, _: &mut ResponseBody) {}
}

/// Makes the closed enums. Each line is a filter, as [`FilterPolicy`] names it, and its module here.
macro_rules! filters {
    ($($name:ident: $module:ident;)+) => {
        /// A filter.
        enum Filter {
            $($name($module::$name),)+
        }

        /// What a filter remembers of a request.
        enum State {
            $($name(<$module::$name as HttpFilter>::State),)+
        }

        $(impl Stateful for $module::$name {
            fn pack(state: Self::State) -> State {
                State::$name(state)
            }

            #[allow(unreachable_patterns, reason = "a list of one filter has no others")]
            fn unpack(state: &mut State) -> Option<&mut Self::State> {
                match state {
                    State::$name(state) => Some(state),
                    _ => None,
                }
            }
        })+

        impl Filter {
            /// `None` where the policy asks for no deed.
            fn new(policy: &FilterPolicy) -> Option<Self> {
                match policy {
                    $(FilterPolicy::$name(policy) => Some(Self::$name(HttpFilter::new(policy))),)+
                    _ => None,
                }
            }

            fn on_request(&self, call: &mut Call, place: &Place) -> Flow {
                match self {
                    $(Self::$name(filter) => filter.on_request(call, place),)+
                }
            }

            async fn wait(&self, call: &mut Call, place: &Place) -> Flow {
                match self {
                    $(Self::$name(filter) => filter.wait(call, place).await,)+
                }
            }

            fn on_response(&self, call: &mut Call, place: &Place, head: &mut Parts, body: &mut ResponseBody) -> Back {
                match self {
                    $(Self::$name(filter) => filter.on_response(call, place, head, body),)+
                }
            }

            async fn wait_back(&self, call: &mut Call, place: &Place, head: &mut Parts, body: &mut ResponseBody) {
                match self {
                    $(Self::$name(filter) => filter.wait_back(call, place, head, body).await,)+
                }
            }
        }
    };
}

filters! {
    AdmissionControl: admission_control;
    BandwidthLimit: bandwidth_limit;
    BasicAuth: basic_auth;
    Buffer: buffer;
    CdnLoop: cdn_loop;
    Compressor: compressor;
    Cors: cors;
    ExtAuthz: ext_authz;
    Csrf: csrf;
    CustomResponse: custom_response;
    Decompressor: decompressor;
    Fault: fault;
    GrpcHttp1Bridge: grpc_http1_bridge;
    GrpcWeb: grpc_web;
    HeaderMutation: header_mutation;
    HeaderToMetadata: header_to_metadata;
    HealthCheck: health_check;
    JwtAuthn: jwt_authn;
    LocalRateLimit: local_ratelimit;
    Lua: lua;
    PeerMetadata: peer_metadata;
    RateLimit: ratelimit;
    Rbac: rbac;
    SetMetadata: set_metadata;
    StatefulSession: stateful_session;
}

/// A filter whose state is one of [`State`].
trait Stateful: HttpFilter {
    fn pack(state: Self::State) -> State;
    fn unpack(state: &mut State) -> Option<&mut Self::State>;
}

/// What the filters of a chain remember of a request. Most remember nothing.
#[derive(Default)]
pub(super) struct States(Vec<(usize, State)>);

impl States {
    /// Remembers something for the filter at this place.
    fn put<F: Stateful>(&mut self, place: &Place, state: F::State) {
        self.0.push((place.position, F::pack(state)));
    }

    /// What the filter at this place remembers.
    fn get<F: Stateful>(&mut self, place: &Place) -> Option<&mut F::State> {
        self.0.iter_mut().filter(|(position, _)| *position == place.position).find_map(|(_, state)| F::unpack(state))
    }
}

/// The filters of a connection manager, for one worker.
pub struct Chain(Rc<[(Place, Filter)]>);

impl Chain {
    /// The filters that there are deeds for.
    pub fn new(filters: &[Configured]) -> Self {
        let place = |(position, filter): (usize, &Configured)| {
            let place = Place { position, name: filter.name.clone(), disabled: filter.disabled };
            Some((place, Filter::new(&filter.policy)?))
        };
        Self(filters.iter().enumerate().filter_map(place).collect())
    }
}

impl Place {
    /// Whether the filter is left out for a request.
    fn is_left_out(&self, call: &Call) -> bool {
        let says = call.found().filter(|found| found.says_of_filters());
        says.map_or(self.disabled, |found| found.levels().is_disabled(&self.name, self.disabled))
    }
}

/// Takes a request through the filters; the answer, if one of them gives it.
pub(super) async fn on_request(call: &mut Call) -> Option<LocalReply> {
    let chain = call.http.filters.0.clone();
    if !chain.is_empty() {
        // It says which of them are left out, so it is found before the first has changed anything, as in Envoy.
        call.route();
    }
    for (place, filter) in chain.iter() {
        if place.is_left_out(call) {
            continue;
        }
        let flow = match filter.on_request(call, place) {
            Flow::Wait => {
                let flow = Box::pin(filter.wait(call, place)).await;
                call.waited |= matches!(flow, Flow::Continue);
                flow
            }
            flow => flow,
        };
        let reply = match flow {
            Flow::Continue | Flow::Wait => continue,
            Flow::Answer(reply) => reply,
            Flow::Fail(failure) => call.fail(&failure),
        };
        router::note_cluster(call);
        return Some(reply);
    }
    None
}

/// Takes an answer through the filters, the last one first. As with Envoy those see it too that the request never came to.
pub(super) async fn on_response(call: &mut Call, head: &mut Parts, body: &mut ResponseBody) {
    let chain = call.http.filters.0.clone();
    for (place, filter) in chain.iter().rev() {
        if place.is_left_out(call) {
            continue;
        }
        match filter.on_response(call, place, head, body) {
            Back::Continue => {}
            Back::Wait => Box::pin(filter.wait_back(call, place, head, body)).await,
            Back::Replaced => return,
        }
        if call.replaced {
            return;
        }
    }
}
