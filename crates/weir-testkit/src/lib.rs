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
//! The applications are [`Peer`]s in the test's own process, so that a test can stop them, start them and hold their
//! answers back. Nothing here waits for a time to pass: see [`until`].
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's helper fails by panicking")]

mod binaries;
mod certificate;
mod client;
mod config;
mod envoy;
mod mesh;
mod payload;
mod peer;
mod ports;
mod process;
mod wait;

pub use certificate::Certificate;
pub use client::{Answer, Client, tcp_greeting};
pub use config::{Layout, Protocol, service_at};
pub use mesh::{DataPlane, Mesh};
pub use peer::{BYTES, HEALTH, HELD, LENGTH, Peer};
pub use ports::free as free_port;
pub use process::Process;
pub use wait::{DEADLINE, until};
