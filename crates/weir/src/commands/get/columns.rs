//! The columns of each kind, as Istio's and Kubernetes' own definitions have them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use weir_api::{Kind, Object, Spec};
use weir_registry::Catalog;

use crate::print;

/// A table of objects of one kind.
pub(super) fn table(kind: Kind, objects: &[&Arc<Object>], with_namespace: bool, catalog: &Catalog) -> String {
    let own = own_columns(kind);
    let namespaced = with_namespace && objects.iter().any(|object| !object.meta.namespace.is_empty());
    let mut head: Vec<&str> = if namespaced { vec!["NAMESPACE", "NAME"] } else { vec!["NAME"] };
    head.extend(own);
    head.push("AGE");
    let row = |object: &&Arc<Object>| {
        let mut cells = if namespaced { vec![object.meta.namespace.clone()] } else { vec![] };
        cells.push(object.meta.name.clone());
        cells.extend(own_cells(&object.spec));
        cells.push(age(object, catalog));
        cells
    };
    print::table(&head, objects.iter().map(row).collect())
}

fn own_columns(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::VirtualService => &["GATEWAYS", "HOSTS"],
        Kind::DestinationRule => &["HOST"],
        Kind::ServiceEntry => &["HOSTS", "LOCATION", "RESOLUTION"],
        Kind::WorkloadEntry => &["ADDRESS"],
        Kind::Service => &["TYPE", "CLUSTER-IP", "PORT(S)"],
        _ => &[],
    }
}

fn own_cells(spec: &Spec) -> Vec<String> {
    match spec {
        Spec::VirtualService(spec) => vec![list(&spec.gateways), list(&spec.hosts)],
        Spec::DestinationRule(spec) => vec![spec.host.clone()],
        Spec::ServiceEntry(spec) => {
            let location = match spec.location {
                weir_api::resources::service_entry::Location::MeshExternal => "MESH_EXTERNAL",
                weir_api::resources::service_entry::Location::MeshInternal => "MESH_INTERNAL",
            };
            vec![list(&spec.hosts), location.to_owned(), spec.resolution.name().to_owned()]
        }
        Spec::WorkloadEntry(spec) => vec![spec.address.clone()],
        Spec::Service(service) => {
            let ports: Vec<String> = service.spec.ports.iter().map(|port| format!("{}/{}", port.port, port.protocol)).collect();
            let address = if service.spec.cluster_ip.is_empty() { "<none>" } else { &service.spec.cluster_ip };
            vec![service.spec.r#type.clone(), address.to_owned(), ports.join(",")]
        }
        _ => vec![],
    }
}

/// As kubectl prints a list; nothing for an empty one.
fn list(words: &[String]) -> String {
    if words.is_empty() { String::new() } else { serde_json::Value::from(words).to_string() }
}

/// Since when the object is there, or, where it does not say, since when its text is as it is.
fn age(object: &Object, catalog: &Catalog) -> String {
    let created = object.meta.creation_timestamp.map(|time: Timestamp| SystemTime::from(time));
    let since = created.or_else(|| catalog.changed(&object.source.path));
    let age = since.and_then(|since| SystemTime::now().duration_since(since).ok());
    age.map_or_else(|| "<unknown>".to_owned(), human)
}

/// A duration as kubectl prints it: the older, the coarser.
fn human(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let both = |large: u64, small: u64, units: (&str, &str)| match small {
        0 => format!("{large}{}", units.0),
        _ => format!("{large}{}{small}{}", units.0, units.1),
    };
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => both(minutes, seconds % 60, ("m", "s")),
        () if hours < 3 => format!("{minutes}m"),
        () if hours < 8 => both(hours, minutes % 60, ("h", "m")),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => both(days, hours % 24, ("d", "h")),
        () if days < 730 => format!("{days}d"),
        () if days < 2920 => both(days / 365, days % 365, ("y", "d")),
        () => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_printed_as_kubectl_does() {
        let cases = [
            (59, "59s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (3600, "60m"),
            (11_000, "3h3m"),
            (90_000, "25h"),
            (338_400, "3d22h"),
            (6_307_200, "73d"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(human(Duration::from_secs(seconds)), expected);
        }
    }
}
