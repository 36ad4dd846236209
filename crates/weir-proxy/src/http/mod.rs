//! HTTP: from a client's connection ([`connection`]) through its filters, of which the last, the [`router`], sends the request
//! to an instance and brings back the answer.

mod body;
mod call;
pub mod connection;
pub mod control;
mod extended_connect;
mod filters;
mod handle;
mod header_changes;
mod http2;
mod local_reply;
mod mapped_reply;
pub mod router;

use std::rc::Rc;
use std::sync::Arc;

use weir_config::http::HttpConfig;

use crate::exchange::recorder::Recording;
use crate::upstream::clusters::Clusters;
pub use filters::Chain;
use router::routes::RouteSlot;

/// A connection manager as one worker uses it.
pub struct HttpRuntime {
    /// What it is told to do.
    pub config: Arc<HttpConfig>,
    /// Its routes.
    pub routes: Rc<RouteSlot>,
    /// What requests and answers pass.
    pub filters: Chain,
    /// What it writes down.
    pub recording: Rc<Recording>,
    /// Where its routes lead.
    pub clusters: Rc<Clusters>,
}
