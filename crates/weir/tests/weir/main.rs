//! The binary as a person uses it, and the structure of the workspace that it is made of.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod analyze;
mod dockerfile;
mod explain;
mod get;
mod kube_inject;
mod layers;
#[cfg(unix)]
mod pod;
