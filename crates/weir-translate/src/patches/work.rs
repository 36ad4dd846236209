//! A patch that was read, and what is done with those that may concern one resource.

use std::cell::RefCell;
use std::sync::Arc;

use weir_api::resources::envoy_filter::{ApplyTo, EnvoyConfigObjectMatch, PatchContext, PatchOperation};
use weir_api::{Diagnostic, Severity};
use weir_model::{Origin, Proxy};
use weir_xds::merge::{Lists, merge, merge_packed};
use weir_xds::{Any, Message};

/// What differs of what proxies tell of themselves, and is known of all.
pub(super) const NAMESPACE: &str = "NAMESPACE";
pub(super) const INTERCEPTION_MODE: &str = "INTERCEPTION_MODE";

/// A patch of an EnvoyFilter, ready to be applied.
#[derive(Debug)]
pub(crate) struct Patch {
    pub apply_to: ApplyTo,
    pub operation: PatchOperation,
    pub context: PatchContext,
    pub matched: EnvoyConfigObjectMatch,
    /// The object that is added, or merged into others.
    pub value: Option<Any>,
    pub origin: Origin,
    /// Whether the EnvoyFilter says for which workloads it is.
    pub names_workloads: bool,
    /// Whether it says how the instances of a cluster are spoken to.
    pub sets_socket: bool,
}

impl Patch {
    /// The object of it, of the type that its `applyTo` has.
    pub fn value<M: Message>(&self) -> Option<M> {
        self.value.as_ref()?.unpack().ok()
    }

    /// Whether it is for traffic of that kind.
    pub fn is_for(&self, context: PatchContext) -> bool {
        self.context == PatchContext::Any || self.context == context
    }

    /// How it merges, if it does.
    pub fn merges(&self) -> Option<Lists> {
        match self.operation {
            PatchOperation::Merge => Some(Lists::Append),
            PatchOperation::MergeAndReplaceList => Some(Lists::Replace),
            _ => None,
        }
    }

    /// Something to be said of it.
    pub fn warning(&self, message: impl Into<String>) -> Diagnostic {
        self.origin.object.diagnostic(Severity::Warning, self.origin.path.clone(), message.into())
    }

    /// Something that is good to know of it.
    pub fn info(&self, message: impl Into<String>) -> Diagnostic {
        self.origin.object.diagnostic(Severity::Info, self.origin.path.clone(), message.into())
    }

    /// Whether it is for a proxy, by what that tells of itself.
    pub fn takes(&self, proxy: &Proxy) -> bool {
        let mode = proxy.interception.name();
        let told = |name: &str| match name {
            NAMESPACE => Some(proxy.namespace.as_str()),
            INTERCEPTION_MODE => Some(mode),
            // What all tell was looked at when it was read.
            _ => None,
        };
        let metadata = self.matched.proxy.iter().flat_map(|proxy| &proxy.metadata);
        metadata.filter_map(|(name, value)| Some((told(name)?, value))).all(|(told, value)| told == value)
    }
}

/// Two are the same if they are one.
pub(crate) fn same(a: &[Arc<Patch>], b: &[Arc<Patch>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b))
}

/// The patches that may concern one resource, and what became of them.
pub(super) struct Work<'p> {
    patches: &'p [Arc<Patch>],
    /// The traffic that the resource is for.
    pub context: PatchContext,
    used: RefCell<Vec<Arc<Patch>>>,
    findings: RefCell<Vec<Diagnostic>>,
}

impl<'p> Work<'p> {
    pub fn new(patches: &'p [Arc<Patch>], context: PatchContext) -> Self {
        Self { patches, context, used: RefCell::default(), findings: RefCell::default() }
    }

    /// Those for objects of a kind, in order.
    pub fn of(&self, apply_to: ApplyTo) -> impl Iterator<Item = &'p Arc<Patch>> {
        let context = self.context;
        self.patches.iter().filter(move |patch| patch.apply_to == apply_to && patch.is_for(context))
    }

    /// Those that give configurations to filters, whatever traffic they are for.
    pub fn extensions(&self) -> impl Iterator<Item = &'p Arc<Patch>> {
        self.patches.iter().filter(|patch| patch.apply_to == ApplyTo::ExtensionConfig)
    }

    /// Notes that a patch has found something to change.
    pub fn done(&self, patch: &Arc<Patch>) {
        let mut used = self.used.borrow_mut();
        if !used.iter().any(|known| Arc::ptr_eq(known, patch)) {
            used.push(patch.clone());
        }
    }

    /// Says why a patch does nothing to an object that it has found, or less than it says.
    pub fn tell(&self, patch: &Arc<Patch>, message: impl Into<String>) {
        self.done(patch);
        self.findings.borrow_mut().push(patch.warning(message));
    }

    /// Merges a value into an object.
    pub fn merge<M: Message>(&self, patch: &Arc<Patch>, into: &mut M, from: &M, lists: Lists) {
        match merge(into, from, lists) {
            Ok(merged) => *into = merged,
            Err(error) => self.tell(patch, format!("it changes nothing: {error}")),
        }
    }

    /// Merges a packed value into a packed object; says whether it did.
    pub fn merge_packed(&self, patch: &Arc<Patch>, into: &mut Any, from: &Any, lists: Lists) -> bool {
        match merge_packed(into, from, lists) {
            Ok(merged) => *into = merged,
            Err(error) => {
                self.tell(patch, format!("it changes nothing here: {error}"));
                return false;
            }
        }
        true
    }

    /// The patches that have done something, and what is to be said.
    pub fn finish(self) -> (Vec<Arc<Patch>>, Vec<Diagnostic>) {
        (self.used.into_inner(), self.findings.into_inner())
    }
}
