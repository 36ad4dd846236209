//! gRPC calls of browsers: the request becomes one of gRPC, and the answer's trailers come as its last frame.

use bytes::Bytes;
use weir_http1::Headers;
use weir_routing::filters::grpc_web::{AnswerBody, GrpcWebFilter, MAX_EXPLANATION, TextDecoder, TextEncoder, WebCall};

use super::{Back, Flow, HttpFilter, Place};
use crate::exchange::failure::Refused;
use crate::http::body::ResponseBody;
use crate::http::call::Call;
use crate::io::response::Parts;
use crate::upstream::body::step::BodyStep;

/// The filter.
pub(super) struct GrpcWeb;

impl HttpFilter for GrpcWeb {
    type Policy = GrpcWebFilter;
    type State = WebCall;

    fn new(_: &GrpcWebFilter) -> Self {
        Self
    }

    fn on_request(&self, call: &mut Call, place: &Place) -> Flow {
        let begun = WebCall::begin(&mut call.exchange.request.borrow_mut().headers);
        let Some(web) = begun else { return Flow::Continue };
        call.states.put::<Self>(place, web);
        if let Some(body) = call.body.as_mut().filter(|_| web.text_request) {
            body.push_step(Box::new(Decode { decoder: TextDecoder::default(), last: Bytes::new() }));
        }
        Flow::Continue
    }

    fn on_response(&self, call: &mut Call, place: &Place, head: &mut Parts, body: &mut ResponseBody) -> Back {
        let Some(web) = call.states.get::<Self>(place).copied() else { return Back::Continue };
        match web.answer(head.status.as_u16(), &mut head.headers, body.is_empty()) {
            AnswerBody::Explanation => Back::Wait,
            AnswerBody::Grpc => {
                if !body.is_empty() {
                    body.push_step(Box::new(Encode { web, encoder: web.text_answer.then(TextEncoder::default) }));
                }
                Back::Continue
            }
        }
    }

    async fn wait_back(&self, _: &mut Call, _: &Place, head: &mut Parts, body: &mut ResponseBody) {
        let explanation = body.take_whole(MAX_EXPLANATION).await;
        WebCall::explain(head.status.as_u16(), &explanation, &mut head.headers);
    }
}

/// Makes bytes of base64.
struct Decode {
    decoder: TextDecoder,
    last: Bytes,
}

impl Decode {
    fn decode(&mut self, part: &[u8], is_last: bool) -> Result<Bytes, Refused> {
        let mut decoded = vec![];
        let result = self.decoder.decode(part, is_last, &mut decoded);
        result.map_err(|invalid| Refused { details: invalid.details(), body: "Bad gRPC-web request, invalid base64 data." })?;
        Ok(decoded.into())
    }
}

impl BodyStep for Decode {
    fn data(&mut self, part: Bytes) -> Result<Bytes, Refused> {
        // Whether a part is the last is known when the next has come, or the end.
        let before = std::mem::replace(&mut self.last, part);
        self.decode(&before, false)
    }

    fn end(&mut self, trailers: Option<Headers>) -> Result<(Bytes, Option<Headers>), Refused> {
        let last = std::mem::take(&mut self.last);
        Ok((self.decode(&last, true)?, trailers))
    }
}

/// Puts the trailers behind the body, and all of it into base64 where that was asked for.
struct Encode {
    web: WebCall,
    encoder: Option<TextEncoder>,
}

impl BodyStep for Encode {
    fn data(&mut self, part: Bytes) -> Result<Bytes, Refused> {
        let Some(encoder) = &mut self.encoder else { return Ok(part) };
        let mut encoded = vec![];
        encoder.encode(&part, &mut encoded);
        Ok(encoded.into())
    }

    fn end(&mut self, trailers: Option<Headers>) -> Result<(Bytes, Option<Headers>), Refused> {
        let mut rest = vec![];
        if let Some(encoder) = &mut self.encoder {
            encoder.finish(&mut rest);
        }
        if let Some(trailers) = trailers {
            rest.extend_from_slice(&self.web.trailers(&trailers));
        }
        Ok((rest.into(), None))
    }
}
