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

/// A service may be cut to some of its ports, or be several of one name: such a one is made anew for each scope.
pub(super) fn same_service(a: &Arc<Service>, b: &Arc<Service>) -> bool {
    let cut_alike = || {
        Arc::ptr_eq(&a.object, &b.object)
            && (&a.hostname, &a.namespace, &a.alias_of) == (&b.hostname, &b.namespace, &b.alias_of)
            && a.ports == b.ports
            && a.addresses == b.addresses
            && a.aliases == b.aliases
    };
    Arc::ptr_eq(a, b) || cut_alike()
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
