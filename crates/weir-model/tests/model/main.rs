//! The model of a mesh: resources in, facts out. What the facts are is Istio's choice; where a test's name is not enough,
//! its comment says what is behind it.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod automatic;
mod delegate;
mod destination_rule;
mod gateway;
mod kubernetes;
mod locality;
mod scope;
mod scope_imports;
mod services;
mod support;
mod virtual_service;
mod workload_group;
