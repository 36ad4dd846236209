//! What each command does.

#[cfg(unix)]
pub(crate) mod agent;
pub(crate) mod analyze;
pub(crate) mod capture;
pub(crate) mod completions;
pub(crate) mod demo;
mod dump;
pub(crate) mod explain;
pub(crate) mod get;
#[cfg(feature = "kubernetes")]
pub(crate) mod install;
#[cfg(not(feature = "kubernetes"))]
#[path = "not_built.rs"]
pub(crate) mod install;
pub(crate) mod kube_inject;
mod offline;
pub(crate) mod pilot;
mod pilot_admin;
pub(crate) mod proxy;
pub(crate) mod proxy_config;
pub(crate) mod proxy_status;
pub(crate) mod run;
mod status;
pub(crate) mod translate;
pub(crate) mod validate;
pub(crate) mod wait;
pub(crate) mod workload;
