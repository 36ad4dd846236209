//! The control plane: a [`Pilot`] reads each new catalog of objects into a snapshot of the mesh, translates it for
//! every class of proxies that follow it, and sends to each proxy what differs from what it has.
//!
//! [`node`] is how proxies introduce themselves, [`standalone`] which proxies a mesh on one machine has. What
//! proxies tell of their workloads, that they are there and whether they are well, is kept besides the catalog.

mod access;
pub mod answers;
mod authority;
mod classes;
mod following;
mod keys;
mod manifests;
pub mod node;
mod pilot;
mod plaintext;
mod progress;
mod reading;
mod refusals;
mod remote;
mod report;
mod resources;
mod secure;
mod shared;
mod shares;
pub mod standalone;
pub mod status;
mod stream;
mod workloads;

pub use access::{Judging, KeyAccess, Verdict};
pub use authority::credential::{Bound, shared_account};
pub use authority::reviewer::{Review, ReviewError, Reviewed, TokenReviewer};
pub use authority::secret::Secret;
pub use authority::serving::ServerCertificate;
pub use authority::tokens::{Grant, LONGEST as LONGEST_TOKEN, Tokens};
pub use authority::{Authority, AuthorityError, AuthorityFiles, Followed, Succession};
pub use pilot::Pilot;
pub use progress::Progress;
pub use report::{Report, Source};
pub use secure::{PilotNames, Secure};
pub use shared::{Options, ProxyStatus};
pub use shares::{Share, Shares, place_of};
