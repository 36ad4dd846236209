//! What stands beside the proxy in a pod of Kubernetes, at ports that Istio's users and their tools know: whether it is ready (15021), its
//! metrics (15090), and at the status port (15020) both, the application's metrics among them, and the application's own probes. These the
//! kubelet asks here, because a call of its own would be captured: it would come without a certificate of the mesh, and by TCP
//! everything that is captured answers.
//!
//! Facts: pilot/cmd/pilot-agent/status/server.go of Istio.

mod application;
mod fetch;
mod places;
mod probers;
mod redirects;
mod scrape;
mod server;
mod subject;
mod trusting;

pub use application::Application;
pub use probers::{Probers, WrongProbers};
pub use scrape::Scraped;
pub use server::{Role, Status, serve};
pub use subject::Subject;
