//! Scripts that see a body while it passes.

use std::sync::Arc;

use bytes::Bytes;
use weir_http1::Headers;
use weir_routing::filters::lua::Counted;

use super::run::{Outcome, Run};
use super::stream::Waiting;
use super::{ENDED, report};
use crate::exchange::failure::Refused;
use crate::upstream::body::step::BodyStep;

/// A script that waits for the next part of a body, or for its end.
pub(super) struct Passing {
    /// None once it has ended.
    run: Option<Run>,
    counted: Arc<Counted>,
    /// Whether the length of what passes has been told.
    length_told: bool,
}

/// What a script waits for while a body passes.
#[derive(PartialEq, Eq)]
enum Next {
    Chunk,
    Trailers,
    Nothing,
}

impl Passing {
    pub(super) fn new(run: Run, counted: Arc<Counted>) -> Self {
        let length_told = run.stream.length_told.get();
        Self { run: Some(run), counted, length_told }
    }

    fn next(&self) -> Next {
        match self.run.as_ref().and_then(|run| run.stream.waiting.borrow().as_ref().map(|waiting| matches!(waiting, Waiting::Chunk))) {
            Some(true) => Next::Chunk,
            Some(false) => Next::Trailers,
            None => Next::Nothing,
        }
    }

    /// Lets the script go on.
    ///
    /// # Errors
    /// If it was ended before it had seen what it would: the head has gone on, so that the body breaks off.
    fn resume(&mut self) -> Result<(), Refused> {
        let Some(run) = &mut self.run else { return Ok(()) };
        let (error, refused) = match run.resume() {
            Outcome::Failed(error) => (error, Ok(())),
            Outcome::Exceeded(error) => (error, Err(Refused { details: ENDED, body: "" })),
            Outcome::Done | Outcome::Waits | Outcome::Responded => return Ok(()),
        };
        report(&run.stream.filter, &error, &self.counted);
        run.stream.waiting.take();
        refused
    }

    /// Shows a part to the script; what it has made of it.
    fn show(&mut self, part: Bytes) -> Result<Bytes, Refused> {
        let Some(run) = &self.run else { return Ok(part) };
        let stream = run.stream.clone();
        stream.chunk.replace(Some(part));
        stream.chunk_is_new.set(true);
        self.resume()?;
        Ok(stream.chunk.take().unwrap_or_default())
    }
}

impl BodyStep for Passing {
    fn keeps_length(&self) -> bool {
        self.length_told
    }

    fn data(&mut self, part: Bytes) -> Result<Bytes, Refused> {
        if let Some(run) = &self.run {
            run.stream.streamed.set(true);
        }
        if self.next() == Next::Chunk { self.show(part) } else { Ok(part) }
    }

    fn end(&mut self, trailers: Option<Headers>) -> Result<(Bytes, Option<Headers>), Refused> {
        let next = self.next();
        let Some(run) = &self.run else { return Ok((Bytes::new(), trailers)) };
        let stream = run.stream.clone();
        stream.ended.set(true);
        let has_trailers = trailers.is_some();
        *stream.trailers.borrow_mut() = trailers;
        let mut last = Bytes::new();
        match next {
            // The end of a body is an empty part of it, as Envoy's codec tells it.
            Next::Chunk if !has_trailers => last = self.show(Bytes::new())?,
            Next::Chunk | Next::Trailers => self.resume()?,
            Next::Nothing => {}
        }
        self.run = None;
        let trailers = stream.trailers.take();
        Ok((last, trailers))
    }
}
