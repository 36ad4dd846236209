//! Changes to headers, trailers and query parameters.

use std::rc::Rc;

use bytes::Bytes;
use http::StatusCode;
use weir_config::head::is_path;
use weir_http1::header::NameSet;
use weir_http1::{HeaderValue, Headers};
use weir_routing::filters::header_mutation::{HeaderMutationPolicy, InvalidPath, Mutation, Mutations, QueryMutation};
use weir_routing::template::Values;

use weir_routing::inline_headers::{REQUEST, RESPONSE};

use super::{Back, Flow, HttpFilter, Place};
use crate::exchange::Exchange;
use crate::exchange::failure::Refused;
use crate::http::body::ResponseBody;
use crate::http::call::Call;
use crate::http::header_changes::OfAnswer;
use crate::http::local_reply::LocalReply;
use crate::http::router::routes::Found;
use crate::io::response::Parts;
use crate::upstream::body::step::BodyStep;

/// The filter.
pub(super) struct HeaderMutation(HeaderMutationPolicy);

/// One list of mutations, of a policy or a level.
type ListOf = fn(&Mutations) -> &[Mutation];

impl HeaderMutation {
    /// All mutations of one kind that a request's levels have, in their order.
    fn of(&self, call: &mut Call, place: &Place, list: ListOf) -> Vec<Mutation> {
        self.collect(call, place, |mutations| list(mutations).to_vec())
    }

    fn collect<T>(&self, call: &mut Call, place: &Place, list: impl Fn(&Mutations) -> Vec<T>) -> Vec<T> {
        match call.found() {
            Some(found) => self.0.in_order(&found.levels(), &place.name).flat_map(list).collect(),
            None => list(&self.0.mutations),
        }
    }
}

/// The value that a mutation writes, if it is made of the exchange.
fn rendered(mutation: &Mutation, values: &impl Values) -> Option<HeaderValue> {
    let mut text = vec![];
    mutation.template()?.render(values, b"", &mut text);
    HeaderValue::from_bytes(&text).ok()
}

/// Notes where the route leads, so that values can tell it, though no cluster has been asked yet.
fn name_cluster(call: &Call) {
    if let Some(name) = call.found().and_then(Found::cluster_name) {
        call.exchange.cluster_name.replace(Some(name.into()));
    }
}

/// A new path, if there is anything to change in it.
fn new_path(mutations: &[QueryMutation], exchange: &Exchange) -> Result<Option<String>, InvalidPath> {
    if mutations.is_empty() {
        return Ok(None);
    }
    let path = exchange.request.borrow().path.as_str().to_owned();
    let changed = QueryMutation::apply_all(mutations, &path, exchange)?;
    if is_path(&changed) { Ok(Some(changed)) } else { Err(InvalidPath) }
}

impl HttpFilter for HeaderMutation {
    type Policy = HeaderMutationPolicy;
    type State = ();

    fn new(policy: &HeaderMutationPolicy) -> Self {
        Self(policy.clone())
    }

    fn on_request(&self, call: &mut Call, place: &Place) -> Flow {
        let mutations = self.of(call, place, |mutations| &mutations.request);
        if mutations.iter().any(|mutation| mutation.template().is_some()) {
            name_cluster(call);
        }
        for mutation in mutations {
            let value = rendered(&mutation, &*call.exchange);
            mutation.apply(value, &mut call.exchange.request.borrow_mut().headers, &REQUEST);
        }
        let query = self.collect(call, place, |mutations| mutations.query.to_vec());
        match new_path(&query, &call.exchange) {
            Ok(None) => {}
            Ok(Some(path)) => call.exchange.request.borrow_mut().path = path,
            Err(invalid) => {
                call.exchange.detail("filter_removed_required_request_headers");
                return Flow::Answer(LocalReply::new(StatusCode::SERVICE_UNAVAILABLE, invalid.to_string()));
            }
        }
        let trailers = self.of(call, place, |mutations| &mutations.request_trailers);
        if let Some(body) = call.body.as_mut().filter(|_| !trailers.is_empty()) {
            body.push_step(Box::new(Trailers { mutations: trailers, exchange: call.exchange.clone() }));
        }
        Flow::Continue
    }

    fn on_response(&self, call: &mut Call, place: &Place, head: &mut Parts, body: &mut ResponseBody) -> Back {
        for mutation in self.of(call, place, |mutations| &mutations.response) {
            let value = rendered(&mutation, &OfAnswer { exchange: &call.exchange, headers: &head.headers });
            mutation.apply(value, &mut head.headers, &RESPONSE);
        }
        let trailers = self.of(call, place, |mutations| &mutations.response_trailers);
        if !trailers.is_empty() && !body.is_empty() {
            body.push_step(Box::new(Trailers { mutations: trailers, exchange: call.exchange.clone() }));
        }
        Back::Continue
    }
}

/// Changes the trailers of a body; where there are none, none are made.
struct Trailers {
    mutations: Vec<Mutation>,
    exchange: Rc<Exchange>,
}

impl BodyStep for Trailers {
    fn keeps_length(&self) -> bool {
        true
    }

    fn data(&mut self, part: Bytes) -> Result<Bytes, Refused> {
        Ok(part)
    }

    fn end(&mut self, mut trailers: Option<Headers>) -> Result<(Bytes, Option<Headers>), Refused> {
        if let Some(trailers) = &mut trailers {
            for mutation in &self.mutations {
                mutation.apply(rendered(mutation, &*self.exchange), trailers, &NameSet::of(&[]));
            }
        }
        Ok((Bytes::new(), trailers))
    }
}
