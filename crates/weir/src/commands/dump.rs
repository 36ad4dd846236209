//! What a proxy has, or was sent: a config dump of Weir's proxies, of Weir's pilot, or of Envoy.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use serde_json::Value;

use super::pilot_admin;
use crate::mesh::ask;

/// A config dump, of one proxy.
pub(crate) struct Dump(Value);

/// A type of resources in a dump: its section, and in each of the section's lists the field that holds the resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Clusters,
    Listeners,
    Routes,
    Endpoints,
    Secrets,
}

impl Section {
    pub const ALL: [Self; 5] = [Self::Clusters, Self::Listeners, Self::Routes, Self::Endpoints, Self::Secrets];

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clusters => "Clusters",
            Self::Listeners => "Listeners",
            Self::Routes => "Routes",
            Self::Endpoints => "Endpoints",
            Self::Secrets => "Secrets",
        }
    }

    /// The lists of its section; the first holds what the bootstrap names.
    fn lists(self) -> &'static [&'static str] {
        match self {
            Self::Clusters => &["static_clusters", "dynamic_active_clusters"],
            Self::Listeners => &["static_listeners", "dynamic_listeners"],
            Self::Routes => &["static_route_configs", "dynamic_route_configs"],
            Self::Endpoints => &["static_endpoint_configs", "dynamic_endpoint_configs"],
            Self::Secrets => &["static_secrets", "dynamic_active_secrets", "dynamic_warming_secrets"],
        }
    }

    /// Where a resource stands in an item of a list.
    fn within(self, item: &Value) -> Option<&Value> {
        match self {
            Self::Clusters => item.get("cluster"),
            Self::Listeners => item.get("listener").or_else(|| item.get("active_state")?.get("listener")),
            Self::Routes => item.get("route_config"),
            Self::Endpoints => item.get("endpoint_config"),
            Self::Secrets => Some(item),
        }
    }
}

/// The name of a resource, of whatever type.
pub(crate) fn name_of(resource: &Value) -> &str {
    let name = |field: &str| resource.get(field).and_then(Value::as_str).filter(|name| !name.is_empty());
    name("name").or_else(|| name("cluster_name")).unwrap_or_default()
}

/// The text of a field; empty if there is none.
pub(crate) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The items of a list; none if there is no such list.
pub(crate) fn items<'v>(value: &'v Value, pointer: &str) -> impl Iterator<Item = &'v Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// The address and port of a socket; a pipe's path, without a port.
pub(crate) fn address(address: &Value) -> (String, Option<u64>) {
    let socket = &address["socket_address"];
    match socket["address"].as_str() {
        Some(ip) => (ip.to_owned(), socket["port_value"].as_u64()),
        None => (text(address, "/pipe/path").to_owned(), None),
    }
}

impl Dump {
    /// What a proxy has, as it says itself; if whoever answers there hosts no such proxy, what a pilot there sent to it.
    ///
    /// # Errors
    /// If nobody answers, or there is no such proxy, or there are several and none is named.
    pub fn fetch(admin: SocketAddr, proxy: Option<&str>) -> anyhow::Result<Self> {
        let own = Self::fetch_own(admin, proxy)?;
        let asked: Vec<_> = proxy.into_iter().map(|proxy| ("proxyID", proxy)).chain([("include_eds", "")]).collect();
        let answer = match own {
            Ok(dump) => return Ok(dump),
            Err(message) => ask(admin, pilot_admin::DUMP, &asked)?.map_err(|_| message),
        };
        match answer {
            Ok(text) => Self::read(&text),
            Err(message) => bail!(message),
        }
    }

    /// What a proxy has, as it says itself; the inner error is what is said if there is no such proxy.
    ///
    /// # Errors
    /// If nobody answers, or there are several such proxies.
    pub fn fetch_own(admin: SocketAddr, proxy: Option<&str>) -> anyhow::Result<Result<Self, String>> {
        let asked: Vec<_> = proxy.into_iter().map(|proxy| ("proxy", proxy)).chain([("include_eds", "")]).collect();
        Ok(match ask(admin, "/config_dump", &asked)? {
            Ok(text) => Ok(Self::read(&text)?),
            Err(message) => Err(message),
        })
    }

    /// What a pilot sent to a proxy; the inner error is what is said if there is no such proxy.
    ///
    /// # Errors
    /// If nobody answers, or there are several such proxies.
    pub fn fetch_sent(admin: SocketAddr, proxy: &str) -> anyhow::Result<Result<Self, String>> {
        Ok(match ask(admin, pilot_admin::DUMP, &[("proxyID", proxy), ("include_eds", "")])? {
            Ok(text) => Ok(Self::read(&text)?),
            Err(message) => Err(message),
        })
    }

    /// Reads one.
    ///
    /// # Errors
    /// If it is none, or one of several proxies.
    pub fn read(text: &str) -> anyhow::Result<Self> {
        let json: Value = serde_json::from_str(text).context("what answers there tells no config dump")?;
        if let Some(proxies) = json.get("proxies").and_then(Value::as_object) {
            let names: String = proxies.keys().map(|id| format!("\n  {}", weir_xds::node_id::short(id))).collect();
            bail!("{}", if names.is_empty() { "there are no proxies".to_owned() } else { format!("name one of these proxies:{names}") });
        }
        Ok(Self(json))
    }

    /// All of it.
    pub fn whole(&self) -> &Value {
        &self.0
    }

    /// The resources of a type, in the order of their names.
    pub fn of(&self, section: Section) -> Vec<&Value> {
        self.find(section, section.lists())
    }

    /// Those that a control plane sent, without what the proxy's bootstrap names.
    pub fn dynamic(&self, section: Section) -> Vec<&Value> {
        self.find(section, section.lists().get(1..).unwrap_or_default())
    }

    fn find(&self, section: Section, lists: &[&str]) -> Vec<&Value> {
        let configs = self.0.get("configs").and_then(Value::as_array).into_iter().flatten();
        let items = configs.flat_map(|config| lists.iter().filter_map(|list| config.get(list)?.as_array())).flatten();
        let mut found: Vec<&Value> = items.filter_map(|item| section.within(item)).collect();
        found.sort_by(|a, b| name_of(a).cmp(name_of(b)));
        found
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn resources_are_found_whoever_dumped_them() {
        let dump = Dump(json!({ "configs": [
            { "@type": "…BootstrapConfigDump", "bootstrap": {} },
            { "static_clusters": [{ "cluster": { "name": "xds" } }], "dynamic_active_clusters": [{ "version_info": "1", "cluster": { "name": "a" } }] },
            { "static_listeners": [{ "listener": { "name": "s" } }], "dynamic_listeners": [{ "name": "d", "active_state": { "listener": { "name": "d" } } }] },
            { "dynamic_endpoint_configs": [{ "endpoint_config": { "cluster_name": "e" } }] },
        ] }));
        let names = |section| dump.of(section).into_iter().map(name_of).collect::<Vec<_>>().join(" ");
        assert_eq!(Section::ALL.map(names), ["a xds", "d s", "", "e", ""]);
        assert_eq!(dump.dynamic(Section::Clusters).into_iter().map(name_of).collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn of_several_proxies_one_must_be_named() {
        let error = Dump::read(r#"{"proxies": {"sidecar~1.1.1.1~a.b~b.svc": {}, "c": {}}}"#).map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), "name one of these proxies:\n  a.b\n  c");
    }
}
