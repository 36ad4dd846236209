//! Rules of DestinationRule. Those for load balancing stand in [`super::load_balancer`].

use super::checker::Checker;
use super::values::{self, Export, check_duration, check_not_negative, check_percent, check_port};
use super::{hosts, load_balancer};
use crate::resources::DestinationRule;
use crate::resources::destination_rule::{
    ClientTlsMode, ClientTlsSettings, ConnectionPoolSettings, H2UpgradePolicy, HttpSettings, OutlierDetection, PortTrafficPolicy,
    RetryBudget, Subset, TcpSettings, TrafficPolicy, TunnelSettings,
};

/// Checks a DestinationRule.
pub(super) fn check(c: &mut Checker<'_>, rule: &DestinationRule) {
    c.field("host", |c| hosts::check_wildcard_domain(c, &rule.host));
    c.some("trafficPolicy", &rule.traffic_policy, check_policy);
    c.each("subsets", &rule.subsets, check_subset);
    c.field("subsets", |c| {
        for (index, subset) in rule.subsets.iter().enumerate() {
            if rule.subsets[..index].iter().any(|earlier| earlier.name == subset.name) && !subset.name.is_empty() {
                c.item(index, |c| {
                    c.field("name", |c| c.error_help(format!("a second subset `{}`", subset.name), "give each subset a name of its own"))
                });
            }
        }
    });
    let export = if rule.workload_selector.is_some() { Export::OwnNamespace } else { Export::Any };
    values::check_export_to(c, &rule.export_to, export);
    c.some("workloadSelector", &rule.workload_selector, |c, selector| values::check_selector(c, "matchLabels", &selector.match_labels));
}

fn check_subset(c: &mut Checker<'_>, subset: &Subset) {
    c.field("name", |c| hosts::check_label(c, &subset.name, "the name of a subset"));
    values::check_labels(c, "labels", &subset.labels);
    c.some("trafficPolicy", &subset.traffic_policy, check_policy);
}

fn check_policy(c: &mut Checker<'_>, policy: &TrafficPolicy) {
    if *policy == TrafficPolicy::default() {
        return c.error_help("the policy is empty", "add `loadBalancer`, `connectionPool`, `outlierDetection` or `tls`, or leave it away");
    }
    c.exclusive(&[("tunnel", policy.tunnel.is_some()), ("proxyProtocol", policy.proxy_protocol.is_some())]);
    let outliers = policy.outlier_detection.is_some();
    c.some("outlierDetection", &policy.outlier_detection, check_outlier_detection);
    c.some("connectionPool", &policy.connection_pool, check_connection_pool);
    c.some("loadBalancer", &policy.load_balancer, |c, settings| load_balancer::check(c, settings, outliers));
    c.some("tls", &policy.tls, check_client_tls);
    c.each("portLevelSettings", &policy.port_level_settings, check_port_policy);
    check_ports_once(c, &policy.port_level_settings);
    c.some("tunnel", &policy.tunnel, check_tunnel);
    c.some("retryBudget", &policy.retry_budget, check_retry_budget);
}

fn check_port_policy(c: &mut Checker<'_>, policy: &PortTrafficPolicy) {
    match &policy.port {
        Some(port) => c.field("port", |c| c.field("number", |c| check_port(c, port.number))),
        None => c.error_help("the port is missing", "add `port: {number: …}`"),
    }
    if *policy == (PortTrafficPolicy { port: policy.port.clone(), ..Default::default() }) {
        return c.error_help("the policy is empty", "add `loadBalancer`, `connectionPool`, `outlierDetection` or `tls`");
    }
    let outliers = policy.outlier_detection.is_some();
    c.some("outlierDetection", &policy.outlier_detection, check_outlier_detection);
    c.some("connectionPool", &policy.connection_pool, check_connection_pool);
    c.some("loadBalancer", &policy.load_balancer, |c, settings| load_balancer::check(c, settings, outliers));
    c.some("tls", &policy.tls, check_client_tls);
}

fn check_ports_once(c: &mut Checker<'_>, policies: &[PortTrafficPolicy]) {
    c.field("portLevelSettings", |c| {
        for (index, policy) in policies.iter().enumerate() {
            if let Some(port) =
                policy.port.as_ref().filter(|port| policies[..index].iter().any(|earlier| earlier.port.as_ref() == Some(port)))
            {
                c.item(index, |c| c.warn_help(format!("port {} has settings already", port.number), "the first ones hold"));
            }
        }
    });
}

