//! `/config_dump`: everything that the proxies were told, in Envoy's shape and with the names of the `.proto` files.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use weir_xds::Any;
use weir_xds::json::{Names, any_to_value, give_back_memory};
use weir_xds::resource::ResourceType;

use crate::DataPlane;
use crate::control::follow::Status;

/// The dump of one proxy, or of several by their ids.
pub fn config_dump(plane: &DataPlane, ids: &[Arc<str>], include_eds: bool) -> Value {
    let one = |id: &Arc<str>| plane.status(id).map(|status| of_proxy(&status.borrow(), include_eds)).unwrap_or_default();
    let dump = match ids {
        [id] => one(id),
        ids => json!({ "proxies": ids.iter().map(|id| (id.to_string(), one(id))).collect::<Map<_, _>>() }),
    };
    // Nothing else in a proxy writes resources as JSON.
    give_back_memory();
    dump
}

fn of_proxy(status: &Status, include_eds: bool) -> Value {
    let resources = |kind: ResourceType, field: &str| -> Vec<Value> {
        status.received.of(kind).iter().map(|(_, body)| json!({ field: value(body) })).collect()
    };
    let listeners: Vec<Value> = resources(ResourceType::Listener, "listener")
        .into_iter()
        .map(|state| json!({ "name": state["listener"]["name"], "active_state": state }))
        .collect();
    let refused: Vec<Value> =
        status.refused.iter().map(|((kind, name), why)| json!({ "type": kind.name(), "name": &**name, "error": why })).collect();
    let mut configs = vec![
        json!({ "@type": admin_type("ClustersConfigDump"), "dynamic_active_clusters": resources(ResourceType::Cluster, "cluster") }),
        json!({ "@type": admin_type("ListenersConfigDump"), "dynamic_listeners": listeners }),
        json!({ "@type": admin_type("RoutesConfigDump"), "dynamic_route_configs": resources(ResourceType::Route, "route_config") }),
        json!({ "@type": admin_type("SecretsConfigDump"), "dynamic_active_secrets": secrets(status) }),
    ];
    if include_eds {
        let endpoints = resources(ResourceType::Endpoint, "endpoint_config");
        configs.push(json!({ "@type": admin_type("EndpointsConfigDump"), "dynamic_endpoint_configs": endpoints }));
    }
    let mut dump = json!({ "configs": configs });
    if !refused.is_empty() {
        dump["refused"] = refused.into();
    }
    dump
}

fn admin_type(name: &str) -> String {
    format!("type.googleapis.com/envoy.admin.v3.{name}")
}

fn value(body: &Any) -> Value {
    any_to_value(body, Names::Proto).unwrap_or_else(|error| json!({ "@type": body.type_url, "error": error.to_string() }))
}

/// Only the names: what is in them is nobody's business.
fn secrets(status: &Status) -> Vec<Value> {
    let secrets = status.received.of(ResourceType::Secret);
    secrets.iter().map(|(name, _)| json!({ "name": &**name, "secret": "[redacted]" })).collect()
}
