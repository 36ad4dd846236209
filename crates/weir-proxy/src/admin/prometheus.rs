//! All statistics in Prometheus' text format, under the names that Istio's and Envoy's dashboards expect.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::prometheus::TextEncoder;
use ::prometheus::proto::{Bucket, Counter, Gauge, Histogram as HistogramProto, LabelPair, Metric, MetricFamily, MetricType};

use weir_config::listener::{Handler, Listener, NetworkFilter};
use weir_config::outlier::Reason;
use weir_config::workload::Workload;
use weir_routing::filters::ext_authz::connections;
use weir_routing::filters::{FilterPolicy, jwt_authn};
use weir_routing::rbac::{Count, Counted};

use crate::DataPlane;
use crate::cluster::Cluster;
use crate::cluster::host::{CoarseHealth, WeightedHost};
use crate::cluster::outlier;
use crate::control::follow::Status;
use crate::stats::cells::{BUCKETS, Histogram};
use crate::stats::cluster::{HealthCheckStats, NAMES};
use crate::stats::http2;
use crate::stats::listener::{COUNTERS, ListenerStats};
use crate::stats::principals::Principals;
use crate::stats::requests::{Labels, Reporter, Series};
use crate::stats::verdicts;

/// Families of metrics, in the order of their names.
#[derive(Default)]
pub struct Families(BTreeMap<String, MetricFamily>);

