//! The state-of-the-world protocol's messages, as the server sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_xds::discovery::{DiscoveryRequest, DiscoveryResponse};
use weir_xds::resource::ResourceType;

use super::delta::control_plane;
use super::{Changes, Event, Sent, Server};
use crate::resources::slot;

pub(super) fn receive(server: &mut Server, request: &DiscoveryRequest) -> Event {
    let Some(kind) = ResourceType::from_type_url(&request.type_url) else { return Event::Passed };
    let state = &mut server.types[slot(kind)];
    let stale = !request.response_nonce.is_empty() && state.outstanding.as_deref().is_some_and(|nonce| nonce != request.response_nonce);
    if stale {
        return Event::Passed;
    }
    let names: BTreeSet<Arc<str>> = request.resource_names.iter().filter(|name| *name != "*").map(|name| name.as_str().into()).collect();
    let all = request.resource_names.iter().any(|name| name == "*") || (names.is_empty() && is_whole(kind));
    let new: Vec<Arc<str>> = names.difference(&state.subscription.names).cloned().collect();
    let changed = !new.is_empty() || all != state.subscription.all;
    state.asked.retain(|name| names.contains(name));
    state.asked.extend(new);
    if !all {
        state.sent.retain(|name, _| names.contains(name));
    }
    state.subscription.names = names;
    state.subscription.all = all;
    if request.response_nonce.is_empty() {
        return if changed { Event::Subscribed(kind) } else { Event::Passed };
    }
    let refused = request.error_detail.as_ref().map(|error| error.message.clone());
    server.answered(kind, &request.response_nonce, refused)
}

/// Whether responses of this type carry all resources, so that one that is missing is gone.
pub(super) fn is_whole(kind: ResourceType) -> bool {
    matches!(kind, ResourceType::Cluster | ResourceType::Listener)
}

pub(super) fn response(kind: ResourceType, changes: &Changes, sent: &BTreeMap<Arc<str>, Sent>, nonce: String) -> DiscoveryResponse {
    let resources = if is_whole(kind) {
        let body = |sent: &Sent| match sent {
            Sent::Here(resource) => Some(resource.body.clone()),
            // Clients of this protocol do not tell what they have.
            Sent::Before(_) => None,
        };
        sent.values().filter_map(body).collect()
    } else {
        changes.upserts.iter().map(|(_, resource)| resource.body.clone()).collect()
    };
    DiscoveryResponse {
        version_info: nonce.clone(),
        resources,
        type_url: kind.type_url(),
        nonce,
        control_plane: Some(control_plane()),
        ..Default::default()
    }
}
