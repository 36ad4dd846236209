//! Injection: which pods get a sidecar, and what it is. Kubernetes objects go in as JSON, and come out changed; nothing is read or sent.
//!
//! [`Webhooks`] and [`Policy`] decide who is injected, and say why. [`inject()`] makes the pod with its sidecar, of what its annotations ask
//! for and of the [`Settings`].

pub mod annotations;
pub mod decision;
mod inject;
mod kube;
mod lists;
mod merge;
mod metrics;
pub mod names;
mod pod;
mod probes;
mod settings;
mod template;
mod workload;

pub use annotations::AnnotationError;
pub use decision::{Decision, Policy, Reason, Webhooks};
pub use inject::{Injected, Refusal, inject};
pub use pod::Pod;
pub use settings::{DataPlane, Mesh, Settings};
pub use workload::Workload;
