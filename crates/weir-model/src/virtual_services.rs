//! All VirtualServices of a mesh, each with the rules of its delegates, by the gateways that they apply to.

use std::collections::HashMap;
use std::sync::Arc;

use weir_api::resources::MeshConfig;
use weir_api::resources::virtual_service::VirtualService as Written;
use weir_api::{Diagnostic, Object, Spec};

use crate::delegate::{self, Delegates};
use crate::rule::by_age;
use crate::virtual_service::VirtualService;

/// All VirtualServices of a mesh.
#[derive(Debug, Default)]
pub struct VirtualServices {
    /// From the oldest to the youngest.
    pub all: Vec<Arc<VirtualService>>,
    /// What of them has no effect.
    pub findings: Vec<Diagnostic>,
    by_gateway: HashMap<String, Vec<Arc<VirtualService>>>,
}

impl VirtualServices {
    /// Reads all VirtualServices.
    pub fn build(objects: &[Arc<Object>], mesh: &MeshConfig, domain: &str) -> Self {
        let mut of_kind: Vec<(&Arc<Object>, &Written)> = objects
            .iter()
            .filter_map(|object| match &object.spec {
                Spec::VirtualService(written) => Some((object, written)),
                _ => None,
            })
            .collect();
        of_kind.sort_by(|(a, _), (b, _)| by_age(a, b));
        let mut services = Self::default();
        let (delegates, roots): (Vec<_>, Vec<_>) = of_kind.into_iter().partition(|(_, written)| written.is_delegate());
        let read = |(object, written)| VirtualService::read(object, written, mesh, domain);
        let key = |service: VirtualService| ((service.namespace.clone(), service.name.clone()), service);
        let delegates: Delegates = delegates.into_iter().map(read).map(key).collect();
        for mut service in roots.into_iter().map(read) {
            delegate::resolve(&mut service, &delegates, &mut services.findings);
            let service = Arc::new(service);
            for gateway in &service.gateways {
                services.by_gateway.entry(gateway.clone()).or_default().push(service.clone());
            }
            services.all.push(service);
        }
        services
    }

    /// Those that apply to a gateway, or to [`MESH`](crate::virtual_service::MESH), as far as a namespace may see them, in the order in which
    /// Istio looks at them: private ones, those exported by name, public ones; the older first.
    pub fn of_gateway(&self, gateway: &str, namespace: &str) -> Vec<Arc<VirtualService>> {
        let all = self.by_gateway.get(gateway).into_iter().flatten();
        let mut visible: Vec<Arc<VirtualService>> = all.filter(|service| service.visibility.allows(namespace)).cloned().collect();
        visible.sort_by_key(|service| service.visibility.rank(&service.namespace, namespace));
        visible
    }
}
