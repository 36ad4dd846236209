//! The access log as MeshConfig asks for it: `accessLogFile`, `accessLogFormat`, `accessLogEncoding`.

use weir_api::resources::MeshConfig;
use weir_api::resources::mesh_config::AccessLogEncoding;
use weir_xds::Any;
use weir_xds::accesslog::access_log_filter::FilterSpecifier;
use weir_xds::accesslog::{AccessLog, AccessLogFilter, ResponseFlagFilter, access_log::ConfigType};
use weir_xds::core::substitution_format_string::Format;
use weir_xds::core::{DataSource, SubstitutionFormatString, data_source::Specifier};
use weir_xds::file_log::{FileAccessLog, file_access_log::AccessLogFormat};
use weir_xds::prost_types::Struct;
use weir_xds::values::{structure, text};

/// Istio's format for text (<https://istio.io/latest/docs/tasks/observability/logs/access-log/>).
const TEXT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% \
%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \
\"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% \
%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

/// Istio's format for JSON.
const JSON: &[(&str, &str)] = &[
    ("start_time", "%START_TIME%"),
    ("route_name", "%ROUTE_NAME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
];

/// The log of requests, or of connections; none if the mesh has no file for it.
pub(crate) fn of_traffic(mesh: &MeshConfig) -> Vec<AccessLog> {
    if mesh.access_log_file.is_empty() {
        return vec![];
    }
    let file = FileAccessLog { path: mesh.access_log_file.clone(), access_log_format: Some(AccessLogFormat::LogFormat(format(mesh))) };
    vec![AccessLog {
        name: "envoy.access_loggers.file".to_owned(),
        config_type: Some(ConfigType::TypedConfig(Any::pack(&file))),
        ..Default::default()
    }]
}

/// The log of connections that nothing was found for.
pub(crate) fn of_listener(mesh: &MeshConfig) -> Vec<AccessLog> {
    let no_route = ResponseFlagFilter { flags: vec!["NR".to_owned()] };
    let mut logs = of_traffic(mesh);
    if !mesh.disable_envoy_listener_log {
        for log in &mut logs {
            log.filter = Some(AccessLogFilter { filter_specifier: Some(FilterSpecifier::ResponseFlagFilter(no_route.clone())) });
        }
        return logs;
    }
    vec![]
}

fn format(mesh: &MeshConfig) -> SubstitutionFormatString {
    let format = match mesh.access_log_encoding {
        AccessLogEncoding::Json => Format::JsonFormat(json(&mesh.access_log_format)),
        _ => {
            let source = DataSource { specifier: Some(Specifier::InlineString(line(&mesh.access_log_format))), ..Default::default() };
            Format::TextFormatSource(source)
        }
    };
    SubstitutionFormatString { format: Some(format), ..Default::default() }
}

fn line(written: &str) -> String {
    match written {
        "" => TEXT.to_owned(),
        written if written.ends_with('\n') => written.to_owned(),
        written => format!("{written}\n"),
    }
}

/// The fields of a format that is written as a JSON object; Istio's own where there is none.
fn json(written: &str) -> Struct {
    let own = || Struct { fields: JSON.iter().map(|(name, value)| ((*name).to_owned(), text(*value))).collect() };
    serde_json::from_str(written).map_or_else(|_| own(), |fields| structure(&fields))
}
