//! A mesh of real processes for end-to-end tests, whose data plane is a parameter.
//!
//! What a configuration means is what Envoy does with it. So a test is written once, and runs over Weir's own proxies and
//! over Envoy behind Weir's pilot: a difference between the two is a bug of the translation or of the proxy, and which of
//! them it is the pair of results tells.
//!
//! | | control plane | proxies |
//! |---|---|---|
//! | [`DataPlane::Weir`] | one `weir run` | in the same process |
//! | [`DataPlane::Envoy`] | one `weir pilot` | one `envoy` for the gateway, one for the client's sidecar |
//!
//! What no resource of Istio's asks for, such as a filter of Envoy's, is given to a [`LoneProxy`] of either data plane as [`Xds`].
//!
//! With the feature `kubernetes` there are clusters (`Cluster`), too, whose programs `.ci/kubernetes` builds.
//!
//! The applications are [`Peer`]s and [`Recorder`]s in the test's own process, so that a test can stop them, start them and hold their
//! answers back. Nothing here waits for a time to pass: see [`until`].
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's helper fails by panicking")]

mod apart;
mod authority;
mod bad_http2;
mod bad_peer;
mod binaries;
mod captured;
mod certificate;
mod certified;
mod client;
#[cfg(feature = "kubernetes")]
mod cluster;
mod config;
mod content;
mod envoy;
mod explain;
mod hosts;
mod joined;
mod lone;
mod mesh;
mod namespace;
mod payload;
mod peer;
mod ports;
mod process;
mod protocol;
mod recorder;
mod relay;
mod seen;
mod statistics;
mod wait;
mod wire;
mod xds;

pub use apart::Apart;
pub use authority::{Made, MeshAuthority, Shown};
pub use bad_http2::{BadHttp2Peer, StreamAct};
pub use bad_peer::{Act, BadPeer};
pub use captured::Captured;
pub use certificate::{Authority, Certificate};
pub use certified::Certified;
pub use client::{Answer, Client, Heard, tcp_greeting, tls_greeting};
#[cfg(feature = "kubernetes")]
pub use cluster::{Cluster, Ended, Image};
pub use config::{Layout, service_at, service_of};
pub use content::{Content, Told, converse};
pub use explain::explain;
pub use hosts::can_be_named;
pub use joined::Joined;
pub use lone::LoneProxy;
pub use mesh::{DataPlane, LOG, MESH_CONFIG, Mesh};
pub use namespace::Namespace;
pub use peer::{BYTES, ECHO, HEALTH, HELD, LENGTH, Peer, RESPOND, SPOKEN};
pub use ports::free as free_port;
pub use process::Process;
pub use protocol::Protocol;
pub use recorder::{Recorded, Recorder};
pub use seen::Seen;
pub use wait::{DEADLINE, until};
pub use wire::Wire;
pub use xds::{Xds, cluster, filter, http2_cluster, packed};
