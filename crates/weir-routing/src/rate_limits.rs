//! Which rate limits a request counts towards: the `rate_limits` of routes, virtual hosts and filters, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto#config-route-v3-ratelimit>).
//!
//! Each makes one descriptor of a request, a list of keys and values, or none.

use std::net::IpAddr;

use ipnet::IpNet;
use smallvec::SmallVec;
use weir_xds::envoy::r#type::metadata::v3::MetadataKey;
use weir_xds::envoy::r#type::metadata::v3::metadata_key::PathSegment;
use weir_xds::envoy::r#type::metadata::v3::metadata_key::path_segment::Segment;
use weir_xds::matcher::AddressMatcher;
use weir_xds::prost_types::Struct;
use weir_xds::prost_types::value::Kind;
use weir_xds::route::RateLimit as XdsRateLimit;
use weir_xds::route::rate_limit::action::{
    ActionSpecifier, GenericKey, HeaderValueMatch, MaskedRemoteAddress, MetaData, QueryParameterValueMatch, QueryParameters,
    RemoteAddressMatch, RequestHeaders, meta_data,
};
use weir_xds::route::rate_limit::{Action as XdsAction, HitsAddend, XRateLimitOption};

use crate::condition::{HeaderCondition, QueryCondition, Subject};
use crate::dynamic_metadata::DynamicMetadata;
use crate::error::CompileError;
use crate::filter_metadata::FilterMetadata;
use crate::metadata_match;
use crate::query::Query;
use crate::request::RequestHead;
use crate::template::Template;

/// What a request counts towards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// What it consists of.
    pub entries: SmallVec<[Entry; 2]>,
    /// How often it counts, where that is said.
    pub hits: Option<u64>,
    /// Whether the client is told what is left, where this and not the filter says so.
    pub tell: Option<bool>,
}

/// A part of a descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    /// What is counted.
    pub key: Box<str>,
    /// Which of it.
    pub value: Box<[u8]>,
}

impl Entry {
    pub(crate) fn new(key: &str, value: &[u8]) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

/// A request that lacks what an action needs has no descriptor.
struct Lacking;

/// One of a list of rate limits.
#[derive(Debug, Clone)]
pub struct RateLimit {
    /// The filters that it is for: those of the same stage.
    pub stage: u32,
    /// Whether it has a key by which it could be switched off.
    pub has_key: bool,
    actions: Box<[Action]>,
    hits: Option<u64>,
    tell: Option<bool>,
}

/// What descriptors are made of.
#[derive(Debug, Clone, Copy)]
pub struct Counted<'a> {
    /// The request.
    pub head: &'a RequestHead<'a>,
    /// The client's address.
    pub client: IpAddr,
    /// The cluster that it goes to.
    pub cluster: Option<&'a str>,
    /// The cluster that this proxy is of.
    pub own_cluster: &'a str,
    /// What filters have left of it.
    pub known: &'a DynamicMetadata,
    /// What its route says of itself.
    pub route: Option<&'a FilterMetadata>,
}

/// Makes one entry.
#[derive(Debug, Clone)]
enum Action {
    SourceCluster,
    DestinationCluster,
    Header { header: Subject, key: Box<str>, optional: bool },
    Parameter { name: Box<str>, key: Box<str>, optional: bool },
    Client,
    ClientNet { v4: u8, v6: u8 },
    Fixed(Fixed),
    IfHeaders { entry: Fixed, expected: bool, headers: Box<[HeaderCondition]> },
    IfParameters { entry: Fixed, expected: bool, parameters: Box<[QueryCondition]> },
    IfClient { entry: Fixed, expected: bool, nets: Box<[IpNet]> },
    Metadata { place: MetadataPlace, key: Box<str>, default: Box<str>, optional: bool },
}

/// Where a value stands in metadata.
#[derive(Debug, Clone)]
struct MetadataPlace {
    /// Whether in that of the route, and not in what filters have left.
    of_route: bool,
    namespace: Box<str>,
    path: Box<[Box<str>]>,
}

/// Always the same entry.
#[derive(Debug, Clone)]
struct Fixed(Entry);

/// Who a list of rate limits belongs to. A filter's may not have all properties that a route's may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Route,
    Filter,
}

/// Compiles a list of rate limits.
pub(crate) fn compile(limits: &[XdsRateLimit], owner: Owner) -> Result<Box<[RateLimit]>, CompileError> {
    let compile = |(i, limit)| RateLimit::compile(limit, owner).map_err(|error| error.within(&format!("rate_limits[{i}]")));
    limits.iter().enumerate().map(compile).collect()
}

