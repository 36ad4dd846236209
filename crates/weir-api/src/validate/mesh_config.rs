//! Rules of MeshConfig and its ProxyConfig.

use super::checker::Checker;
use super::destination_rule::{check_client_tls, check_connection_pool, check_outlier_detection};
use super::http_action::check_retries;
use super::{hosts, load_balancer, values};
use crate::resources::{Duration, MeshConfig, ProxyConfig};

/// Checks a mesh's configuration; paths begin at its root.
pub(super) fn check(c: &mut Checker<'_>, mesh: &MeshConfig) {
    check_port(c, "proxyListenPort", mesh.proxy_listen_port);
    check_port(c, "proxyInboundListenPort", mesh.proxy_inbound_listen_port);
    if mesh.proxy_http_port != 0 {
        check_port(c, "proxyHttpPort", mesh.proxy_http_port);
    }
    c.field("connectTimeout", |c| {
        values::check_duration(c, &mesh.connect_timeout);
        if mesh.connect_timeout > Duration::from_secs(3600) {
            c.error_help(format!("{} is too long", mesh.connect_timeout), "1h at most");
        }
    });
    c.field("protocolDetectionTimeout", |c| values::check_duration_or_zero(c, &mesh.protocol_detection_timeout));
    c.field("dnsRefreshRate", |c| values::check_duration(c, &mesh.dns_refresh_rate));
    c.some("localityLbSetting", &mesh.locality_lb_setting, |c, setting| load_balancer::check_locality(c, setting, true));
    c.each("serviceSettings", &mesh.service_settings, |c, settings| {
        c.each("hosts", &settings.hosts, |c, host| hosts::check_wildcard_domain(c, host));
    });
    c.field("trustDomain", |c| check_trust_domain(c, &mesh.trust_domain));
    c.each("trustDomainAliases", &mesh.trust_domain_aliases, |c, domain| check_trust_domain(c, domain));
    for (key, export_to) in [
        ("defaultServiceExportTo", &mesh.default_service_export_to),
        ("defaultVirtualServiceExportTo", &mesh.default_virtual_service_export_to),
        ("defaultDestinationRuleExportTo", &mesh.default_destination_rule_export_to),
    ] {
        c.each(key, export_to, |c, entry| {
            if !matches!(entry.as_str(), "*" | "." | "~") && !hosts::is_label(entry) {
                c.error_help(format!("`{entry}` is not a namespace"), "`*`, `.`, `~`, or the names of namespaces");
            }
        });
    }
    c.some("defaultHttpRetryPolicy", &mesh.default_http_retry_policy, check_retries);
    c.some("defaultInboundHttpRetryPolicy", &mesh.default_inbound_http_retry_policy, check_retries);
    c.some("defaultTrafficPolicy", &mesh.default_traffic_policy, |c, policy| {
        c.some("connectionPool", &policy.connection_pool, check_connection_pool);
        c.some("outlierDetection", &policy.outlier_detection, check_outlier_detection);
    });
    c.field("outboundTrafficPolicy", |c| c.some("tls", &mesh.outbound_traffic_policy.tls, check_client_tls));
    c.field("defaultConfig", |c| check_proxy_config(c, &mesh.default_config));
}

fn check_proxy_config(c: &mut Checker<'_>, config: &ProxyConfig) {
    check_port(c, "proxyAdminPort", config.proxy_admin_port);
    check_port(c, "statusPort", config.status_port);
    c.field("drainDuration", |c| values::check_duration(c, &config.drain_duration));
    c.field("terminationDrainDuration", |c| values::check_duration_or_zero(c, &config.termination_drain_duration));
    values::check_not_negative(c, "concurrency", config.concurrency.unwrap_or(0));
}

fn check_port(c: &mut Checker<'_>, key: &'static str, number: i32) {
    if !(1..=65535).contains(&number) {
        c.field(key, |c| c.error_help(format!("{number} is not the number of a port"), "1 to 65535"));
    }
}

fn check_trust_domain(c: &mut Checker<'_>, domain: &str) {
    if !domain.strip_suffix('.').unwrap_or(domain).split('.').all(hosts::is_label) {
        c.error_help(format!("`{domain}` is not a trust domain"), "a name such as `cluster.local`");
    }
}