type LabelList = Vec<(&'static str, String)>;

impl Families {
    fn add(&mut self, name: &str, kind: MetricType, labels: &LabelList, fill: impl FnOnce(&mut Metric)) {
        let family = self.0.entry(name.to_owned()).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_field_type(kind);
            family
        });
        let pairs = labels.iter().map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(value.clone());
            pair
        });
        let mut metric = Metric::from_label(pairs.collect());
        fill(&mut metric);
        family.mut_metric().push(metric);
    }

    /// A number that only grows.
    pub fn counter(&mut self, name: &str, labels: &LabelList, value: u64) {
        self.add(name, MetricType::COUNTER, labels, |metric| {
            let mut counter = Counter::default();
            counter.set_value(value as f64);
            metric.set_counter(counter);
        });
    }

    /// A number that goes up and down.
    pub fn gauge(&mut self, name: &str, labels: &LabelList, value: u64) {
        self.add(name, MetricType::GAUGE, labels, |metric| {
            let mut gauge = Gauge::default();
            gauge.set_value(value as f64);
            metric.set_gauge(gauge);
        });
    }

    fn histogram(&mut self, name: &str, labels: &LabelList, counts: &[u64; BUCKETS.len()], sum: f64) {
        self.add(name, MetricType::HISTOGRAM, labels, |metric| {
            let mut total = 0;
            let buckets = BUCKETS.iter().zip(counts).map(|(bound, count)| {
                total += count;
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(*bound);
                bucket.set_cumulative_count(total);
                bucket
            });
            let mut histogram = HistogramProto::default();
            histogram.set_bucket(buckets.collect());
            histogram.set_sample_count(counts.iter().sum());
            histogram.set_sample_sum(sum);
            metric.set_histogram(histogram);
        });
    }

    /// A cluster of a proxy.
    pub fn cluster(&mut self, proxy: &str, name: &str, cluster: &Cluster) {
        let labels = vec![("cluster_name", name.to_owned()), ("proxy", proxy.to_owned())];
        for (name, cell) in NAMES {
            let value = cluster.stats.sum(*cell);
            let name = format!("envoy_cluster_{name}");
            if name.ends_with("_active") { self.gauge(&name, &labels, value) } else { self.counter(&name, &labels, value) }
        }
        for (name, cell) in http2::NAMES {
            let value = cluster.stats.workers().map(|worker| cell(&worker.http2).get()).fold(0, u64::wrapping_add);
            self.counter(&format!("envoy_cluster_http2_{name}"), &labels, value);
        }
        for (name, verdict) in verdicts::NAMES {
            let counted = cluster.stats.workers().filter_map(|worker| worker.verdicts.get(verdict));
            if let Some(sum) = counted.reduce(u64::wrapping_add) {
                self.counter(&format!("envoy_cluster_{name}"), &labels, sum);
            }
        }
        self.membership(&labels, cluster);
        self.statuses(&labels, &cluster.stats.statuses());
        if cluster.policy.outlier.is_some() {
            self.outliers(&labels, cluster);
        }
    }

    /// How many instances a cluster has, by their health.
    fn membership(&mut self, labels: &LabelList, cluster: &Cluster) {
        let hosts = &cluster.hosts.list;
        let count = |is: &dyn Fn(&WeightedHost) -> bool| hosts.iter().filter(|host| is(host)).count() as u64;
        self.gauge("envoy_cluster_membership_total", labels, hosts.len() as u64);
        self.gauge("envoy_cluster_membership_healthy", labels, count(&|host| host.health() == CoarseHealth::Healthy));
        self.gauge("envoy_cluster_membership_degraded", labels, count(&|host| host.health() == CoarseHealth::Degraded));
        self.gauge("envoy_cluster_membership_excluded", labels, count(&WeightedHost::is_excluded));
    }

    /// What outlier detection did.
    fn outliers(&mut self, labels: &LabelList, cluster: &Cluster) {
        const PREFIX: &str = "envoy_cluster_outlier_detection_ejections";
        let stats = &cluster.health.stats;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.gauge(&format!("{PREFIX}_active"), labels, outlier::ejected(&cluster.hosts) as u64);
        self.counter(&format!("{PREFIX}_overflow"), labels, get(&stats.overflow));
        self.counter(&format!("{PREFIX}_enforced_total"), labels, stats.enforced.iter().map(get).sum());
        for reason in Reason::ALL {
            let name = reason.name();
            self.counter(&format!("{PREFIX}_enforced_{name}"), labels, get(&stats.enforced[reason as usize]));
            self.counter(&format!("{PREFIX}_detected_{name}"), labels, get(&stats.detected[reason as usize]));
        }
    }

    /// Answers by their status, and by its class.
    fn statuses(&mut self, labels: &LabelList, statuses: &[(u16, u64)]) {
        for (status, count) in statuses {
            let labels = [labels.clone(), vec![("response_code", status.to_string())]].concat();
            self.counter("envoy_cluster_upstream_rq", &labels, *count);
        }
        for class in 2..=5 {
            let sum = statuses.iter().filter(|(status, _)| status / 100 == class).map(|(_, count)| count).sum();
            self.counter(&format!("envoy_cluster_upstream_rq_{class}xx"), labels, sum);
        }
        self.counter("envoy_cluster_upstream_rq_completed", labels, statuses.iter().map(|(_, count)| count).sum());
    }

    /// The health checks of a cluster: what is counted of them, and how many instances pass.
    pub fn health_checks(&mut self, proxy: &str, cluster: &str, passing: usize, stats: &HealthCheckStats) {
        let labels = vec![("cluster_name", cluster.to_owned()), ("proxy", proxy.to_owned())];
        let counters = [
            ("attempt", &stats.attempt),
            ("success", &stats.success),
            ("failure", &stats.failure),
            ("passive_failure", &stats.passive_failure),
            ("network_failure", &stats.network_failure),
        ];
        for (name, value) in counters {
            self.counter(&format!("envoy_cluster_health_check_{name}"), &labels, value.load(Ordering::Relaxed));
        }
        self.gauge("envoy_cluster_health_check_healthy", &labels, passing as u64);
    }

    /// A listener of a proxy.
    pub fn listener(&mut self, proxy: &str, listener: &str, stats: &ListenerStats) {
        let labels = vec![("listener_address", listener.to_owned()), ("proxy", proxy.to_owned())];
        for (name, cell) in COUNTERS {
            self.counter(&format!("envoy_listener_{name}"), &labels, stats.sum(*cell));
        }
        self.gauge("envoy_listener_downstream_cx_active", &labels, stats.sum(|stats| &stats.downstream_cx_active));
        self.counter("weir_listener_accept_failures_total", &labels, stats.sum(|stats| &stats.accept_failures));
    }

    /// The limits of connections that the filter chains of a listener have.
    pub fn connection_limits(&mut self, proxy: &str, listener: &Listener) {
        let filters = listener.all_chains().flat_map(|chain| &chain.filters);
        let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        let mut too_fast: BTreeMap<&str, u64> = BTreeMap::new();
        for filter in filters {
            match filter {
                NetworkFilter::ConnectionLimit(limit) => {
                    let (active, limited) = sums.entry(&limit.stat_prefix).or_default();
                    *active += limit.active();
                    *limited += limit.limited();
                }
                NetworkFilter::ConnectionRate(rate) => *too_fast.entry(&rate.stat_prefix).or_default() += rate.limited(),
                NetworkFilter::Watch | NetworkFilter::Rbac(_) | NetworkFilter::ExtAuthz(_) => {}
            }
        }
        for (prefix, (active, limited)) in sums {
            let labels = vec![
                ("envoy_connection_limit_prefix", prefix.to_owned()),
                ("listener_address", listener.name.to_string()),
                ("proxy", proxy.to_owned()),
            ];
            self.gauge("envoy_connection_limit_active_connections", &labels, active);
            self.counter("envoy_connection_limit_limited_connections", &labels, limited);
        }
        for (prefix, limited) in too_fast {
            let labels = vec![
                ("envoy_local_network_ratelimit_prefix", prefix.to_owned()),
                ("listener_address", listener.name.to_string()),
                ("proxy", proxy.to_owned()),
            ];
            self.counter("envoy_local_rate_limit_rate_limited", &labels, limited);
        }
    }

    /// The scripts of a listener's filters, under Envoy's names.
    pub fn scripts(&mut self, proxy: &str, listener: &Listener) {
        let mut sums: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
        for chain in listener.all_chains() {
            let Handler::Http(http) = &chain.handler else { continue };
            for filter in &http.filters {
                if let FilterPolicy::Lua(policy) = &filter.policy {
                    let (executions, errors) = policy.counted.get();
                    let sum = sums.entry((&http.stat_prefix, &policy.stat_prefix)).or_default();
                    *sum = (sum.0 + executions, sum.1 + errors);
                }
            }
        }
        for ((manager, prefix), (executions, errors)) in sums {
            let labels = vec![
                ("envoy_http_conn_manager_prefix", manager.to_owned()),
                ("listener_address", listener.name.to_string()),
                ("proxy", proxy.to_owned()),
            ];
            let name = |what: &str| match prefix {
                "" => format!("envoy_http_lua_{what}"),
                prefix => format!("envoy_http_lua_{}_{what}", prefix.replace(|one: char| !one.is_ascii_alphanumeric(), "_")),
            };
            self.counter(&name("executions"), &labels, executions);
            self.counter(&name("errors"), &labels, errors);
        }
    }

    /// What the filters of a listener made of tokens, under Envoy's names.
    pub fn tokens(&mut self, proxy: &str, listener: &Listener) {
        let mut sums: BTreeMap<(&str, &str), [u64; jwt_authn::NAMES.len()]> = BTreeMap::new();
        for chain in listener.all_chains() {
            let Handler::Http(http) = &chain.handler else { continue };
            for filter in &http.filters {
                if let FilterPolicy::JwtAuthn(policy) = &filter.policy {
                    let sums = sums.entry((&http.stat_prefix, policy.stat_prefix())).or_default();
                    sums.iter_mut().zip(jwt_authn::NAMES).for_each(|(sum, (_, what))| *sum += policy.counted().get(what));
                }
            }
        }
        for ((manager, prefix), sums) in sums {
            let labels = vec![
                ("envoy_http_conn_manager_prefix", manager.to_owned()),
                ("listener_address", listener.name.to_string()),
                ("proxy", proxy.to_owned()),
            ];
            let prefix = prefix.trim_end_matches('.').replace(|one: char| !one.is_ascii_alphanumeric(), "_");
            let prefix = if prefix.is_empty() { prefix } else { prefix + "_" };
            for ((what, _), sum) in jwt_authn::NAMES.iter().zip(sums) {
                self.counter(&format!("envoy_http_jwt_authn_{prefix}{what}"), &labels, sum);
            }
        }
    }

    /// Whom the access rules of a listener's filters let in, under Envoy's names.
    pub fn access_rules(&mut self, proxy: &str, listener: &Listener) {
        let mut sums: BTreeMap<(Option<String>, String), u64> = BTreeMap::new();
        let mut add = |manager: Option<&str>, begin: &str, prefixes: [&str; 2], counted: &Counted| {
            for (name, count) in Count::NAMES {
                let prefix = if name.starts_with("shadow") { prefixes[1] } else { prefixes[0] };
                let name = format!("envoy_{begin}rbac_{prefix}{name}").replace(|one: char| !one.is_ascii_alphanumeric(), "_");
                *sums.entry((manager.map(str::to_owned), name)).or_default() += counted.get(count);
            }
        };
        for chain in listener.all_chains() {
            for filter in &chain.filters {
                if let NetworkFilter::Rbac(rbac) = filter {
                    add(None, &rbac.stat_prefix, ["", &rbac.shadow_prefix], &rbac.counted);
                }
            }
            let Handler::Http(http) = &chain.handler else { continue };
            for filter in &http.filters {
                if let FilterPolicy::Rbac(policy) = &filter.policy {
                    add(Some(&http.stat_prefix), "http_", [&policy.prefix, &policy.shadow_prefix], &policy.counted);
                }
            }
        }
        for ((manager, name), count) in sums {
            let mut labels: LabelList = manager.map(|manager| ("envoy_http_conn_manager_prefix", manager)).into_iter().collect();
            labels.extend([("listener_address", listener.name.to_string()), ("proxy", proxy.to_owned())]);
            self.counter(&name, &labels, count);
        }
    }

    /// What services say of connections to a listener, under Envoy's names.
    pub fn asked_about_connections(&mut self, proxy: &str, listener: &Listener) {
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for filter in listener.all_chains().flat_map(|chain| &chain.filters) {
            let NetworkFilter::ExtAuthz(authz) = filter else { continue };
            for (what, count) in connections::NAMES {
                let name = format!("envoy_ext_authz_{}_{what}", authz.stat_prefix);
                *sums.entry(name.replace(|one: char| !one.is_ascii_alphanumeric(), "_")).or_default() += authz.get(count);
            }
        }
        let labels: LabelList = vec![("listener_address", listener.name.to_string()), ("proxy", proxy.to_owned())];
        sums.into_iter().for_each(|(name, count)| self.counter(&name, &labels, count));
    }

    /// A proxy, and its server.
    pub fn proxy(&mut self, proxy: &str, status: &Status) {
        let labels = vec![("proxy", proxy.to_owned())];
        self.gauge("envoy_control_plane_connected_state", &labels, u64::from(status.connected));
        self.gauge("weir_refused_resources", &labels, status.refused.len() as u64);
    }

    /// The process.
    pub fn process(&mut self, plane: &DataPlane) {
        self.gauge("envoy_server_uptime", &vec![], plane.started.elapsed().as_secs());
        if let Some(budget) = plane.connections() {
            self.gauge("weir_connections_active", &vec![], budget.open());
            self.gauge("weir_connections_limit", &vec![], budget.most());
        }
        for (name, cell) in http2::NAMES {
            self.counter(&format!("envoy_http2_{name}"), &vec![], plane.http2_sum(*cell));
        }
        let resets = plane.http2_sum(|stats| &stats.too_many_premature_resets);
        self.counter("envoy_http_downstream_rq_too_many_premature_resets", &vec![], resets);
        self.gauge("envoy_overload_envoy_resource_monitors_fixed_heap_pressure", &vec![], plane.overload().pressure());
        for (name, count) in plane.overload().counted() {
            self.counter(name, &vec![], count);
        }
        self.counter("weir_connections_without_principals_total", &vec![], plane.nameless_connections());
        self.counter("weir_peers_without_workloads_total", &vec![], plane.unnamed_workloads());
        self.counter("weir_access_log_dropped_batches_total", &vec![], plane.logs.dropped.load(Ordering::Relaxed));
    }

    /// Series of all workers; those with the same labels are summed.
    pub fn requests(&mut self, series: Vec<(Labels, Arc<Series>)>) {
        let mut merged: BTreeMap<LabelList, (bool, Vec<Arc<Series>>)> = BTreeMap::new();
        for (labels, series) in series {
            merged.entry(label_list(&labels)).or_insert_with(|| (labels.protocol == "tcp", vec![])).1.push(series);
        }
        for (labels, (tcp, series)) in merged {
            let sum = |value: fn(&Series) -> u64| series.iter().map(|series| value(series)).sum::<u64>();
            if tcp {
                self.counter("istio_tcp_connections_opened_total", &labels, sum(|s| s.opened.get()));
                self.counter("istio_tcp_connections_closed_total", &labels, sum(|s| s.closed.get()));
                self.counter("istio_tcp_sent_bytes_total", &labels, sum(|s| s.sent_bytes.get()));
                self.counter("istio_tcp_received_bytes_total", &labels, sum(|s| s.received_bytes.get()));
                continue;
            }
            self.counter("istio_requests_total", &labels, sum(|s| s.requests.get()));
            let histograms: [(&str, HistogramOf); 3] = [
                ("istio_request_duration_milliseconds", |series| &series.duration),
                ("istio_request_bytes", |series| &series.request_bytes),
                ("istio_response_bytes", |series| &series.response_bytes),
            ];
            for (name, histogram) in histograms {
                let mut counts = [0; BUCKETS.len()];
                let total = series.iter().map(|series| histogram(series).add_to(&mut counts)).sum();
                self.histogram(name, &labels, &counts, total);
            }
        }
    }

    /// The text.
    pub fn encode(self) -> String {
        let families: Vec<MetricFamily> = self.0.into_values().filter(|family| !family.get_metric().is_empty()).collect();
        TextEncoder::new().encode_to_string(&families).unwrap_or_else(|error| format!("# {error}\n"))
    }
}

