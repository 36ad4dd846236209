//! What filters make of a body on its way, part by part.

use bytes::Bytes;
use http::HeaderMap;

use crate::exchange::failure::Refused;

/// Changes a body as it passes.
pub trait BodyStep {
    /// What becomes of a part.
    ///
    /// # Errors
    /// If the body may not go on.
    fn data(&mut self, part: Bytes) -> Result<Bytes, Refused>;

    /// What comes at the end: more of the body, and the trailers.
    ///
    /// # Errors
    /// If the body may not end so.
    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(Bytes, Option<HeaderMap>), Refused>;
}

/// Steps, in their order.
#[derive(Default)]
pub struct Steps(Vec<Box<dyn BodyStep>>);

impl Steps {
    /// Whether a body passes as it is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a step behind the others.
    pub fn push(&mut self, step: Box<dyn BodyStep>) {
        self.0.push(step);
    }

    /// What becomes of a part.
    ///
    /// # Errors
    /// If the body may not go on.
    pub fn data(&mut self, part: Bytes) -> Result<Bytes, Refused> {
        self.0.iter_mut().try_fold(part, |part, step| if part.is_empty() { Ok(part) } else { step.data(part) })
    }

    /// What comes at the end.
    ///
    /// # Errors
    /// If the body may not end so.
    pub fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(Bytes, Option<HeaderMap>), Refused> {
        let (mut last, mut trailers) = (Bytes::new(), trailers);
        for step in &mut self.0 {
            let part = if last.is_empty() { last } else { step.data(last)? };
            let (more, changed) = step.end(trailers)?;
            trailers = changed;
            last = if part.is_empty() { more } else { [part, more].concat().into() };
        }
        Ok((last, trailers))
    }
}
