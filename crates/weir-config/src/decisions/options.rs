//! The options of protocols, which listeners and clusters have in common.

use super::{Decided, of};

const CORE: &str = "envoy.config.core.v3";
const UPSTREAM: &str = "envoy.extensions.upstreams.http.v3";

const INVALID: &str = "an invalid message ends the connection of HTTP/1.1, and the stream of HTTP/2";

pub(super) const TABLE: &[Decided] = &[
    of(CORE, "HttpProtocolOptions")
        .carried_out(
            "idle_timeout max_connection_duration max_headers_count max_response_headers_kb max_stream_duration \
             headers_with_underscores_action max_requests_per_connection",
        )
        .reported(&[("max_connection_duration_jitter", "connections last for exactly as long as `max_connection_duration` says")]),
    of(CORE, "Http1ProtocolOptions")
        .carried_out("allow_absolute_url accept_http_10 default_host_for_http_10 header_key_format enable_trailers allow_custom_methods")
        // Which parser it is.
        .unseen("use_balsa_parser")
        // It would be in doubt where a message ends.
        .refused("allow_chunked_length")
        .reported(&[
            ("override_stream_error_on_invalid_http_message", INVALID),
            ("send_fully_qualified_url", "instances are sent the path alone"),
            ("ignore_http_11_upgrade", "`upgrade_configs` alone decides about upgrades"),
        ]),
    of(CORE, "Http1ProtocolOptions.HeaderKeyFormat").as_whole("proper_case_words").carried_out("stateful_formatter"),
    of("envoy.extensions.http.header_formatters.preserve_case.v3", "PreserveCaseFormatterConfig").packed().reported(&[
        ("forward_reason_phrase", "answers have the usual phrase"),
        ("formatter_type_on_envoy_headers", "headers that the proxy adds are written in small letters"),
    ]),
    of(CORE, "Http2ProtocolOptions")
        .carried_out("max_concurrent_streams connection_keepalive initial_stream_window_size initial_connection_window_size allow_connect")
        // How fast it goes, and what a peer may waste, which has other bounds here.
        .unseen(
            "hpack_table_size max_outbound_frames \
             max_outbound_control_frames max_consecutive_inbound_frames_with_empty_payload max_inbound_priority_frames_per_stream \
             max_inbound_window_update_frames_per_data_frame_sent use_oghttp2_codec enable_huffman_encoding stream_reset_burst \
             stream_reset_rate max_metadata_size",
        )
        .reported(&[
            ("allow_metadata", "METADATA frames are passed over"),
            ("stream_error_on_invalid_http_messaging override_stream_error_on_invalid_http_message", INVALID),
            ("custom_settings_parameters", "they are not sent"),
            ("max_header_field_size_kb", "a header may be as large as all headers together"),
            ("disallow_obs_text", "bytes above 127 are allowed in values of headers"),
        ]),
    of(CORE, "KeepaliveSettings").carried_out("interval timeout").reported(&[
        ("interval_jitter", "signs of life are asked for exactly when `interval` says"),
        ("connection_idle_interval", "a connection that was idle is used without being asked first"),
    ]),
    of(CORE, "UpstreamHttpProtocolOptions").carried_out("auto_sni auto_san_validation override_auto_sni_header"),
    of(UPSTREAM, "HttpProtocolOptions")
        .packed()
        .carried_out(
            "common_http_protocol_options upstream_http_protocol_options explicit_http_config use_downstream_protocol_config \
             auto_config outlier_detection",
        )
        // All but the one that stands for the codec are refused.
        .as_whole("http_filters")
        .reported(&[
            ("header_validation_config", "answers are held to the usual rules"),
            ("request_mirror_policies", "only what routes say is mirrored"),
            ("hash_policy", "only what routes say makes hashes"),
            ("retry_policy", "requests are repeated as their routes say"),
        ]),
    of(UPSTREAM, "HttpProtocolOptions.ExplicitHttpConfig")
        .carried_out("http_protocol_options http2_protocol_options")
        .refused("http3_protocol_options"),
    of(UPSTREAM, "HttpProtocolOptions.UseDownstreamHttpConfig")
        .carried_out("http_protocol_options http2_protocol_options")
        .refused("http3_protocol_options"),
    of(UPSTREAM, "HttpProtocolOptions.AutoHttpConfig")
        .carried_out("http_protocol_options http2_protocol_options")
        .refused("http3_protocol_options")
        .reported(&[("alternate_protocols_cache_options", "instances are spoken to by HTTP/1.1 or HTTP/2")]),
    of(UPSTREAM, "HttpProtocolOptions.OutlierDetection").carried_out("error_matcher"),
    of("envoy.config.common.matcher.v3", "MatchPredicate")
        .carried_out("or_match and_match not_match any_match http_response_headers_match")
        .refused(
            "http_request_headers_match http_request_trailers_match http_response_trailers_match http_request_generic_body_match \
             http_response_generic_body_match",
        ),
    of("envoy.config.common.matcher.v3", "MatchPredicate.MatchSet").carried_out("rules"),
    of("envoy.config.common.matcher.v3", "HttpHeadersMatch").carried_out("headers"),
];
