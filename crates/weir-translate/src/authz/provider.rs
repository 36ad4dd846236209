//! Services that decide about requests: MeshConfig's `extensionProviders`, as Envoy's filters ask them.

use std::collections::BTreeSet;
use std::time::Duration as StdDuration;

use weir_api::resources::Duration;
use weir_api::resources::extension_provider::{ExtAuthzGrpcProvider, ExtAuthzHttpProvider, ExtAuthzRequestBody, ExtensionProvider};
use weir_xds::core::grpc_service::{EnvoyGrpc, TargetSpecifier};
use weir_xds::core::http_uri::HttpUpstreamType;
use weir_xds::core::{ApiVersion, GrpcService, HeaderValue, HttpUri};
use weir_xds::ext_authz::ext_authz::Services;
use weir_xds::ext_authz::{AuthorizationRequest, AuthorizationResponse, BufferSettings, ExtAuthz, HttpService};
use weir_xds::matcher::string_matcher::MatchPattern;
use weir_xds::matcher::{ListStringMatcher, StringMatcher};
use weir_xds::network_ext_authz;
use weir_xds::types::{HttpStatus, StatusCode};
use weir_xds::values::duration;

use crate::context::Context;
use crate::names;

/// How long a service may take, where nothing is said.
const TIMEOUT: StdDuration = StdDuration::from_secs(600);

/// How a service is asked.
pub(super) struct Built {
    pub http: ExtAuthz,
    /// None for one that speaks HTTP: it knows nothing of connections.
    pub tcp: Option<network_ext_authz::ExtAuthz>,
}

/// How the service of a name is asked.
///
/// # Errors
/// If there is none, or nobody could ask it.
pub(super) fn of_name(context: &Context<'_>, name: &str) -> Result<Built, String> {
    let all = &context.mesh.config.extension_providers;
    let mut named = all.iter().filter(|provider| provider.name == name);
    let (Some(provider), None) = (named.next(), named.next()) else {
        let known: BTreeSet<&str> = all.iter().map(|provider| provider.name.as_str()).collect();
        let known: Vec<&str> = known.into_iter().collect();
        return Err(format!("MeshConfig must have one extensionProvider `{name}`, and has: {}", known.join(", ")));
    };
    check_name(name)?;
    match provider {
        ExtensionProvider { envoy_ext_authz_http: Some(http), envoy_ext_authz_grpc: None, .. } => of_http(context, http),
        ExtensionProvider { envoy_ext_authz_http: None, envoy_ext_authz_grpc: Some(grpc), .. } => of_grpc(context, grpc),
        _ => Err(format!("the extensionProvider `{name}` does not decide about requests")),
    }
}

/// The name stands in the names of policies, by which the filter knows what it is to ask about.
fn check_name(name: &str) -> Result<(), String> {
    let is_fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match name.len() <= 63 && name.bytes().all(is_fine) && !name.starts_with('-') && !name.ends_with('-') {
        true => Ok(()),
        false => Err(format!("`{name}` cannot be the name of an extensionProvider: small letters, digits and `-`, 63 at most")),
    }
}

/// The host of a service, and the cluster of its port.
fn cluster(context: &Context<'_>, service: &str, port: u32) -> Result<(String, String), String> {
    let port = u16::try_from(port).ok().filter(|port| *port > 0).ok_or_else(|| format!("its port {port} is none: 1 to 65535"))?;
    let (namespace, host) = match service.split_once('/') {
        Some((namespace, host)) => (Some(namespace), host),
        None => (None, service),
    };
    let known = context.mesh.services.of_host(host);
    let found: Vec<_> = known.into_iter().flatten().filter(|(own, _)| namespace.is_none_or(|namespace| ***own == *namespace)).collect();
    match found.as_slice() {
        [(_, service)] => Ok((service.hostname.to_string(), names::outbound(port.into(), "", &service.hostname))),
        [] => Err(format!("its service `{service}` is not known")),
        _ => Err(format!("its service `{service}` stands in several namespaces: write `NAMESPACE/HOST`")),
    }
}

fn status(written: &str) -> Result<Option<HttpStatus>, String> {
    if written.is_empty() {
        return Ok(None);
    }
    // 0 has a name there too, and is none.
    let code = written.parse::<i32>().ok().filter(|code| *code > 0).and_then(|code| StatusCode::try_from(code).ok());
    let code = code.ok_or_else(|| format!("its statusOnError `{written}` is no status"))?;
    Ok(Some(HttpStatus { code: code.into() }))
}

fn time(written: Option<Duration>) -> weir_xds::prost_types::Duration {
    duration(written.map_or(TIMEOUT, Duration::to_std))
}

fn body(written: Option<&ExtAuthzRequestBody>) -> Option<BufferSettings> {
    let ExtAuthzRequestBody { max_request_bytes, allow_partial_message, pack_as_bytes } = written?.clone();
    Some(BufferSettings { max_request_bytes, allow_partial_message, pack_as_bytes })
}

