//! What a control plane asks of a Kubernetes cluster, answers to it, and writes into it. What it reads of one is the catalog of
//! [`weir_registry::kubernetes`].
//!
//! [`leader`]: which of several control planes does what only one may do. [`status`]: what it writes into resources.
//! [`mesh_config`]: what holds for the whole mesh.

#![forbid(unsafe_code)]

#[cfg(test)]
mod fake;
pub mod leader;
pub mod mesh_config;
pub mod status;
