//! What filters of all three kinds have in common: a name, and a configuration of a type of its own.

use std::sync::Arc;

use weir_api::resources::envoy_filter::ApplyTo;
use weir_xds::core::{ExtensionConfigSource, TypedExtensionConfig};
use weir_xds::hcm::{HttpFilter, http_filter};
use weir_xds::listener::{Filter, ListenerFilter, filter, listener_filter};
use weir_xds::merge::Lists;
use weir_xds::{Any, Message};

use super::work::{Patch, Work};

/// A filter.
pub(super) trait Configured: Message {
    fn name(&self) -> &str;
    /// Its configuration, if that stands in it.
    fn typed_config(&mut self) -> Option<&mut Any>;
    /// Takes the configuration away, if it stands in it.
    fn take_typed_config(&mut self) -> Option<Any>;
    /// Where its configuration comes from, if that is a resource of its own.
    fn discovery(&self) -> Option<&ExtensionConfigSource>;
}

macro_rules! configured {
    ($filter:ty, $config:path, $discovery:path) => {
        impl Configured for $filter {
            fn name(&self) -> &str {
                &self.name
            }

            fn typed_config(&mut self) -> Option<&mut Any> {
                match &mut self.config_type {
                    Some($config(config)) => Some(config),
                    _ => None,
                }
            }

            fn take_typed_config(&mut self) -> Option<Any> {
                let config = self.typed_config().cloned();
                if config.is_some() {
                    self.config_type = None;
                }
                config
            }

            fn discovery(&self) -> Option<&ExtensionConfigSource> {
                match &self.config_type {
                    Some($discovery(source)) => Some(source),
                    _ => None,
                }
            }
        }
    };
}

configured!(Filter, filter::ConfigType::TypedConfig, filter::ConfigType::ConfigDiscovery);
configured!(HttpFilter, http_filter::ConfigType::TypedConfig, http_filter::ConfigType::ConfigDiscovery);
configured!(ListenerFilter, listener_filter::ConfigType::TypedConfig, listener_filter::ConfigType::ConfigDiscovery);

/// Notes which patches give the configuration that a filter asks for; says so where none does. It is served by its name alone.
pub(super) fn discover<F: Configured>(work: &Work<'_>, apply_to: ApplyTo, filter: &F) {
    let Some(ExtensionConfigSource { default_config, .. }) = filter.discovery() else { return };
    let mut is_served = false;
    for patch in work.extensions() {
        if patch.value::<TypedExtensionConfig>().is_some_and(|config| config.name == filter.name()) {
            work.done(patch);
            is_served = true;
        }
    }
    if is_served || default_config.is_some() {
        return;
    }
    let asks = |patch: &&Arc<Patch>| patch.value::<F>().is_some_and(|value| value.name() == filter.name());
    if let Some(patch) = work.of(apply_to).find(asks) {
        let name = filter.name();
        work.tell(patch, format!("no EXTENSION_CONFIG is called `{name}`: the ports whose filters ask for it stay as they are, or closed"));
    }
}

/// Merges a patch into a filter: the configuration as the message that it is, and all else as it stands.
pub(super) fn merge<F: Configured>(work: &Work<'_>, patch: &Arc<Patch>, filter: &mut F, lists: Lists) {
    let Some(mut value) = patch.value::<F>() else { return };
    if let Some(config) = value.take_typed_config() {
        let Some(known) = filter.typed_config() else {
            return work.tell(patch, format!("the filter `{}` has no configuration that could be merged", filter.name()));
        };
        if !work.merge_packed(patch, known, &config, lists) {
            return;
        }
    }
    work.merge(patch, filter, &value, lists);
    work.done(patch);
}
