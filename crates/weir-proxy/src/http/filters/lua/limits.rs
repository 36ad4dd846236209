//! What a script may take each time that it runs, until it waits or ends: instructions, time, memory. One that takes more is ended;
//! it cannot catch that, and the request that it ran for does not go on: who sends it could have it pass unseen.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mlua::{Error, HookTriggers, Lua, VmState};
use rustix::time::{ClockId, clock_gettime};

/// Instructions of the virtual machine, and steps of the search for a pattern.
const INSTRUCTIONS: u64 = 10_000_000;
/// So often it is looked at the limits. Functions of the library may work for long within one instruction.
const EVERY: u32 = 100;
/// Time of the processor.
const TIME: Duration = Duration::from_millis(250);
/// Memory that is taken and not given back.
const MEMORY: usize = 32 << 20;
/// What a line of the log is counted as.
pub(super) const LINE: u64 = 1000;
/// How much of one is shown.
const LINE_LENGTH: usize = 16 << 10;
/// What may be kept outside of Lua for a request or an answer: headers, metadata, requests that nobody waits for.
pub(super) const KEPT: usize = 4 << 20;
/// What all runs of a script on one worker may have together; no single value is larger.
pub(super) const STATE_MEMORY: usize = 128 << 20;

/// What is left of a run's limits.
#[derive(Default)]
pub(super) struct Limits {
    instructions: Cell<u64>,
    /// What may be in use in all.
    memory: Cell<usize>,
    /// When it is looked at the time of the processor.
    deadline: Cell<Option<Instant>>,
    /// What that was when it was looked at first.
    spent: Cell<Option<Duration>>,
    exceeded: Cell<Option<&'static str>>,
}

impl Limits {
    /// Has them held, from the next run on.
    pub(super) fn watch(self: &Rc<Self>, lua: &Lua) -> mlua::Result<()> {
        lua.set_memory_limit(STATE_MEMORY)?;
        let limits = self.clone();
        lua.set_global_hook(HookTriggers::new().every_nth_instruction(EVERY), move |lua, _| limits.look(lua).map(|()| VmState::Continue))
    }

    /// A run begins.
    pub(super) fn begin(&self, lua: &Lua) {
        self.instructions.set(INSTRUCTIONS);
        self.memory.set(lua.used_memory().saturating_add(MEMORY));
        self.deadline.set(Instant::now().checked_add(TIME));
        self.spent.set(None);
        self.exceeded.set(None);
    }

    /// Which limit was exceeded, if one was.
    pub(super) fn exceeded(&self) -> Option<Error> {
        self.exceeded.get().map(|limit| Error::runtime(format!("the script was ended: it took too {limit}")))
    }

    /// Takes steps of work that is no instruction from those that are left.
    pub(super) fn charge(&self, steps: u64) -> mlua::Result<()> {
        match self.instructions.get().checked_sub(steps) {
            Some(left) => {
                self.instructions.set(left);
                Ok(())
            }
            None => self.exceed("many steps"),
        }
    }

    /// The script is ended.
    pub(super) fn exceed(&self, limit: &'static str) -> mlua::Result<()> {
        self.exceeded.set(Some(limit));
        self.exceeded().map_or(Ok(()), Err)
    }

    fn look(&self, lua: &Lua) -> mlua::Result<()> {
        if let Some(error) = self.exceeded() {
            return Err(error);
        }
        self.charge(u64::from(EVERY))?;
        if lua.used_memory() > self.memory.get() {
            // Not all of it may be in use. Where nearly all is, the next collection would not be far.
            lua.gc_collect()?;
            if lua.used_memory() > self.memory.get() - MEMORY / 4 {
                return self.exceed("much memory");
            }
        }
        if self.deadline.get().is_some_and(|deadline| Instant::now() >= deadline) {
            return self.look_at_time();
        }
        Ok(())
    }

    /// Others may have had the processor meanwhile, so that only its own time counts: from the first look on, which is late enough.
    fn look_at_time(&self) -> mlua::Result<()> {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        let now = Duration::new(now.tv_sec.try_into().unwrap_or_default(), now.tv_nsec.try_into().unwrap_or_default());
        match self.spent.get() {
            Some(first) if now.saturating_sub(first) >= TIME / 2 => return self.exceed("long"),
            Some(_) => {}
            None => self.spent.set(Some(now)),
        }
        self.deadline.set(Instant::now().checked_add(TIME / 4));
        Ok(())
    }
}

/// What is shown of a line of the log.
pub(super) fn shown(line: &[u8]) -> &[u8] {
    line.get(..LINE_LENGTH).unwrap_or(line)
}

/// Whether an error is one for want of memory.
pub(super) fn is_for_want_of_memory(error: &Error) -> bool {
    match error {
        Error::MemoryError(_) => true,
        Error::CallbackError { cause, .. } | Error::WithContext { cause, .. } | Error::BadArgument { cause, .. } => {
            is_for_want_of_memory(cause)
        }
        _ => false,
    }
}
