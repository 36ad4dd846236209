//! What filters of all three kinds have in common: a name, and a configuration of a type of its own.

use std::sync::Arc;

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
}

macro_rules! configured {
    ($filter:ty, $config:path) => {
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
        }
    };
}

configured!(Filter, filter::ConfigType::TypedConfig);
configured!(HttpFilter, http_filter::ConfigType::TypedConfig);
configured!(ListenerFilter, listener_filter::ConfigType::TypedConfig);

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
