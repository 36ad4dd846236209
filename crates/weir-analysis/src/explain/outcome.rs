//! What becomes of a request once its route is found, and of a connection whose bytes are passed on.

use std::sync::Arc;

use weir_config::tcp::TcpConfig;
use weir_routing::action::{Action, Forward, HostRewrite};
use weir_routing::clusters::{ClusterChoice, Clusters, WeightedCluster};
use weir_routing::header_changes::HeaderChanges;
use weir_routing::{RequestHead, Route, RouteTable, VirtualHost};
use weir_xds::aggregate_cluster::ClusterConfig as Aggregate;
use weir_xds::cluster::Cluster;
use weir_xds::cluster::cluster::ClusterDiscoveryType;
use weir_xds::endpoint::{ClusterLoadAssignment, lb_endpoint::HostIdentifier};
use weir_xds::resource::ResourceType;
use weir_xds::values::host_and_port;

use super::Explainer;
use super::answer::{Answer, Share};
use super::words;

/// So many instances of a cluster are named.
const INSTANCES: usize = 10;

impl Explainer<'_> {
    /// Where a TCP proxy sends a connection.
    pub(super) fn tcp(&self, proxy: &TcpConfig, answer: &mut Answer) {
        let share = |(name, weight): &(Arc<str>, u32)| Share { name: name.to_string(), weight: *weight };
        self.arrive(proxy.clusters.iter().map(share).collect(), answer);
    }

    /// What a route does with a request.
    pub(super) fn outcome(&self, table: &RouteTable, host: &VirtualHost, route: &Route, head: &RequestHead<'_>, answer: &mut Answer) {
        let source = route.source();
        match &route.action {
            Action::Respond(response) => {
                answer.step_at(format!("answers {}", response.status), words::body(&response.body), source);
            }
            Action::Redirect(redirect) => {
                let location = redirect.location(&route.matcher.path, head);
                answer.step_at(format!("answers {}", redirect.status), format!("sends the client to {location}"), source);
            }
            Action::Forward(to) => {
                rewrites(route, to, head, answer);
                for changes in table.request_changes(host, route) {
                    header_changes(changes, source, answer);
                }
                limits(to, source, answer);
                mirrors(host, to, head, source, answer);
                self.arrive(shares(host, to, head), answer);
            }
        }
    }

    /// The clusters that share what arrives, with their instances.
    fn arrive(&self, shares: Vec<Share>, answer: &mut Answer) {
        answer.cluster = shares.first().map(|share| share.name.clone());
        let total: u64 = shares.iter().map(|share| u64::from(share.weight)).sum();
        for share in &shares {
            let name = &share.name;
            let part = match shares.len() {
                1 => String::new(),
                _ => format!(" ({} of {total})", share.weight),
            };
            answer.step(format!("cluster {name}{part}"), self.instances(name));
            self.patched(ResourceType::Cluster, name, answer);
            if let Some((_, Some(reason))) = self.cluster(name) {
                answer.step(format!("cluster {name} is refused"), format!("by Weir's own proxy, which answers 503: {reason}"));
            }
        }
        answer.clusters = shares;
    }

    fn instances(&self, cluster: &str) -> String {
        let Some((found, _)) = self.cluster(cluster) else {
            return "does not exist: 503, and the access log says NC".to_owned();
        };
        if let Some(names) = members(found) {
            return format!("stands for {}, the first of them as long as it is well enough", names.join(", "));
        }
        let service = found.eds_cluster_config.as_ref().map(|eds| eds.service_name.as_str()).filter(|name| !name.is_empty());
        let by_eds = self.translation.endpoints.iter().find(|assignment| assignment.cluster_name == service.unwrap_or(cluster));
        let Some(assignment) = by_eds.or(found.load_assignment.as_ref()) else {
            return match cluster {
                "BlackHoleCluster" => "has no instances, on purpose: the connection is closed, a request answered 503".to_owned(),
                _ => "sends to the address that the client meant".to_owned(),
            };
        };
        // Those of other priorities get requests only where these fail.
        let first = assignment.endpoints.iter().filter(|group| !group.lb_endpoints.is_empty()).map(|group| group.priority).min();
        let others = assignment.endpoints.iter().filter(|group| Some(group.priority) != first);
        words::instances(&addresses(assignment, first), others.map(|group| group.lb_endpoints.len()).sum(), INSTANCES)
    }
}

/// The clusters that one stands for, if it does.
fn members(cluster: &Cluster) -> Option<Vec<String>> {
    let Some(ClusterDiscoveryType::ClusterType(kind)) = &cluster.cluster_discovery_type else { return None };
    let config = kind.typed_config.as_ref().filter(|config| config.is::<Aggregate>())?;
    Some(config.unpack::<Aggregate>().ok()?.clusters)
}

