//! VirtualService: how requests for some hosts are routed.
//!
//! What a rule does to a request besides forwarding it stands in [`super::http_policy`].

use std::collections::BTreeMap;

use serde::Deserialize;

pub use super::destination::{Destination, PortSelector};
use super::http_policy::{
    CorsPolicy, Headers, HttpDirectResponse, HttpFaultInjection, HttpMirrorPolicy, HttpRedirect, HttpRetry, HttpRewrite, Percent,
};
use super::meta::Labels;
use super::{Duration, StringMatch};

/// The gateway name that stands for all sidecars.
pub const MESH_GATEWAY: &str = "mesh";

/// Routing rules for hosts.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VirtualService {
    /// The hosts that are asked for: a name, a short name of the own namespace, `*.suffix` or an address.
    /// None at all makes it a delegate, which only other VirtualServices refer to.
    pub hosts: Vec<String>,
    /// Where it applies: `name`, `namespace/name`, or `mesh` for the sidecars; none means `mesh`.
    pub gateways: Vec<String>,
    /// Rules for HTTP; the first that matches is used.
    pub http: Vec<HttpRoute>,
    /// Rules for TLS that is passed through, by server name.
    pub tls: Vec<TlsRoute>,
    /// Rules for any other TCP.
    pub tcp: Vec<TcpRoute>,
    /// The namespaces that may see it: `*`, `.` or names; none means the mesh's default.
    pub export_to: Vec<String>,
    /// Whether it was made of an Ingress. Nobody writes it.
    #[serde(skip)]
    pub of_ingress: bool,
}

impl VirtualService {
    /// Whether it is only there for others to delegate to.
    pub fn is_delegate(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Whether sidecars apply it.
    pub fn applies_to_mesh(&self) -> bool {
        self.gateways.is_empty() || self.gateways.iter().any(|gateway| gateway == MESH_GATEWAY)
    }

    /// Whether it has no rule of any kind.
    pub fn has_no_routes(&self) -> bool {
        self.http.is_empty() && self.tls.is_empty() && self.tcp.is_empty()
    }
}

/// One rule for HTTP: when it matches, exactly one of `route`, `redirect`, `directResponse` and `delegate` is done.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRoute {
    /// Its name, seen in access logs.
    pub name: String,
    /// When it applies: one of these must match; none means always.
    pub r#match: Vec<HttpMatchRequest>,
    /// Where the request goes; with several, by weight.
    pub route: Vec<HttpRouteDestination>,
    /// Answers with a redirect instead.
    pub redirect: Option<HttpRedirect>,
    /// Answers with a fixed response instead.
    pub direct_response: Option<HttpDirectResponse>,
    /// Goes on with the rules of another VirtualService.
    pub delegate: Option<Delegate>,
    /// Changes path and authority before the request is forwarded.
    pub rewrite: Option<HttpRewrite>,
    /// The time for the whole response, retries included; none or 0 means no limit.
    pub timeout: Option<Duration>,
    /// When a request is tried again; absent means the mesh's default, `attempts: 0` never.
    pub retries: Option<HttpRetry>,
    /// Delays or aborts some of the requests on purpose.
    pub fault: Option<HttpFaultInjection>,
    /// A destination that gets a copy of the requests.
    pub mirror: Option<Destination>,
    /// Several such destinations; excludes `mirror`.
    pub mirrors: Vec<HttpMirrorPolicy>,
    /// Deprecated: `mirrorPercentage` in whole percent.
    pub mirror_percent: Option<u32>,
    /// The share of requests that `mirror` gets; absent means all.
    pub mirror_percentage: Option<Percent>,
    /// Answers to requests from other origins.
    pub cors_policy: Option<CorsPolicy>,
    /// Changes to the headers of requests and responses.
    pub headers: Option<Headers>,
}

impl HttpRoute {
    /// Whether it applies to every request.
    pub fn matches_all(&self) -> bool {
        self.r#match.is_empty()
    }
}

/// A VirtualService without hosts whose rules are used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Delegate {
    /// Its name.
    pub name: String,
    /// Its namespace; empty means the referring one's.
    pub namespace: String,
}

