//! Transport sockets: TLS and what else is below a connection's bytes.

use std::sync::Arc;

use weir_xds::core::TransportSocket;
use weir_xds::core::transport_socket::ConfigType;
use weir_xds::merge::Lists;

use super::work::{Patch, Work};

/// Merges a patch's socket into one of the same name, configuration into configuration; one of another name takes its place.
pub(super) fn merge(work: &Work<'_>, patch: &Arc<Patch>, into: &mut Option<TransportSocket>, from: TransportSocket) {
    let Some(known) = into.as_mut().filter(|known| known.name == from.name) else {
        *into = Some(from);
        return;
    };
    if let (Some(ConfigType::TypedConfig(known)), Some(ConfigType::TypedConfig(more))) = (&mut known.config_type, &from.config_type) {
        work.merge_packed(patch, known, more, Lists::Append);
    }
}
