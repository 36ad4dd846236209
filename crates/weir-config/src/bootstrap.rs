//! What an Envoy bootstrap says of limits: those of connections, which Envoy knows from its overload manager and its runtime.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_routing::CompileError;
use weir_xds::bootstrap::runtime_layer::LayerSpecifier;
use weir_xds::bootstrap::{Bootstrap, LayeredRuntime};
use weir_xds::downstream_connections::DownstreamConnectionsConfig;
use weir_xds::envoy::config::overload::v3::resource_monitor::ConfigType;
use weir_xds::prost_types::{Struct, Value, value::Kind};

/// How many connections of clients there may be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// In the whole process.
    pub process: Option<u64>,
    /// At listeners, by their names.
    pub listeners: BTreeMap<Arc<str>, u64>,
}

impl ConnectionLimits {
    /// The limits that a bootstrap names.
    ///
    /// # Errors
    /// If one is not valid.
    pub fn of(bootstrap: &Bootstrap) -> Result<Self, CompileError> {
        let (of_runtime, listeners) = runtime(bootstrap.layered_runtime.as_ref());
        // As with Envoy, the runtime's counts where no monitor says otherwise.
        Ok(Self { process: monitored(bootstrap)?.or(of_runtime), listeners })
    }
}

/// What the overload manager's monitor of connections allows.
fn monitored(bootstrap: &Bootstrap) -> Result<Option<u64>, CompileError> {
    let monitors = bootstrap.overload_manager.iter().flat_map(|manager| &manager.resource_monitors).enumerate();
    for (i, monitor) in monitors {
        let Some(ConfigType::TypedConfig(config)) = &monitor.config_type else { continue };
        if !config.is::<DownstreamConnectionsConfig>() {
            continue;
        }
        let place = format!("overload_manager.resource_monitors[{i}].typed_config");
        let limit = config.unpack::<DownstreamConnectionsConfig>().map_err(|error| CompileError::new(place.as_str(), error.to_string()))?;
        let DownstreamConnectionsConfig { max_active_downstream_connections: most } = limit;
        let most = u64::try_from(most).ok().filter(|most| *most > 0);
        let wrong = || CompileError::new(format!("{place}.max_active_downstream_connections"), "must be 1 or more");
        return most.ok_or_else(wrong).map(Some);
    }
    Ok(None)
}

const OF_PROCESS: &str = "overload.global_downstream_max_connections";
const OF_LISTENER: (&str, &str) = ("envoy.resource_limits.listener.", ".connection_limit");

/// What the layers of a bootstrap's runtime say, the last one first.
fn runtime(runtime: Option<&LayeredRuntime>) -> (Option<u64>, BTreeMap<Arc<str>, u64>) {
    let mut values = BTreeMap::new();
    for layer in runtime.into_iter().flat_map(|runtime| &runtime.layers) {
        if let Some(LayerSpecifier::StaticLayer(fields)) = &layer.layer_specifier {
            collect("", fields, &mut values);
        }
    }
    let of_listener = |(key, most): (&String, &u64)| {
        let name = key.strip_prefix(OF_LISTENER.0)?.strip_suffix(OF_LISTENER.1)?;
        Some((Arc::from(name), *most))
    };
    (values.get(OF_PROCESS).copied(), values.iter().filter_map(of_listener).collect())
}

/// The numbers of a layer by their keys, which may be written in one or as structures within each other.
fn collect(outer: &str, fields: &Struct, values: &mut BTreeMap<String, u64>) {
    for (name, Value { kind }) in &fields.fields {
        let key = if outer.is_empty() { name.clone() } else { format!("{outer}.{name}") };
        match kind {
            Some(Kind::StructValue(inner)) => collect(&key, inner, values),
            Some(Kind::NumberValue(number)) if *number >= 0.0 => drop(values.insert(key, *number as u64)),
            Some(Kind::StringValue(text)) => values.extend(text.parse().ok().map(|number| (key, number))),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn limits(bootstrap: Value) -> Result<ConnectionLimits, String> {
        let bootstrap = weir_xds::json::from_value(bootstrap).map_err(|error| error.to_string())?;
        ConnectionLimits::of(&bootstrap).map_err(|error| error.to_string())
    }

    fn monitor(most: i64) -> Value {
        let kind = "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig";
        let config = json!({"@type": kind, "maxActiveDownstreamConnections": most.to_string()});
        json!({"resourceMonitors": [{"name": "envoy.resource_monitors.global_downstream_max_connections", "typedConfig": config}]})
    }

    #[test]
    fn a_bootstrap_limits_connections_as_it_does_for_envoy() {
        let flat =
            json!({"envoy.resource_limits.listener.0.0.0.0_80.connection_limit": 3, "overload.global_downstream_max_connections": "50"});
        let nested = json!({"envoy": {"resource_limits": {"listener": {"web": {"connection_limit": 4}}}}});
        let runtime =
            json!({"layers": [{"name": "a", "staticLayer": flat}, {"name": "b", "staticLayer": nested}, {"name": "c", "adminLayer": {}}]});
        let listeners = BTreeMap::from([("0.0.0.0_80".into(), 3), ("web".into(), 4)]);
        let both = json!({"overloadManager": monitor(7), "layeredRuntime": runtime});
        let cases = [
            (json!({}), Ok(ConnectionLimits::default())),
            (json!({"overloadManager": monitor(7)}), Ok(ConnectionLimits { process: Some(7), listeners: BTreeMap::new() })),
            (json!({"layeredRuntime": runtime}), Ok(ConnectionLimits { process: Some(50), listeners: listeners.clone() })),
            (both, Ok(ConnectionLimits { process: Some(7), listeners })),
            (
                json!({"overloadManager": monitor(0)}),
                Err("overload_manager.resource_monitors[0].typed_config.max_active_downstream_connections: must be 1 or more".to_owned()),
            ),
        ];
        for (bootstrap, expected) in cases {
            assert_eq!(limits(bootstrap.clone()), expected, "{bootstrap}");
        }
    }
}
