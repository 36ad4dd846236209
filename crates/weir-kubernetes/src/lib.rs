//! What a control plane asks of a Kubernetes cluster, answers to it, and writes into it. What it reads of one is the catalog of
//! [`weir_registry::kubernetes`].
//!
//! - [`identity`]: whose tokens are whose, who may have keys, and where the root is kept and told.
//! - [`install`]: the objects of a control plane, and how they come and go.
//! - [`leader`]: which of several control planes does what only one may do.
//! - [`mesh_config`]: what holds for the whole mesh.
//! - [`status`]: what the leader writes into resources.
//! - [`webhooks`]: what the API server asks before it makes a pod or a resource.

#![forbid(unsafe_code)]

#[cfg(test)]
mod fake;
pub mod identity;
pub mod install;
pub mod leader;
pub mod mesh_config;
pub mod status;
pub mod webhooks;
