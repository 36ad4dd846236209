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

use super::super::refusal::ResourceRefusal;
use super::{PATIENCE, State};

/// The configurations that came, and who asks for them.
#[derive(Default)]
pub(super) struct Extensions {
    came: HashMap<Arc<str>, Any>,
    asking: BTreeMap<Arc<str>, Asking>,
}

/// A listener whose filters ask for configurations.
struct Asking {
    listener: XdsListener,
    names: BTreeSet<Arc<str>>,
    waits: Waits,
}

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
    }

    /// A listener is gone.
    pub fn forget_listener(&mut self, name: &Arc<str>) {
        self.asking.remove(name);
    }

    /// Forgets what nobody asks for.
    pub fn keep(&mut self, is_wanted: impl Fn(&Arc<str>) -> bool) {
        self.came.retain(|name, _| is_wanted(name));
    }

    /// What is asked for.
    pub fn wanted(&self) -> BTreeSet<Arc<str>> {
        self.asking.values().flat_map(|asking| &asking.names).cloned().collect()
    }

    /// Whether no listener waits that may have what it asks for in time.
    pub fn are_whole(&self) -> bool {
        self.asking.values().all(|asking| matches!(asking.waits, Waits::No | Waits::TooLong))
    }

    /// When listeners have waited for long enough.
    pub fn deadlines(&self) -> impl Iterator<Item = Instant> {
        self.asking.values().filter_map(|asking| match asking.waits {
            Waits::Since(since) => Some(since + PATIENCE),
            Waits::No | Waits::FromNow | Waits::TooLong => None,
        })
    }

    fn resolve(&self, listener: &XdsListener, is_late: bool) -> Result<Option<XdsListener>, CompileError> {
        let of = |name: &str| self.came.get(name).cloned();
        discovered::resolve(listener, &Known { of: &of, is_late })
    }
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
        self.extensions.asking.insert(name.clone(), Asking { listener, names, waits });
        Ok(())
    }

    /// Takes the configuration of a filter. One that a listener cannot be compiled with is refused, and the one before stays.
    pub(super) fn upsert_extension(&mut self, name: &Arc<str>, config: &TypedExtensionConfig) -> Result<(), ResourceRefusal> {
        let TypedExtensionConfig { name: _, typed_config } = config;
        let config = typed_config.clone().ok_or_else(|| CompileError::missing("typed_config"))?;
        let before = self.extensions.came.insert(name.clone(), config);
        let put = self.with_extension(name).and_then(|resolved| {
            resolved.iter().try_for_each(|(listener, resolved)| {
                self.put_listener(listener, resolved)?;
                let waiting = self.extensions.asking.get_mut(listener).filter(|asking| asking.waits != Waits::TooLong);
                waiting.into_iter().for_each(|asking| asking.waits = Waits::No);
                self.wants_differ = true;
                Ok(())
            })
        });
        if put.is_err() {
            match before {
                Some(before) => drop(self.extensions.came.insert(name.clone(), before)),
                None => drop(self.extensions.came.remove(name)),
            }
        }
        put
    }

    /// The listeners that ask for a configuration, each with all of it, if it is there. All of them can be compiled.
    fn with_extension(&self, name: &Arc<str>) -> Result<Vec<(Arc<str>, XdsListener)>, ResourceRefusal> {
        let mut all = vec![];
        for (listener, asking) in self.extensions.asking.iter().filter(|(_, asking)| asking.names.contains(name)) {
            let Some(resolved) = self.extensions.resolve(&asking.listener, asking.waits == Waits::TooLong)? else { continue };
            Listener::compile(&resolved, None).map_err(|error| error.within(&format!("listener {listener}")))?;
            all.push((listener.clone(), resolved));
        }
        Ok(all)
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
                Ok(Some(resolved)) => {
                    if let Err(refusal) = self.put_listener(&name, &resolved) {
                        tracing::error!("listener {name} cannot go on without the configuration that it waits for: {}", refusal.reason());
                    } else {
                        self.wants_differ = true;
                    }
                }
                Ok(None) => tracing::warn!("listener {name} waits for the configuration of a filter that does not come"),
                Err(error) => tracing::error!("listener {name}: {error}"),
            }
        }
    }
}