/// Names of headers, `x*` and `*x` among them; none if there are none.
fn headers(names: &[String]) -> Result<Option<ListStringMatcher>, String> {
    let pattern = |name: &String| match (name.strip_prefix('*'), name.strip_suffix('*')) {
        _ if name == "*" => Err("`*` is no name of a header: write `x-*` or `*-x`".to_owned()),
        (Some(suffix), _) => Ok(MatchPattern::Suffix(suffix.to_owned())),
        (None, Some(prefix)) => Ok(MatchPattern::Prefix(prefix.to_owned())),
        (None, None) => Ok(MatchPattern::Exact(name.clone())),
    };
    let matcher = |pattern| StringMatcher { match_pattern: Some(pattern), ignore_case: true };
    let patterns = names.iter().map(|name| pattern(name).map(matcher)).collect::<Result<Vec<_>, _>>()?;
    Ok((!patterns.is_empty()).then_some(ListStringMatcher { patterns }))
}

fn of_http(context: &Context<'_>, provider: &ExtAuthzHttpProvider) -> Result<Built, String> {
    let ExtAuthzHttpProvider {
        service,
        port,
        timeout,
        path_prefix,
        fail_open,
        clear_route_cache,
        status_on_error,
        include_headers_in_check,
        include_request_headers_in_check,
        include_additional_headers_in_check,
        include_request_body_in_check,
        headers_to_upstream_on_allow,
        headers_to_downstream_on_deny,
        headers_to_downstream_on_allow,
    } = provider;
    let (hostname, cluster) = cluster(context, service, *port)?;
    if !path_prefix.is_empty() && !path_prefix.starts_with('/') {
        return Err(format!("its pathPrefix `{path_prefix}` does not begin with `/`"));
    }
    let added = include_additional_headers_in_check.iter();
    let added: Vec<_> = added.map(|(key, value)| HeaderValue { key: key.clone(), value: value.clone(), ..Default::default() }).collect();
    #[allow(deprecated, reason = "it is what Istio writes")]
    let request = (!added.is_empty()).then_some(AuthorizationRequest { headers_to_add: added, ..Default::default() });
    let response = AuthorizationResponse {
        allowed_upstream_headers: headers(headers_to_upstream_on_allow)?,
        allowed_client_headers: headers(headers_to_downstream_on_deny)?,
        allowed_client_headers_on_success: headers(headers_to_downstream_on_allow)?,
        ..Default::default()
    };
    let service = HttpService {
        server_uri: Some(HttpUri {
            // Of this only the cluster counts.
            uri: format!("http://{hostname}"),
            timeout: Some(time(*timeout)),
            http_upstream_type: Some(HttpUpstreamType::Cluster(cluster)),
        }),
        path_prefix: path_prefix.clone(),
        authorization_request: request,
        authorization_response: (response != AuthorizationResponse::default()).then_some(response),
        ..Default::default()
    };
    let named = headers(include_request_headers_in_check)?;
    let http = ExtAuthz {
        services: Some(Services::HttpService(service)),
        transport_api_version: ApiVersion::V3.into(),
        failure_mode_allow: *fail_open,
        clear_route_cache: *clear_route_cache,
        status_on_error: status(status_on_error)?,
        with_request_body: body(include_request_body_in_check.as_ref()),
        // The older name counts where the newer is not there.
        allowed_headers: if named.is_some() { named } else { headers(include_headers_in_check)? },
        ..Default::default()
    };
    Ok(Built { http, tcp: None })
}

fn of_grpc(context: &Context<'_>, provider: &ExtAuthzGrpcProvider) -> Result<Built, String> {
    let ExtAuthzGrpcProvider { service, port, timeout, fail_open, clear_route_cache, status_on_error, include_request_body_in_check } =
        provider;
    let (authority, cluster_name) = cluster(context, service, *port)?;
    let service = GrpcService {
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc { cluster_name, authority, ..Default::default() })),
        timeout: Some(time(*timeout)),
        ..Default::default()
    };
    let http = ExtAuthz {
        services: Some(Services::GrpcService(service.clone())),
        transport_api_version: ApiVersion::V3.into(),
        failure_mode_allow: *fail_open,
        clear_route_cache: *clear_route_cache,
        status_on_error: status(status_on_error)?,
        with_request_body: body(include_request_body_in_check.as_ref()),
        ..Default::default()
    };
    let tcp = network_ext_authz::ExtAuthz {
        stat_prefix: super::TCP.to_owned(),
        grpc_service: Some(service),
        failure_mode_allow: *fail_open,
        transport_api_version: ApiVersion::V3.into(),
        ..Default::default()
    };
    Ok(Built { http, tcp: Some(tcp) })
}