/// Checks limits and times of connections.
pub(super) fn check_connection_pool(c: &mut Checker<'_>, pool: &ConnectionPoolSettings) {
    if pool.tcp.is_none() && pool.http.is_none() {
        c.error_help("the connection pool is empty", "add `tcp` or `http`");
    }
    c.some("http", &pool.http, check_http);
    c.some("tcp", &pool.tcp, check_tcp);
}

fn check_http(c: &mut Checker<'_>, http: &HttpSettings) {
    check_not_negative(c, "http1MaxPendingRequests", http.http1_max_pending_requests);
    check_not_negative(c, "http2MaxRequests", http.http2_max_requests);
    check_not_negative(c, "maxRequestsPerConnection", http.max_requests_per_connection);
    check_not_negative(c, "maxRetries", http.max_retries);
    check_not_negative(c, "maxConcurrentStreams", http.max_concurrent_streams);
    c.some("idleTimeout", &http.idle_timeout, check_duration);
    if http.h2_upgrade_policy == H2UpgradePolicy::Upgrade && http.use_client_protocol {
        let message = "`useClientProtocol` keeps the client's protocol, `h2UpgradePolicy: UPGRADE` changes it";
        c.field("useClientProtocol", |c| c.error_help(message, "keep one of them"));
    }
    c.some("http2KeepAlive", &http.http2_keep_alive, |c, keep_alive| {
        for (key, duration) in [("interval", &keep_alive.interval), ("timeout", &keep_alive.timeout)] {
            match duration {
                Some(duration) => c.field(key, |c| check_duration(c, duration)),
                None => c.error_help(format!("`{key}` is missing"), "PINGs need an `interval` and a `timeout`"),
            }
        }
    });
}

fn check_tcp(c: &mut Checker<'_>, tcp: &TcpSettings) {
    check_not_negative(c, "maxConnections", tcp.max_connections);
    c.some("connectTimeout", &tcp.connect_timeout, check_duration);
    c.some("maxConnectionDuration", &tcp.max_connection_duration, check_duration);
    c.some("idleTimeout", &tcp.idle_timeout, values::check_duration_or_zero);
    c.some("tcpKeepalive", &tcp.tcp_keepalive, |c, keepalive| {
        c.some("time", &keepalive.time, check_duration);
        c.some("interval", &keepalive.interval, check_duration);
    });
}

/// Checks when an endpoint is left out.
pub(super) fn check_outlier_detection(c: &mut Checker<'_>, outlier: &OutlierDetection) {
    if outlier.consecutive_errors != 0 {
        let help = "use `consecutive5xxErrors` or `consecutiveGatewayErrors`";
        c.field("consecutiveErrors", |c| c.warn_help("`consecutiveErrors` is deprecated and has no effect", help));
    }
    if !outlier.split_external_local_origin_errors && outlier.consecutive_local_origin_failures.is_some_and(|count| count > 0) {
        let message = "errors of connecting are not counted apart";
        c.field("consecutiveLocalOriginFailures", |c| c.error_help(message, "add `splitExternalLocalOriginErrors: true`"));
    }
    c.some("interval", &outlier.interval, check_duration);
    c.some("baseEjectionTime", &outlier.base_ejection_time, check_duration);
    check_percent(c, "maxEjectionPercent", outlier.max_ejection_percent);
    check_percent(c, "minHealthPercent", outlier.min_health_percent);
    c.each("outlierDetectionHttpErrorCodes", &outlier.outlier_detection_http_error_codes, |c, code| {
        if !(100..600).contains(code) {
            c.error_help(format!("{code} is not a status of HTTP"), "100 to 599");
        }
    });
}

/// Checks TLS as a client.
pub(super) fn check_client_tls(c: &mut Checker<'_>, tls: &ClientTlsSettings) {
    let files = [
        ("clientCertificate", &tls.client_certificate),
        ("privateKey", &tls.private_key),
        ("caCertificates", &tls.ca_certificates),
        ("caCrl", &tls.ca_crl),
    ];
    let by_certificates = matches!(tls.mode, ClientTlsMode::Simple | ClientTlsMode::Mutual);
    if by_certificates && tls.insecure_skip_verify == Some(true) {
        check_unverified(c, tls);
    }
    if by_certificates && !tls.credential_name.is_empty() {
        for (key, _) in files.iter().filter(|(_, file)| !file.is_empty()) {
            c.field(*key, |c| c.error_help(format!("`{key}` and `credentialName` exclude one another"), "keep one of them"));
        }
    } else if tls.mode == ClientTlsMode::Mutual {
        for (key, _) in files[..2].iter().filter(|(_, file)| file.is_empty()) {
            c.error_help(format!("MUTUAL needs `{key}`"), "add `clientCertificate` and `privateKey`, or `credentialName`");
        }
    } else if !by_certificates {
        let given = files.iter().copied().chain([("credentialName", &tls.credential_name)]).filter(|(_, text)| !text.is_empty());
        let mode = if tls.mode == ClientTlsMode::Disable { "DISABLE" } else { "ISTIO_MUTUAL" };
        for (key, _) in given {
            c.field(key, |c| {
                c.warn_help(format!("`{key}` has no effect with the mode {mode}"), "choose SIMPLE or MUTUAL, or leave it away")
            });
        }
    }
}

