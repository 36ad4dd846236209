//! The data plane: proxies that follow an xDS server and move the traffic.
//!
//! [`DataPlane`] hosts any number of proxy instances on the same workers. The [`control`] side follows servers
//! and compiles what they say into an immutable [`config`]; the [`worker`]s take that over whole. On a worker a
//! connection is accepted, its filter chain found, and its bytes ([`tcp`]) or requests ([`http`]) sent on to
//! an instance that a balancer ([`balance`]) chose, over a connection that [`upstream`] keeps; [`health`] asks whether
//! instances are well. What happened is
//! told by [`log`], [`stats`] and [`admin`].

pub mod admin;
pub mod balance;
pub mod config;
pub mod control;
mod data_plane;
pub mod health;
pub mod http;
mod io;
pub mod log;
pub mod stats;
pub mod tcp;
pub mod upstream;
pub mod worker;

pub use data_plane::{DataPlane, ProxyOptions};
