//! Requests that a service decides about: Envoy's external authorization filter, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/ext_authz_filter>).
//!
//! What is asked is made in [`question`], what is answered is understood in [`answer`], and what that changes in [`mutation`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weir_xds::core::RuntimeFeatureFlag;
use weir_xds::core::http_uri::HttpUpstreamType;
use weir_xds::core::{GrpcService as XdsGrpcService, HttpUri};
use weir_xds::ext_authz::check_settings::ServiceOverride;
use weir_xds::ext_authz::ext_authz::Services;
use weir_xds::ext_authz::ext_authz_per_route::Override as XdsOverride;
use weir_xds::ext_authz::{
    AuthorizationRequest, AuthorizationResponse, BufferSettings, CheckSettings as XdsSettings, ExtAuthz, ExtAuthzPerRoute,
    HttpService as XdsHttpService,
};

use super::counters::counters;
use super::service::{GrpcService, Names, check_version, limit, overwriting, status};
use super::{Policy, Share};
use crate::error::CompileError;
use crate::header_changes::HeaderChanges;
use crate::metadata_match::MetadataMatch;
use rules::MutationRules;

pub mod answer;
pub mod connections;
pub mod mutation;
pub mod question;
mod rules;

/// How long the service may take, where nothing is said.
const TIMEOUT: Duration = Duration::from_millis(200);

counters! {
    /// What services have said, or that they have failed.
    ExtAuthzCounters: ok denied error disabled failure_mode_allowed invalid
}

/// How requests are decided about.
#[derive(Debug, Clone)]
pub struct ExtAuthzPolicy {
    /// Who decides.
    pub service: Service,
    /// Whether requests pass where the service fails.
    pub allows_failure: bool,
    /// Whether the instance is told that.
    pub tells_failure: bool,
    /// How much of a request's body the service gets; none of it without.
    pub body: Option<BodyRules>,
    /// Whether a service of gRPC gets it as bytes, and not as a text.
    pub body_as_bytes: bool,
    /// Whether the route is found anew where the service changes the request.
    pub clears_route: bool,
    /// The status of the answer where the service fails.
    pub status_on_error: u16,
    /// Whether an answer of the service that asks for what cannot be is none.
    pub validates: bool,
    /// Which requests are decided about.
    pub enabled: Share,
    /// Of these those alone for which filters before have left this behind.
    pub enabled_metadata: Option<MetadataMatch>,
    /// Whether the others are refused.
    pub denies_others: bool,
    /// Whether the service gets the client's certificate.
    pub peer_certificate: bool,
    /// Whether it gets the name that the client asked for in its handshake.
    pub tls_session: bool,
    /// Whether it gets headers as they are: repeated, and of any bytes.
    pub raw_headers: bool,
    /// How much of the body of a refusal the client gets.
    pub most_denied: Option<usize>,
    /// Whether refusals count among the answers of the route's cluster.
    pub counts_denied: bool,
    /// Whether requests pass in any case.
    pub shadow: bool,
    /// Names it in statistics; may be empty.
    pub stat_prefix: Box<str>,
    /// What is counted of it.
    pub counted: Arc<ExtAuthzCounters>,
    /// Whether what the service tells of a request is left for other filters and logs.
    pub leaves_metadata: bool,
    /// Of what filters before have left, a service of gRPC gets these.
    told: Box<[Box<str>]>,
    /// Of what the route says of itself, these.
    told_of_route: Box<[Box<str>]>,
    /// The headers that the service gets; all of them without.
    allowed: Option<Names>,
    /// Those that it does not get.
    disallowed: Names,
    /// What the service may change.
    rules: Option<MutationRules>,
}

/// Who decides.
#[derive(Debug, Clone)]
pub enum Service {
    /// Whoever answers 200 to a request that is like the client's.
    Http(Box<HttpService>),
    /// A service of gRPC.
    Grpc(Box<GrpcService>, Option<Duration>),
}

/// A service that speaks HTTP.
#[derive(Debug, Clone)]
pub struct HttpService {
    /// Its cluster.
    pub cluster: Box<str>,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// What it gets besides the request's own headers.
    pub headers: HeaderChanges,
    path: PathRule,
    to_instance: Names,
    added_to_instance: Names,
    to_client: Option<Names>,
    to_client_on_success: Names,
    to_metadata: Names,
}

