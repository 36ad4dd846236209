//! The attributes of rules, as Envoy's permissions (of what is asked for) and principals (of who asks).

use weir_xds::matcher::path_matcher::Rule as PathRule;
use weir_xds::matcher::string_matcher::MatchPattern;
use weir_xds::matcher::{PathMatcher, StringMatcher, ValueMatcher};
use weir_xds::rbac::permission::Rule;
use weir_xds::rbac::principal::{Authenticated, Identifier};
use weir_xds::rbac::{Permission, Principal};

use super::matcher::{self, any_value, header, list_value, metadata, quoted, range, text, text_behind, text_value};
use super::tree::{Tree, permission, principal};

/// Where the filter that checks tokens leaves their claims.
const TOKENS: &str = "envoy.filters.http.jwt_authn";
const PAYLOAD: &str = "payload";
const SPIFFE: &str = "spiffe://";

/// Something of what is asked for.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    Host,
    Method,
    Path,
    Port,
    DestinationIp,
    ServerName,
    /// What a filter of Envoy's has left, by its name and a key.
    OfFilter(String, String),
}

/// Something of who asks.
#[derive(Debug, Clone)]
pub(super) enum Asking {
    Principal,
    TrustDomain,
    Namespace,
    /// Those without a namespace are of this one.
    ServiceAccount(String),
    SourceIp,
    RemoteIp,
    Header(String),
    RequestPrincipal,
    Claims(Vec<String>),
}

/// An attribute in the one tree or the other.
pub(super) trait Attribute {
    type Tree: Tree;

    /// Whether only requests have it.
    fn is_of_requests(&self) -> bool;

    /// Whether it has one of these values; none if one of them cannot be made out.
    fn any(&self, values: &[String]) -> Option<Self::Tree>;
}

fn any_of<T: Tree>(values: &[String], one: impl Fn(&str) -> Option<T>) -> Option<T> {
    let all: Vec<T> = values.iter().map(|value| one(value)).collect::<Option<_>>()?;
    (!all.is_empty()).then(|| T::any(all))
}

impl Attribute for Asked {
    type Tree = Permission;

    fn is_of_requests(&self) -> bool {
        matches!(self, Self::Host | Self::Method | Self::Path)
    }

    #[allow(deprecated, reason = "Istio writes `metadata`")]
    fn any(&self, values: &[String]) -> Option<Permission> {
        match self {
            Self::Host => any_of(values, |value| Some(permission(Rule::Header(header(":authority", value, true))))),
            Self::Method => any_of(values, |value| Some(permission(Rule::Header(header(":method", value, false))))),
            Self::Path => any_of(values, |value| Some(path(value))),
            Self::Port => any_of(values, |value| Some(permission(Rule::DestinationPort(value.parse().ok()?)))),
            Self::DestinationIp => any_of(values, |value| Some(permission(Rule::DestinationIp(range(value)?)))),
            Self::ServerName => any_of(values, |value| Some(permission(Rule::RequestedServerName(text(value))))),
            Self::OfFilter(filter, key) => {
                let value = any_value(values.iter().map(|value| of_filter(value)).collect());
                Some(permission(Rule::Metadata(metadata(filter, &[key], value))))
            }
        }
    }
}

fn path(value: &str) -> Permission {
    match matcher::is_template(value) {
        true => permission(Rule::UriTemplate(matcher::template(value))),
        false => permission(Rule::UrlPath(PathMatcher { rule: Some(PathRule::Path(text(value))) })),
    }
}

/// `[value]` is in a list.
fn of_filter(value: &str) -> ValueMatcher {
    match value.strip_prefix('[').and_then(|value| value.strip_suffix(']')) {
        Some(item) => list_value(text_value(text(item.trim_matches(['[', ']'])))),
        None => text_value(text(value)),
    }
}

impl Attribute for Asking {
    type Tree = Principal;

    fn is_of_requests(&self) -> bool {
        matches!(self, Self::Header(_) | Self::RequestPrincipal | Self::Claims(_))
    }

