//! Capture: the kernel hands a workload's traffic to the sidecar beside it, so that the application need not know of the mesh.
//!
//! [`Settings`] say in Istio's words what is captured. Of them [`Capture::of`] makes rules, the same that Istio's init container sets,
//! and these are written as text: one transaction for `nft`, in a table of our own, or one for `iptables-restore` and one for
//! `ip6tables-restore`, in chains of our own. All of that is pure. [`Kernel`] gives the text to these programs, in the network namespace that
//! the calling thread is in, which [`namespace`] can change.
//!
//! Facts: tools/istio-iptables/pkg/capture/run.go of Istio.

mod annotations;
mod inbound;
mod iptables;
mod kernel;
mod lists;
mod loopback;
pub mod namespace;
mod nft;
pub mod programs;
mod resolvers;
mod routes;
mod rules;
mod ruleset;
mod settings;
mod transparent;

pub use annotations::AnnotationError;
pub use iptables::Family;
pub use kernel::{Kernel, State, Tool, remove};
pub use lists::{Interface, ListError, Selection};
pub use programs::Error;
pub use resolvers::{name_servers, search_domain};
pub use ruleset::Capture;
pub use settings::{Dns, Groups, Mode, Settings, UnknownMode};