/// The path that the service is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PathRule {
    /// The request's, behind this.
    Prefix(Box<str>),
    /// This.
    Override(Box<str>),
}

/// How much of a body the service gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyRules {
    /// So many bytes.
    pub most: usize,
    /// Whether it gets the beginning of a longer one, which is refused otherwise.
    pub partial: bool,
}

/// What a route says of it.
#[derive(Debug, Clone)]
pub enum ExtAuthzOverride {
    /// Nobody is asked, or, if false, somebody is.
    Disabled(bool),
    /// Somebody is, in this way.
    Settings(Box<CheckSettings>),
}

/// How somebody is asked.
#[derive(Debug, Clone)]
pub struct CheckSettings {
    extensions: BTreeMap<String, String>,
    without_body: bool,
    body: Option<BodyRules>,
    service: Option<Service>,
}

impl Policy for ExtAuthzPolicy {
    type Message = ExtAuthz;

    fn compile(message: &ExtAuthz) -> Result<Self, CompileError> {
        let ExtAuthz {
            services,
            transport_api_version: _,
            failure_mode_allow,
            failure_mode_allow_header_add,
            with_request_body,
            clear_route_cache,
            status_on_error,
            validate_mutations,
            metadata_context_namespaces,
            route_metadata_context_namespaces,
            enable_dynamic_metadata_ingestion,
            // The service is told neither typed metadata nor state of filters; what is asked for is reported.
            typed_metadata_context_namespaces: _,
            route_typed_metadata_context_namespaces: _,
            filter_metadata: _,
            emit_filter_state_stats: _,
            emit_client_span: _,
            stat_prefix,
            bootstrap_metadata_labels_key: _,
            enforce_response_header_limits: _,
            filter_enabled,
            filter_enabled_metadata,
            deny_at_disable,
            include_peer_certificate,
            allowed_headers,
            disallowed_headers,
            include_tls_session,
            charge_cluster_response_stats,
            encode_raw_headers,
            decoder_header_mutation_rules,
            max_denied_response_body_bytes,
            shadow_mode,
        } = message;
        let enabled_metadata = filter_enabled_metadata.as_ref().map(MetadataMatch::compile).transpose();
        let allowed = Names::compile(allowed_headers.as_ref(), "allowed_headers")?;
        let service = match services {
            Some(Services::GrpcService(service)) => {
                check_version(message.transport_api_version())?;
                Service::grpc(service)?
            }
            Some(Services::HttpService(service)) => Service::http(service)?,
            None => return Err(CompileError::missing("services")),
        };
        let of_service = match services {
            Some(Services::HttpService(service)) => of_request(service, allowed.is_some())?,
            _ => None,
        };
        // A service of HTTP gets what it needs to understand a request, and no more.
        let usual = matches!(service, Service::Http(_)).then(Names::default);
        Ok(Self {
            service,
            allows_failure: *failure_mode_allow,
            tells_failure: *failure_mode_allow_header_add,
            body: with_request_body.as_ref().map(BodyRules::compile).transpose().map_err(|error| error.within("with_request_body"))?,
            body_as_bytes: with_request_body.as_ref().is_some_and(|settings| settings.pack_as_bytes),
            clears_route: *clear_route_cache,
            status_on_error: status(status_on_error.as_ref(), 200, 403),
            validates: *validate_mutations,
            enabled: Share::of_runtime(filter_enabled.as_ref(), "filter_enabled")?.unwrap_or(Share::ALL),
            enabled_metadata: enabled_metadata.map_err(|error| error.within("filter_enabled_metadata"))?,
            denies_others: deny_at_disable.as_ref().map_or(Ok(false), flag).map_err(|error| error.within("deny_at_disable"))?,
            peer_certificate: *include_peer_certificate,
            tls_session: *include_tls_session,
            raw_headers: *encode_raw_headers,
            most_denied: usize::try_from(*max_denied_response_body_bytes).ok().filter(|most| *most > 0),
            counts_denied: charge_cluster_response_stats.unwrap_or(true),
            shadow: *shadow_mode,
            stat_prefix: stat_prefix.as_str().into(),
            counted: Arc::default(),
            leaves_metadata: enable_dynamic_metadata_ingestion.unwrap_or(true),
            told: metadata_context_namespaces.iter().map(|name| name.as_str().into()).collect(),
            told_of_route: route_metadata_context_namespaces.iter().map(|name| name.as_str().into()).collect(),
            allowed: allowed.or(of_service).or(usual),
            rules: decoder_header_mutation_rules
                .as_ref()
                .map(MutationRules::compile)
                .transpose()
                .map_err(|error| error.within("decoder_header_mutation_rules"))?,
            disallowed: Names::listed(disallowed_headers.as_ref(), "disallowed_headers")?,
        })
    }
}

