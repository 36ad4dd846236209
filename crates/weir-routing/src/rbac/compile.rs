//! From Envoy's permissions and principals to conditions. Whatever is not understood is refused: it may be there to keep
//! somebody out.

use weir_xds::core::TypedExtensionConfig;
use weir_xds::matcher::filter_state_matcher::Matcher as StateMatcher;
use weir_xds::matcher::path_matcher::Rule as PathRule;
use weir_xds::matcher::{FilterStateMatcher, MetadataMatcher, PathMatcher};
use weir_xds::rbac::permission::Rule;
use weir_xds::rbac::principal::{Authenticated, Identifier};
use weir_xds::rbac::{MetadataSource, Permission, Principal, SourcedMetadata, permission, principal};
use weir_xds::types::Int32Range;

use super::address::{AddressIn, Which};
use super::condition::Condition;
use super::principal::PrincipalMatch;
use super::template::PathTemplate;
use crate::condition::HeaderCondition;
use crate::error::CompileError;
use crate::metadata_match::MetadataMatch;
use crate::text_match::TextMatch;

/// So deep may conditions stand within each other.
const DEEPEST: usize = 32;

/// The state in which Istio's proxies keep the client's name.
const PEER_PRINCIPAL: &str = "io.istio.peer_principal";

/// One of these permissions.
pub(super) fn permissions(permissions: &[Permission]) -> Result<Condition, CompileError> {
    each(permissions, |one| permission(one, DEEPEST)).map(Condition::any)
}

/// One of these principals.
pub(super) fn principals(principals: &[Principal]) -> Result<Condition, CompileError> {
    each(principals, |one| principal(one, DEEPEST)).map(Condition::any)
}

/// As with Envoy none is too few: nobody could say what it means.
fn each<T>(all: &[T], compile: impl Fn(&T) -> Result<Condition, CompileError>) -> Result<Vec<Condition>, CompileError> {
    if all.is_empty() {
        return Err(CompileError::new("", "must have one or more"));
    }
    all.iter().enumerate().map(|(i, one)| compile(one).map_err(|error| error.within(&format!("[{i}]")))).collect()
}

fn deeper(deep: usize) -> Result<usize, CompileError> {
    deep.checked_sub(1).ok_or_else(|| CompileError::new("", "stands too deep"))
}

fn permission(permission: &Permission, deep: usize) -> Result<Condition, CompileError> {
    let deep = deeper(deep)?;
    let Permission { rule } = permission;
    let set = |permission::Set { rules }: &permission::Set| each(rules, |one| self::permission(one, deep));
    #[allow(deprecated, reason = "Istio still writes `metadata`")]
    match rule.as_ref().ok_or_else(|| CompileError::missing("rule"))? {
        Rule::AndRules(rules) => set(rules).map(Condition::all).map_err(|error| error.within("and_rules.rules")),
        Rule::OrRules(rules) => set(rules).map(Condition::any).map_err(|error| error.within("or_rules.rules")),
        Rule::Any(any) => always(*any),
        Rule::Header(header) => HeaderCondition::compile(header).map(Condition::Header).map_err(|error| error.within("header")),
        Rule::UrlPath(path) => url_path(path),
        Rule::DestinationIp(range) => {
            AddressIn::compile(Which::Local, range).map(Condition::Address).map_err(|error| error.within("destination_ip"))
        }
        Rule::DestinationPort(port) if *port > 65_535 => Err(CompileError::new("destination_port", "must be 65535 or less")),
        Rule::DestinationPort(port) => Ok(Condition::Port(*port, *port + 1)),
        Rule::DestinationPortRange(range) => port_range(range).map_err(|error| error.within("destination_port_range")),
        Rule::Metadata(matcher) => metadata(matcher),
        Rule::SourcedMetadata(sourced) => sourced_metadata(sourced),
        Rule::NotRule(not) => {
            let not = self::permission(not, deep).map_err(|error| error.within("not_rule"))?;
            Ok(Condition::Not(Box::new(not)))
        }
        Rule::RequestedServerName(name) => {
            TextMatch::compile(name).map(Condition::ServerName).map_err(|error| error.within("requested_server_name"))
        }
        Rule::UriTemplate(template) => {
            PathTemplate::compile(template).map(Condition::Template).map_err(|error| error.within("uri_template"))
        }
        Rule::Matcher(extension) => Err(unsupported("matcher", extension)),
    }
}

