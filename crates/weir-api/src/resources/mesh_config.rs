//! MeshConfig: what holds for the whole mesh.
//!
//! Fields that are not about traffic are known, so that any mesh's configuration can be read, but not kept. It is
//! read by [`MeshConfig::parse`], in `parse/mesh.rs`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Duration;
use super::destination_rule::{ClientTlsSettings, ConnectionPoolSettings, OutlierDetection, TcpKeepalive};
use super::extension_provider::ExtensionProvider;
use super::gateway::TlsProtocol;
use super::http_policy::HttpRetry;
use super::load_balancer::{LocalityLoadBalancerSetting, ZoneAwareLoadBalancerSetting};
use super::meta::Labels;
use super::proxy_config::ProxyConfig;

/// What holds for the whole mesh. Its default is what Istio's control plane takes where nothing is configured.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MeshConfig {
    /// The port that a workload's outbound traffic is redirected to, 15001.
    pub proxy_listen_port: i32,
    /// The port that a workload's inbound traffic is redirected to, 15006.
    pub proxy_inbound_listen_port: i32,
    /// A port for clients that use the sidecar as their HTTP proxy; 0 means none.
    pub proxy_http_port: i32,
    /// The time to connect to an endpoint, 10 s.
    pub connect_timeout: Duration,
    /// How long a port of unknown protocol waits for the client's first bytes; 0 means for ever.
    pub protocol_detection_timeout: Duration,
    /// Probes on idle connections to endpoints; absent means none.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// The class of the Ingress resources that are carried out, `istio`.
    pub ingress_class: String,
    /// The name of the Service of the gateway for them.
    pub ingress_service: String,
    /// Which Ingress resources are carried out.
    pub ingress_controller_mode: IngressControllerMode,
    /// The label `istio` of the gateway for them, `ingressgateway`.
    pub ingress_selector: String,
    /// Whether requests are traced.
    pub enable_tracing: bool,
    /// Where access logs go, `/dev/stdout` or a file; empty means that none are written.
    pub access_log_file: String,
    /// Their format; empty means Istio's.
    pub access_log_format: String,
    /// Whether they are text or JSON.
    pub access_log_encoding: AccessLogEncoding,
    /// Whether listeners keep quiet about connections that they cannot place.
    pub disable_envoy_listener_log: bool,
    /// What holds for each proxy that does not say otherwise.
    pub default_config: ProxyConfig,
    /// What becomes of traffic to unknown destinations, `ALLOW_ANY`.
    pub outbound_traffic_policy: OutboundTrafficPolicy,
    /// Where a sidecar looks for its workload.
    pub inbound_traffic_policy: InboundTrafficPolicy,
    /// Whether sidecars use mutual TLS among one another of their own accord, true.
    pub enable_auto_mtls: bool,
    /// The trust domain of the mesh's identities, `cluster.local`.
    pub trust_domain: String,
    /// Other trust domains that are the same.
    pub trust_domain_aliases: Vec<String>,
    /// Where services are seen that do not say so, `*`.
    pub default_service_export_to: Vec<String>,
    /// Where VirtualServices are seen that do not say so, `*`.
    pub default_virtual_service_export_to: Vec<String>,
    /// Where DestinationRules are seen that do not say so, `*`.
    pub default_destination_rule_export_to: Vec<String>,
    /// The namespace whose resources hold for all, `istio-system`.
    pub root_namespace: String,
    /// Which localities are preferred; enabled, but without effect on services that detect no outliers.
    pub locality_lb_setting: Option<LocalityLoadBalancerSetting>,
    /// Lets each proxy's own zone come first; absent means no.
    pub zone_aware_lb_setting: Option<ZoneAwareLoadBalancerSetting>,
    /// How often a DNS name is asked for anew after an error, 60 s; else its time to live decides.
    pub dns_refresh_rate: Duration,
    /// Whether HTTP/1.1 requests are forwarded as HTTP/2.
    pub h2_upgrade_policy: MeshH2UpgradePolicy,
    /// The pattern for the statistics' names of inbound clusters; empty means Istio's.
    pub inbound_cluster_stat_name: String,
    /// The pattern for the statistics' names of outbound clusters; empty means Istio's.
    pub outbound_cluster_stat_name: String,
    /// Settings for services by host.
    pub service_settings: Vec<ServiceSettings>,
    /// Which namespaces' resources are read; none means all.
    pub discovery_selectors: Vec<LabelSelector>,
    /// How paths are normalised before they are matched.
    pub path_normalization: ProxyPathNormalization,
    /// Retries of rules that do not say; absent means Istio's.
    pub default_http_retry_policy: Option<HttpRetry>,
    /// Retries from a sidecar to its workload; absent means Istio's.
    pub default_inbound_http_retry_policy: Option<HttpRetry>,
    /// Policies of services whose DestinationRule leaves them out; absent means none.
    pub default_traffic_policy: Option<DefaultTrafficPolicy>,
    /// Whether injection has an application's metrics merged with the proxy's, at one port; absent means true.
    pub enable_prometheus_merge: Option<bool>,
    /// TLS between workloads.
    #[serde(rename = "meshMTLS")]
    pub mesh_mtls: Option<TlsConfig>,
    /// TLS with everybody else.
    pub tls_defaults: Option<TlsConfig>,
    /// Who sees ServiceEntries, whatever these say; absent means that they decide.
    pub service_entry_visibility: Option<ServiceEntryVisibility>,
    /// Services that are asked about requests, or told of them.
    pub extension_providers: Vec<ExtensionProvider>,
    #[serde(rename = "enableEnvoyAccessLogService")]
    _enable_envoy_access_log_service: Option<IgnoredAny>,
    #[serde(rename = "configSources")]
    _config_sources: Option<IgnoredAny>,
    #[serde(rename = "caCertificates")]
    _ca_certificates: Option<IgnoredAny>,
    #[serde(rename = "certificates")]
    _certificates: Option<IgnoredAny>,
    #[serde(rename = "serviceScopeConfigs")]
    _service_scope_configs: Option<IgnoredAny>,
    #[serde(rename = "verifyCertificateAtClient")]
    _verify_certificate_at_client: Option<IgnoredAny>,
    #[serde(rename = "ca")]
    _ca: Option<IgnoredAny>,
    #[serde(rename = "defaultProviders")]
    _default_providers: Option<IgnoredAny>,
    #[serde(rename = "compliancePolicy")]
    _compliance_policy: Option<IgnoredAny>,
}