/// The headers that a service of HTTP gets, where the service and not the filter says so. Both are one too many.
fn of_request(service: &XdsHttpService, beside: bool) -> Result<Option<Names>, CompileError> {
    #[allow(deprecated)] // What older configurations say.
    let list = service.authorization_request.as_ref().and_then(|request| request.allowed_headers.as_ref());
    let field = "http_service.authorization_request.allowed_headers";
    match list {
        Some(_) if beside => Err(CompileError::new(field, "is given beside `allowed_headers`")),
        list => Names::compile(list, field),
    }
}

/// What a flag of the runtime says: its default, since there is no runtime that could say otherwise.
fn flag(flag: &RuntimeFeatureFlag) -> Result<bool, CompileError> {
    let RuntimeFeatureFlag { default_value, runtime_key: _ } = flag;
    default_value.ok_or_else(|| CompileError::missing("default_value"))
}

impl BodyRules {
    fn compile(settings: &BufferSettings) -> Result<Self, CompileError> {
        let BufferSettings { max_request_bytes, allow_partial_message, pack_as_bytes: _ } = settings;
        match *max_request_bytes {
            0 => Err(CompileError::new("max_request_bytes", "must not be zero")),
            most => Ok(Self { most: most as usize, partial: *allow_partial_message }),
        }
    }
}

impl Service {
    fn grpc(service: &XdsGrpcService) -> Result<Self, CompileError> {
        let (service, timeout) = GrpcService::compile(service).map_err(|error| error.within("grpc_service"))?;
        Ok(Self::Grpc(Box::new(service), limit(timeout, TIMEOUT)))
    }

    fn http(service: &XdsHttpService) -> Result<Self, CompileError> {
        HttpService::compile(service).map(Box::new).map(Self::Http).map_err(|error| error.within("http_service"))
    }
}

impl HttpService {
    fn compile(service: &XdsHttpService) -> Result<Self, CompileError> {
        let XdsHttpService {
            server_uri,
            path_prefix,
            path_override,
            authorization_request,
            authorization_response,
            // A request is sent once, which is reported.
            retry_policy: _,
        } = service;
        // Of the address only the cluster counts, in Envoy too.
        let HttpUri { uri: _, timeout, http_upstream_type } = server_uri.as_ref().ok_or_else(|| CompileError::missing("server_uri"))?;
        let Some(HttpUpstreamType::Cluster(cluster)) =
            http_upstream_type.as_ref().filter(|HttpUpstreamType::Cluster(name)| !name.is_empty())
        else {
            return Err(CompileError::missing("server_uri.cluster"));
        };
        #[allow(deprecated)] // The filter reads it.
        let added = match authorization_request {
            Some(AuthorizationRequest { allowed_headers: _, headers_to_add }) => headers_to_add.as_slice(),
            None => &[],
        };
        let unsaid = AuthorizationResponse::default();
        let AuthorizationResponse {
            allowed_upstream_headers,
            allowed_upstream_headers_to_append,
            allowed_client_headers,
            allowed_client_headers_on_success,
            dynamic_metadata_from_headers,
        } = authorization_response.as_ref().unwrap_or(&unsaid);
        let within = |error: CompileError| error.within("authorization_response");
        Ok(Self {
            cluster: cluster.as_str().into(),
            timeout: limit(timeout.as_ref(), TIMEOUT),
            headers: overwriting(added).map_err(|error| error.within("authorization_request.headers_to_add"))?,
            path: PathRule::compile(path_prefix, path_override)?,
            to_instance: Names::listed(allowed_upstream_headers.as_ref(), "allowed_upstream_headers").map_err(within)?,
            added_to_instance: Names::listed(allowed_upstream_headers_to_append.as_ref(), "allowed_upstream_headers_to_append")
                .map_err(within)?,
            to_client: Names::compile(allowed_client_headers.as_ref(), "allowed_client_headers").map_err(within)?,
            to_client_on_success: Names::listed(allowed_client_headers_on_success.as_ref(), "allowed_client_headers_on_success")
                .map_err(within)?,
            to_metadata: Names::listed(dynamic_metadata_from_headers.as_ref(), "dynamic_metadata_from_headers").map_err(within)?,
        })
    }
}