fn principal(principal: &Principal, deep: usize) -> Result<Condition, CompileError> {
    let deep = deeper(deep)?;
    let Principal { identifier } = principal;
    let set = |principal::Set { ids }: &principal::Set| each(ids, |one| self::principal(one, deep));
    let address = |which, range, field: &str| AddressIn::compile(which, range).map(Condition::Address).map_err(|error| error.within(field));
    #[allow(deprecated, reason = "older control planes still write `source_ip`, and Istio `metadata`")]
    match identifier.as_ref().ok_or_else(|| CompileError::missing("identifier"))? {
        Identifier::AndIds(ids) => set(ids).map(Condition::all).map_err(|error| error.within("and_ids.ids")),
        Identifier::OrIds(ids) => set(ids).map(Condition::any).map_err(|error| error.within("or_ids.ids")),
        Identifier::Any(any) => always(*any),
        Identifier::Authenticated(Authenticated { principal_name }) => match principal_name {
            None => Ok(Condition::Principal(PrincipalMatch::AnyTls)),
            Some(name) => {
                PrincipalMatch::compile(name).map(Condition::Principal).map_err(|error| error.within("authenticated.principal_name"))
            }
        },
        // What a connection is told to come from is not its own address.
        Identifier::SourceIp(range) => address(Which::DirectRemote, range, "source_ip"),
        Identifier::DirectRemoteIp(range) => address(Which::DirectRemote, range, "direct_remote_ip"),
        Identifier::RemoteIp(range) => address(Which::Remote, range, "remote_ip"),
        Identifier::Header(header) => HeaderCondition::compile(header).map(Condition::Header).map_err(|error| error.within("header")),
        Identifier::UrlPath(path) => url_path(path),
        Identifier::Metadata(matcher) => metadata(matcher),
        Identifier::SourcedMetadata(sourced) => sourced_metadata(sourced),
        Identifier::FilterState(state) => filter_state(state).map_err(|error| error.within("filter_state")),
        Identifier::NotId(not) => {
            let not = self::principal(not, deep).map_err(|error| error.within("not_id"))?;
            Ok(Condition::Not(Box::new(not)))
        }
        Identifier::Custom(extension) => Err(unsupported("custom", extension)),
    }
}

fn unsupported(field: &str, extension: &TypedExtensionConfig) -> CompileError {
    let kind = extension.typed_config.as_ref().map_or("", |config| config.type_name());
    CompileError::new(field, format!("the type `{kind}` is not supported"))
}

/// Envoy takes `any` for nothing but true.
fn always(any: bool) -> Result<Condition, CompileError> {
    if any { Ok(Condition::Always) } else { Err(CompileError::new("any", "must be true")) }
}

fn url_path(path: &PathMatcher) -> Result<Condition, CompileError> {
    let PathMatcher { rule } = path;
    match rule {
        Some(PathRule::Path(text)) => TextMatch::compile(text).map(Condition::Path).map_err(|error| error.within("url_path.path")),
        None => Err(CompileError::missing("url_path.rule")),
    }
}

fn port_range(range: &Int32Range) -> Result<Condition, CompileError> {
    let Int32Range { start, end } = range;
    match (u32::try_from(*start), u32::try_from(*end)) {
        (Ok(start), Ok(end)) if start < end && end <= 65_536 => Ok(Condition::Port(start, end)),
        _ => Err(CompileError::new("", format!("from {start} to {end} is no range of ports"))),
    }
}

fn metadata(matcher: &MetadataMatcher) -> Result<Condition, CompileError> {
    MetadataMatch::compile(matcher).map(Condition::Metadata).map_err(|error| error.within("metadata"))
}

fn sourced_metadata(sourced: &SourcedMetadata) -> Result<Condition, CompileError> {
    let SourcedMetadata { metadata_matcher, metadata_source: _ } = sourced;
    let matcher = metadata_matcher.as_ref().ok_or_else(|| CompileError::missing("sourced_metadata.metadata_matcher"))?;
    let matcher = MetadataMatch::compile(matcher).map_err(|error| error.within("sourced_metadata.metadata_matcher"))?;
    Ok(match sourced.metadata_source() {
        MetadataSource::Dynamic => Condition::Metadata(matcher),
        MetadataSource::Route => Condition::OfRoute(matcher),
    })
}

/// Of the state that filters keep there is the client's name alone.
fn filter_state(state: &FilterStateMatcher) -> Result<Condition, CompileError> {
    let FilterStateMatcher { key, matcher } = state;
    match matcher {
        Some(StateMatcher::StringMatch(text)) if key == PEER_PRINCIPAL => {
            TextMatch::compile(text).map(PrincipalMatch::State).map(Condition::Principal)
        }
        Some(_) => Err(CompileError::new("key", format!("no filter leaves the state `{key}`"))),
        None => Err(CompileError::missing("matcher")),
    }
}