/// A condition on a request: all that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpMatchRequest {
    /// Its name; access logs show `rule.name`.
    pub name: String,
    /// The path, without the query.
    pub uri: Option<StringMatch>,
    /// Whether a prefix in `uri` ends with a segment of the path: so Ingresses mean it. Nobody writes it.
    #[serde(skip)]
    pub by_segments: bool,
    /// `http` or `https`.
    pub scheme: Option<StringMatch>,
    /// The method, in capitals.
    pub method: Option<StringMatch>,
    /// The Host header as it was sent, port included.
    pub authority: Option<StringMatch>,
    /// Headers by name, in any case; `@request.auth.claims.NAME` is a claim of the request's token.
    pub headers: BTreeMap<String, StringMatch>,
    /// Headers that must not be so.
    pub without_headers: BTreeMap<String, StringMatch>,
    /// Query parameters by name; the first of that name counts.
    pub query_params: BTreeMap<String, StringMatch>,
    /// Compares `uri` without regard to case; a regex stays as it is.
    pub ignore_uri_case: bool,
    /// The port that the client connected to; 0 means any.
    pub port: u32,
    /// Labels of the client's workload.
    pub source_labels: Labels,
    /// The client's namespace; empty means any.
    pub source_namespace: String,
    /// The gateways for which this condition holds; none means the VirtualService's.
    pub gateways: Vec<String>,
    /// The name of the statistics of matching requests; empty means none of their own.
    pub stat_prefix: String,
}

/// The header name that stands for claims of the request's token.
const JWT_CLAIMS: &str = "@request.auth.claims";

/// The way to a token's claim that a header name of the form `@request.auth.claims.a.b` or
/// `@request.auth.claims[a][b]` means; none for a header's name.
pub fn jwt_claim(header: &str) -> Option<Vec<&str>> {
    let start = header.get(..JWT_CLAIMS.len()).filter(|start| start.eq_ignore_ascii_case(JWT_CLAIMS))?;
    let rest = &header[start.len()..];
    if let Some(names) = rest.strip_prefix('.') {
        return Some(names.split('.').collect());
    }
    let names = rest.strip_prefix('[')?.strip_suffix(']')?;
    Some(names.split("][").collect())
}

/// One destination of an HTTP rule.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRouteDestination {
    /// The service.
    pub destination: Option<Destination>,
    /// Its share among the rule's destinations, relative to their sum; a single one gets all.
    pub weight: i32,
    /// Changes to the headers of what goes there.
    pub headers: Option<Headers>,
}

/// One destination of a TLS or TCP rule.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RouteDestination {
    /// The service.
    pub destination: Option<Destination>,
    /// Its share among the rule's destinations, relative to their sum; a single one gets all.
    pub weight: i32,
}

/// One rule for TLS that is passed through.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TlsRoute {
    /// When it applies: one of these must match.
    pub r#match: Vec<TlsMatchAttributes>,
    /// Where the connection goes; with several, by weight.
    pub route: Vec<RouteDestination>,
}

/// A condition on a TLS connection: all that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TlsMatchAttributes {
    /// The server names that the client may ask for; each must lie within the VirtualService's hosts.
    pub sni_hosts: Vec<String>,
    /// Addresses or networks that the client connected to.
    pub destination_subnets: Vec<String>,
    /// The port that the client connected to; 0 means any.
    pub port: u32,
    /// Labels of the client's workload.
    pub source_labels: Labels,
    /// The gateways for which this condition holds; none means the VirtualService's.
    pub gateways: Vec<String>,
    /// The client's namespace; empty means any.
    pub source_namespace: String,
}

/// One rule for TCP.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TcpRoute {
    /// When it applies: one of these must match; none means always.
    pub r#match: Vec<L4MatchAttributes>,
    /// Where the connection goes; with several, by weight.
    pub route: Vec<RouteDestination>,
}

/// A condition on a TCP connection: all that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct L4MatchAttributes {
    /// Addresses or networks that the client connected to.
    pub destination_subnets: Vec<String>,
    /// The port that the client connected to; 0 means any.
    pub port: u32,
    /// The client's network. Neither Istio nor Weir carries it out.
    pub source_subnet: String,
    /// Labels of the client's workload.
    pub source_labels: Labels,
    /// The gateways for which this condition holds; none means the VirtualService's.
    pub gateways: Vec<String>,
    /// The client's namespace; empty means any.
    pub source_namespace: String,
}

#[cfg(test)]
mod tests {
    use super::jwt_claim;

    #[test]
    fn claims_are_told_from_headers() {
        for (header, claim) in [
            ("@request.auth.claims.sub", Some(vec!["sub"])),
            ("@request.auth.claims.a.b", Some(vec!["a", "b"])),
            ("@request.auth.claims[a.b][c]", Some(vec!["a.b", "c"])),
            ("@REQUEST.auth.claims.sub", Some(vec!["sub"])),
            ("@request.auth.claims", None),
            ("@request.auth.claimsx", None),
            ("@request.auth.claims[a", None),
            ("end-user", None),
            ("é", None),
        ] {
            assert_eq!(jwt_claim(header), claim, "{header}");
        }
    }
}