/// Finds one of a series' histograms.
type HistogramOf = fn(&Series) -> &Histogram;

fn or_unknown(text: &str) -> String {
    if text.is_empty() { "unknown".to_owned() } else { text.to_owned() }
}

/// The labels of Istio's standard metrics, in Istio's order.
fn label_list(labels: &Labels) -> LabelList {
    let Workload { name, namespace, app, version, cluster } = &labels.source;
    let destination = &labels.destination;
    let Principals { source, destination: server, is_mutual } = &labels.principals;
    let principal = |name: &Option<Arc<str>>| or_unknown(name.as_deref().unwrap_or_default());
    let security = match labels.reporter {
        Reporter::Source => "unknown",
        Reporter::Destination if *is_mutual => "mutual_tls",
        Reporter::Destination => "none",
    };
    let mut list = vec![
        ("reporter", if labels.reporter == Reporter::Source { "source" } else { "destination" }.to_owned()),
        ("source_workload", or_unknown(name)),
        ("source_canonical_service", or_unknown(app)),
        ("source_canonical_revision", if version.is_empty() { "latest".to_owned() } else { version.clone() }),
        ("source_workload_namespace", or_unknown(namespace)),
        ("source_principal", principal(source)),
        ("source_app", or_unknown(app)),
        ("source_version", or_unknown(version)),
        ("source_cluster", or_unknown(cluster)),
        ("destination_workload", or_unknown(&destination.name)),
        ("destination_workload_namespace", or_unknown(&destination.namespace)),
        ("destination_principal", principal(server)),
        ("destination_app", or_unknown(&destination.app)),
        ("destination_version", or_unknown(&destination.version)),
        ("destination_service", or_unknown(&labels.service.host)),
        ("destination_canonical_service", or_unknown(&destination.app)),
        ("destination_canonical_revision", if destination.version.is_empty() { "latest".to_owned() } else { destination.version.clone() }),
        ("destination_service_name", or_unknown(&labels.service.name)),
        ("destination_service_namespace", or_unknown(&labels.service.namespace)),
        ("destination_cluster", or_unknown(&destination.cluster)),
        ("request_protocol", labels.protocol.to_owned()),
    ];
    let mut flags = vec![];
    labels.flags.append_short(&mut flags);
    let flags = if flags.is_empty() { "-".to_owned() } else { String::from_utf8(flags).unwrap_or_default() };
    if labels.protocol != "tcp" {
        list.push(("response_code", labels.code.to_string()));
        list.push(("grpc_response_status", labels.grpc_status.map(|status| status.to_string()).unwrap_or_default()));
    }
    list.push(("response_flags", flags));
    list.push(("connection_security_policy", security.to_owned()));
    list
}
