//! What a control plane asks of a Kubernetes cluster, answers to it, and writes into it. What it reads of one is the catalog of
//! [`weir_registry::kubernetes`].

#![forbid(unsafe_code)]

pub mod install;