/// What is not checked cannot be checked against something.
fn check_unverified(c: &mut Checker<'_>, tls: &ClientTlsSettings) {
    let names = !tls.subject_alt_names.is_empty();
    let secret = tls.mode == ClientTlsMode::Simple && !tls.credential_name.is_empty();
    for (key, given) in [("caCertificates", !tls.ca_certificates.is_empty()), ("subjectAltNames", names), ("credentialName", secret)] {
        if given {
            let message = format!("with `insecureSkipVerify`, the server's certificate is not compared with `{key}`");
            c.field(key, |c| c.error_help(message, "keep one of them"));
        }
    }
}

fn check_tunnel(c: &mut Checker<'_>, tunnel: &TunnelSettings) {
    if !matches!(tunnel.protocol.as_str(), "" | "CONNECT" | "POST") {
        c.field("protocol", |c| c.error_help(format!("`{}` is not a way to ask for a tunnel", tunnel.protocol), "`CONNECT` or `POST`"));
    }
    if let Err(wrong) = hosts::fqdn(&tunnel.target_host)
        && !hosts::is_ip(&tunnel.target_host)
    {
        c.field("targetHost", |c| c.error_help(wrong, "a host's name or address"));
    }
    c.field("targetPort", |c| check_port(c, tunnel.target_port));
}

fn check_retry_budget(c: &mut Checker<'_>, budget: &RetryBudget) {
    c.some("percent", &budget.percent, |c, percent| {
        if !(0.0..=100.0).contains(percent) {
            c.error_help(format!("{percent} is not a share in percent"), "0 to 100");
        }
    });
    c.some("budgetInterval", &budget.budget_interval, values::check_duration_or_zero);
}

#[cfg(test)]
mod tests {
    use crate::validate::testing::{check_table, check_within};

    #[test]
    fn rules_and_subsets() {
        check_table(
            "DestinationRule",
            &[
                ("host: a.b", &[]),
                ("host: '*.b'", &[]),
                ("subsets: []", &["error: host"]),
                ("host: a.b\nsubsets: [{name: v1, labels: {v: '1'}}]", &[]),
                ("host: a.b\nsubsets: [{name: v1}, {name: v1}]", &["error: subsets[1].name"]),
                ("host: a.b\nsubsets: [{labels: {v: '1'}}]", &["error: subsets[0].name"]),
                ("host: a.b\nsubsets: [{name: a_b}]", &["error: subsets[0].name"]),
                ("host: a.b\nsubsets: [{name: a, labels: {'': x}}]", &["error: subsets[0].labels[\"\"]"]),
                ("host: a.b\nworkloadSelector: {matchLabels: {a: b}}", &[]),
                ("host: a.b\nworkloadSelector: {matchLabels: {a: b}}\nexportTo: [other]", &["error: exportTo"]),
                ("host: a.b\nworkloadSelector: {matchLabels: {a: '*'}}", &["error: workloadSelector.matchLabels.a"]),
                ("host: a.b\nworkloadSelector: {}", &["warning: workloadSelector"]),
            ],
        );
    }

    fn check(table: &[(&str, &[&str])]) {
        check_within("DestinationRule", "host: a\ntrafficPolicy: {…}", "trafficPolicy", table);
    }

    #[test]
    fn policies_for_ports() {
        check(&[
            ("", &["error: "]),
            ("tunnel: {targetHost: b.c, targetPort: 443}, proxyProtocol: {version: V2}", &["error: "]),
            ("tunnel: {targetHost: b.c, targetPort: 443, protocol: PUT}", &["error: .tunnel.protocol"]),
            ("tunnel: {targetHost: 'b:c'}", &["error: .tunnel.targetHost", "error: .tunnel.targetPort"]),
            ("portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE}}]", &[]),
            ("portLevelSettings: [{tls: {mode: SIMPLE}}]", &["error: .portLevelSettings[0]"]),
            ("portLevelSettings: [{port: {number: 80}}]", &["error: .portLevelSettings[0]"]),
            ("portLevelSettings: [{port: {number: 0}, tls: {mode: SIMPLE}}]", &["error: .portLevelSettings[0].port.number"]),
            ("portLevelSettings: [{port: {number: 80}, tls: {}}, {port: {number: 80}, tls: {}}]", &["warning: .portLevelSettings[1]"]),
            ("retryBudget: {percent: 20, minRetryConcurrency: 3, budgetInterval: 10s}", &[]),
            ("retryBudget: {percent: 101, budgetInterval: 1us}", &["error: .retryBudget.percent", "error: .retryBudget.budgetInterval"]),
        ]);
    }

