//! The ingress listeners of a proxy's Sidecar that it binds itself. Each is a listener, and a cluster for what comes in by it.

use std::collections::BTreeMap;

use weir_api::FieldPath;
use weir_api::resources::protocol::Protocol;
use weir_api::resources::sidecar::{CaptureMode, IstioIngressListener, SidecarPort};
use weir_model::{Interception, Origin};

use crate::context::Context;

/// Where a listener is bound that is for the workload beside it only.
pub(crate) const LOOPBACK: &str = "127.0.0.1";

/// An ingress listener that is bound.
pub(crate) struct Ingress<'s> {
    pub spec: &'s IstioIngressListener,
    pub port: u16,
    pub origin: Origin,
}

/// The ingress listeners that a proxy binds.
pub(crate) fn bound<'c>(context: &'c Context<'_>) -> Vec<Ingress<'c>> {
    written(context, true)
}

/// A port of the workload whose connections the kernel redirects.
pub(crate) struct Captured<'s> {
    pub port: u16,
    /// What it speaks; none if that is found out.
    pub protocol: Option<Protocol>,
    /// Where a Sidecar declares it; none if services do.
    pub ingress: Option<Ingress<'s>>,
}

/// The ports whose connections are redirected: those of the Sidecar, if that names any at all, else those of services.
pub(crate) fn captured<'c>(context: &'c Context<'_>) -> Vec<Captured<'c>> {
    if context.proxy.interception == Interception::None {
        return vec![];
    }
    if context.scope.sidecar.as_ref().is_some_and(|sidecar| !sidecar.spec.ingress.is_empty()) {
        let of_sidecar = written(context, false).into_iter();
        let protocol = |spec: &IstioIngressListener| spec.port.as_ref().and_then(SidecarPort::protocol);
        return of_sidecar
            .map(|ingress| Captured { port: ingress.port, protocol: protocol(ingress.spec), ingress: Some(ingress) })
            .collect();
    }
    let mut ports: BTreeMap<u16, Captured<'_>> = BTreeMap::new();
    for (service, endpoint) in context.mesh.instances_of(context.proxy) {
        let declared = service.port(endpoint.service_port.into()).and_then(|port| port.protocol);
        // The oldest service says what it speaks.
        ports.entry(endpoint.port).or_insert(Captured { port: endpoint.port, protocol: declared, ingress: None });
    }
    ports.retain(|_, port| port.protocol != Some(Protocol::Udp));
    ports.into_values().collect()
}

/// The ingress listeners that are bound, or those that are not.
fn written<'c>(context: &'c Context<'_>, bound: bool) -> Vec<Ingress<'c>> {
    let Some(sidecar) = &context.scope.sidecar else { return vec![] };
    let is_bound = |spec: &IstioIngressListener| context.proxy.interception == Interception::None || spec.capture_mode == CaptureMode::None;
    let with_place = sidecar.spec.ingress.iter().enumerate().filter(|(_, spec)| is_bound(spec) == bound);
    with_place
        .filter_map(|(i, spec)| {
            let port = spec.port.as_ref().and_then(|port| u16::try_from(port.number).ok())?;
            let origin = Origin::new(&sidecar.object, FieldPath::default().key("spec").key("ingress").index(i));
            Some(Ingress { spec, port, origin })
        })
        .collect()
}