/// The addresses of the endpoints of a priority.
fn addresses(assignment: &ClusterLoadAssignment, priority: Option<u32>) -> Vec<String> {
    let groups = assignment.endpoints.iter().filter(|group| Some(group.priority) == priority);
    let endpoints = groups.flat_map(|group| &group.lb_endpoints);
    let address = |host: &HostIdentifier| match host {
        HostIdentifier::Endpoint(endpoint) => {
            let (host, port) = host_and_port(endpoint.address.as_ref()?)?;
            Some(format!("{host}:{port}"))
        }
        HostIdentifier::EndpointName(name) => Some(name.clone()),
    };
    endpoints.filter_map(|endpoint| address(endpoint.host_identifier.as_ref()?)).collect()
}

fn shares(host: &VirtualHost, to: &Forward, head: &RequestHead<'_>) -> Vec<Share> {
    match &to.clusters {
        Clusters::One(choice) => vec![Share { name: name(host, choice, head), weight: 1 }],
        Clusters::Weighted(weighted) => {
            let share = |choice: &WeightedCluster| Share { name: name(host, &choice.cluster, head), weight: choice.weight };
            weighted.choices.iter().map(share).collect()
        }
    }
}

/// The name of a cluster, which may be the request's to say.
fn name(host: &VirtualHost, choice: &ClusterChoice, head: &RequestHead<'_>) -> String {
    match choice {
        ClusterChoice::Named(index) => host.clusters.get(*index as usize).map(ToString::to_string).unwrap_or_default(),
        ClusterChoice::Header(header) => header.text(head).unwrap_or_default().to_owned(),
    }
}

fn rewrites(route: &Route, to: &Forward, head: &RequestHead<'_>, answer: &mut Answer) {
    let source = route.source();
    if let Some(rewrite) = &to.path {
        let path = rewrite.apply(&route.matcher.path, head.path);
        answer.step_at(format!("path {path}"), format!("the rule rewrites {}", head.path), source);
    }
    match &to.host {
        HostRewrite::To(host) => answer.step_at(format!("host {host}"), format!("the rule rewrites `{}`", head.authority), source),
        HostRewrite::OfInstance => answer.step_at(
            "host of the instance that is chosen",
            format!("the rule asks for it; one without a name of its own gets `{}`", head.authority),
            source,
        ),
        HostRewrite::OfHeader(name) => answer.step_at(format!("host as the header {name} says"), "the rule rewrites it", source),
        HostRewrite::OfPath(rewrite) => {
            answer.step_at(
                format!("host {}", rewrite.apply(head.path_only())),
                format!("the rule makes it of the path {}", head.path_only()),
                source,
            );
        }
        HostRewrite::Keep => of_destinations(to, source, answer),
    }
}

/// The hosts that destinations set, each for its own share of the requests; one of the rule itself replaces them.
fn of_destinations(to: &Forward, source: Option<&str>, answer: &mut Answer) {
    let Clusters::Weighted(weighted) = &to.clusters else { return };
    for choice in &weighted.choices {
        if let Some(host) = &choice.host {
            answer.step_at(format!("host {host}"), format!("its destination sets it, for weight {}", choice.weight), source);
        }
    }
}

fn header_changes(changes: &HeaderChanges, source: Option<&str>, answer: &mut Answer) {
    if let Some(text) = words::header_changes(changes) {
        answer.step_at("request headers", text, source);
    }
}

fn limits(to: &Forward, source: Option<&str>, answer: &mut Answer) {
    if let Some(timeout) = to.timeouts.usual() {
        answer.step_at(format!("timeout {timeout:?}"), "504 if the answer takes longer, all attempts together", source);
    }
    if let Some(retry) = to.retry.as_ref().filter(|retry| retry.retries > 0) {
        let each = retry.per_try_timeout.map(|limit| format!(", each within {limit:?}")).unwrap_or_default();
        answer.step_at(format!("up to {} retries", retry.retries), format!("where an attempt fails before it was answered{each}"), source);
    }
}

fn mirrors(host: &VirtualHost, to: &Forward, head: &RequestHead<'_>, source: Option<&str>, answer: &mut Answer) {
    for mirror in &to.mirrors {
        let name = name(host, &mirror.cluster, head);
        let share = f64::from(mirror.millionths) / 10_000.0;
        answer.step_at(format!("mirrored to {name}"), format!("{share} % of requests are copied there"), source);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_http1::Headers;
    use weir_xds::json::from_value;

    use super::*;

    #[test]
    fn a_host_that_depends_on_the_instance_is_told_as_that() {
        let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "a", "autoHostRewrite": true}});
        let table = from_value(json!({"virtualHosts": [{"name": "all", "domains": ["*"], "routes": [route]}]})).expect("well formed");
        let table = RouteTable::compile(&table, None).expect("valid");
        let route = &table.virtual_hosts[0].routes[0];
        let Action::Forward(to) = &route.action else { panic!("it is sent on") };
        let headers = Headers::new();
        let head = RequestHead { method: "GET", scheme: "http", authority: "a.test", path: "/", headers: &headers, random: 0 };
        let mut answer = Answer::default();
        rewrites(route, to, &head, &mut answer);
        let told: Vec<(&str, &str)> = answer.steps.iter().map(|step| (step.what.as_str(), step.why.as_str())).collect();
        let why = "the rule asks for it; one without a name of its own gets `a.test`";
        assert_eq!(told, [("host of the instance that is chosen", why)]);
    }
}
