//! The filters of a connection manager, in the order of its configuration; the router, which is always the last, is a module of
//! its own.
//!
//! A filter sees a request's head and body before the router does, and the head of every answer, be it an instance's or one of
//! ours. It may answer, wait, change what it sees, or drop the route that was found so that it is found anew. What a filter
//! does not ask for costs nothing. What it is to do is pure data of `weir_routing::filters`.

mod cors;
mod fault;

use http::response::Parts;

use super::call::Call;
use super::local_reply::LocalReply;

/// What a filter makes of a request.
pub(super) enum Flow {
    /// It goes on.
    Continue,
    /// It has been answered.
    Answer(LocalReply),
    /// It is held back: [`HttpFilter::wait`] says for how long.
    Wait,
}

/// What a filter does. What it does not name it does not do.
trait HttpFilter {
    /// Looks at a request before it is sent on.
    fn on_request(&self, _: &mut Call) -> Flow {
        Flow::Continue
    }

    /// Holds a request back; what becomes of it then.
    async fn wait(&self, _: &mut Call) -> Flow {
        Flow::Continue
    }

    /// Looks at the head of an answer.
    fn on_response(&self, _: &mut Call, _: &mut Parts) {}
}

/// What filters remember of a request.
#[derive(Default)]
pub(super) struct States {
    cors: Option<cors::State>,
}

/// Takes a request through the filters; the answer, if one of them gives it.
pub(super) async fn on_request(call: &mut Call) -> Option<LocalReply> {
    for filter in [&Filter::Fault(fault::Fault), &Filter::Cors(cors::Cors)] {
        let flow = match filter.on_request(call) {
            Flow::Wait => Box::pin(filter.wait(call)).await,
            flow => flow,
        };
        if let Flow::Answer(reply) = flow {
            return Some(reply);
        }
    }
    None
}

/// Takes the head of an answer through the filters, the last one first.
pub(super) fn on_response(call: &mut Call, head: &mut Parts) {
    for filter in [&Filter::Cors(cors::Cors), &Filter::Fault(fault::Fault)] {
        filter.on_response(call, head);
    }
}

/// The filters that there are.
enum Filter {
    Cors(cors::Cors),
    Fault(fault::Fault),
}

impl Filter {
    fn on_request(&self, call: &mut Call) -> Flow {
        match self {
            Self::Cors(filter) => filter.on_request(call),
            Self::Fault(filter) => filter.on_request(call),
        }
    }

    async fn wait(&self, call: &mut Call) -> Flow {
        match self {
            Self::Cors(filter) => filter.wait(call).await,
            Self::Fault(filter) => filter.wait(call).await,
        }
    }

    fn on_response(&self, call: &mut Call, head: &mut Parts) {
        match self {
            Self::Cors(filter) => filter.on_response(call, head),
            Self::Fault(filter) => filter.on_response(call, head),
        }
    }
}
