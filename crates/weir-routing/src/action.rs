//! What becomes of a request that a route matched.

use std::sync::Arc;
use std::time::Duration;

use weir_http1::HeaderName;
use weir_xds::core::RoutingPriority;
use weir_xds::route::route::Action as XdsAction;
use weir_xds::route::route_action::{ClusterNotFoundResponseCode, HostRewriteSpecifier, UpgradeConfig};
use weir_xds::route::{DirectResponseAction, RouteAction};
use weir_xds::values::std_duration;

use crate::clusters::Clusters;
use crate::error::CompileError;
use crate::hash_policy::HashPolicy;
use crate::mirror::Mirror;
use crate::rate_limits::{self, Owner, RateLimit};
use crate::retry::RetryPolicy;
use crate::rewrite::{PathRewrite, Redirect};
use crate::shared::Shared;
use crate::source::text_of;
use crate::substitution::Substitution;
use crate::timeouts::Timeouts;

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Action {
    /// It is sent on to a cluster.
    Forward(Box<Forward>),
    /// The client is sent elsewhere.
    Redirect(Box<Redirect>),
    /// It is answered at once.
    Respond(DirectResponse),
}

/// An answer that the proxy gives itself.
#[derive(Debug, Clone)]
pub struct DirectResponse {
    /// The status code.
    pub status: u16,
    /// The body; empty for none.
    pub body: Box<[u8]>,
}

/// How a request is sent on.
#[derive(Debug, Clone)]
pub struct Forward {
    /// To which cluster.
    pub clusters: Clusters,
    /// The status code where the cluster does not exist.
    pub not_found_status: u16,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// How long nothing may be sent either way; nothing where the listener decides, zero for ever.
    pub idle_timeout: Option<Duration>,
    /// When and how often it is tried again.
    pub retry: Option<Arc<RetryPolicy>>,
    /// What becomes of the path.
    pub path: Option<PathRewrite>,
    /// What becomes of the authority.
    pub host: HostRewrite,
    /// Whether an authority that is rewritten is kept in `x-forwarded-host`.
    pub append_forwarded_host: bool,
    /// Copies that are sent elsewhere.
    pub mirrors: Box<[Mirror]>,
    /// What decides which instance gets it, where its like go to the same.
    pub hash: Box<[HashPolicy]>,
    /// What it counts towards, where filters do not say.
    pub rate_limits: Box<[RateLimit]>,
    /// Whether it counts towards those of the virtual host, too.
    pub include_host_rate_limits: bool,
    /// Whether WebSocket upgrades pass, where it is not left to the listener.
    pub websocket: Option<bool>,
    /// Which of a cluster's limits count.
    pub priority: Priority,
}

/// How important requests are. A cluster limits those of each priority for themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Priority {
    /// As all that nothing is said of.
    #[default]
    Usual,
    /// More.
    High,
}

/// How many priorities there are.
pub const PRIORITIES: usize = 2;

impl Priority {
    fn of(route: &RouteAction) -> Self {
        match route.priority() {
            RoutingPriority::Default => Self::Usual,
            RoutingPriority::High => Self::High,
        }
    }
}

/// What becomes of the authority.
#[derive(Debug, Clone, Default)]
pub enum HostRewrite {
    /// It stays.
    #[default]
    Keep,
    /// It becomes this.
    To(Box<str>),
    /// It becomes the host name of the instance that was chosen.
    OfInstance,
    /// It becomes what a header says.
    OfHeader(HeaderName),
    /// It becomes what a substitution makes of the path.
    OfPath(Box<Substitution>),
}

impl Action {
    pub(crate) fn compile(action: Option<&XdsAction>, shared: &mut Shared) -> Result<Self, CompileError> {
        match action {
            Some(XdsAction::Route(route)) => {
                let forward = Forward::compile(route, shared).map_err(|error| error.within("route"))?;
                Ok(Self::Forward(Box::new(forward)))
            }
            Some(XdsAction::Redirect(redirect)) => {
                let redirect = Redirect::compile(redirect).map_err(|error| error.within("redirect"))?;
                Ok(Self::Redirect(Box::new(redirect)))
            }
            Some(XdsAction::DirectResponse(response)) => {
                DirectResponse::compile(response, shared.max_body).map(Self::Respond).map_err(|error| error.within("direct_response"))
            }
            Some(XdsAction::FilterAction(_) | XdsAction::NonForwardingAction(_)) => Err(CompileError::unsupported("action")),
            None => Err(CompileError::missing("action")),
        }
    }
}

impl DirectResponse {
    fn compile(response: &DirectResponseAction, max_body: usize) -> Result<Self, CompileError> {
        // It is reported as not carried out; but one that says nothing Envoy refuses.
        let DirectResponseAction { status, body, body_format } = response;
        if body_format.as_ref().is_some_and(|format| format.format.is_none()) {
            return Err(CompileError::missing("body_format.format"));
        }
        let status = u16::try_from(*status).ok().filter(|status| (200..600).contains(status));
        let status = status.ok_or_else(|| CompileError::new("status", format!("{} is no status code of an answer", response.status)))?;
        let body = body.as_ref().map(text_of).transpose().map_err(|error| error.within("body"))?.unwrap_or_default();
        if body.len() > max_body {
            return Err(CompileError::new("body", format!("has {} bytes, and at most {max_body} are allowed", body.len())));
        }
        Ok(Self { status, body })
    }
}

