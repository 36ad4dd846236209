//! A function of a script while it sees one request or answer: a coroutine, which runs until it waits or ends.

use std::rc::Rc;

use mlua::{Error, Function, Thread, ThreadStatus};

use super::limits::is_for_want_of_memory;
use super::state::State;
use super::stream::{Handle, Stream};

/// A script that runs for a request or an answer.
pub struct Run {
    state: Rc<State>,
    thread: Thread,
    /// What it begins with.
    function: Option<Function>,
    /// What it sees.
    pub(super) stream: Rc<Stream>,
}

/// What came of running it.
pub(super) enum Outcome {
    /// It has ended.
    Done,
    /// It waits.
    Waits,
    /// It has answered the request, and runs no further.
    Responded,
    /// It has failed, and runs no further.
    Failed(Error),
    /// It was ended, or kept from what it could have done with Envoy, before it had seen all: what it saw may not go on.
    Exceeded(Error),
}

impl Run {
    /// What a script has for this side; none if it has nothing.
    pub(super) fn new(state: Rc<State>, stream: Rc<Stream>) -> mlua::Result<Option<Self>> {
        let Some(function) = state.function(stream.side).cloned() else { return Ok(None) };
        let thread = state.thread()?;
        Ok(Some(Self { state, thread, function: Some(function), stream }))
    }

    /// Lets it run.
    pub(super) fn resume(&mut self) -> Outcome {
        self.state.begin();
        self.stream.begin();
        let result = match self.function.take() {
            Some(function) => self.thread.resume::<()>((function, Handle::new(&self.stream))),
            None => self.thread.resume::<()>(()),
        };
        self.stream.pause();
        match result {
            Err(error) => {
                self.state.failed();
                let is_ours = self.state.exceeded().is_some() || self.stream.refused.get() || is_for_want_of_memory(&error);
                if is_ours { Outcome::Exceeded(error) } else { Outcome::Failed(error) }
            }
            Ok(()) if self.thread.status() != ThreadStatus::Resumable => Outcome::Done,
            Ok(()) if self.stream.reply.borrow().is_some() => Outcome::Responded,
            Ok(()) if self.stream.waiting.borrow().is_some() => Outcome::Waits,
            Ok(()) => Outcome::Failed(Error::runtime("script performed an unexpected yield")),
        }
    }
}
