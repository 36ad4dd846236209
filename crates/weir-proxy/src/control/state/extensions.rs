//! Filters whose configuration comes by itself (ECDS): a listener comes into force when all that its filters ask for is there, and
//! follows when that changes. Until then what was in force before stays.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use weir_config::listener::Listener;
use weir_config::listener::discovered::{self, Known};
use weir_routing::CompileError;
use weir_xds::Any;
use weir_xds::core::TypedExtensionConfig;
use weir_xds::listener::Listener as XdsListener;
use weir_xds::resource::ResourceType;

use super::super::refusal::ResourceRefusal;
use super::listeners::{ListenerState, check_scripts};
use super::{LISTENER_RETRY, PATIENCE, State};

/// The configurations that came, and who asks for them.
#[derive(Default)]
pub(super) struct Extensions {
    came: HashMap<Arc<str>, Any>,
    /// The newest of those that some listener cannot be compiled with. What is wrong may be another one, which is mended later.
    refused: BTreeMap<Arc<str>, TypedExtensionConfig>,
    asking: BTreeMap<Arc<str>, Asking>,
    /// When listeners that are shut are tried again.
    open_at: Option<Instant>,
}

/// A listener whose filters ask for configurations.
struct Asking {
    listener: XdsListener,
    names: BTreeSet<Arc<str>>,
    waits: Waits,
    shut: Option<Shut>,
}

/// A listener that has all its configuration, but not its address.
struct Shut {
    resolved: XdsListener,
    reason: String,
}

/// What a listener is going to be, unless its address cannot be opened now.
type Outcome = Result<ListenerState, Shut>;

/// Whether a listener waits for something.
#[derive(Clone, Copy, PartialEq)]
enum Waits {
    No,
    /// From the next time on that the clock is looked at.
    FromNow,
    Since(Instant),
    /// So long that it has what its filters give in place of what has not come, or has to go on waiting.
    TooLong,
}

impl Extensions {
    /// A configuration is no longer served. Who has it keeps it.
    pub fn remove(&mut self, name: &Arc<str>) {
        self.came.remove(name);
        self.refused.remove(name);
    }

    /// Another configuration takes the place of one that was refused.
    pub fn forget_refused(&mut self, name: &Arc<str>) {
        self.refused.remove(name);
    }

    /// A listener is gone.
    pub fn forget_listener(&mut self, name: &Arc<str>) {
        self.asking.remove(name);
    }

    /// Forgets what nobody asks for.
    pub fn keep(&mut self, is_wanted: impl Fn(&Arc<str>) -> bool) {
        self.came.retain(|name, _| is_wanted(name));
        self.refused.retain(|name, _| is_wanted(name));
    }

    /// What is asked for.
    pub fn wanted(&self) -> BTreeSet<Arc<str>> {
        self.asking.values().flat_map(|asking| &asking.names).cloned().collect()
    }

    /// Whether no listener waits that may have what it asks for in time.
    pub fn are_whole(&self) -> bool {
        self.asking.values().all(|asking| matches!(asking.waits, Waits::No | Waits::TooLong))
    }

    /// When listeners have waited for long enough, or are tried again.
    pub fn deadlines(&self) -> impl Iterator<Item = Instant> {
        let late = self.asking.values().filter_map(|asking| match asking.waits {
            Waits::Since(since) => Some(since + PATIENCE),
            Waits::No | Waits::FromNow | Waits::TooLong => None,
        });
        late.chain(self.open_at)
    }

    /// The listeners whose address cannot be opened, and why.
    pub fn shut(&self) -> impl Iterator<Item = (&Arc<str>, &str)> {
        self.asking.iter().filter_map(|(name, asking)| Some((name, asking.shut.as_ref()?.reason.as_str())))
    }

    fn resolve(&self, listener: &XdsListener, is_late: bool) -> Result<Option<XdsListener>, CompileError> {
        let of = |name: &str| self.came.get(name).cloned();
        discovered::resolve(listener, &Known { of: &of, is_late })
    }

