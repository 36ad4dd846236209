//! What filters make of a body on its way, part by part.

use std::task::{Context, Poll, ready};

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

    /// Whether it goes on now: what passes may be held back for a time.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// What else comes of the parts before, where one may become many: it is asked for until there is nothing, before the next part.
    ///
    /// # Errors
    /// If the body may not go on.
    fn more(&mut self) -> Result<Option<Bytes>, Refused> {
        Ok(None)
    }

    /// What comes at the end: more of the body, and the trailers.
    ///
    /// # Errors
    /// If the body may not end so.
    fn end(&mut self, trailers: Option<Headers>) -> Result<(Bytes, Option<Headers>), Refused>;
}

/// Steps, in their order.
#[derive(Default)]
pub struct Steps {
    steps: Vec<Box<dyn BodyStep>>,
    /// The end, when it has come: how many steps have been told, and the trailers as those have left them.
    end: Option<(usize, Option<Headers>)>,
}

/// What comes of a body without another part of it.
#[derive(Debug, PartialEq, Eq)]
pub enum More {
    /// More of the body; it may be empty.
    Data(Bytes),
    /// The end, with trailers if there are some.
    End(Option<Headers>),
    /// Nothing: the next part is needed, or the end.
    Nothing,
}

impl Steps {
    /// Whether a body passes as it is.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether a body stays as long as it was.
    pub fn keep_length(&self) -> bool {
        self.steps.iter().all(|step| step.keeps_length())
    }

    /// Adds a step behind the others.
    pub fn push(&mut self, step: Box<dyn BodyStep>) {
        self.steps.push(step);
    }

    /// Waits until the body goes on.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for step in &mut self.steps {
            ready!(step.poll_ready(cx));
        }
        Poll::Ready(())
    }

    /// What becomes of a part.
    ///
    /// # Errors
    /// If the body may not go on.
    pub fn data(&mut self, part: Bytes) -> Result<Bytes, Refused> {
        self.pass(0, part)
    }

    /// Nothing more comes but these trailers. The steps are told when all that came before has passed them.
    pub fn end(&mut self, trailers: Option<Headers>) {
        self.end = Some((0, trailers));
    }

    /// Whether the end has come and is not told yet.
    pub fn are_ending(&self) -> bool {
        self.end.is_some()
    }

    /// What else comes of the parts before; it is asked for until there is nothing, before the next part.
    ///
    /// # Errors
    /// If the body may not go on, or end so.
    pub fn more(&mut self) -> Result<More, Refused> {
        // The last first: no step gets a part before all has come of the one that it has.
        for at in (0..self.steps.len()).rev() {
            let more = self.steps.get_mut(at).map_or(Ok(None), |step| step.more())?;
            if let Some(part) = more {
                return self.pass(at + 1, part).map(More::Data);
            }
        }
        let Some((told, trailers)) = &mut self.end else { return Ok(More::Nothing) };
        let at = *told;
        let Some(step) = self.steps.get_mut(at) else {
            let trailers = trailers.take();
            self.end = None;
            return Ok(More::End(trailers));
        };
        let (last, changed) = step.end(trailers.take())?;
        (*told, *trailers) = (at + 1, changed);
        self.pass(at + 1, last).map(More::Data)
    }

    /// What the steps from one on make of a part.
    fn pass(&mut self, from: usize, part: Bytes) -> Result<Bytes, Refused> {
        self.steps.iter_mut().skip(from).try_fold(part, |part, step| if part.is_empty() { Ok(part) } else { step.data(part) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{AtMost, Bytewise, Hold, Twice, fields};
    use super::*;

    fn steps(all: Vec<Box<dyn BodyStep>>) -> Steps {
        let mut steps = Steps::default();
        all.into_iter().for_each(|step| steps.push(step));
        steps
    }

    /// What comes at the end.
    fn end(steps: &mut Steps, trailers: Option<Headers>) -> Result<(Bytes, Option<Headers>), Refused> {
        let mut last = vec![];
        steps.end(trailers);
        loop {
            match steps.more()? {
                More::Data(part) => last.push(part),
                More::End(trailers) => return Ok((last.concat().into(), trailers)),
                More::Nothing => unreachable!("the end has come"),
            }
        }
    }

    #[test]
    fn each_step_sees_what_those_before_it_made() {
        let mut together = steps(vec![Box::new(Twice), Box::new(Twice)]);
        assert_eq!(together.data("ab".into()), Ok("aaaabbbb".into()));
        let (last, trailers) = end(&mut together, Some(fields(&[("x-t", "1")]))).expect("nobody refuses");
        assert_eq!(last, "tthhee  eennddthe end");
        assert_eq!(trailers, Some(fields(&[("x-t", "1"), ("x-steps", "twice"), ("x-steps", "twice")])));
    }

    #[test]
    fn what_a_step_holds_back_comes_at_the_end_through_those_behind_it() {
        let mut together = steps(vec![Box::new(Hold::default()), Box::new(Twice)]);
        assert_eq!((together.data("a".into()), together.data("b".into())), (Ok(Bytes::new()), Ok(Bytes::new())));
        assert_eq!(end(&mut together, Some(fields(&[("x-t", "1")]))), Ok(("aabbthe end".into(), Some(fields(&[("x-steps", "twice")])))));
        // A step behind that takes the trailers away has the last word.
        let mut together = steps(vec![Box::new(Twice), Box::new(Hold::default())]);
        assert_eq!(together.data("a".into()), Ok(Bytes::new()));
        assert_eq!(end(&mut together, None), Ok(("aathe end".into(), None)));
    }

    #[test]
    fn all_comes_of_a_part_before_the_next_and_before_the_end() {
        let all = |together: &mut Steps, first: Result<Bytes, Refused>| {
            let mut parts = vec![first.expect("nobody refuses")];
            while let More::Data(more) = together.more().expect("nobody refuses") {
                parts.push(more);
            }
            parts.concat()
        };
        let mut together = steps(vec![Box::new(Bytewise::default()), Box::new(Twice), Box::new(Bytewise::default())]);
        let first = together.data("abc".into());
        assert_eq!(first, Ok("a".into()));
        assert_eq!(all(&mut together, first), b"aabbcc");
        let first = together.data("d".into());
        assert_eq!(all(&mut together, first), b"dd");
        assert_eq!(end(&mut together, None).expect("nobody refuses").0, "the end");
    }

    #[test]
    fn a_step_that_refuses_ends_it_also_at_the_end() {
        let mut together = steps(vec![Box::new(Twice), Box::new(AtMost(4))]);
        assert_eq!(together.data("ab".into()), Ok("aabb".into()));
        assert!(together.data("a".into()).is_err());
        let mut together = steps(vec![Box::new(Hold::default()), Box::new(AtMost(1))]);
        assert_eq!(together.data("ab".into()), Ok(Bytes::new()));
        assert!(end(&mut together, None).is_err());
        assert!(Steps::default().is_empty() && !together.is_empty());
    }
}
