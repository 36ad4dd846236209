//! The names for questions of DNS, encoded and kept with what they were made of. They are one resource: a service that changes makes them anew,
//! all that changes besides does not.

use std::sync::Arc;

use weir_api::Diagnostic;
use weir_model::{Endpoint, Service};
use weir_xds::resource::{NAME_TABLE, ResourceType};

use super::same::{same_instances, same_service};
use super::{Encoded, Work};
use crate::context::Context;
use crate::name_table;

/// The names, and what they were made of.
pub(super) struct Names {
    services: Arc<[Arc<Service>]>,
    /// Those of services whose instances clients choose among.
    instances: Vec<Arc<[Endpoint]>>,
    made: Arc<Encoded>,
    findings: Vec<Diagnostic>,
}

impl Names {
    /// Those that are kept, if they would be made of the same; else new ones.
    pub fn refresh(kept: &mut Option<Self>, context: &Context<'_>, work: &mut Work) -> Arc<Encoded> {
        let services = &context.scope.services;
        let headless = services.iter().filter(|service| name_table::is_of_instances(context, service));
        let instances: Vec<Arc<[Endpoint]>> = headless.map(|service| context.mesh.services.endpoints(service)).collect();
        let is_same = |kept: &Self| {
            let is_one_object = |(a, b): (&Arc<Service>, &Arc<Service>)| kept.findings.is_empty() || Arc::ptr_eq(&a.object, &b.object);
            let mut pairs = kept.services.iter().zip(services.iter());
            let is_same_list = kept.services.len() == services.len() && pairs.all(|(a, b)| same_service(a, b) && is_one_object((a, b)));
            (Arc::ptr_eq(&kept.services, services) || is_same_list)
                && kept.instances.len() == instances.len()
                && kept.instances.iter().zip(&instances).all(|(a, b)| same_instances(a, b))
        };
        if !kept.as_ref().is_some_and(is_same) {
            *kept = None;
        }
        let kept = kept.get_or_insert_with(|| {
            work.name_tables += 1;
            let (table, findings) = context.listen(|| name_table::table(context));
            let made = Encoded::new(ResourceType::NameTable, NAME_TABLE, &table);
            Self { services: services.clone(), instances, made, findings }
        });
        context.tell(kept.findings.iter().cloned());
        kept.made.clone()
    }
}
