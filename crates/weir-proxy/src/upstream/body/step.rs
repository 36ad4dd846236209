//! What filters make of a body on its way, part by part.

use bytes::Bytes;
use weir_http1::Headers;

use crate::exchange::failure::Refused;

/// Changes a body as it passes.
pub trait BodyStep {
    /// Whether what passes stays as long as it was.
    fn keeps_length(&self) -> bool {
        false
    }

    /// What becomes of a part.
    ///
    /// # Errors
    /// If the body may not go on.
    fn data(&mut self, part: Bytes) -> Result<Bytes, Refused>;

    /// What comes at the end: more of the body, and the trailers.
    ///
    /// # Errors
    /// If the body may not end so.
    fn end(&mut self, trailers: Option<Headers>) -> Result<(Bytes, Option<Headers>), Refused>;
}

/// Steps, in their order.
#[derive(Default)]
pub struct Steps(Vec<Box<dyn BodyStep>>);

impl Steps {
    /// Whether a body passes as it is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a body stays as long as it was.
    pub fn keep_length(&self) -> bool {
        self.0.iter().all(|step| step.keeps_length())
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
    pub fn end(&mut self, trailers: Option<Headers>) -> Result<(Bytes, Option<Headers>), Refused> {
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

#[cfg(test)]
mod tests {
    use super::super::testing::{AtMost, Hold, Twice, fields};
    use super::*;

    fn steps(all: Vec<Box<dyn BodyStep>>) -> Steps {
        let mut steps = Steps::default();
        all.into_iter().for_each(|step| steps.push(step));
        steps
    }

    #[test]
    fn each_step_sees_what_those_before_it_made() {
        let mut together = steps(vec![Box::new(Twice), Box::new(Twice)]);
        assert_eq!(together.data("ab".into()), Ok("aaaabbbb".into()));
        let (last, trailers) = together.end(Some(fields(&[("x-t", "1")]))).expect("nobody refuses");
        assert_eq!(last, "tthhee  eennddthe end");
        assert_eq!(trailers, Some(fields(&[("x-t", "1"), ("x-steps", "twice"), ("x-steps", "twice")])));
    }

    #[test]
    fn what_a_step_holds_back_comes_at_the_end_through_those_behind_it() {
        let mut together = steps(vec![Box::new(Hold::default()), Box::new(Twice)]);
        assert_eq!((together.data("a".into()), together.data("b".into())), (Ok(Bytes::new()), Ok(Bytes::new())));
        assert_eq!(together.end(Some(fields(&[("x-t", "1")]))), Ok(("aabbthe end".into(), Some(fields(&[("x-steps", "twice")])))));
        // A step behind that takes the trailers away has the last word.
        let mut together = steps(vec![Box::new(Twice), Box::new(Hold::default())]);
        assert_eq!(together.data("a".into()), Ok(Bytes::new()));
        assert_eq!(together.end(None), Ok(("aathe end".into(), None)));
    }

    #[test]
    fn a_step_that_refuses_ends_it_also_at_the_end() {
        let mut together = steps(vec![Box::new(Twice), Box::new(AtMost(4))]);
        assert_eq!(together.data("ab".into()), Ok("aabb".into()));
        assert!(together.data("a".into()).is_err());
        let mut together = steps(vec![Box::new(Hold::default()), Box::new(AtMost(1))]);
        assert_eq!(together.data("ab".into()), Ok(Bytes::new()));
        assert!(together.end(None).is_err());
        assert!(Steps::default().is_empty() && !together.is_empty());
    }
}
