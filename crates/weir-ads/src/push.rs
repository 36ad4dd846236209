//! What a server sends, before it is any message: names, and resources that all clients share.

use std::sync::Arc;

use weir_xds::core::ControlPlane;
use weir_xds::discovery::{DeltaDiscoveryResponse, DiscoveryResponse, Resource as WireResource};
use weir_xds::resource::ResourceType;

use crate::protocol::Protocol;
use crate::resources::Resource;

/// A response on its way to a client. Until it is written to a connection it holds nothing but references.
#[derive(Debug, Clone, PartialEq)]
pub struct Push {
    /// The protocol that it is for.
    pub protocol: Protocol,
    /// Which type of resources.
    pub kind: ResourceType,
    /// By this number the client answers.
    pub nonce: u64,
    /// The resources that are sent.
    pub resources: Vec<(Arc<str>, Arc<Resource>)>,
    /// Names that there are no more; the state-of-the-world protocol has no words for them.
    pub removals: Vec<Arc<str>>,
}

impl Push {
    /// The message of the delta protocol, with resources that are already encoded left to the caller.
    pub(crate) fn delta(&self, resources: Vec<WireResource>) -> DeltaDiscoveryResponse {
        DeltaDiscoveryResponse {
            system_version_info: self.nonce.to_string(),
            resources,
            removed_resources: self.removals.iter().map(ToString::to_string).collect(),
            type_url: self.kind.type_url(),
            nonce: self.nonce.to_string(),
            control_plane: Some(control_plane()),
            ..Default::default()
        }
    }

    /// The message of the state-of-the-world protocol, likewise.
    pub(crate) fn state(&self, resources: Vec<weir_xds::Any>) -> DiscoveryResponse {
        DiscoveryResponse {
            version_info: self.nonce.to_string(),
            resources,
            type_url: self.kind.type_url(),
            nonce: self.nonce.to_string(),
            control_plane: Some(control_plane()),
            ..Default::default()
        }
    }
}

fn control_plane() -> ControlPlane {
    ControlPlane { identifier: concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned() }
}