    #[test]
    fn connection_pools() {
        check(&[
            ("connectionPool: {}", &["error: .connectionPool"]),
            ("connectionPool: {tcp: {maxConnections: 1, connectTimeout: 1s, idleTimeout: 0s, tcpKeepalive: {time: 2h}}}", &[]),
            ("connectionPool: {tcp: {maxConnections: -1}}", &["error: .connectionPool.tcp.maxConnections"]),
            ("connectionPool: {tcp: {connectTimeout: 0s}}", &["error: .connectionPool.tcp.connectTimeout"]),
            ("connectionPool: {tcp: {tcpKeepalive: {interval: 1us}}}", &["error: .connectionPool.tcp.tcpKeepalive.interval"]),
            (
                "connectionPool: {http: {http1MaxPendingRequests: -1, http2MaxRequests: -1}}",
                &["error: .connectionPool.http.http1MaxPendingRequests", "error: .connectionPool.http.http2MaxRequests"],
            ),
            (
                "connectionPool: {http: {maxRequestsPerConnection: -1, maxRetries: -1, maxConcurrentStreams: -1}}",
                &[
                    "error: .connectionPool.http.maxRequestsPerConnection",
                    "error: .connectionPool.http.maxRetries",
                    "error: .connectionPool.http.maxConcurrentStreams",
                ],
            ),
            ("connectionPool: {http: {idleTimeout: 0s}}", &["error: .connectionPool.http.idleTimeout"]),
            (
                "connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}",
                &["error: .connectionPool.http.useClientProtocol"],
            ),
            ("connectionPool: {http: {http2KeepAlive: {interval: 1s, timeout: 1s}}}", &[]),
            ("connectionPool: {http: {http2KeepAlive: {interval: 1s}}}", &["error: .connectionPool.http.http2KeepAlive"]),
        ]);
    }

    #[test]
    fn outliers() {
        check(&[
            ("outlierDetection: {}", &[]),
            ("outlierDetection: {consecutive5xxErrors: 0, interval: 1s, maxEjectionPercent: 100}", &[]),
            (
                "outlierDetection: {outlierDetectionHttpErrorCodes: [500, 99]}",
                &["error: .outlierDetection.outlierDetectionHttpErrorCodes[1]"],
            ),
            ("outlierDetection: {consecutiveErrors: 5}", &["warning: .outlierDetection.consecutiveErrors"]),
            ("outlierDetection: {consecutiveLocalOriginFailures: 5}", &["error: .outlierDetection.consecutiveLocalOriginFailures"]),
            ("outlierDetection: {interval: 0s}", &["error: .outlierDetection.interval"]),
            (
                "outlierDetection: {maxEjectionPercent: 105, minHealthPercent: -1}",
                &["error: .outlierDetection.maxEjectionPercent", "error: .outlierDetection.minHealthPercent"],
            ),
        ]);
    }

    #[test]
    fn tls_of_clients() {
        check(&[
            ("tls: {mode: SIMPLE}", &[]),
            ("tls: {mode: MUTUAL, clientCertificate: c, privateKey: k, caCertificates: ca, caCrl: crl}", &[]),
            ("tls: {mode: MUTUAL, credentialName: c}", &[]),
            ("tls: {mode: MUTUAL}", &["error: .tls", "error: .tls"]),
            ("tls: {mode: MUTUAL, clientCertificate: c}", &["error: .tls"]),
            ("tls: {mode: MUTUAL, credentialName: c, privateKey: k}", &["error: .tls.privateKey"]),
            ("tls: {mode: ISTIO_MUTUAL, caCertificates: c}", &["warning: .tls.caCertificates"]),
            ("tls: {mode: SIMPLE, insecureSkipVerify: true}", &[]),
            ("tls: {mode: SIMPLE, insecureSkipVerify: true, caCertificates: c}", &["error: .tls.caCertificates"]),
            ("tls: {mode: SIMPLE, insecureSkipVerify: true, subjectAltNames: [a]}", &["error: .tls.subjectAltNames"]),
        ]);
    }
}
