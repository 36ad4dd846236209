//! The data plane: proxies that follow an xDS server and move the traffic.
//!
//! [`DataPlane`] hosts any number of proxies on the same workers. Its folders are layers, each importing only from below
//! itself:
//!
//! | layer | what is there |
//! |---|---|
//! | [`status`] | what the kubelet and Prometheus ask in a pod of Kubernetes |
//! | [`admin`], [`control`], [`worker`] | questions, the newest configuration, threads |
//! | [`listener`] | sockets, the first bytes of a connection, its filter chain |
//! | [`http`], [`tcp`] | requests with their filters, and bytes |
//! | [`checks`] | active health checks |
//! | [`upstream`] | the one way to an instance |
//! | [`cluster`] | instances, their health, limits, the choice among them |
//! | [`exchange`] | the record of one request or connection, and what is logged and counted of it |
//! | [`stats`], [`tls`], [`io`] | numbers, certificates, streams |

pub mod admin;
mod checks;
mod cluster;
pub mod control;
mod data_plane;
mod exchange;
mod http;
mod io;
pub mod listener;
pub mod name_server;
pub mod stats;
pub mod status;
mod tcp;
mod tls;
mod upstream;
mod worker;

pub use data_plane::{DataPlane, ProxyOptions};