impl PathRule {
    fn compile(prefix: &str, path: &str) -> Result<Self, CompileError> {
        for (field, text) in [("path_prefix", prefix), ("path_override", path)] {
            if !text.is_empty() && !text.starts_with('/') {
                return Err(CompileError::new(field, "must begin with `/`"));
            }
        }
        match (prefix, path) {
            (prefix, "") => Ok(Self::Prefix(prefix.into())),
            ("", path) => Ok(Self::Override(path.into())),
            _ => Err(CompileError::new("path_override", "is given beside `path_prefix`")),
        }
    }
}

impl Policy for ExtAuthzOverride {
    type Message = ExtAuthzPerRoute;

    fn compile(message: &ExtAuthzPerRoute) -> Result<Self, CompileError> {
        let ExtAuthzPerRoute { r#override } = message;
        match r#override {
            Some(XdsOverride::Disabled(disabled)) => Ok(Self::Disabled(*disabled)),
            Some(XdsOverride::CheckSettings(settings)) => {
                let settings = CheckSettings::compile(settings).map_err(|error| error.within("check_settings"))?;
                Ok(Self::Settings(Box::new(settings)))
            }
            None => Err(CompileError::missing("override")),
        }
    }
}

impl CheckSettings {
    fn compile(settings: &XdsSettings) -> Result<Self, CompileError> {
        let XdsSettings { context_extensions, disable_request_body_buffering, with_request_body, service_override, emit_client_span: _ } =
            settings;
        if *disable_request_body_buffering && with_request_body.is_some() {
            return Err(CompileError::new("with_request_body", "is given beside `disable_request_body_buffering`"));
        }
        Ok(Self {
            extensions: context_extensions.clone(),
            without_body: *disable_request_body_buffering,
            body: with_request_body.as_ref().map(BodyRules::compile).transpose().map_err(|error| error.within("with_request_body"))?,
            service: match service_override {
                Some(ServiceOverride::GrpcService(service)) => Some(Service::grpc(service)?),
                Some(ServiceOverride::HttpService(service)) => Some(Service::http(service)?),
                None => None,
            },
        })
    }
}

/// How one request is decided about: by the policy, and by what its levels say.
#[derive(Debug, Clone)]
pub struct Asking<'p> {
    /// Who decides.
    pub service: &'p Service,
    /// How much of the body it gets.
    pub body: Option<BodyRules>,
    /// What it is told of the route.
    pub extensions: BTreeMap<String, String>,
}

impl ExtAuthzPolicy {
    /// How a request is decided about, of whose route this is said, the most specific last; `None` if it is not.
    pub fn asking<'p>(&'p self, said: impl Iterator<Item = &'p ExtAuthzOverride>) -> Option<Asking<'p>> {
        let mut asking = Asking { service: &self.service, body: self.body, extensions: BTreeMap::new() };
        let mut disabled = false;
        for level in said {
            (asking.service, asking.body) = (&self.service, self.body);
            disabled = matches!(level, ExtAuthzOverride::Disabled(true));
            if let ExtAuthzOverride::Settings(settings) = level {
                asking.extensions.extend(settings.extensions.iter().map(|(key, value)| (key.clone(), value.clone())));
                asking.service = settings.service.as_ref().unwrap_or(&self.service);
                asking.body = settings.body.or(self.body).filter(|_| !settings.without_body);
            }
        }
        (!disabled).then_some(asking)
    }
}

#[cfg(test)]
mod tests;
