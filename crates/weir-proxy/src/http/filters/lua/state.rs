//! The states of Lua that scripts run in: one for each script on each worker, as with Envoy.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use mlua::{ChunkMode, Error, Function, Lua, LuaOptions, StdLib, Thread, Value};
use weir_routing::filters::lua::{Script, Source};

use super::limits::{Limits, STATE_MEMORY};
use super::sandbox;
use super::stream::Side;

/// A state in which a script is loaded.
pub(super) struct State {
    lua: Lua,
    /// What runs its functions.
    run: Function,
    on_request: Option<Function>,
    on_response: Option<Function>,
    limits: Rc<Limits>,
    /// How much may be in use before it is collected.
    threshold: Cell<usize>,
    /// Whether what a run has left behind is collected before the next.
    is_littered: Cell<bool>,
}

impl State {
    /// Loads a script.
    ///
    /// # Errors
    /// If it is not Lua, or fails at once.
    pub(super) fn new(text: &[u8]) -> mlua::Result<Self> {
        let libraries = StdLib::COROUTINE | StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::OS;
        let lua = Lua::new_with(libraries, LuaOptions::new())?;
        let limits = Rc::<Limits>::default();
        let run = sandbox::furnish(&lua, &limits)?;
        limits.watch(&lua)?;
        limits.begin(&lua);
        lua.load(text).set_name("=script").set_mode(ChunkMode::Text).exec()?;
        let function = |name: &str| match lua.globals().get::<Value>(name)? {
            Value::Function(function) => Ok(Some(function)),
            _ => mlua::Result::Ok(None),
        };
        let (on_request, on_response) = (function("envoy_on_request")?, function("envoy_on_response")?);
        let threshold = Cell::new(STATE_MEMORY / 2);
        Ok(Self { lua, run, on_request, on_response, limits, threshold, is_littered: Cell::default() })
    }

    /// Its function for a side.
    pub(super) fn function(&self, side: Side) -> Option<&Function> {
        match side {
            Side::Request => self.on_request.as_ref(),
            Side::Response => self.on_response.as_ref(),
        }
    }

    /// A coroutine for one of its functions.
    pub(super) fn thread(&self) -> mlua::Result<Thread> {
        self.lua.create_thread(self.run.clone())
    }

    /// A run begins. What others have left behind must not be what it has no room for: Lua itself collects too late for that.
    pub(super) fn begin(&self) {
        if self.is_littered.take() || self.lua.used_memory() > self.threshold.get() {
            // Without finalizers of its own a script has no way to make that fail.
            let _ = self.lua.gc_collect();
            let used = self.lua.used_memory();
            self.threshold.set((STATE_MEMORY / 2).max(used + STATE_MEMORY.saturating_sub(used) / 2));
        }
        self.limits.begin(&self.lua);
    }

    /// Why a run was ended, if it was.
    pub(super) fn exceeded(&self) -> Option<Error> {
        self.limits.exceeded()
    }

    /// A run has failed, maybe for want of room.
    pub(super) fn failed(&self) {
        self.is_littered.set(true);
    }

    /// Whether what the script itself keeps leaves little room.
    fn is_full(&self) -> bool {
        self.threshold.get() > STATE_MEMORY / 4 * 3
    }
}

/// The states of a filter's scripts, on one worker. Each is made when it is first needed.
#[derive(Default)]
pub(super) struct States(RefCell<HashMap<*const Script, Known>>);

/// As long as somebody knows where a script was, no other can be there.
type Known = (Weak<Script>, Option<Rc<State>>);

impl States {
    /// The state of a script; none if it cannot be loaded.
    pub(super) fn get(&self, script: &Arc<Script>) -> Option<Rc<State>> {
        let mut known = self.0.borrow_mut();
        let at = Arc::as_ptr(script);
        if let Some((_, state)) = known.get(&at) {
            match state {
                // Nobody else runs in it: what it keeps it keeps for no request.
                Some(state) if state.is_full() && Rc::strong_count(state) == 1 => {
                    tracing::warn!(target: "lua", "a script keeps so much that it is loaded anew");
                }
                state => return state.clone(),
            }
        }
        known.retain(|_, (script, _)| script.strong_count() > 0);
        let state = load(script).map(Rc::new).map_err(|error| tracing::error!(target: "lua", "script log: {error}")).ok();
        known.insert(at, (Arc::downgrade(script), state.clone()));
        state
    }
}

/// Loads a script, whose text is read first if nobody has done so.
///
/// # Errors
/// Why it cannot be.
pub(super) fn load(script: &Script) -> Result<State, String> {
    let text = match script.text() {
        Some(text) => text,
        None => script.settle(read(script.source())?),
    };
    State::new(text).map_err(|error| format!("script load error: {}", super::message_of(&error)))
}

fn read(source: &Source) -> Result<Arc<[u8]>, String> {
    match source {
        Source::Inline(text) => Ok(text.clone()),
        Source::File(path) => std::fs::read(&**path).map(Into::into).map_err(|error| format!("{path}: {error}")),
        Source::Environment(name) => match std::env::var(&**name) {
            Ok(text) => Ok(text.into_bytes().into()),
            Err(_) => Err(format!("the variable `{name}` of the environment is not set")),
        },
    }
}