    /// Checks a configuration for a listener of which something has not come: as far as the rest can be compiled without it, it must
    /// be with it. Otherwise the last one to come would be refused for the fault of the first.
    fn check_part(&self, name: &Arc<str>, asking: &Asking) -> Result<(), ResourceRefusal> {
        let is_late = asking.waits == Waits::TooLong;
        let with = |of: &dyn Fn(&str) -> Option<Any>| check(&discovered::known_part(&asking.listener, &Known { of, is_late })?);
        let others = |of: &str| self.came.get(of).filter(|_| of != &**name).cloned();
        match with(&|of| self.came.get(of).cloned()) {
            Err(refusal) if with(&others).is_ok() => Err(refusal),
            _ => Ok(()),
        }
    }
}

fn check(listener: &XdsListener) -> Result<(), ResourceRefusal> {
    check_scripts(&Listener::compile(listener, None)?)
}

/// A refusal that says which listener it is about.
fn of_listener(name: &str, refusal: &ResourceRefusal) -> ResourceRefusal {
    ResourceRefusal::Wrong(format!("listener {name}: {}", refusal.reason()))
}

impl State {
    /// Takes a listener, as far as what its filters ask for is there.
    pub(super) fn upsert_listener(&mut self, name: &Arc<str>, listener: XdsListener) -> Result<(), ResourceRefusal> {
        let names: BTreeSet<Arc<str>> = discovered::names(&listener).iter().map(|name| name.as_str().into()).collect();
        if names.is_empty() {
            self.put_listener(name, &listener)?;
            self.extensions.forget_listener(name);
            return Ok(());
        }
        let resolved = self.extensions.resolve(&listener, false)?;
        if let Some(resolved) = &resolved {
            self.put_listener(name, resolved)?;
        }
        let waits = if resolved.is_some() { Waits::No } else { Waits::FromNow };
        self.extensions.asking.insert(name.clone(), Asking { listener, names, waits, shut: None });
        Ok(())
    }

    /// Takes the configuration of a filter. One that a listener cannot be compiled with is refused, and the one before stays, for all
    /// listeners. That an address cannot be opened is no fault of the configuration.
    pub(super) fn upsert_extension(&mut self, name: &Arc<str>, config: &TypedExtensionConfig) -> Result<(), ResourceRefusal> {
        let TypedExtensionConfig { name: _, typed_config } = config;
        let body = typed_config.clone().ok_or_else(|| CompileError::missing("typed_config"))?;
        let before = self.extensions.came.insert(name.clone(), body);
        match self.prepare_with(name) {
            Ok(outcomes) => {
                outcomes.into_iter().for_each(|(listener, outcome)| self.conclude(&listener, outcome));
                Ok(())
            }
            Err(refusal) => {
                match before {
                    Some(before) => drop(self.extensions.came.insert(name.clone(), before)),
                    None => drop(self.extensions.came.remove(name)),
                }
                self.extensions.refused.insert(name.clone(), config.clone());
                Err(refusal)
            }
        }
    }

    /// Tries again what was refused, as something else has changed; the names of what is accepted now.
    pub(super) fn take_refused_extensions(&mut self) -> Vec<Arc<str>> {
        let mut accepted = vec![];
        loop {
            let before = accepted.len();
            for (name, config) in std::mem::take(&mut self.extensions.refused) {
                if self.upsert_extension(&name, &config).is_ok() {
                    self.received.put(ResourceType::Extension, &name, &Any::pack(&config));
                    accepted.push(name);
                }
            }
            if accepted.len() == before {
                return accepted;
            }
        }
    }

