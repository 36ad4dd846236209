//! What was translated, as the resources that a server sends.

use weir_ads::{Resource, ResourceSet};
use weir_translate::{Encoded, Translation, encode_own};
use weir_xds::cluster::Cluster;
use weir_xds::core::data_source::Specifier;
use weir_xds::core::health_check::HealthChecker;
use weir_xds::resource::ResourceType;
use weir_xds::tls::Secret;
use weir_xds::tls::secret::Type;

/// Adds a resource.
pub(crate) fn insert(set: &mut ResourceSet, made: &Encoded) {
    let resource = Resource::packed(made.body.clone());
    let resource = match &made.endpoints {
        Some(endpoints) => resource.needing_endpoints(endpoints.clone()),
        None => resource,
    };
    let resource = if made.kind == ResourceType::Secret && holds_key(made) { resource.private() } else { resource };
    set.insert(made.kind, made.name.clone(), resource);
}

/// Whether a secret holds what only few may know, whatever its name is: all but authorities and the names of files.
fn holds_key(made: &Encoded) -> bool {
    match made.body.unpack::<Secret>().map(|secret| secret.r#type) {
        Ok(Some(Type::ValidationContext(_))) => false,
        Ok(Some(Type::TlsCertificate(certificate))) => {
            let key = certificate.private_key.and_then(|key| key.specifier);
            !matches!(key, None | Some(Specifier::Filename(_)))
        }
        _ => true,
    }
}

/// What only one proxy gets.
pub(crate) fn of_own(own: &Translation) -> ResourceSet {
    let mut set = ResourceSet::default();
    encode_own(own).iter().for_each(|made| insert(&mut set, made));
    set
}

/// Whether instances of a cluster are checked by a command, which no proxy but Weir's understands.
pub(crate) fn runs_commands(cluster: &Cluster) -> bool {
    cluster.health_checks.iter().any(|check| matches!(check.health_checker, Some(HealthChecker::CustomHealthCheck(_))))
}