impl RateLimit {
    fn compile(limit: &XdsRateLimit, owner: Owner) -> Result<Self, CompileError> {
        let XdsRateLimit { stage, disable_key, actions, limit: r#override, hits_addend, apply_on_stream_done, x_ratelimit_option: _ } =
            limit;
        let forbidden = [(stage.is_some(), "stage"), (!disable_key.is_empty(), "disable_key"), (r#override.is_some(), "limit")];
        if let Some((_, field)) = forbidden.iter().find(|(is_set, _)| *is_set && owner == Owner::Filter) {
            return Err(CompileError::new(*field, "may not be set here"));
        }
        if *apply_on_stream_done {
            return Err(CompileError::unsupported("apply_on_stream_done"));
        }
        let stage = stage.unwrap_or(0);
        if stage > 10 {
            return Err(CompileError::new("stage", "must be at most 10"));
        }
        if actions.is_empty() {
            return Err(CompileError::missing("actions"));
        }
        let actions = actions.iter().enumerate();
        let actions = actions.map(|(i, action)| Action::compile(action).map_err(|error| error.within(&format!("actions[{i}]"))));
        Ok(Self {
            stage,
            has_key: !disable_key.is_empty(),
            actions: actions.collect::<Result<_, _>>()?,
            hits: hits_addend.as_ref().map_or(Ok(None), |addend| hits(addend, owner)).map_err(|error| error.within("hits_addend"))?,
            tell: match limit.x_ratelimit_option() {
                XRateLimitOption::Unspecified => None,
                XRateLimitOption::Off => Some(false),
                XRateLimitOption::DraftVersion03 => Some(true),
            },
        })
    }

    /// The descriptor of a request, if each action makes its entry or may be passed over.
    pub fn descriptor(&self, counted: &Counted<'_>) -> Option<Descriptor> {
        let mut entries = SmallVec::new();
        for action in &self.actions {
            entries.extend(action.entry(counted).ok()?);
        }
        Some(Descriptor { entries, hits: self.hits, tell: self.tell })
    }
}

fn hits(addend: &HitsAddend, owner: Owner) -> Result<Option<u64>, CompileError> {
    let HitsAddend { number, format, is_negative_hits } = addend;
    if !format.is_empty() {
        return Err(CompileError::unsupported("format"));
    }
    if *is_negative_hits {
        return Err(CompileError::unsupported("is_negative_hits"));
    }
    match number {
        Some(number) if *number <= 1_000_000_000 => Ok(Some(*number)),
        Some(_) => Err(CompileError::new("number", "must be at most 1000000000")),
        None if owner == Owner::Route => Ok(None),
        None => Err(CompileError::missing("number")),
    }
}

impl Action {
    #[allow(deprecated)] // Refused by Envoy as well.
    fn compile(action: &XdsAction) -> Result<Self, CompileError> {
        let XdsAction { action_specifier } = action;
        match action_specifier {
            Some(ActionSpecifier::SourceCluster(_)) => Ok(Self::SourceCluster),
            Some(ActionSpecifier::DestinationCluster(_)) => Ok(Self::DestinationCluster),
            Some(ActionSpecifier::RemoteAddress(_)) => Ok(Self::Client),
            Some(ActionSpecifier::RequestHeaders(RequestHeaders { header_name, descriptor_key, skip_if_absent })) => Ok(Self::Header {
                header: Subject::parse(header_name).map_err(|error| error.within("request_headers"))?,
                key: filled(descriptor_key, "request_headers.descriptor_key")?,
                optional: *skip_if_absent,
            }),
            Some(ActionSpecifier::QueryParameters(QueryParameters { query_parameter_name, descriptor_key, skip_if_absent })) => {
                Ok(Self::Parameter {
                    name: filled(query_parameter_name, "query_parameters.query_parameter_name")?,
                    key: filled(descriptor_key, "query_parameters.descriptor_key")?,
                    optional: *skip_if_absent,
                })
            }
            Some(ActionSpecifier::MaskedRemoteAddress(MaskedRemoteAddress { v4_prefix_mask_len, v6_prefix_mask_len })) => {
                Ok(Self::ClientNet { v4: mask(*v4_prefix_mask_len, 32, "v4")?, v6: mask(*v6_prefix_mask_len, 128, "v6")? })
            }
            Some(ActionSpecifier::GenericKey(GenericKey { descriptor_value, default_value: _, descriptor_key })) => {
                Fixed::compile(descriptor_key, "generic_key", descriptor_value).map(Self::Fixed)
            }
            Some(ActionSpecifier::HeaderValueMatch(action)) => Self::if_headers(action).map_err(|error| error.within("header_value_match")),
            Some(ActionSpecifier::QueryParameterValueMatch(action)) => {
                Self::if_parameters(action).map_err(|error| error.within("query_parameter_value_match"))
            }
            Some(ActionSpecifier::RemoteAddressMatch(action)) => {
                Self::if_client(action).map_err(|error| error.within("remote_address_match"))
            }
            Some(ActionSpecifier::DynamicMetadata(_)) => Err(CompileError::unsupported("dynamic_metadata")),
            Some(ActionSpecifier::Metadata(action)) => Self::metadata(action).map_err(|error| error.within("metadata")),
            Some(ActionSpecifier::Extension(_)) => Err(CompileError::unsupported("extension")),
            None => Err(CompileError::missing("action_specifier")),
        }
    }

    fn if_headers(action: &HeaderValueMatch) -> Result<Self, CompileError> {
        let HeaderValueMatch { descriptor_value, default_value: _, descriptor_key, expect_match, headers } = action;
        Ok(Self::IfHeaders {
            entry: Fixed::compile(descriptor_key, "header_match", descriptor_value)?,
            expected: expect_match.unwrap_or(true),
            headers: all(headers, "headers", HeaderCondition::compile)?,
        })
    }

    fn if_parameters(action: &QueryParameterValueMatch) -> Result<Self, CompileError> {
        let QueryParameterValueMatch { descriptor_value, default_value: _, descriptor_key, expect_match, query_parameters } = action;
        Ok(Self::IfParameters {
            entry: Fixed::compile(descriptor_key, "query_match", descriptor_value)?,
            expected: expect_match.unwrap_or(true),
            parameters: all(query_parameters, "query_parameters", QueryCondition::compile)?,
        })
    }

    fn if_client(action: &RemoteAddressMatch) -> Result<Self, CompileError> {
        let RemoteAddressMatch { descriptor_value, descriptor_key, default_value: _, address_matcher } = action;
        // Of all actions only this one reads its value as a format.
        let template = Template::compile(descriptor_value).map_err(|error| error.within("descriptor_value"))?;
        if template.literal().is_none() {
            return Err(CompileError::new("descriptor_value", "operators are not supported"));
        }
        let AddressMatcher { ranges, invert_match } = address_matcher.as_ref().ok_or_else(|| CompileError::missing("address_matcher"))?;
        Ok(Self::IfClient {
            entry: Fixed::compile(descriptor_key, "remote_address_match", &descriptor_value.replace("%%", "%"))?,
            expected: !invert_match,
            nets: all(ranges, "address_matcher.ranges", |range| net(&range.address_prefix, range.prefix_len))?,
        })
    }

    fn metadata(action: &MetaData) -> Result<Self, CompileError> {
        let MetaData { descriptor_key, metadata_key, default_value, source: _, skip_if_absent } = action;
        let of_route = match action.source() {
            meta_data::Source::Dynamic => false,
            meta_data::Source::RouteEntry => true,
            meta_data::Source::ClusterEntry | meta_data::Source::ClusterLocalityEntry => return Err(CompileError::unsupported("source")),
        };
        let MetadataKey { key, path } = metadata_key.as_ref().ok_or_else(|| CompileError::missing("metadata_key"))?;
        Ok(Self::Metadata {
            place: MetadataPlace {
                of_route,
                namespace: filled(key, "metadata_key.key")?,
                path: all(path, "metadata_key.path", |PathSegment { segment }| match segment {
                    Some(Segment::Key(key)) => filled(key, "key"),
                    Some(Segment::Index(_)) => Err(CompileError::unsupported("index")),
                    None => Err(CompileError::missing("segment")),
                })?,
            },
            key: filled(descriptor_key, "descriptor_key")?,
            default: default_value.as_str().into(),
            optional: *skip_if_absent,
        })
    }

    /// The entry, where there is one or must be one.
    fn entry(&self, counted: &Counted<'_>) -> Result<Option<Entry>, Lacking> {
        let named = |key: &str, value: &[u8]| Ok(Some(Entry::new(key, value)));
        let optional = |optional: bool| if optional { Ok(None) } else { Err(Lacking) };
        match self {
            Self::SourceCluster => named("source_cluster", counted.own_cluster.as_bytes()),
            Self::DestinationCluster => named("destination_cluster", counted.cluster.ok_or(Lacking)?.as_bytes()),
            Self::Header { header, key, optional: may_lack } => match first(header, counted.head) {
                Some(value) => named(key, value),
                None => optional(*may_lack),
            },
            Self::Parameter { name, key, optional: may_lack } => match Query::parse(counted.head.path).first(name.as_bytes()) {
                Some(value) => named(key, value),
                None => optional(*may_lack),
            },
            Self::Client => named("remote_address", counted.client.to_canonical().to_string().as_bytes()),
            Self::ClientNet { v4, v6 } => {
                let address = counted.client.to_canonical();
                let net = IpNet::new(address, if address.is_ipv4() { *v4 } else { *v6 }).map_err(|_| Lacking)?;
                named("masked_remote_address", net.trunc().to_string().as_bytes())
            }
            Self::Fixed(entry) => entry.when(true),
            Self::IfHeaders { entry, expected, headers } => {
                entry.when(headers.iter().all(|header| header.holds(counted.head)) == *expected)
            }
            Self::IfParameters { entry, expected, parameters } => {
                let query = Query::parse(counted.head.path);
                entry.when(parameters.iter().all(|parameter| parameter.holds_for(query.first(parameter.name.as_bytes()))) == *expected)
            }
            Self::IfClient { entry, expected, nets } => {
                let address = counted.client.to_canonical();
                entry.when(nets.iter().any(|net| net.contains(&address)) == *expected)
            }
            Self::Metadata { place, key, default, optional: may_lack } => {
                let value = place.text(counted).filter(|text| !text.is_empty()).unwrap_or(default);
                if value.is_empty() { optional(*may_lack) } else { named(key, value.as_bytes()) }
            }
        }
    }
}

impl MetadataPlace {
    /// The text that stands there. What is no text counts for nothing.
    fn text<'a>(&self, counted: &Counted<'a>) -> Option<&'a str> {
        let fields: &'a Struct = match self.of_route {
            true => counted.route?.get(&self.namespace)?,
            false => counted.known.get(&*self.namespace)?,
        };
        match metadata_match::at(fields, &self.path)? {
            Kind::StringValue(text) => Some(text),
            _ => None,
        }
    }
}

