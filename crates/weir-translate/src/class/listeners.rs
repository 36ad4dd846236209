//! The listeners for what workloads send. They are made all together: which services share one depends on all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_api::resources::protocol::Protocol;
use weir_api::{Diagnostic, Object};
use weir_model::{DestinationRule, EgressListener, Endpoint, Resolution, Service, VirtualService};

use super::same::{same, same_instances, same_service};
use super::{Encoded, Work};
use crate::context::Context;
use crate::virtual_host::sidecar::OutboundRoute;
use crate::{listener, set_connections};

/// The listeners, and what they were made of.
pub(super) struct Listeners {
    inputs: Vec<Input>,
    pub listeners: Vec<Arc<Encoded>>,
    /// The route configurations that they ask for.
    pub routes: BTreeMap<String, OutboundRoute>,
    findings: Vec<Diagnostic>,
}

/// Something that they were made of.
enum Input {
    Sidecar(Option<Arc<Object>>),
    Service(Arc<Service>),
    DestinationRule(Option<Arc<DestinationRule>>),
    Instances(Arc<[Endpoint]>),
    VirtualService(Arc<VirtualService>),
}

impl Input {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sidecar(a), Self::Sidecar(b)) => same(a.as_ref(), b.as_ref()),
            (Self::Service(a), Self::Service(b)) => same_service(a, b),
            (Self::DestinationRule(a), Self::DestinationRule(b)) => same(a.as_ref(), b.as_ref()),
            (Self::Instances(a), Self::Instances(b)) => same_instances(a, b),
            (Self::VirtualService(a), Self::VirtualService(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// A finding names its place in the object.
    fn is_of_one_object(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Service(a), Self::Service(b)) => Arc::ptr_eq(&a.object, &b.object),
            _ => true,
        }
    }
}

impl Listeners {
    /// Those that are kept, if they would be made of the same; else new ones.
    pub fn refresh<'k>(kept: &'k mut Option<Self>, context: &Context<'_>, work: &mut Work) -> &'k Self {
        let inputs = inputs(context);
        let is_same = |kept: &Self| {
            let mut pairs = kept.inputs.iter().zip(&inputs);
            kept.inputs.len() == inputs.len() && pairs.all(|(a, b)| a.is(b) && (kept.findings.is_empty() || a.is_of_one_object(b)))
        };
        if !kept.as_ref().is_some_and(is_same) {
            *kept = None;
        }
        let kept = kept.get_or_insert_with(|| {
            work.listeners += 1;
            let (mut outbound, findings) = context.listen(|| listener::outbound(context));
            set_connections(context, &mut outbound.listeners);
            Self { inputs, listeners: outbound.listeners.iter().map(Encoded::listener).collect(), routes: outbound.routes, findings }
        });
        context.tell(kept.findings.iter().cloned());
        kept
    }
}

fn inputs(context: &Context<'_>) -> Vec<Input> {
    let sidecar = context.scope.sidecar.as_ref().map(|sidecar| sidecar.object.clone());
    let mut inputs = vec![Input::Sidecar(sidecar)];
    for listener in &context.scope.egress {
        listener.services.iter().for_each(|service| add_service(context, listener, service, &mut inputs));
        for rule in listener.virtual_services.iter().filter(|rule| !(rule.tls.is_empty() && rule.tcp.is_empty())) {
            inputs.push(Input::VirtualService(rule.clone()));
            let routes = rule.tls.iter().flat_map(|rule| &rule.spec.route).chain(rule.tcp.iter().flat_map(|rule| &rule.spec.route));
            for service in routes.filter_map(|route| context.scope.service(&route.destination.as_ref()?.host)) {
                inputs.push(Input::Service(service.clone()));
                inputs.push(Input::DestinationRule(context.destination_rule(service).cloned()));
            }
        }
    }
    inputs
}

/// What counts of a service: where only HTTP is spoken, its routes say all else.
fn add_service(context: &Context<'_>, listener: &EgressListener, service: &Arc<Service>, inputs: &mut Vec<Input>) {
    inputs.push(Input::Service(service.clone()));
    // At a socket, the listener's own protocol may make bytes of it.
    let is_for_all = listener.port().is_none() && listener.socket().is_none();
    let is_http = is_for_all && service.ports.iter().all(|port| port.protocol.is_some_and(Protocol::is_http));
    if is_http {
        return;
    }
    inputs.push(Input::DestinationRule(context.destination_rule(service).cloned()));
    if service.resolution == Resolution::Passthrough && listener::address_of(service) == listener::ANY_ADDRESS {
        inputs.push(Input::Instances(context.mesh.services.endpoints(service)));
    }
}
