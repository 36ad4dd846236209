//! Answers that take the place of others. As with Envoy no other filter sees them.

use bytes::Bytes;
use weir_http1::Headers;
use weir_routing::filters::Levels;
use weir_routing::filters::custom_response::{Answer, CustomResponsePolicy, Details, Replacement};
use weir_routing::template::{Operator, Values};

use super::{Back, HttpFilter, Place};
use crate::exchange::Exchange;
use crate::http::body::ResponseBody;
use crate::http::call::Call;
use crate::http::header_changes::{OfAnswer, apply_to_response};
use crate::http::local_reply::LocalReply;
use crate::http::router::routes::Found;
use crate::io::response::Parts;

/// The filter.
pub(super) struct CustomResponse(CustomResponsePolicy);

impl CustomResponse {
    /// What takes the place of an answer, if anything does.
    fn find<'p>(&'p self, levels: &Levels<'p>, call: &Call, place: &Place, head: &Parts) -> Option<&'p Replacement> {
        let request = call.exchange.request.borrow();
        let answer = Answer { status: head.status.as_u16(), headers: &head.headers, request: &request.headers };
        self.0.find(levels, &place.name, &answer)
    }
}

/// What the body of a replacement is made of: what is known of the answer that it replaces, and its own text.
struct WithBody<'a> {
    answer: OfAnswer<'a>,
    body: &'a [u8],
}

impl Values for WithBody<'_> {
    fn append(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        if let Operator::LocalReplyBody = operator {
            out.extend_from_slice(self.body);
            return true;
        }
        self.answer.append(operator, out)
    }
}

fn body(replacement: &Replacement, exchange: &Exchange, headers: &Headers) -> Bytes {
    let Some(format) = &replacement.format else { return Bytes::copy_from_slice(&replacement.body) };
    let mut text = vec![];
    format.render(&WithBody { answer: OfAnswer { exchange, headers }, body: &replacement.body }, b"-", &mut text);
    text.into()
}

impl HttpFilter for CustomResponse {
    type Policy = CustomResponsePolicy;
    type State = ();

    fn new(policy: &CustomResponsePolicy) -> Self {
        Self(policy.clone())
    }

    fn on_response(&self, call: &mut Call, place: &Place, head: &mut Parts, content: &mut ResponseBody) -> Back {
        let found = call.found().cloned();
        let levels = found.as_ref().map_or_else(Levels::default, Found::levels);
        let Some(replacement) = self.find(&levels, call, place, head) else { return Back::Continue };
        let text = body(replacement, &call.exchange, &head.headers);
        let mut reply = LocalReply::new(replacement.status.unwrap_or(head.status), text);
        call.change_response_headers(&mut reply.headers);
        apply_to_response(&replacement.headers, &mut reply.headers, &call.exchange);
        if let Details::Told(details) = &replacement.details {
            call.exchange.detail(details.to_string());
        }
        let (settled, text) = call.settle(reply);
        (*head, *content) = (settled, ResponseBody::local(text));
        Back::Replaced
    }
}
