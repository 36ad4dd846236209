//! Whether an input is what it was: by pointer, and where the model makes something anew for each of its readers, by
//! what that is made of.

use std::sync::Arc;

use weir_model::{Endpoint, Service};

/// Whether two are one, or none.
pub(super) fn same<T: ?Sized>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        _ => false,
    }
}

/// Whether two services are the same but for the objects that define them: an object may also bring instances, and a
/// service that is cut to some of its ports is made anew for each scope.
pub(super) fn same_service(a: &Arc<Service>, b: &Arc<Service>) -> bool {
    if Arc::ptr_eq(a, b) {
        return true;
    }
    let Service {
        hostname,
        namespace,
        name,
        addresses,
        automatic,
        ports,
        resolution,
        external,
        visibility,
        registry,
        traffic_distribution,
        node_local,
        keeps_sessions,
        alias_of,
        aliases,
        subject_alt_names,
        object: _,
    } = &**a;
    (hostname, namespace, name, addresses, ports) == (&b.hostname, &b.namespace, &b.name, &b.addresses, &b.ports)
        && *automatic == b.automatic
        && (resolution, external, visibility, registry) == (&b.resolution, &b.external, &b.visibility, &b.registry)
        && (traffic_distribution, alias_of, aliases) == (&b.traffic_distribution, &b.alias_of, &b.aliases)
        && (node_local, keeps_sessions, subject_alt_names) == (&b.node_local, &b.keeps_sessions, &b.subject_alt_names)
}

/// The same of services that there need not be.
pub(super) fn same_services(a: Option<&Arc<Service>>, b: Option<&Arc<Service>>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => same_service(a, b),
        _ => false,
    }
}

/// Of a service without instances there is no list to point at.
pub(super) fn same_instances(a: &Arc<[Endpoint]>, b: &Arc<[Endpoint]>) -> bool {
    Arc::ptr_eq(a, b) || (a.is_empty() && b.is_empty())
}