impl Default for MeshConfig {
    fn default() -> Self {
        let all = || vec!["*".to_owned()];
        Self {
            proxy_listen_port: 15001,
            proxy_inbound_listen_port: 15006,
            proxy_http_port: 0,
            connect_timeout: Duration::from_secs(10),
            protocol_detection_timeout: Duration::default(),
            tcp_keepalive: None,
            ingress_class: "istio".to_owned(),
            ingress_service: "istio-ingressgateway".to_owned(),
            ingress_controller_mode: IngressControllerMode::Strict,
            ingress_selector: "ingressgateway".to_owned(),
            enable_tracing: true,
            access_log_file: String::new(),
            access_log_format: String::new(),
            access_log_encoding: AccessLogEncoding::Text,
            disable_envoy_listener_log: false,
            default_config: ProxyConfig::default(),
            outbound_traffic_policy: OutboundTrafficPolicy::default(),
            inbound_traffic_policy: InboundTrafficPolicy::default(),
            enable_auto_mtls: true,
            trust_domain: "cluster.local".to_owned(),
            trust_domain_aliases: vec![],
            default_service_export_to: all(),
            default_virtual_service_export_to: all(),
            default_destination_rule_export_to: all(),
            root_namespace: "istio-system".to_owned(),
            locality_lb_setting: Some(LocalityLoadBalancerSetting { enabled: Some(true), ..Default::default() }),
            zone_aware_lb_setting: None,
            dns_refresh_rate: Duration::from_secs(60),
            h2_upgrade_policy: MeshH2UpgradePolicy::DoNotUpgrade,
            inbound_cluster_stat_name: String::new(),
            outbound_cluster_stat_name: String::new(),
            service_settings: vec![],
            discovery_selectors: vec![],
            path_normalization: ProxyPathNormalization::default(),
            default_http_retry_policy: None,
            default_inbound_http_retry_policy: None,
            default_traffic_policy: None,
            mesh_mtls: None,
            tls_defaults: None,
            service_entry_visibility: None,
            extension_providers: vec![],
            _enable_envoy_access_log_service: None,
            _config_sources: None,
            _ca_certificates: None,
            _certificates: None,
            _service_scope_configs: None,
            enable_prometheus_merge: None,
            _verify_certificate_at_client: None,
            _ca: None,
            _default_providers: None,
            _compliance_policy: None,
        }
    }
}

impl MeshConfig {
    /// Whether localities matter to services that do not say otherwise.
    pub fn locality_lb_enabled(&self) -> bool {
        self.locality_lb_setting.as_ref().is_none_or(|setting| setting.enabled != Some(false))
    }
}

