//! Bodies that are decompressed on their way.

use bytes::Bytes;
use weir_http1::{HeaderValue, Headers};
use weir_routing::filters::decompressor::{DecompressorPolicy, Told};

use super::{Back, Flow, HttpFilter, Place};
use crate::exchange::failure::Refused;
use crate::http::body::ResponseBody;
use crate::http::call::Call;
use crate::io::coding::{Decoder, Undone};
use crate::io::response::Parts;
use crate::upstream::body::step::BodyStep;

/// The filter.
pub(super) struct Decompressor(DecompressorPolicy);

impl Decompressor {
    fn step(&self) -> Box<dyn BodyStep> {
        Box::new(Decompress { decoder: Decoder::new(&self.0.decompression), told: self.0.told.clone() })
    }
}

impl HttpFilter for Decompressor {
    type Policy = DecompressorPolicy;
    type State = ();

    fn new(policy: &DecompressorPolicy) -> Self {
        Self(policy.clone())
    }

    fn on_request(&self, call: &mut Call, _: &Place) -> Flow {
        let body = call.body.as_mut().filter(|body| !body.is_end_stream());
        let decodes = self.0.on_request(body.is_some(), &mut call.exchange.request.borrow_mut().headers);
        if let Some(body) = body.filter(|_| decodes) {
            body.push_step(self.step());
        }
        Flow::Continue
    }

    fn on_response(&self, _: &mut Call, _: &Place, head: &mut Parts, body: &mut ResponseBody) -> Back {
        if !body.is_empty() && self.0.on_answer(&mut head.headers) {
            body.push_step(self.step());
        }
        Back::Continue
    }
}

/// Decompresses a body, and tells behind it how long it was and is. What is not in its coding does not pass: Envoy lets through what
/// it could read, as if that were all.
struct Decompress {
    decoder: Result<Decoder, Undone>,
    told: Told,
}

impl Decompress {
    fn run<T>(&mut self, act: impl FnOnce(&mut Decoder) -> Result<T, Undone>) -> Result<T, Refused> {
        let done = self.decoder.as_mut().map_err(|undone| *undone).and_then(act);
        done.map_err(|undone| match undone {
            Undone::TooLarge => Refused { details: "decompressed_body_too_large", body: "The body becomes too large when decompressed." },
            Undone::Malformed | Undone::Cut => Refused { details: "decompression_failed", body: "The body is not in its content coding." },
        })
    }
}

impl BodyStep for Decompress {
    fn data(&mut self, part: Bytes) -> Result<Bytes, Refused> {
        self.run(|decoder| {
            decoder.feed(part);
            decoder.more().map(Option::unwrap_or_default)
        })
    }

    fn more(&mut self) -> Result<Option<Bytes>, Refused> {
        self.run(Decoder::more)
    }

    fn end(&mut self, trailers: Option<Headers>) -> Result<(Bytes, Option<Headers>), Refused> {
        let (came, went) = self.run(|decoder| decoder.finish())?;
        let mut trailers = trailers.unwrap_or_default();
        let Told { compressed, uncompressed } = &self.told;
        for (name, length) in [(compressed, came), (uncompressed, went)] {
            trailers.extend(name.clone().map(|name| (name, HeaderValue::from(length))));
        }
        Ok((Bytes::new(), (!trailers.is_empty()).then_some(trailers)))
    }
}