impl Fixed {
    fn compile(key: &str, default_key: &str, value: &str) -> Result<Self, CompileError> {
        let key = if key.is_empty() { default_key } else { key };
        Ok(Self(Entry::new(key, filled(value, "descriptor_value")?.as_bytes())))
    }

    fn when(&self, holds: bool) -> Result<Option<Entry>, Lacking> {
        if holds { Ok(Some(self.0.clone())) } else { Err(Lacking) }
    }
}

fn net(address: &str, length: Option<u32>) -> Result<IpNet, CompileError> {
    let length = u8::try_from(length.unwrap_or(0)).ok();
    let net = address.parse().ok().zip(length).and_then(|(address, length)| IpNet::new(address, length).ok());
    net.ok_or_else(|| CompileError::new("", format!("`{address}` and its length are no range of addresses")))
}

fn filled(text: &str, field: &str) -> Result<Box<str>, CompileError> {
    if text.is_empty() { Err(CompileError::missing(field)) } else { Ok(text.into()) }
}

fn mask(length: Option<u32>, most: u8, version: &str) -> Result<u8, CompileError> {
    let length = u8::try_from(length.unwrap_or(most.into())).ok().filter(|length| *length <= most);
    length.ok_or_else(|| CompileError::new(format!("masked_remote_address.{version}_prefix_mask_len"), format!("must be at most {most}")))
}

/// All of a list, which may not be empty.
fn all<M, T>(list: &[M], field: &str, compile: impl Fn(&M) -> Result<T, CompileError>) -> Result<Box<[T]>, CompileError> {
    if list.is_empty() {
        return Err(CompileError::missing(field));
    }
    let compile = |(i, message)| compile(message).map_err(|error| error.within(&format!("{field}[{i}]")));
    list.iter().enumerate().map(compile).collect()
}

/// The first value of a header.
fn first<'h>(header: &Subject, head: &RequestHead<'h>) -> Option<&'h [u8]> {
    match header {
        Subject::Method => Some(head.method.as_bytes()),
        Subject::Authority => Some(head.authority.as_bytes()),
        Subject::Path => Some(head.path.as_bytes()),
        Subject::Scheme => Some(head.scheme.as_bytes()),
        Subject::Status => None,
        Subject::Header(name) => head.headers.get(name).map(weir_http1::HeaderValue::as_bytes),
    }
}

#[cfg(test)]
mod tests;