    fn any(&self, values: &[String]) -> Option<Principal> {
        match self {
            Self::Principal => any_of(values, |value| Some(authenticated(text_behind(SPIFFE, value)))),
            Self::TrustDomain => any_of(values, |value| Some(authenticated(trust_domain(value)))),
            Self::Namespace => any_of(values, |value| {
                let parts: Vec<String> = value.split('*').map(quoted).collect();
                Some(authenticated(matcher::regex(format!(".*/ns/{}/.*", parts.join(".*")))))
            }),
            Self::ServiceAccount(own) => any_of(values, |value| {
                let (namespace, account) = value.split_once('/').unwrap_or((own, value));
                let (namespace, account) = (quoted(namespace), quoted(account));
                Some(authenticated(matcher::regex(format!("spiffe://.+/ns/{namespace}/(.+/|)sa/{account}(/.+)?"))))
            }),
            Self::SourceIp => any_of(values, |value| Some(principal(Identifier::DirectRemoteIp(range(value)?)))),
            Self::RemoteIp => any_of(values, |value| Some(principal(Identifier::RemoteIp(range(value)?)))),
            Self::Header(name) => any_of(values, |value| Some(principal(Identifier::Header(header(name, value, false))))),
            Self::RequestPrincipal => {
                let mut all: Vec<Principal> = values.iter().map(|value| request_principal(value)).collect();
                match all.len() {
                    1 => all.pop(),
                    _ => Some(Principal::any(all)),
                }
            }
            Self::Claims(path) => Some(claim(path, values)),
        }
    }
}

fn authenticated(name: StringMatcher) -> Principal {
    principal(Identifier::Authenticated(Authenticated { principal_name: Some(name) }))
}

fn trust_domain(value: &str) -> StringMatcher {
    match value.split_once('*') {
        None => matcher::of(MatchPattern::Prefix(format!("{SPIFFE}{value}/"))),
        Some(("", "")) => matcher::of(MatchPattern::Prefix(SPIFFE.to_owned())),
        Some((before, after)) => matcher::regex(format!("{SPIFFE}{}[^/]*{}/.*", quoted(before), quoted(after))),
    }
}

#[allow(deprecated, reason = "Istio writes `metadata`")]
fn of_token(path: &[&str], value: ValueMatcher) -> Principal {
    let path: Vec<&str> = std::iter::once(PAYLOAD).chain(path.iter().copied()).collect();
    principal(Identifier::Metadata(metadata(TOKENS, &path, value)))
}

/// A claim that is a text, or a list with one, of these values.
fn claim(path: &[String], values: &[String]) -> Principal {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let value = || any_value(values.iter().map(|value| text_value(text(value))).collect());
    of_token(&path, any_value(vec![list_value(value()), value()]))
}

/// Issuer and subject of a token. An issuer may be a URL, so that the last `/` tells them apart.
fn request_principal(value: &str) -> Principal {
    let exact = |text: &str| matcher::of(MatchPattern::Exact(text.to_owned()));
    let suffix = |text: &str| matcher::of(MatchPattern::Suffix(text.to_owned()));
    let prefix = |text: &str| matcher::of(MatchPattern::Prefix(text.to_owned()));
    let (issuer, subject) = match (value.rsplit_once('/'), value.strip_prefix('*'), value.strip_suffix('*')) {
        _ if value == "*" => (matcher::present(), matcher::present()),
        (Some((issuer, subject)), Some(_), _) => {
            let rest = issuer.strip_prefix('*').unwrap_or(issuer);
            (if rest.is_empty() { matcher::present() } else { suffix(rest) }, exact(subject))
        }
        (None, Some(subject), _) => (matcher::present(), suffix(subject)),
        (Some((issuer, subject)), None, Some(_)) => {
            let rest = subject.strip_suffix('*').unwrap_or(subject);
            (exact(issuer), if rest.is_empty() { matcher::present() } else { prefix(rest) })
        }
        (None, None, Some(issuer)) => (prefix(issuer), matcher::present()),
        (Some((issuer, subject)), None, None) => (exact(issuer), exact(subject)),
        (None, None, None) => (exact(value), exact("")),
    };
    Principal::all(vec![of_token(&["iss"], text_value(issuer)), of_token(&["sub"], text_value(subject))])
}
