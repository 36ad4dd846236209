//! The clusters of services, and their assignments.

use std::collections::HashMap;
use std::sync::Arc;

use weir_api::Diagnostic;
use weir_model::peer_authentication::NamespaceTls;
use weir_model::service::ServiceKey;
use weir_model::{DestinationRule, Endpoint, Peers, Resolution, Service};

use super::same::{same, same_instances, same_service};
use super::{Encoded, Work};
use crate::cluster;
use crate::context::Context;

/// What was made of each service that the class may reach.
#[derive(Default)]
pub(super) struct Services {
    by_host: HashMap<Arc<str>, OfService>,
    /// In the order of the scope.
    order: Vec<Arc<str>>,
}

/// What was made of a service, and what of.
struct OfService {
    service: Arc<Service>,
    rule: Option<Arc<DestinationRule>>,
    /// What its instances take from their clients.
    tls: Arc<NamespaceTls>,
    instances: Arc<[Endpoint]>,
    clusters: Vec<Arc<Encoded>>,
    assignments: Vec<Arc<Encoded>>,
    /// Whether clusters name instances themselves.
    names_instances: bool,
    findings: Vec<Diagnostic>,
}

impl Services {
    /// Makes anew what depends on what is not as it was.
    pub fn refresh(&mut self, context: &Context<'_>, work: &mut Work) {
        let mut before = std::mem::take(&mut self.by_host);
        self.order.clear();
        for service in cluster::services(context) {
            let kept = before.remove(&service.hostname);
            let kept = match kept.filter(|kept| kept.is_of(context, service)) {
                Some(mut kept) => {
                    kept.take_instances(context, work);
                    kept
                }
                None => OfService::new(context, service, work),
            };
            context.tell(kept.findings.iter().cloned());
            self.order.push(service.hostname.clone());
            self.by_host.insert(service.hostname.clone(), kept);
        }
    }

    /// All that is kept.
    pub fn made(&self) -> impl Iterator<Item = &Arc<Encoded>> {
        let kept = self.order.iter().filter_map(|host| self.by_host.get(host));
        kept.flat_map(|kept| kept.clusters.iter().chain(&kept.assignments))
    }

    /// Whether the instances of a service, as this class knows it, stand in clusters or listeners too. Another namespace may
    /// know another service by that name.
    pub fn tells_instances_elsewhere(&self, (host, namespace): &ServiceKey) -> bool {
        let kept = self.by_host.get(host).filter(|kept| kept.service.namespace == *namespace);
        kept.is_some_and(|kept| kept.names_instances || kept.service.resolution == Resolution::Passthrough)
    }

    /// Makes the assignments of a service anew whose instances changed. Those that are not as they were.
    pub fn refresh_instances(&mut self, context: &Context<'_>, (host, namespace): &ServiceKey, work: &mut Work) -> Vec<Arc<Encoded>> {
        let kept = self.by_host.get_mut(host).filter(|kept| kept.service.namespace == *namespace);
        kept.map(|kept| kept.take_instances(context, work)).unwrap_or_default()
    }
}

impl OfService {
    fn new(context: &Context<'_>, service: &Arc<Service>, work: &mut Work) -> Self {
        let (made, findings) = context.listen(|| cluster::of_service(context, service));
        work.clusters += made.len();
        Self {
            service: service.clone(),
            rule: context.destination_rule(service).cloned(),
            tls: context.mesh.peer_authentications.of_namespace(&service.namespace).clone(),
            instances: context.mesh.services.endpoints(service),
            names_instances: made.iter().any(|made| made.cluster.load_assignment.is_some()),
            clusters: made.iter().map(|made| Encoded::cluster(&made.cluster)).collect(),
            assignments: made.iter().filter_map(|made| made.endpoints.as_ref()).map(Encoded::assignment).collect(),
            findings,
        }
    }

    /// Whether the clusters would be made of the same.
    fn is_of(&self, context: &Context<'_>, service: &Arc<Service>) -> bool {
        // A finding names its place in the object.
        let is_told_as_before = self.findings.is_empty() || Arc::ptr_eq(&self.service.object, &service.object);
        is_told_as_before
            && same_service(&self.service, service)
            && same(self.rule.as_ref(), context.destination_rule(service))
            && Arc::ptr_eq(&self.tls, context.mesh.peer_authentications.of_namespace(&service.namespace))
            && self.are_told_alike(&context.mesh.services.endpoints(service))
    }

    /// Whether clusters say the same of other instances: these themselves, or as whom they are known.
    fn are_told_alike(&self, instances: &Arc<[Endpoint]>) -> bool {
        let is_same = same_instances(&self.instances, instances);
        is_same || (!self.names_instances && Peers::of(&self.instances) == Peers::of(instances))
    }

    /// Takes over the instances as they are now. The assignments that are not as they were.
    fn take_instances(&mut self, context: &Context<'_>, work: &mut Work) -> Vec<Arc<Encoded>> {
        let instances = context.mesh.services.endpoints(&self.service);
        if same_instances(&self.instances, &instances) {
            return vec![];
        }
        self.instances = instances;
        let is_kept = |name: &str| self.assignments.iter().any(|known| *known.name == *name);
        let made = cluster::assignments_of_service(context, &self.service, is_kept);
        work.assignments += made.len();
        let made: HashMap<Arc<str>, Arc<Encoded>> =
            made.iter().map(Encoded::assignment).map(|encoded| (encoded.name.clone(), encoded)).collect();
        let mut changed = vec![];
        for known in &mut self.assignments {
            if let Some(new) = made.get(&known.name).filter(|new| *new != known) {
                *known = new.clone();
                changed.push(new.clone());
            }
        }
        changed
    }
}
