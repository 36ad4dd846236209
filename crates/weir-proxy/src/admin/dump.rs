//! `/config_dump`: everything that the proxies were told, in Envoy's shape and with the names of the `.proto` files.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use weir_xds::dump;
use weir_xds::json::give_back_memory;

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
    let mut dump = dump::config_dump(&|kind| status.received.of(kind), include_eds);
    let refused: Vec<Value> =
        status.refused.iter().map(|((kind, name), why)| json!({ "type": kind.name(), "name": &**name, "error": why })).collect();
    if !refused.is_empty() {
        dump["refused"] = refused.into();
    }
    dump
}
