//! RequestAuthentication: whose tokens workloads accept (<https://istio.io/latest/docs/reference/config/security/request_authentication/>).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Duration;
use super::envoy_filter::PolicyTargetReference;

/// Whose tokens some workloads accept. A request with another token is refused; one without any passes.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RequestAuthentication {
    /// The workloads; absent means all of the namespace, or of the mesh in the root namespace.
    pub selector: Option<PolicySelector>,
    /// What it is attached to; excludes `selector`.
    pub target_ref: Option<PolicyTargetReference>,
    /// The same, where it is several.
    pub target_refs: Vec<PolicyTargetReference>,
    /// The issuers, and how their tokens are verified.
    pub jwt_rules: Vec<JwtRule>,
    /// Whether it stands for one that is refused: which tokens are good is not known then, so that none is.
    #[serde(skip)]
    pub stands_in: bool,
}

/// Workloads by their labels, as policies select them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PolicySelector {
    /// Labels that they have, all of them.
    pub match_labels: BTreeMap<String, String>,
}

/// How the tokens of one issuer are verified.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct JwtRule {
    /// The issuer, as its tokens say it.
    pub issuer: String,
    /// For whom tokens must be; none means for anybody.
    pub audiences: Vec<String>,
    /// Where its keys are fetched from. Without that, and without keys, its OpenID configuration says so.
    pub jwks_uri: String,
    /// Its keys: a JSON Web Key Set.
    pub jwks: String,
    /// Headers that have tokens.
    pub from_headers: Vec<JwtHeader>,
    /// Parameters of the query that have tokens.
    pub from_params: Vec<String>,
    /// Cookies that have tokens.
    pub from_cookies: Vec<String>,
    /// A header by which workloads are told what stands in a token, in base64.
    pub output_payload_to_header: String,
    /// Whether workloads get the token itself.
    pub forward_original_token: bool,
    /// Headers by which workloads are told claims.
    pub output_claim_to_headers: Vec<ClaimToHeader>,
    /// How long it may take to fetch the keys; 5 s without.
    pub timeout: Option<Duration>,
    /// Claims, besides `scope` and `permission`, that are lists written as one text with spaces.
    pub space_delimited_claims: Vec<String>,
}

/// A header that has a token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct JwtHeader {
    /// Its name.
    pub name: String,
    /// What stands before the token.
    pub prefix: String,
}

/// A header by which workloads are told a claim.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClaimToHeader {
    /// Its name.
    pub header: String,
    /// The claim; dots lead into it.
    pub claim: String,
}
