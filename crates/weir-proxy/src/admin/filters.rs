//! What HTTP filters have counted, under Envoy's names.

use std::collections::BTreeMap;

use weir_config::http::{HttpConfig, RouteSource};
use weir_config::listener::{Handler, Listener};
use weir_routing::filters::FilterPolicy;
use weir_routing::filters::counters::Statistics;

use super::prometheus::Families;
use crate::worker::world::ProxySnapshot;

/// The connection managers of a listener.
fn managers(listener: &Listener) -> impl Iterator<Item = &HttpConfig> {
    listener.all_chains().filter_map(|chain| match &chain.handler {
        Handler::Http(http) => Some(&**http),
        _ => None,
    })
}

/// The name of a label, and its value.
type Label<'l> = (&'static str, &'l str);

impl Families {
    /// What the filters of a listener have counted for themselves.
    pub fn filters(&mut self, proxy: &str, listener: &Listener) {
        let mut sums: BTreeMap<(&str, String, Option<Label<'_>>), u64> = BTreeMap::new();
        for http in managers(listener) {
            let counted = http.filters.iter().filter_map(|filter| filter.policy.statistics());
            for Statistics { kind, label, counts } in counted {
                for (name, count) in counts {
                    *sums.entry((&http.stat_prefix, format!("envoy_http_{kind}_{name}"), label)).or_default() += count;
                }
            }
        }
        for ((manager, name, label), count) in sums {
            let mut labels = vec![
                ("envoy_http_conn_manager_prefix", manager.to_owned()),
                ("listener_address", listener.name.to_string()),
                ("proxy", proxy.to_owned()),
            ];
            labels.extend(label.map(|(name, value)| (name, value.to_owned())));
            self.counter(&name, &labels, count);
        }
    }

    /// What limits of requests have counted that a proxy counts alone: those of its filters, and those of routes.
    pub fn local_limits(&mut self, proxy: &str, config: &ProxySnapshot) {
        let mut sums: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        let managers = || config.listeners.iter().flat_map(|open| managers(&open.listener));
        let of_filters = managers().flat_map(|http| &http.filters).filter_map(|filter| match &filter.policy {
            FilterPolicy::LocalRateLimit(policy) => Some(policy),
            _ => None,
        });
        let inline = managers().filter_map(|http| match &http.routes {
            RouteSource::Inline(table) => Some(table),
            RouteSource::Named(_) => None,
        });
        let of_routes = config.routes.values().chain(inline).flat_map(|table| table.limits());
        for policy in of_filters.chain(of_routes) {
            for (name, count) in policy.counted.all() {
                *sums.entry((&policy.stat_prefix, name)).or_default() += count;
            }
        }
        for ((prefix, name), count) in sums {
            let labels = vec![("envoy_local_http_ratelimit_prefix", prefix.to_owned()), ("proxy", proxy.to_owned())];
            self.counter(&format!("envoy_http_local_rate_limit_{name}"), &labels, count);
        }
    }
}
