//! The demo applications (bookinfo, httpbin, tcp-echo) and the configuration that makes a mesh of them.
//!
//! A [`Sample`] is a set of [`Instance`]s, each a small server on a loopback address, and a folder of ordinary Istio and
//! Kubernetes resources ([`Sample::files`]). `weir demo` runs the instances, a sidecar in front of each and a gateway in
//! one process:
//!
//! | | address | who listens |
//! |---|---|---|
//! | [`Instance::address`] | 127.0.1.i, the service's port | the sidecar, for what comes in |
//! | [`Instance::outbound`] | 127.0.2.i, the called service's port | the sidecar, for what the application calls |
//! | [`Instance::listen`] | 127.0.0.1, a port of its own | the application |
//!
//! `weir demo --namespaces` gives each a network namespace, where it is [alone](Instance::alone) and the kernel hands its traffic to
//! its sidecar.
//!
//! ```no_run
//! # async fn demo() -> std::io::Result<()> {
//! for instance in weir_samples::Sample::Bookinfo.instances() {
//!     let application = instance.bind().await?;
//!     tokio::spawn(application.serve(std::future::pending()));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The applications run on any tokio runtime with IO and time enabled, with one thread or with many. HTTP applications
//! say in each answer's `x-instance` header who they are.

mod bookinfo;
mod caller;
mod http;
mod httpbin;
mod instance;
mod sample;
mod serve;
mod suggestion;
mod tcp_echo;

pub use instance::{Bound, Instance};
pub use sample::Sample;
pub use suggestion::Suggestion;
