//! Injection: which pods get a sidecar, and what it is. Kubernetes objects go in as JSON, and come out changed; nothing is read or sent.
//!
//! [`Webhooks`] and [`Policy`] decide who is injected, and say why.

pub mod decision;
pub mod names;
mod pod;

pub use decision::{Decision, Policy, Reason, Webhooks};
pub use pod::Pod;
