//! What was read of EnvoyFilters, kept for as long as anyone uses it: all classes of proxies share it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use weir_api::{Diagnostic, Object};

use super::compile::compile;
use super::work::Patch;

/// An EnvoyFilter that was read.
#[derive(Debug)]
pub(super) struct Compiled {
    /// The patches that can be applied, in order.
    pub patches: Vec<Arc<Patch>>,
    /// What is to be said of it.
    pub findings: Vec<Diagnostic>,
}

/// What was made of objects that still are.
static KNOWN: Mutex<Vec<(Weak<Object>, Arc<Compiled>)>> = Mutex::new(Vec::new());

/// What an object says. Of one object it is always the same, pointer by pointer.
pub(super) fn of(object: &Arc<Object>) -> Arc<Compiled> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let here = |(known, _): &&(Weak<Object>, Arc<Compiled>)| std::ptr::eq(known.as_ptr(), Arc::as_ptr(object));
    if let Some((_, compiled)) = known.iter().find(here) {
        return compiled.clone();
    }
    // The place of an object that is gone could be another's.
    known.retain(|(object, _)| object.strong_count() > 0);
    let compiled = Arc::new(compile(object));
    known.push((Arc::downgrade(object), compiled.clone()));
    compiled
}
