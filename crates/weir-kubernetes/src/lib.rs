//! What a control plane asks of a Kubernetes cluster, answers to it, and writes into it. What it reads of one is the catalog of
//! [`weir_registry::kubernetes`].
//!
//! [`webhooks`]: what the API server asks before it makes a pod or a resource.

#![forbid(unsafe_code)]

pub mod webhooks;
