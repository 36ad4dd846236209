//! The fields of a connection manager that say how heads are treated, and the options of its protocols. Each is decided about here:
//! a field that comes with a newer Envoy does not compile until somebody has.

use std::time::Duration;

use weir_http1::HeaderValue;
use weir_routing::CompileError;
use weir_xds::core::http_protocol_options::HeadersWithUnderscoresAction;
use weir_xds::core::http1_protocol_options::header_key_format::HeaderFormat;
use weir_xds::core::scheme_header_transformation::Transformation;
use weir_xds::core::{Http1ProtocolOptions, HttpProtocolOptions};
use weir_xds::hcm::HttpConnectionManager;
use weir_xds::hcm::http_connection_manager::{StripPortMode, UpgradeConfig};
use weir_xds::values::std_duration;

use super::Underscores;
use super::{HostPort, positive};
use weir_http1::Case;

/// Envoy's limit where none is given.
const MAX_HEADERS: usize = 100;
/// Envoy closes a connection on which nothing happens for so long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// Refuses what would change whom we take a client for, or what a request asks for, and is not carried out.
#[expect(deprecated, reason = "all fields are decided about")]
pub(super) fn check(manager: &HttpConnectionManager) -> Result<(), CompileError> {
    let HttpConnectionManager {
        early_header_mutation_extensions,
        forward_client_cert_matcher,
        path_normalization_options,
        typed_header_validation_config,
        forward_proto_config,
        strip_matching_host_port,
        strip_port_mode,
        // Carried out, here or in the module above.
        codec_type: _,
        stat_prefix: _,
        http_filters: _,
        common_http_protocol_options: _,
        http_protocol_options: _,
        http2_protocol_options: _,
        server_name: _,
        server_header_transformation: _,
        scheme_header_transformation: _,
        max_request_headers_kb: _,
        stream_idle_timeout: _,
        request_timeout: _,
        delayed_close_timeout: _,
        drain_timeout: _,
        access_log: _,
        use_remote_address: _,
        xff_num_trusted_hops: _,
        original_ip_detection_extensions: _,
        skip_xff_append: _,
        via: _,
        generate_request_id: _,
        preserve_external_request_id: _,
        always_set_request_id_in_response: _,
        proxy_100_continue: _,
        upgrade_configs: _,
        normalize_path: _,
        merge_slashes: _,
        path_with_escaped_slashes_action: _,
        request_id_extension: _,
        local_reply_config: _,
        strip_trailing_host_dot: _,
        append_x_forwarded_port: _,
        route_specifier: _,
        forward_client_cert_details: _,
        set_current_client_cert_details: _,
        add_user_agent: _,
        // Reported as not carried out.
        tracing: _,
        http1_safe_max_connection_duration: _,
        http3_protocol_options: _,
        stream_flush_timeout: _,
        request_headers_timeout: _,
        drain_timeout_jitter: _,
        access_log_flush_interval: _,
        flush_access_log_on_new_request: _,
        access_log_options: _,
        internal_address_config: _,
        represent_ipv4_remote_address_as_ipv4_mapped_ipv6: _,
        stream_error_on_invalid_http_message: _,
        proxy_status_config: _,
        append_local_overload: _,
        add_proxy_protocol_connection_state: _,
    } = manager;
    let unsupported = [
        ("early_header_mutation_extensions", !early_header_mutation_extensions.is_empty()),
        ("forward_client_cert_matcher", forward_client_cert_matcher.is_some()),
        ("path_normalization_options", path_normalization_options.is_some()),
        ("typed_header_validation_config", typed_header_validation_config.is_some()),
        ("forward_proto_config", forward_proto_config.is_some()),
    ];
    if let Some((field, _)) = unsupported.iter().find(|(_, is_set)| *is_set) {
        return Err(CompileError::unsupported(field));
    }
    if *strip_matching_host_port && strip_port_mode.is_some() {
        return Err(CompileError::new("strip_matching_host_port", "and `strip_any_host_port` exclude each other"));
    }
    Ok(())
}

/// What the options that all protocols share say.
pub(super) struct Common {
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_connection_duration: Option<Duration>,
    pub(super) max_headers: usize,
    pub(super) max_stream_duration: Option<Duration>,
    pub(super) underscores: Underscores,
    pub(super) max_requests: Option<u32>,
}

pub(super) fn common(options: Option<&HttpProtocolOptions>) -> Result<Common, CompileError> {
    let none = HttpProtocolOptions::default();
    let HttpProtocolOptions {
        idle_timeout,
        max_connection_duration,
        // Reported.
        max_connection_duration_jitter: _,
        max_headers_count,
        // Said of answers.
        max_response_headers_kb: _,
        max_stream_duration,
        headers_with_underscores_action,
        max_requests_per_connection,
    } = options.unwrap_or(&none);
    let idle = idle_timeout.as_ref().map_or(IDLE_TIMEOUT, std_duration);
    let underscores = match HeadersWithUnderscoresAction::try_from(*headers_with_underscores_action) {
        Ok(HeadersWithUnderscoresAction::Allow) => Underscores::Allow,
        Ok(HeadersWithUnderscoresAction::RejectRequest) => Underscores::Reject,
        Ok(HeadersWithUnderscoresAction::DropHeader) => Underscores::Drop,
        Err(_) => return Err(CompileError::unsupported("common_http_protocol_options.headers_with_underscores_action")),
    };
    Ok(Common {
        idle_timeout: (!idle.is_zero()).then_some(idle),
        max_connection_duration: positive(max_connection_duration.as_ref()),
        max_headers: max_headers_count.map_or(MAX_HEADERS, |max| max as usize),
        max_stream_duration: positive(max_stream_duration.as_ref()),
        underscores,
        max_requests: max_requests_per_connection.filter(|most| *most > 0),
    })
}

