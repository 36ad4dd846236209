//! The ingress listeners of a proxy's Sidecar that it binds itself. Each is a listener, and a cluster for what comes in by it.

use weir_api::FieldPath;
use weir_api::resources::sidecar::{CaptureMode, IstioIngressListener};
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
    let Some(sidecar) = &context.scope.sidecar else { return vec![] };
    let is_bound = |spec: &IstioIngressListener| context.proxy.interception == Interception::None || spec.capture_mode == CaptureMode::None;
    let with_place = sidecar.spec.ingress.iter().enumerate().filter(|(_, spec)| is_bound(spec));
    with_place
        .filter_map(|(i, spec)| {
            let port = spec.port.as_ref().and_then(|port| u16::try_from(port.number).ok())?;
            let origin = Origin::new(&sidecar.object, FieldPath::default().key("spec").key("ingress").index(i));
            Some(Ingress { spec, port, origin })
        })
        .collect()
}