impl Forward {
    #[allow(deprecated)] // Older control planes send the old forms.
    fn compile(route: &RouteAction, shared: &mut Shared) -> Result<Self, CompileError> {
        let RouteAction {
            cluster_specifier: _,
            cluster_not_found_response_code: _,
            prefix_rewrite: _,
            regex_rewrite: _,
            path_rewrite_policy: _,
            path_rewrite: _,
            host_rewrite_specifier,
            append_x_forwarded_host,
            timeout: _,
            max_stream_duration: _,
            max_grpc_timeout: _,
            grpc_timeout_offset: _,
            idle_timeout,
            retry_policy,
            request_mirror_policies,
            hash_policy,
            upgrade_configs,
            rate_limits,
            include_vh_rate_limits,
            // This changes nothing that a client or an instance could see: there is no early data.
            early_data_policy: _,
            priority: _,
            // These are reported as not carried out.
            metadata_match: _,
            flush_timeout: _,
            retry_policy_typed_config: _,
            cors: _,
            internal_redirect_policy: _,
            internal_redirect_action: _,
            max_internal_redirects: _,
            hedge_policy: _,
        } = route;
        Ok(Self {
            clusters: Clusters::compile(route, shared)?,
            not_found_status: match route.cluster_not_found_response_code() {
                ClusterNotFoundResponseCode::ServiceUnavailable => 503,
                ClusterNotFoundResponseCode::NotFound => 404,
                ClusterNotFoundResponseCode::InternalServerError => 500,
            },
            timeouts: Timeouts::compile(route),
            idle_timeout: idle_timeout.as_ref().map(std_duration),
            retry: shared.retry(retry_policy.as_ref()).map_err(|error| error.within("retry_policy"))?,
            path: path_rewrite(route)?,
            host: HostRewrite::compile(host_rewrite_specifier.as_ref())?,
            append_forwarded_host: *append_x_forwarded_host,
            mirrors: Mirror::all(request_mirror_policies, shared)?,
            hash: hash_policy.iter().map(HashPolicy::compile).collect::<Result<_, _>>().map_err(|error| error.within("hash_policy"))?,
            websocket: websocket(upgrade_configs)?,
            rate_limits: rate_limits::compile(rate_limits, Owner::Route)?,
            include_host_rate_limits: include_vh_rate_limits.unwrap_or(false),
            priority: Priority::of(route),
        })
    }
}

/// What becomes of the path; only one field may say it.
fn path_rewrite(route: &RouteAction) -> Result<Option<PathRewrite>, CompileError> {
    // A request must not arrive under another path than the route says.
    if route.path_rewrite_policy.is_some() {
        return Err(CompileError::unsupported("path_rewrite_policy"));
    }
    if !route.path_rewrite.is_empty() {
        return Err(CompileError::unsupported("path_rewrite"));
    }
    match (&route.regex_rewrite, route.prefix_rewrite.as_str()) {
        (Some(rewrite), "") => {
            let substitution = Substitution::compile(rewrite).map_err(|error| error.within("regex_rewrite"))?;
            Ok(Some(PathRewrite::Regex(Box::new(substitution))))
        }
        (Some(_), _) => Err(CompileError::new("prefix_rewrite", "only one of prefix_rewrite and regex_rewrite may be given")),
        (None, "") => Ok(None),
        (None, prefix) if !prefix.starts_with('/') => Err(CompileError::new("prefix_rewrite", "must begin with `/`, or it makes no path")),
        (None, prefix) => Ok(Some(PathRewrite::Matched(prefix.into()))),
    }
}

impl HostRewrite {
    fn compile(specifier: Option<&HostRewriteSpecifier>) -> Result<Self, CompileError> {
        Ok(match specifier {
            None | Some(HostRewriteSpecifier::AutoHostRewrite(false)) => Self::Keep,
            Some(HostRewriteSpecifier::AutoHostRewrite(true)) => Self::OfInstance,
            Some(HostRewriteSpecifier::HostRewriteLiteral(host)) if host.is_empty() => Self::Keep,
            Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => Self::To(host.as_str().into()),
            Some(HostRewriteSpecifier::HostRewriteHeader(name)) if name.is_empty() => Self::Keep,
            Some(HostRewriteSpecifier::HostRewriteHeader(name)) => Self::OfHeader(
                HeaderName::try_from(name.as_str())
                    .map_err(|_| CompileError::new("host_rewrite_header", format!("`{name}` is no name of a header")))?,
            ),
            Some(HostRewriteSpecifier::HostRewritePathRegex(rewrite)) => {
                let substitution = Substitution::compile(rewrite).map_err(|error| error.within("host_rewrite_path_regex"))?;
                Self::OfPath(Box::new(substitution))
            }
            Some(HostRewriteSpecifier::HostRewrite(_)) => return Err(CompileError::unsupported("host_rewrite")),
        })
    }
}

