//! Listeners: a row for each filter chain, with what it takes and where that goes.

use serde_json::Value;

use crate::cli::ListenersArgs;
use crate::commands::dump::{address, items, name_of, text};
use crate::print;

pub(super) fn filter<'v>(listeners: Vec<&'v Value>, args: &ListenersArgs) -> Vec<&'v Value> {
    let is_wanted = |listener: &&Value| {
        let (ip, port) = address(&listener["address"]);
        args.address.as_ref().is_none_or(|wanted| *wanted == ip)
            && args.port.is_none_or(|wanted| port == Some(wanted.into()))
            && args.name.as_ref().is_none_or(|wanted| name_of(listener).contains(wanted.as_str()))
    };
    listeners.into_iter().filter(is_wanted).collect()
}

pub(super) fn table(listeners: &[&Value]) -> String {
    let rows = |listener: &&Value| {
        let (ip, port) = address(&listener["address"]);
        let port = port.map(|port| port.to_string()).unwrap_or_default();
        let default = listener.get("default_filter_chain").map(|chain| (chain, "ALL".to_owned()));
        let chains = items(listener, "/filter_chains").map(|chain| (chain, matched(chain))).chain(default);
        chains.map(|(chain, matched)| vec![ip.clone(), port.clone(), matched, destination(chain)]).collect::<Vec<_>>()
    };
    print::table(&["ADDRESSES", "PORT", "MATCH", "DESTINATION"], listeners.iter().flat_map(rows).collect())
}

/// Which connections a filter chain takes.
fn matched(chain: &Value) -> String {
    let conditions = &chain["filter_chain_match"];
    let list = |field: &str| items(conditions, field).filter_map(Value::as_str).collect::<Vec<_>>().join(",");
    let ranges: Vec<String> = items(conditions, "/prefix_ranges").map(range).collect();
    let port = conditions["destination_port"].as_u64().map(|port| port.to_string()).unwrap_or_default();
    let parts = [
        ("SNI", list("/server_names")),
        ("Trans", text(conditions, "/transport_protocol").to_owned()),
        ("App", list("/application_protocols")),
        ("Addr", [ranges.join(","), port].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(":")),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|(_, part)| !part.is_empty()).map(|(name, part)| format!("{name}: {part}")).collect();
    if parts.is_empty() { "ALL".to_owned() } else { parts.join("; ") }
}

fn range(range: &Value) -> String {
    format!("{}/{}", text(range, "/address_prefix"), range["prefix_len"].as_u64().unwrap_or_default())
}

/// Where its connections, or their requests, go.
fn destination(chain: &Value) -> String {
    let found = items(chain, "/filters").find_map(|filter| {
        let config = &filter["typed_config"];
        let kind = text(config, "/@type");
        if kind.ends_with("HttpConnectionManager") {
            return Some(http(config));
        }
        kind.ends_with("TcpProxy").then(|| tcp(config))
    });
    found.unwrap_or_else(|| "Non-HTTP/Non-TCP".to_owned())
}

fn http(config: &Value) -> String {
    let name = text(config, "/rds/route_config_name");
    if !name.is_empty() {
        return format!("Route: {name}");
    }
    let cluster = text(config, "/route_config/virtual_hosts/0/routes/0/route/cluster");
    if cluster.is_empty() { "Inline Route".to_owned() } else { format!("Inline Route: {cluster}") }
}

fn tcp(config: &Value) -> String {
    let weighted: Vec<&str> = items(config, "/weighted_clusters/clusters").map(|cluster| text(cluster, "/name")).collect();
    match text(config, "/cluster") {
        "" => format!("Clusters: {}", weighted.join(", ")),
        cluster => format!("Cluster: {cluster}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_filter_chain_has_a_row() {
        let http = json!({ "typed_config": { "@type": "x/envoy.HttpConnectionManager", "rds": { "route_config_name": "80" } } });
        let tcp = json!({ "typed_config": { "@type": "x/envoy.TcpProxy", "cluster": "PassthroughCluster" } });
        let listener = json!({
            "name": "l", "address": { "socket_address": { "address": "0.0.0.0", "port_value": 80 } },
            "filter_chains": [{ "filter_chain_match": { "application_protocols": ["http/1.1", "h2c"] }, "filters": [http] }],
            "default_filter_chain": { "filters": [tcp] },
        });
        let text = table(&[&listener]);
        let lines: Vec<String> = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines, ["0.0.0.0 80 App: http/1.1,h2c Route: 80", "0.0.0.0 80 ALL Cluster: PassthroughCluster"]);
    }
}
