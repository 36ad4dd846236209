//! Routes: a row for each route of each virtual host.

use serde_json::Value;

use super::made_of;
use crate::cli::RoutesArgs;
use crate::commands::dump::{items, name_of, text};
use crate::print;

pub(super) fn filter<'v>(routes: Vec<&'v Value>, args: &RoutesArgs) -> Vec<&'v Value> {
    let is_wanted = |config: &&Value| {
        args.name.as_ref().is_none_or(|name| name_of(config) == name)
            && args.fqdn.as_ref().is_none_or(|fqdn| items(config, "/virtual_hosts").any(|host| has(host, fqdn)))
    };
    routes.into_iter().filter(is_wanted).collect()
}

/// Whether a virtual host has a domain with this in it.
fn has(host: &Value, fqdn: &str) -> bool {
    items(host, "/domains").filter_map(Value::as_str).any(|domain| domain.contains(fqdn))
}

pub(super) fn table(configs: &[&Value], fqdn: Option<&str>) -> String {
    let mut rows = vec![];
    for config in configs {
        for host in items(config, "/virtual_hosts").filter(|host| fqdn.is_none_or(|fqdn| has(host, fqdn))) {
            let row = |route: &Value| {
                let named = [name_of(config), name_of(host)].map(str::to_owned).into_iter();
                named.chain([domains(host), matched(route), rule(route)]).collect::<Vec<_>>()
            };
            let routes: Vec<Vec<String>> = items(host, "/routes").map(row).collect();
            let is_empty = routes.is_empty();
            rows.extend(routes);
            if is_empty {
                rows.push(row(&Value::Null));
            }
        }
    }
    print::table(&["NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE"], rows)
}

/// The first domains: each service has a dozen, which say the same.
fn domains(host: &Value) -> String {
    const SHOWN: usize = 2;
    let all: Vec<&str> = items(host, "/domains").filter_map(Value::as_str).collect();
    let more = all.len().saturating_sub(SHOWN);
    let shown = all.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if more == 0 { shown } else { format!("{shown} + {more} more...") }
}

/// Which paths a route takes.
fn matched(route: &Value) -> String {
    let path = &route["match"];
    let exact = |field: &str| text(path, field).to_owned();
    let found = match path {
        _ if !text(path, "/prefix").is_empty() => exact("/prefix") + "*",
        _ if !text(path, "/path").is_empty() => exact("/path"),
        _ if !text(path, "/path_separated_prefix").is_empty() => format!("PathPrefix:{}", text(path, "/path_separated_prefix")),
        _ if !text(path, "/safe_regex/regex").is_empty() => format!("regex {}", text(path, "/safe_regex/regex")),
        _ => String::new(),
    };
    let conditions = ["/headers", "/query_parameters"].iter().flat_map(|field| items(path, field)).count();
    if conditions == 0 { found } else { format!("{found} + {conditions} more") }
}

/// The VirtualService that a route was made of; a status if the proxy answers by itself.
fn rule(route: &Value) -> String {
    let status = route.pointer("/direct_response/status").and_then(Value::as_u64);
    match (made_of(route), status) {
        (rule, Some(status)) if rule.is_empty() => status.to_string(),
        (rule, _) => rule,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_route_has_a_row() {
        let rule =
            json!({ "filter_metadata": { "istio": { "config": "/apis/networking.istio.io/v1/namespaces/shop/virtual-service/a" } } });
        let config = json!({ "name": "80", "virtual_hosts": [
            { "name": "a:80", "domains": ["a", "a.shop", "a.shop.svc"], "routes": [
                { "match": { "prefix": "/", "headers": [{ "name": "end-user" }] }, "metadata": rule, "route": { "cluster": "x" } },
                { "match": { "path": "/exact" }, "route": { "cluster": "x" } },
            ] },
            { "name": "block_all", "domains": ["*"], "routes": [{ "match": { "prefix": "/" }, "direct_response": { "status": 502 } }] },
        ] });
        let text = table(&[&config], None);
        let lines: Vec<String> = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let expected =
            ["80 a:80 a, a.shop + 1 more... /* + 1 more a.shop", "80 a:80 a, a.shop + 1 more... /exact", "80 block_all * /* 502"];
        assert_eq!(lines, expected);
        assert_eq!(table(&[&config], Some("shop")).lines().count(), 3);
    }
}