/// What the options of HTTP/1.1 say.
pub(super) struct Http1 {
    pub(super) http10: bool,
    pub(super) default_host: Option<HeaderValue>,
    pub(super) absolute_targets: bool,
    pub(super) custom_methods: bool,
    pub(super) trailers: bool,
    pub(super) letter_case: Case,
}

impl Http1 {
    #[expect(deprecated, reason = "all fields are decided about")]
    pub(super) fn compile(options: Option<&Http1ProtocolOptions>) -> Result<Self, CompileError> {
        let none = Http1ProtocolOptions::default();
        let Http1ProtocolOptions {
            allow_absolute_url,
            accept_http_10,
            default_host_for_http_10,
            header_key_format: _,
            enable_trailers,
            allow_chunked_length,
            // Reported.
            override_stream_error_on_invalid_http_message: _,
            // Said of what is sent to instances.
            send_fully_qualified_url: _,
            // Which parser it is makes no difference here.
            use_balsa_parser: _,
            allow_custom_methods,
            // Reported.
            ignore_http_11_upgrade: _,
        } = options.unwrap_or(&none);
        if *allow_chunked_length {
            return Err(CompileError::new("http_protocol_options.allow_chunked_length", "would leave it in doubt where a request ends"));
        }
        Ok(Self {
            http10: *accept_http_10,
            default_host: header_value("http_protocol_options.default_host_for_http_10", default_host_for_http_10)?,
            absolute_targets: allow_absolute_url.unwrap_or(true),
            custom_methods: *allow_custom_methods,
            trailers: *enable_trailers,
            letter_case: letter_case(options)?,
        })
    }
}

/// How options of HTTP/1.1 say that names of headers are spelled.
///
/// # Errors
/// If they name a way that is not known.
pub fn letter_case(options: Option<&Http1ProtocolOptions>) -> Result<Case, CompileError> {
    let format = options.and_then(|options| options.header_key_format.as_ref());
    match format.and_then(|format| format.header_format.as_ref()) {
        None => Ok(Case::Lower),
        Some(HeaderFormat::ProperCaseWords(_)) => Ok(Case::Proper),
        Some(HeaderFormat::StatefulFormatter(formatter)) => {
            const PRESERVE: &str = "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig";
            let known = formatter.typed_config.as_ref().is_some_and(|config| config.type_name() == PRESERVE);
            if known { Ok(Case::Preserve) } else { Err(CompileError::unsupported("header_key_format.stateful_formatter")) }
        }
    }
}

/// The value of a header that a field gives, if it gives one.
pub(super) fn header_value(field: &str, text: &str) -> Result<Option<HeaderValue>, CompileError> {
    let value = (!text.is_empty()).then(|| HeaderValue::from_str(text)).transpose();
    value.map_err(|_| CompileError::new(field, "is no valid value of a header"))
}

/// The protocols that a client may change to.
pub(super) fn upgrades(manager: &HttpConnectionManager) -> Result<Vec<String>, CompileError> {
    let mut all: Vec<(String, bool)> = vec![];
    for (i, upgrade) in manager.upgrade_configs.iter().enumerate() {
        let UpgradeConfig { upgrade_type, filters, enabled } = upgrade;
        if !filters.is_empty() {
            return Err(CompileError::unsupported(&format!("upgrade_configs[{i}].filters")));
        }
        let name = upgrade_type.to_ascii_lowercase();
        if all.iter().any(|(before, _)| *before == name) {
            return Err(CompileError::new(format!("upgrade_configs[{i}]"), format!("`{upgrade_type}` is there twice")));
        }
        all.push((name, enabled.unwrap_or(true)));
    }
    Ok(all.into_iter().filter_map(|(name, is_allowed)| is_allowed.then_some(name)).collect())
}

/// The scheme that all requests are given.
pub(super) fn scheme(manager: &HttpConnectionManager) -> Result<Option<&'static str>, CompileError> {
    let transformation = manager.scheme_header_transformation.as_ref().and_then(|written| written.transformation.as_ref());
    match transformation {
        None => Ok(None),
        Some(Transformation::SchemeToOverwrite(scheme)) => match scheme.as_str() {
            "http" => Ok(Some("http")),
            "https" => Ok(Some("https")),
            _ => Err(CompileError::new("scheme_header_transformation.scheme_to_overwrite", "is neither `http` nor `https`")),
        },
    }
}

/// What becomes of the port of hosts.
pub(super) fn host_port(manager: &HttpConnectionManager) -> Result<HostPort, CompileError> {
    Ok(match manager.strip_port_mode {
        Some(StripPortMode::StripAnyHostPort(true)) => HostPort::StripAny,
        _ if manager.strip_matching_host_port => HostPort::StripOwn,
        _ => HostPort::Keep,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Envoy refuses it, and whatever the case they are written in.
    #[test]
    fn an_upgrade_that_stands_there_twice_is_refused_though_one_is_disabled() {
        let upgrade = |name: &str, enabled| UpgradeConfig { upgrade_type: name.to_owned(), enabled, ..Default::default() };
        let of = |upgrades: &[UpgradeConfig]| upgrades_of(upgrades).map_err(|error| error.to_string());
        assert_eq!(of(&[upgrade("websocket", Some(false)), upgrade("h2c", None)]), Ok(vec!["h2c".to_owned()]));
        let twice = of(&[upgrade("websocket", Some(false)), upgrade("WebSocket", None)]);
        assert!(twice.is_err_and(|error| error.contains("upgrade_configs[1]")));
    }

    fn upgrades_of(upgrades: &[UpgradeConfig]) -> Result<Vec<String>, CompileError> {
        super::upgrades(&HttpConnectionManager { upgrade_configs: upgrades.to_vec(), ..Default::default() })
    }
}
