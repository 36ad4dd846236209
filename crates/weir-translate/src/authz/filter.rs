//! Filters with their configurations. Listeners are made with them, and so cannot lend them theirs.

use weir_xds::hcm::{HttpFilter, http_filter};
use weir_xds::listener::{Filter, filter};
use weir_xds::{Any, Message, Name};

pub(super) fn of_requests<M: Message + Name>(name: &str, config: &M) -> HttpFilter {
    HttpFilter { name: name.to_owned(), config_type: Some(http_filter::ConfigType::TypedConfig(Any::pack(config))), ..Default::default() }
}

pub(super) fn of_connections<M: Message + Name>(name: &str, config: &M) -> Filter {
    Filter { name: name.to_owned(), config_type: Some(filter::ConfigType::TypedConfig(Any::pack(config))) }
}
