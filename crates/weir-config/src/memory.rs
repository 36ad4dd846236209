//! How much memory a process may take, and what it stops doing before it takes that.

use weir_routing::CompileError;
use weir_xds::bootstrap::Bootstrap;
use weir_xds::envoy::config::overload::v3::resource_monitor::ConfigType;
use weir_xds::envoy::config::overload::v3::trigger::TriggerOneof;
use weir_xds::envoy::config::overload::v3::{OverloadAction, OverloadManager};
use weir_xds::fixed_heap::FixedHeapConfig;

/// A bound of memory, and from which part of it on something is done; what is not named is never done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MemoryBound {
    /// Bytes.
    pub most: u64,
    /// Connections that are idle end.
    pub shed_idle: Option<f64>,
    /// No more connections are let in.
    pub refuse_connections: Option<f64>,
    /// Requests are answered with 503.
    pub refuse_requests: Option<f64>,
}

impl MemoryBound {
    /// Of so many bytes: idle connections go first, then new ones and further requests are refused.
    pub fn new(most: u64) -> Self {
        Self { most, shed_idle: Some(0.9), refuse_connections: Some(0.95), refuse_requests: Some(0.95) }
    }

    /// The bound that a bootstrap's overload manager names, if it does: its monitor of a fixed heap, and the actions that it triggers.
    ///
    /// # Errors
    /// If it is not valid.
    pub fn of(bootstrap: &Bootstrap) -> Result<Option<Self>, CompileError> {
        let Some(manager) = &bootstrap.overload_manager else { return Ok(None) };
        let Some((monitor, most)) = fixed_heap(manager)? else { return Ok(None) };
        let from = |actions: &[&str]| {
            let wanted = manager.actions.iter().filter(|action| actions.iter().any(|name| action.name == format!("{ACTION}{name}")));
            wanted.filter_map(|action| threshold(action, monitor)).reduce(f64::min)
        };
        Ok(Some(Self {
            most,
            shed_idle: from(&["disable_http_keepalive", "reduce_timeouts"]),
            refuse_connections: from(&["stop_accepting_connections", "reject_incoming_connections"]),
            refuse_requests: from(&["stop_accepting_requests"]),
        }))
    }
}

const ACTION: &str = "envoy.overload_actions.";

/// The monitor of a fixed heap, by its name, and what it allows.
fn fixed_heap(manager: &OverloadManager) -> Result<Option<(&str, u64)>, CompileError> {
    for (i, monitor) in manager.resource_monitors.iter().enumerate() {
        let Some(ConfigType::TypedConfig(config)) = &monitor.config_type else { continue };
        if !config.is::<FixedHeapConfig>() {
            continue;
        }
        let place = format!("overload_manager.resource_monitors[{i}].typed_config");
        let heap = config.unpack::<FixedHeapConfig>().map_err(|error| CompileError::new(place.as_str(), error.to_string()))?;
        let FixedHeapConfig { max_heap_size_bytes, max_heap_size_bytes_runtime } = heap;
        // Nobody changes the runtime of a proxy that runs.
        let most = max_heap_size_bytes_runtime.map_or(max_heap_size_bytes, |runtime| runtime.default_value);
        if most == 0 {
            return Err(CompileError::new(format!("{place}.max_heap_size_bytes"), "must be 1 or more"));
        }
        return Ok(Some((&monitor.name, most)));
    }
    Ok(None)
}

/// From which part of the monitor's resource on an action is taken in full.
fn threshold(action: &OverloadAction, monitor: &str) -> Option<f64> {
    let triggers = action.triggers.iter().filter(|trigger| trigger.name == monitor);
    let thresholds = triggers.filter_map(|trigger| match trigger.trigger_oneof.as_ref()? {
        TriggerOneof::Threshold(threshold) => Some(threshold.value),
        TriggerOneof::Scaled(scaled) => Some(scaled.saturation_threshold),
    });
    thresholds.reduce(f64::min)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const MONITOR: &str = "envoy.resource_monitors.fixed_heap";

    fn bound(heap: Value, actions: &Value) -> Result<Option<MemoryBound>, String> {
        let mut config = json!({"@type": "type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig"});
        config.as_object_mut().expect("an object").extend(heap.as_object().expect("an object").clone());
        let manager = json!({"resourceMonitors": [{"name": MONITOR, "typedConfig": config}], "actions": actions});
        let bootstrap = weir_xds::json::from_value(json!({"overloadManager": manager})).map_err(|error| error.to_string())?;
        MemoryBound::of(&bootstrap).map_err(|error| error.to_string())
    }

    fn action(name: &str, trigger: Value) -> Value {
        let mut all = json!({"name": MONITOR});
        all.as_object_mut().expect("an object").extend(trigger.as_object().expect("an object").clone());
        json!({"name": format!("envoy.overload_actions.{name}"), "triggers": [all]})
    }

    #[test]
    fn a_bootstrap_bounds_memory_as_it_does_for_envoy() {
        let actions = json!([
            action("stop_accepting_requests", json!({"threshold": {"value": 0.98}})),
            action("reject_incoming_connections", json!({"threshold": {"value": 0.97}})),
            action("stop_accepting_connections", json!({"threshold": {"value": 0.95}})),
            action("reduce_timeouts", json!({"scaled": {"scalingThreshold": 0.8, "saturationThreshold": 0.9}})),
            action("shrink_heap", json!({"threshold": {"value": 0.5}})),
        ]);
        let all = MemoryBound { most: 1000, shed_idle: Some(0.9), refuse_connections: Some(0.95), refuse_requests: Some(0.98) };
        assert_eq!(bound(json!({"maxHeapSizeBytes": "1000"}), &actions), Ok(Some(all)));
        let none = MemoryBound { most: 7, shed_idle: None, refuse_connections: None, refuse_requests: None };
        let runtime = json!({"maxHeapSizeBytesRuntime": {"defaultValue": "7", "runtimeKey": "heap"}});
        assert_eq!(bound(runtime, &json!([])), Ok(Some(none)));
        let wrong = "overload_manager.resource_monitors[0].typed_config.max_heap_size_bytes: must be 1 or more";
        assert_eq!(bound(json!({}), &json!([])), Err(wrong.to_owned()));
        assert_eq!(MemoryBound::of(&Bootstrap::default()).expect("nothing is wrong"), None);
    }
}