/// What a route says of upgrades to WebSocket; others never pass.
fn websocket(upgrades: &[UpgradeConfig]) -> Result<Option<bool>, CompileError> {
    let mut kinds = std::collections::HashSet::new();
    let mut websocket = None;
    for UpgradeConfig { upgrade_type, enabled, connect_config } in upgrades {
        let kind = upgrade_type.to_ascii_lowercase();
        let enabled = enabled.unwrap_or(true);
        let is_connect = matches!(kind.as_str(), "connect" | "connect-udp");
        if kind.is_empty() || (connect_config.is_some() && !is_connect) {
            return Err(CompileError::new("upgrade_configs", "has no type, or a configuration of another type"));
        }
        if kind == "websocket" {
            websocket = Some(enabled);
        } else if enabled {
            return Err(CompileError::unsupported(&format!("upgrade_configs[{kind}]")));
        }
        if !kinds.insert(kind) {
            return Err(CompileError::new("upgrade_configs", format!("`{upgrade_type}` is listed twice")));
        }
    }
    Ok(websocket)
}

#[cfg(test)]
mod tests {
    use weir_xds::core::DataSource;
    use weir_xds::core::data_source::Specifier;
    use weir_xds::matcher::{RegexMatchAndSubstitute, RegexMatcher};
    use weir_xds::route::route_action::ClusterSpecifier;

    use super::*;

    fn compile(route: RouteAction) -> Result<Forward, CompileError> {
        let cluster_specifier = route.cluster_specifier.or_else(|| Some(ClusterSpecifier::Cluster("a".into())));
        Forward::compile(&RouteAction { cluster_specifier, ..route }, &mut Shared::default())
    }

    #[test]
    fn what_would_change_the_way_of_a_request_and_is_not_carried_out_is_refused() {
        let regex = || RegexMatchAndSubstitute {
            pattern: Some(RegexMatcher { regex: "a".into(), ..Default::default() }),
            substitution: "b".into(),
        };
        let upgrade = |kind: &str, enabled| UpgradeConfig { upgrade_type: kind.into(), enabled, connect_config: None };
        let cases: Vec<(&str, RouteAction)> = vec![
            ("path_rewrite", RouteAction { path_rewrite: "/n".into(), ..Default::default() }),
            ("path_rewrite_policy", RouteAction { path_rewrite_policy: Some(Default::default()), ..Default::default() }),
            ("prefix_rewrite", RouteAction { prefix_rewrite: "/n".into(), regex_rewrite: Some(regex()), ..Default::default() }),
            ("prefix_rewrite", RouteAction { prefix_rewrite: "new".into(), ..Default::default() }),
            (
                "host_rewrite",
                RouteAction { host_rewrite_specifier: Some(HostRewriteSpecifier::HostRewrite("a".into())), ..Default::default() },
            ),
            (
                "cluster_specifier_plugin",
                RouteAction { cluster_specifier: Some(ClusterSpecifier::ClusterSpecifierPlugin("p".into())), ..Default::default() },
            ),
            ("upgrade_configs[other]", RouteAction { upgrade_configs: vec![upgrade("other", None)], ..Default::default() }),
            (
                "upgrade_configs",
                RouteAction { upgrade_configs: vec![upgrade("websocket", None), upgrade("WebSocket", None)], ..Default::default() },
            ),
        ];
        for (field, route) in cases {
            assert_eq!(compile(route).expect_err(field).path, field);
        }
        let websocket = |enabled| compile(RouteAction { upgrade_configs: vec![upgrade("WebSocket", enabled)], ..Default::default() });
        assert_eq!(websocket(None).expect("valid").websocket, Some(true));
        assert_eq!(websocket(Some(false)).expect("valid").websocket, Some(false));
    }

    #[test]
    fn an_answer_has_a_status_and_a_body_that_are_allowed() {
        let compile = |status, body: Option<Specifier>| {
            let body = body.map(|specifier| DataSource { specifier: Some(specifier), ..Default::default() });
            DirectResponse::compile(&DirectResponseAction { status, body, ..Default::default() }, 5)
        };
        let text = |text: &str| Some(Specifier::InlineString(text.into()));
        assert_eq!(&*compile(599, text("hello")).expect("valid").body, b"hello");
        for status in [0, 100, 199, 600] {
            assert!(compile(status, None).is_err(), "{status}");
        }
        assert!(compile(200, text("longer")).is_err());
        assert!(compile(200, Some(Specifier::Filename("/etc/passwd".into()))).is_err());
        assert!(compile(200, Some(Specifier::EnvironmentVariable("HOME".into()))).is_err());
        let unsaid = DirectResponseAction { status: 200, body_format: Some(Default::default()), ..Default::default() };
        assert_eq!(DirectResponse::compile(&unsaid, 5).expect_err("no format").path, "body_format.format");
    }
}
