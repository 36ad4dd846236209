//! AuthorizationPolicy: who may ask a workload for what.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::envoy_filter::PolicyTargetReference;

/// The annotation by which a policy is tried without being enforced.
pub const DRY_RUN: &str = "istio.io/dry-run";

/// Who may ask for what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AuthorizationPolicy {
    /// The workloads; absent means all of the namespace, or of the mesh in the root namespace.
    pub selector: Option<PolicySelector>,
    /// What it is attached to; the older form, for one.
    pub target_ref: Option<PolicyTargetReference>,
    /// What it is attached to; excludes `selector`.
    pub target_refs: Vec<PolicyTargetReference>,
    /// A request is meant if one of them matches it; none at all means no request.
    pub rules: Vec<Rule>,
    /// What becomes of those that are meant.
    pub action: Action,
    /// Who decides where the action is CUSTOM.
    pub provider: Option<ExtensionProviderRef>,
    /// Whether it stands for one that could not be read, and so refuses all.
    #[serde(skip)]
    pub stands_in: bool,
}

/// Which workloads are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PolicySelector {
    /// Labels that must be there.
    pub match_labels: BTreeMap<String, String>,
}

/// What becomes of requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Action {
    /// They are let in; all others are not, but those that another policy lets in.
    #[default]
    Allow,
    /// They are refused.
    Deny,
    /// They are marked for the audit log.
    Audit,
    /// Somebody else decides.
    Custom,
}

impl Action {
    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::Deny => "DENY",
            Self::Audit => "AUDIT",
            Self::Custom => "CUSTOM",
        }
    }
}

/// Who decides where the action is CUSTOM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ExtensionProviderRef {
    /// Its name among the `extensionProviders` of MeshConfig.
    pub name: String,
}

/// A request is meant if it comes from one of the sources, is one of the operations, and satisfies all conditions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Rule {
    /// The sources; none means any.
    pub from: Vec<From>,
    /// The operations; none means any.
    pub to: Vec<To>,
    /// The conditions.
    pub when: Vec<Condition>,
}

/// One source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct From {
    /// The source.
    pub source: Option<Source>,
}

/// Where a request comes from: all that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Source {
    /// Identities of the client's certificate, without `spiffe://`.
    pub principals: Vec<String>,
    /// Those that it must not have.
    pub not_principals: Vec<String>,
    /// Issuer and subject of the token, `ISSUER/SUBJECT`.
    pub request_principals: Vec<String>,
    /// Those that it must not have.
    pub not_request_principals: Vec<String>,
    /// Namespaces of the client's certificate.
    pub namespaces: Vec<String>,
    /// Those that it must not be of.
    pub not_namespaces: Vec<String>,
    /// Service accounts of the client's certificate, `NAME` or `NAMESPACE/NAME`.
    pub service_accounts: Vec<String>,
    /// Those that it must not have.
    pub not_service_accounts: Vec<String>,
    /// Trust domains of the client's certificate.
    pub trust_domains: Vec<String>,
    /// Those that it must not be of.
    pub not_trust_domains: Vec<String>,
    /// Addresses of who connects.
    pub ip_blocks: Vec<String>,
    /// Those that it must not have.
    pub not_ip_blocks: Vec<String>,
    /// Addresses of the client, as trusted proxies tell it.
    pub remote_ip_blocks: Vec<String>,
    /// Those that it must not have.
    pub not_remote_ip_blocks: Vec<String>,
}

/// One operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct To {
    /// The operation.
    pub operation: Option<Operation>,
}

/// What is asked for: all that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Operation {
    /// Hosts.
    pub hosts: Vec<String>,
    /// Those that it must not be for.
    pub not_hosts: Vec<String>,
    /// Ports.
    pub ports: Vec<String>,
    /// Those that it must not be at.
    pub not_ports: Vec<String>,
    /// Methods.
    pub methods: Vec<String>,
    /// Those that it must not have.
    pub not_methods: Vec<String>,
    /// Paths, or templates of them.
    pub paths: Vec<String>,
    /// Those that it must not have.
    pub not_paths: Vec<String>,
}

/// A condition on an attribute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    /// The attribute.
    pub key: String,
    /// The values that it may have.
    pub values: Vec<String>,
    /// The values that it must not have.
    pub not_values: Vec<String>,
}

impl Source {
    /// All that it may say, by the names in the API.
    pub fn fields(&self) -> [(&'static str, &[String]); 14] {
        let Self {
            principals,
            not_principals,
            request_principals,
            not_request_principals,
            namespaces,
            not_namespaces,
            service_accounts,
            not_service_accounts,
            trust_domains,
            not_trust_domains,
            ip_blocks,
            not_ip_blocks,
            remote_ip_blocks,
            not_remote_ip_blocks,
        } = self;
        [
            ("principals", principals),
            ("notPrincipals", not_principals),
            ("requestPrincipals", request_principals),
            ("notRequestPrincipals", not_request_principals),
            ("namespaces", namespaces),
            ("notNamespaces", not_namespaces),
            ("serviceAccounts", service_accounts),
            ("notServiceAccounts", not_service_accounts),
            ("trustDomains", trust_domains),
            ("notTrustDomains", not_trust_domains),
            ("ipBlocks", ip_blocks),
            ("notIpBlocks", not_ip_blocks),
            ("remoteIpBlocks", remote_ip_blocks),
            ("notRemoteIpBlocks", not_remote_ip_blocks),
        ]
    }
}

impl Operation {
    /// All that it may say, by the names in the API.
    pub fn fields(&self) -> [(&'static str, &[String]); 8] {
        let Self { hosts, not_hosts, ports, not_ports, methods, not_methods, paths, not_paths } = self;
        [
            ("hosts", hosts),
            ("notHosts", not_hosts),
            ("ports", ports),
            ("notPorts", not_ports),
            ("methods", methods),
            ("notMethods", not_methods),
            ("paths", paths),
            ("notPaths", not_paths),
        ]
    }
}

/// What the annotation of a dry run says; none if that is neither true nor false.
pub fn dry_run(annotations: &BTreeMap<String, String>) -> Option<bool> {
    match annotations.get(DRY_RUN).map(String::as_str) {
        None => Some(false),
        Some("1" | "t" | "T" | "TRUE" | "true" | "True") => Some(true),
        Some("0" | "f" | "F" | "FALSE" | "false" | "False") => Some(false),
        Some(_) => None,
    }
}

impl AuthorizationPolicy {
    /// What it is attached to.
    pub fn targets(&self) -> impl Iterator<Item = &PolicyTargetReference> {
        self.target_ref.iter().chain(&self.target_refs)
    }
}
