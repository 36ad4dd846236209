//! The resources of a proxy in the shape of Envoy's `/config_dump`, with the names of the `.proto` files: the same from a proxy, of
//! what it has, and from a control plane, of what it sent.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::Any;
use crate::json::{Names, any_to_value};
use crate::resource::{ResourceType, route_configuration_of};
use crate::tls::{Secret, secret};

/// What stands in a secret's place.
const REDACTED: &str = "[redacted]";

/// The dump of what `resources` has of each type, by name. Endpoints are many, and only there if somebody asks for them.
pub fn config_dump(resources: &dyn Fn(ResourceType) -> Vec<(Arc<str>, Any)>, include_eds: bool) -> Value {
    let all =
        |kind: ResourceType, field: &str| -> Vec<Value> { resources(kind).iter().map(|(_, body)| json!({ field: value(body) })).collect() };
    let listeners: Vec<Value> = all(ResourceType::Listener, "listener")
        .into_iter()
        .map(|state| json!({ "name": state["listener"]["name"], "active_state": state }))
        .collect();
    let secrets: Vec<Value> = resources(ResourceType::Secret).iter().map(|(name, body)| redacted(name, body)).collect();
    let mut configs = vec![
        json!({ "@type": admin_type("ClustersConfigDump"), "dynamic_active_clusters": all(ResourceType::Cluster, "cluster") }),
        json!({ "@type": admin_type("ListenersConfigDump"), "dynamic_listeners": listeners }),
        json!({ "@type": admin_type("RoutesConfigDump"), "dynamic_route_configs": route_configs(resources) }),
        json!({ "@type": admin_type("SecretsConfigDump"), "dynamic_active_secrets": secrets }),
    ];
    let extensions = all(ResourceType::Extension, "ecds_filter");
    if !extensions.is_empty() {
        configs.push(json!({ "@type": admin_type("EcdsConfigDump"), "ecds_filters": extensions }));
    }
    if include_eds {
        let endpoints = all(ResourceType::Endpoint, "endpoint_config");
        configs.push(json!({ "@type": admin_type("EndpointsConfigDump"), "dynamic_endpoint_configs": endpoints }));
    }
    json!({ "configs": configs })
}

/// Route configurations, each with the virtual hosts that came for it by themselves before those that stand in it.
fn route_configs(resources: &dyn Fn(ResourceType) -> Vec<(Arc<str>, Any)>) -> Vec<Value> {
    let mut loose: HashMap<String, Vec<Value>> = HashMap::new();
    // One of no name only tells that all are there.
    for (name, body) in resources(ResourceType::VirtualHost).iter().filter(|(name, _)| !name.ends_with('/')) {
        if let Some(configuration) = route_configuration_of(name) {
            let mut host = value(body);
            host.as_object_mut().into_iter().for_each(|fields| drop(fields.remove("@type")));
            loose.entry(configuration.to_owned()).or_default().push(host);
        }
    }
    let whole = |(name, body): &(Arc<str>, Any)| {
        let mut config = value(body);
        if let Some(mut hosts) = loose.remove(&**name).filter(|_| config.get("vhds").is_some()) {
            hosts.extend(config["virtual_hosts"].as_array().into_iter().flatten().cloned());
            config["virtual_hosts"] = hosts.into();
        }
        json!({ "route_config": config })
    };
    resources(ResourceType::Route).iter().map(whole).collect()
}

fn admin_type(name: &str) -> String {
    format!("type.googleapis.com/envoy.admin.v3.{name}")
}

fn value(body: &Any) -> Value {
    any_to_value(body, Names::Proto).unwrap_or_else(|error| json!({ "@type": body.type_url, "error": error.to_string() }))
}

/// Only what it is, and its name: what is in it is nobody's business.
fn redacted(name: &str, body: &Any) -> Value {
    let kind = body.unpack::<Secret>().ok().and_then(|secret| secret.r#type).map(|kind| match kind {
        secret::Type::TlsCertificate(_) => "tls_certificate",
        secret::Type::SessionTicketKeys(_) => "session_ticket_keys",
        secret::Type::ValidationContext(_) => "validation_context",
        secret::Type::GenericSecret(_) => "generic_secret",
    });
    let mut secret = Map::from_iter([("@type".to_owned(), body.type_url.as_str().into()), ("name".to_owned(), name.into())]);
    secret.extend(kind.map(|kind| (kind.to_owned(), REDACTED.into())));
    json!({ "name": name, "secret": secret })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Cluster;
    use crate::core::{DataSource, data_source::Specifier};
    use crate::route::{RouteConfiguration, Vhds, VirtualHost};
    use crate::tls::TlsCertificate;

    #[test]
    fn route_configurations_are_dumped_whole() {
        let host = |name: &str| VirtualHost { name: name.to_owned(), ..Default::default() };
        let divided = RouteConfiguration {
            name: "80".to_owned(),
            virtual_hosts: vec![host("rest")],
            vhds: Some(Vhds::default()),
            ..Default::default()
        };
        let dump = config_dump(
            &|kind| match kind {
                ResourceType::Route => vec![("80".into(), Any::pack(&divided))],
                ResourceType::VirtualHost => ["80/", "80/a", "80/b", "81/c"].map(|name| (name.into(), Any::pack(&host(name)))).to_vec(),
                _ => vec![],
            },
            false,
        );
        let hosts = dump["configs"][2]["dynamic_route_configs"][0]["route_config"]["virtual_hosts"].as_array();
        let names: Vec<&str> = hosts.into_iter().flatten().filter_map(|host| host["name"].as_str()).collect();
        assert_eq!(names, ["80/a", "80/b", "rest"]);
    }

    #[test]
    fn a_dump_has_envoys_shape_and_no_secret() {
        let key = DataSource { specifier: Some(Specifier::InlineString("the key".to_owned())), ..Default::default() };
        let certificate = TlsCertificate { private_key: Some(key.clone()), certificate_chain: Some(key), ..Default::default() };
        let secret = Secret { name: "s".to_owned(), r#type: Some(secret::Type::TlsCertificate(certificate)) };
        let cluster = Cluster { name: "c".to_owned(), ..Default::default() };
        let dump = config_dump(
            &|kind| match kind {
                ResourceType::Cluster => vec![("c".into(), Any::pack(&cluster))],
                ResourceType::Secret => vec![("s".into(), Any::pack(&secret))],
                _ => vec![],
            },
            true,
        );
        assert_eq!(dump["configs"][0]["dynamic_active_clusters"][0]["cluster"]["name"], "c");
        assert_eq!(dump["configs"][3]["dynamic_active_secrets"][0]["secret"]["tls_certificate"], REDACTED);
        assert_eq!(dump["configs"][4]["@type"], "type.googleapis.com/envoy.admin.v3.EndpointsConfigDump");
        assert!(!dump.to_string().contains("the key"));
    }
}
