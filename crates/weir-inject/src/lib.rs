//! Injection: which pods get a sidecar, and what it is. Kubernetes objects go in as JSON, and come out changed; nothing is read or sent.
//!
//! [`Webhooks`] and [`Policy`] decide who is injected, and say why. [`inject()`] makes the pod with its sidecar, of what its annotations ask
//! for and of the [`Settings`]; [`inject_object`] and [`inject_documents`] do so for whatever makes pods, and for files of that.
//! [`review()`] is the webhook's: it answers what the API server sends ([`admission`]), which does so as the [`configuration`]s say.

pub mod admission;
pub mod annotations;
pub mod configuration;
pub mod decision;
mod documents;
mod inject;
mod injector;
mod kube;
mod lists;
mod merge;
mod metrics;
pub mod names;
mod objects;
mod patch;
mod pod;
mod probes;
mod review;
mod settings;
mod template;
mod workload;

pub use admission::{Answer, LARGEST_BODY};
pub use annotations::AnnotationError;
pub use decision::{Decision, Policy, Reason, Webhooks};
pub use documents::{DocumentError, Documents, inject_documents};
pub use inject::{Injected, Refusal, inject};
pub use objects::{Outcome, inject_object};
pub use pod::Pod;
pub use review::review;
pub use settings::{DataPlane, Mesh, Settings};
pub use workload::Workload;