/// Which Ingress resources are carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum IngressControllerMode {
    /// As `Off`.
    #[default]
    Unspecified,
    /// None.
    Off,
    /// Those of the class, and those of none.
    Default,
    /// Those of the class.
    Strict,
}

/// The form of access logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AccessLogEncoding {
    /// Text, a line each.
    #[default]
    Text,
    /// JSON, an object each.
    Json,
}

/// What becomes of traffic to unknown destinations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OutboundTrafficPolicy {
    /// Whether it is let out.
    pub mode: OutboundMode,
    /// TLS towards hosts that are resolved by name.
    pub tls: Option<ClientTlsSettings>,
}

/// Whether traffic to unknown destinations is let out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutboundMode {
    /// No.
    RegistryOnly,
    /// Yes, to the address that the client asked for.
    #[default]
    AllowAny,
    /// Yes; HTTP goes to the host that it names.
    AllowAnyDynamicDns,
}

/// Where a sidecar looks for its workload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct InboundTrafficPolicy {
    /// At which address.
    pub mode: InboundMode,
}

/// At which address a sidecar looks for its workload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InboundMode {
    /// At the one that the client asked for.
    #[default]
    Passthrough,
    /// At 127.0.0.1.
    Localhost,
}

/// Whether HTTP/1.1 requests are forwarded as HTTP/2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MeshH2UpgradePolicy {
    /// No.
    #[default]
    DoNotUpgrade,
    /// Yes.
    Upgrade,
}

/// Settings for services by host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSettings {
    /// The settings.
    pub settings: ServiceSettingsSettings,
    /// The services; `*.suffix` is possible.
    pub hosts: Vec<String>,
}

/// The settings of [`ServiceSettings`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSettingsSettings {
    /// Whether clients use endpoints of their own cluster only.
    pub cluster_local: bool,
}

/// Kubernetes' selector: labels and expressions that must all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that must be there.
    pub match_labels: Labels,
    /// Expressions that must hold.
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// An expression about one label.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LabelSelectorRequirement {
    /// The label.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// The values for the first two.
    pub values: Vec<String>,
}

impl LabelSelector {
    /// Whether labels are selected; an expression with an unknown operator selects nothing.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|expression| expression.matches(labels))
    }
}

impl LabelSelectorRequirement {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let among = value.is_some_and(|value| self.values.contains(value));
        match self.operator.as_str() {
            "In" => among,
            "NotIn" => !among,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    }
}

/// How paths are normalised before they are matched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProxyPathNormalization {
    /// How far.
    pub normalization: NormalizationType,
}

/// How far paths are normalised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NormalizationType {
    /// As `Base`.
    #[default]
    Default,
    /// Not at all.
    None,
    /// By RFC 3986: `/a/../b` is `/b`.
    Base,
    /// Several slashes are one, too.
    MergeSlashes,
    /// `%2F` and `%5C` are slashes, too.
    DecodeAndMergeSlashes,
}

/// Policies of services whose DestinationRule leaves them out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DefaultTrafficPolicy {
    /// Limits and times of connections.
    pub connection_pool: Option<ConnectionPoolSettings>,
    /// When an endpoint is left out for a while.
    pub outlier_detection: Option<OutlierDetection>,
}

/// Choices of TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TlsConfig {
    /// The lowest version.
    pub min_protocol_version: TlsProtocol,
    /// The curves of the key exchange; none means the safe ones.
    pub ecdh_curves: Vec<String>,
    /// The cipher suites up to TLS 1.2; none means the safe ones.
    pub cipher_suites: Vec<String>,
}

/// Who sees ServiceEntries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceEntryVisibility {
    /// Where no policy matches.
    pub default_visibility: Visibility,
    /// The first that matches decides.
    pub policies: Vec<VisibilityPolicy>,
    /// Whether sidecars and gateways obey, too; false.
    pub apply_to_sidecars: bool,
}

/// Who sees the ServiceEntries of some namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VisibilityPolicy {
    /// Who.
    pub visibility: Visibility,
    /// What must hold, all of it; none means always.
    pub matching_rules: Vec<VisibilityMatchRule>,
}

/// A condition on a ServiceEntry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VisibilityMatchRule {
    /// The labels of its namespace; absent means that the rule never matches.
    pub namespace_selector: Option<LabelSelector>,
}

/// Who sees a ServiceEntry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Visibility {
    /// As `Public`.
    #[default]
    Unspecified,
    /// Whom it is exported to.
    Public,
    /// Its own namespace.
    Namespace,
    /// Nobody.
    None,
}
