//! Bodies that are compressed on their way.

use bytes::Bytes;
use http::StatusCode;
use weir_http1::Headers;
use weir_http1::header::{ACCEPT_ENCODING, HeaderValue, UPGRADE};
use weir_routing::filters::coding::{Coding, Compression, declared_length};
use weir_routing::filters::compressor::{AnswerHead, CompressorOverride, CompressorPolicy, accept};

use super::{Back, Filter, Flow, HttpFilter, Place, State};
use crate::exchange::failure::Refused;
use crate::http::body::ResponseBody;
use crate::http::call::Call;
use crate::http::router::routes::Found;
use crate::io::coding::{Encoder, Undone};
use crate::io::response::Parts;
use crate::upstream::body::step::BodyStep;

/// The filter.
pub(super) struct Compressor(CompressorPolicy);

/// What a request has said, as this filter saw it.
pub(super) struct Asked {
    accepted: Option<HeaderValue>,
    /// The coding for the answer, or none, once a filter of the chain has chosen it for all.
    chosen: Option<Option<Coding>>,
}

fn of_route<'f>(found: Option<&'f Found>, place: &Place) -> Option<&'f CompressorOverride> {
    found.and_then(|found| found.levels().most_specific(&place.name))
}

impl Compressor {
    /// Whether this is the filter whose coding the client gets. The first that an answer comes to chooses for all.
    fn is_chosen(&self, call: &mut Call, found: Option<&Found>, place: &Place, answer: &Headers) -> bool {
        let Some(accepted) = call.states.get::<Self>(place).and_then(|asked| asked.accepted.clone()) else { return false };
        let chosen = Self::chosen(call).unwrap_or_else(|| {
            let chain = call.http.filters.0.clone();
            let offers = chain.iter().filter(|(place, _)| !place.is_left_out(call)).filter_map(|(place, filter)| match filter {
                Filter::Compressor(Self(policy)) => policy.offer(of_route(found, place), answer),
                _ => None,
            });
            let chosen = accept::choose(&String::from_utf8_lossy(accepted.as_bytes()), offers);
            if let Some(asked) = call.states.get::<Self>(place) {
                asked.chosen = Some(chosen);
            }
            chosen
        });
        chosen == Some(self.0.coding(of_route(found, place)))
    }

    /// What has been chosen, if that has been done.
    fn chosen(call: &Call) -> Option<Option<Coding>> {
        call.states.0.iter().find_map(|(_, state)| match state {
            State::Compressor(asked) => asked.chosen,
            _ => None,
        })
    }
}

impl HttpFilter for Compressor {
    type Policy = CompressorPolicy;
    type State = Asked;

    fn new(policy: &CompressorPolicy) -> Self {
        Self(policy.clone())
    }

    fn on_request(&self, call: &mut Call, place: &Place) -> Flow {
        call.route();
        let found = call.found().cloned();
        let body = call.body.as_mut().filter(|body| !body.is_end_stream());
        let mut request = call.exchange.request.borrow_mut();
        let accepted = request.headers.get(ACCEPT_ENCODING).cloned();
        let has_body = body.is_some() && request.upgrade.is_none();
        let compression = self.0.on_request(of_route(found.as_ref(), place), has_body, &mut request.headers);
        if let (Some(body), Some(compression)) = (body, compression) {
            body.push_step(Box::new(Compress::new(compression)));
        }
        drop(request);
        call.states.put::<Self>(place, Asked { accepted, chosen: None });
        Flow::Continue
    }

    fn on_response(&self, call: &mut Call, place: &Place, head: &mut Parts, body: &mut ResponseBody) -> Back {
        let found = call.found().cloned();
        // What we say ourselves has no length yet that stands in its head.
        let own_length = || (!body.is_of_instance()).then(|| body.exact_length()).flatten();
        let answer = AnswerHead {
            status: head.status.as_u16(),
            has_body: !body.is_empty(),
            length: declared_length(&head.headers).or_else(own_length),
            is_upgrade: head.status == StatusCode::SWITCHING_PROTOCOLS && head.headers.contains_key(UPGRADE),
        };
        let is_chosen = |headers: &Headers| self.is_chosen(call, found.as_ref(), place, headers);
        if let Some(compression) = self.0.on_answer(of_route(found.as_ref(), place), &answer, &mut head.headers, is_chosen) {
            body.push_step(Box::new(Compress::new(compression)));
        }
        Back::Continue
    }
}

/// Compresses a body.
struct Compress(Result<Encoder, Undone>);

impl Compress {
    fn new(compression: &Compression) -> Self {
        Self(Encoder::new(compression))
    }

    fn run(&mut self, act: impl FnOnce(&mut Encoder) -> Result<Bytes, Undone>) -> Result<Bytes, Refused> {
        let done = self.0.as_mut().map_err(|undone| *undone).and_then(act);
        done.map_err(|_| Refused { details: "compression_failed", body: "The body could not be compressed." })
    }
}

impl BodyStep for Compress {
    fn data(&mut self, part: Bytes) -> Result<Bytes, Refused> {
        self.run(|encoder| encoder.part(&part))
    }

    fn end(&mut self, trailers: Option<Headers>) -> Result<(Bytes, Option<Headers>), Refused> {
        Ok((self.run(Encoder::finish)?, trailers))
    }
}
