//! HTTP connection managers.

use super::{Decided, of};

const HTTP: &str = "envoy.extensions.filters.network.http_connection_manager.v3";

const DETECTION: &str = "envoy.extensions.http.original_ip_detection";

const LOG: &str = "one line is written when the request has ended";

pub(super) const TABLE: &[Decided] = &[
    of(HTTP, "HttpConnectionManager")
        .packed()
        .carried_out(
            "codec_type stat_prefix rds route_config http_filters common_http_protocol_options http_protocol_options \
             http2_protocol_options server_name server_header_transformation scheme_header_transformation max_request_headers_kb \
             stream_idle_timeout request_timeout request_headers_timeout drain_timeout delayed_close_timeout access_log use_remote_address \
             xff_num_trusted_hops skip_xff_append via generate_request_id preserve_external_request_id \
             always_set_request_id_in_response forward_client_cert_details set_current_client_cert_details proxy_100_continue \
             upgrade_configs normalize_path merge_slashes path_with_escaped_slashes_action request_id_extension local_reply_config \
             strip_matching_host_port strip_any_host_port strip_trailing_host_dot append_x_forwarded_port \
             original_ip_detection_extensions",
        )
        // Of HTTP/3, which is refused; of an overload that is not watched; of what filters for the PROXY protocol keep, which is nothing.
        .unseen("http3_protocol_options append_local_overload add_proxy_protocol_connection_state")
        // They would change whom we take a client for, or what a request asks for.
        .refused(
            "scoped_routes early_header_mutation_extensions forward_client_cert_matcher \
             path_normalization_options typed_header_validation_config forward_proto_config",
        )
        .reported(&[
            ("add_user_agent", "`x-envoy-downstream-service-node` is not added"),
            ("tracing", "no spans are made"),
            ("http1_safe_max_connection_duration", "a connection of HTTP/1.1 ends as one of HTTP/2 does"),
            ("stream_flush_timeout", "what a client does not take is given up with the stream's idle timeout"),
            ("drain_timeout_jitter", "connections that are too old take requests for `drain_timeout`, neither longer nor shorter"),
            ("access_log_flush_interval flush_access_log_on_new_request access_log_options", LOG),
            ("internal_address_config", "no client counts as internal"),
            ("represent_ipv4_remote_address_as_ipv4_mapped_ipv6", "addresses of IPv4 are written as such"),
            ("stream_error_on_invalid_http_message", "the connection is closed after an invalid message"),
            ("proxy_status_config", "answers have no `proxy-status`"),
        ]),
    of(HTTP, "HttpConnectionManager.SetCurrentClientCertDetails")
        .carried_out("subject cert chain dns uri")
        .reported(&[("issuer", "`x-forwarded-client-cert` does not name it"), ("format", "`x-forwarded-client-cert` has its usual form")]),
    of(DETECTION, "xff.v3.XffConfig").packed().carried_out("xff_num_trusted_hops xff_trusted_cidrs skip_xff_append"),
    of(DETECTION, "xff.v3.XffTrustedCidrs").carried_out("cidrs"),
    // No client counts as internal.
    of(DETECTION, "custom_header.v3.CustomHeaderConfig")
        .packed()
        .carried_out("header_name reject_with_status")
        .unseen("allow_extension_to_set_address_as_trusted"),
    of(HTTP, "Rds").carried_out("config_source route_config_name"),
    of(HTTP, "HttpFilter").carried_out("name typed_config config_discovery is_optional disabled"),
    of(HTTP, "RequestIDExtension").carried_out("typed_config"),
    // Nothing is traced: a trace's reason is not written into ids.
    of("envoy.extensions.request_id.uuid.v3", "UuidRequestIdConfig").packed().unseen("pack_trace_reason use_request_id_for_trace_sampling"),
    of(HTTP, "HttpConnectionManager.UpgradeConfig")
        .carried_out("upgrade_type enabled")
        // An upgraded request would pass other filters.
        .refused("filters"),
    of(HTTP, "LocalReplyConfig").carried_out("mappers body_format"),
    of(HTTP, "ResponseMapper").carried_out("filter status_code body body_format_override headers_to_add"),
    of("envoy.config.core.v3", "SchemeHeaderTransformation")
        .carried_out("scheme_to_overwrite")
        .reported(&[("match_upstream", "the scheme stays that of the client's side")]),
];
