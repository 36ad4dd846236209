//! What a pilot tells people and tools, as JSON: how its proxies stand, what it sent them, and which objects are in force. The
//! paths under which it is asked are those of Istio's pilot, where there is one.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use weir_api::{Kind, Object};
use weir_xds::dump::config_dump;
use weir_xds::resource::ResourceType;
use weir_xds::{json as xds_json, node_id};

use crate::Pilot;
use crate::shared::ProxyStatus;

/// Each type of resources by the name that Istio's tools print.
pub const TYPES: [(&str, ResourceType); 8] = [
    ("CDS", ResourceType::Cluster),
    ("LDS", ResourceType::Listener),
    ("EDS", ResourceType::Endpoint),
    ("RDS", ResourceType::Route),
    ("SDS", ResourceType::Secret),
    ("VHDS", ResourceType::VirtualHost),
    ("ECDS", ResourceType::Extension),
    ("NDS", ResourceType::NameTable),
];

impl Pilot {
    /// How each proxy stands: which version of the configuration it should have, which it has answered, and what of each type
    /// it has taken or refused (`/debug/syncz`).
    pub fn syncz(&self) -> Value {
        let proxies = self.proxies();
        let mut standings: Vec<_> = proxies.iter().map(|(id, status)| standing(id, status)).collect();
        standings.sort_by_cached_key(|standing| standing["proxy"].to_string());
        json!({ "configVersion": self.version(), "proxies": standings })
    }

    /// What the proxy was sent that `asked` means, or the only one, in Envoy's shape (`/debug/config_dump`).
    ///
    /// # Errors
    /// If there is no such proxy, or there are several: says which there are.
    pub fn config_dump(&self, asked: Option<&str>, include_eds: bool) -> Result<Value, String> {
        let proxies = self.proxies();
        let meant: Vec<_> = proxies.iter().filter(|(id, _)| asked.is_none_or(|asked| node_id::is_meant(id, asked))).collect();
        let list = |ids: &mut dyn Iterator<Item = &String>| ids.map(|id| format!("  {}\n", node_id::short(id))).collect::<String>();
        match meant.as_slice() {
            [] if proxies.is_empty() => Err("no proxy follows the pilot\n".to_owned()),
            [] => Err(format!("there is no such proxy; there are\n{}", list(&mut proxies.keys()))),
            [(_, only)] => {
                let dump = sent(only, include_eds);
                xds_json::give_back_memory();
                Ok(dump)
            }
            several => Err(format!("name one of these proxies:\n{}", list(&mut several.iter().map(|(id, _)| *id)))),
        }
    }

    /// The version of the configuration, and of each object in it what identifies its content (`/weir/versions`).
    pub fn versions(&self) -> Value {
        let (version, catalog) = self.now();
        let object = |object: &Object| {
            let (kind, meta) = (object.kind.name(), &object.meta);
            json!({ "kind": kind, "namespace": meta.namespace, "name": meta.name, "content": content(object) })
        };
        let mut objects: Vec<&Object> = catalog.objects().map(|object| &**object).collect();
        objects.sort_by_cached_key(|object| object.name());
        json!({ "configVersion": version, "objects": objects.into_iter().map(object).collect::<Vec<_>>() })
    }
}

/// Identifies what is written in an object, however it is written: order of fields, comments and places do not count. Nor does what is
/// in a Secret: nobody should be able to guess it and see that he was right.
pub fn content(object: &Object) -> String {
    let mut json = object.node.to_json();
    // It may be written or not: the object's name has it.
    if let Some(metadata) = json.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("namespace");
    }
    if let (Kind::Secret, Some(fields)) = (object.kind, json.as_object_mut()) {
        ["data", "stringData"].iter().for_each(|secret| drop(fields.remove(*secret)));
    }
    json.sort_all_objects();
    let mut hasher = DefaultHasher::new();
    json.to_string().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn standing(id: &str, status: &ProxyStatus) -> Value {
    let types: Map<String, Value> = TYPES
        .iter()
        .filter_map(|(name, kind)| {
            let (sync, since) = status.types.of(*kind)?;
            let error = status.refused.get(kind);
            Some(((*name).to_owned(), json!({ "state": sync.name(), "since": time(since), "error": error })))
        })
        .collect();
    json!({
        "proxy": node_id::short(id),
        "id": id,
        "clusterId": status.cluster,
        "program": status.program,
        "connectedSince": status.since.map(time),
        "configVersion": status.version,
        "answeredVersion": status.answered,
        "settled": status.is_settled,
        "types": types,
    })
}

fn sent(status: &ProxyStatus, include_eds: bool) -> Value {
    let of = |kind| status.resources.0.of(kind).map(|(name, resource)| (name.clone(), resource.body.clone())).collect();
    config_dump(&of, include_eds)
}

fn time(time: SystemTime) -> Option<String> {
    Timestamp::try_from(time).ok().map(|time| time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

#[cfg(test)]
mod tests {
    use weir_api::{Source, parse};

    use super::*;

    fn object(text: &str) -> String {
        content(&parse(&Source::new("x.yaml", text)).objects[0])
    }

    #[test]
    fn an_object_is_the_same_however_it_is_written() {
        let one =
            object("apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: default}\nspec: {ports: [{port: 80, name: http}]}\n");
        let same = object("# a\nkind: Service\napiVersion: v1\nspec:\n  ports:\n  - name: http\n    port: 80\nmetadata:\n  name: a\n");
        let other = object("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 81, name: http}]}\n");
        assert_eq!(one, same);
        assert_ne!(one, other);
    }

    #[test]
    fn nobody_can_guess_what_is_in_a_secret() {
        let secret = |value: &str| object(&format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: a}}\nstringData: {{key: {value}}}\n"));
        assert_eq!(secret("one"), secret("two"));
    }
}