    /// What becomes of the listeners that ask for a configuration and have all of it. Nothing is changed yet: either all of them take
    /// it or none does.
    fn prepare_with(&mut self, name: &Arc<str>) -> Result<Vec<(Arc<str>, Outcome)>, ResourceRefusal> {
        let mut all = vec![];
        for (listener, asking) in self.extensions.asking.iter().filter(|(_, asking)| asking.names.contains(name)) {
            let resolved = self.extensions.resolve(&asking.listener, asking.waits == Waits::TooLong);
            match resolved.map_err(|error| of_listener(listener, &error.into()))? {
                Some(resolved) => all.push((listener.clone(), resolved)),
                None => self.extensions.check_part(name, asking).map_err(|refusal| of_listener(listener, &refusal))?,
            }
        }
        all.into_iter().map(|(listener, resolved)| Ok((listener.clone(), self.prepare_resolved(&listener, resolved)?))).collect()
    }

    fn prepare_resolved(&mut self, name: &Arc<str>, resolved: XdsListener) -> Result<Outcome, ResourceRefusal> {
        match self.prepare_listener(name, &resolved) {
            Ok(state) => Ok(Ok(state)),
            Err(ResourceRefusal::NotNow(reason)) => Ok(Err(Shut { resolved, reason })),
            Err(refusal) => Err(of_listener(name, &refusal)),
        }
    }

    /// Puts a listener that has all its configuration, or notes that it is shut.
    fn conclude(&mut self, name: &Arc<str>, outcome: Outcome) {
        let shut = match outcome {
            Ok(state) => {
                self.listeners.insert(name.clone(), state);
                self.wants_differ = true;
                None
            }
            Err(shut) => Some(shut),
        };
        let Some(asking) = self.extensions.asking.get_mut(name) else { return };
        match (&asking.shut, &shut) {
            (None, Some(shut)) => tracing::error!("listener {name} cannot be opened yet: {}", shut.reason),
            (Some(_), None) => tracing::info!("listener {name} is open now"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        asking.shut = shut;
        if asking.waits != Waits::TooLong {
            asking.waits = Waits::No;
        }
    }

    /// Tries listeners again that are shut, when it is time for that. What was in force before stays until then.
    pub(super) fn open_shut(&mut self, now: Instant) {
        let is_due = self.extensions.open_at.is_some_and(|at| now >= at);
        let shut = self.extensions.asking.iter().filter_map(|(name, asking)| Some((name.clone(), asking.shut.as_ref()?.resolved.clone())));
        for (name, resolved) in shut.filter(|_| is_due).collect::<Vec<_>>() {
            match self.prepare_resolved(&name, resolved.clone()) {
                Ok(outcome) => self.conclude(&name, outcome),
                Err(refusal) => self.conclude(&name, Err(Shut { resolved, reason: refusal.reason().to_owned() })),
            }
        }
        self.extensions.open_at = match self.extensions.open_at {
            _ if self.extensions.shut().next().is_none() => None,
            Some(at) if !is_due => Some(at),
            _ => Some(now + LISTENER_RETRY),
        };
    }

    /// Listeners that have waited for too long take what their filters give in place of what has not come.
    pub(super) fn take_defaults(&mut self, now: Instant) {
        let mut late = vec![];
        for (name, asking) in &mut self.extensions.asking {
            match asking.waits {
                Waits::FromNow => asking.waits = Waits::Since(now),
                Waits::Since(since) if now.duration_since(since) >= PATIENCE => {
                    asking.waits = Waits::TooLong;
                    late.push((name.clone(), asking.listener.clone()));
                }
                Waits::No | Waits::Since(_) | Waits::TooLong => {}
            }
        }
        for (name, listener) in late {
            match self.extensions.resolve(&listener, true) {
                Ok(Some(resolved)) => match self.prepare_resolved(&name, resolved) {
                    Ok(outcome) => self.conclude(&name, outcome),
                    Err(refusal) => tracing::error!("without the configuration that it waits for: {}", refusal.reason()),
                },
                Ok(None) => tracing::warn!("listener {name} waits for the configuration of a filter that does not come"),
                Err(error) => tracing::error!("listener {name}: {error}"),
            }
        }
    }
}
