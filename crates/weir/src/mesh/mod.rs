//! A mesh in one process: pilot, proxies, and what tells of them.

mod addresses;
mod ask;
pub(crate) mod authority;
mod bootstrap;
mod cluster;
mod companion;
mod configured;
pub(crate) mod descriptors;
mod hosting;
#[cfg(feature = "kubernetes")]
mod leading;
mod names;
mod process;
pub(crate) mod remote;
mod renewal;
mod serve;
mod source;
mod trust;
mod webhooks;

pub(crate) use addresses::is_local;
pub(crate) use ask::ask;
pub(crate) use bootstrap::Bootstrap;
pub(crate) use cluster::Cluster;
pub(crate) use companion::follow_names;
pub(crate) use configured::Configured;
pub(crate) use hosting::{Hosting, Hosts, hosted_options};
#[cfg(feature = "kubernetes")]
pub(crate) use leading::Leading;
pub(crate) use names::answer_dns;
pub(crate) use process::{Process, bind, global_connection_limit, mesh_as_written, mesh_config, nothing_more, start_runtime};
pub(crate) use serve::{Served, serve_xds};
pub(crate) use source::Source;
#[cfg(not(feature = "kubernetes"))]
pub(crate) use source::WITHOUT_KUBERNETES;
pub(crate) use trust::Trust;
pub(crate) use webhooks::Webhooks;
