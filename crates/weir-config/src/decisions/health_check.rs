//! Health checks of endpoints.

use super::{Decided, of};

const CORE: &str = "envoy.config.core.v3";

const EVENTS: &str = "changes of health are not logged apart";

pub(super) const TABLE: &[Decided] = &[
    of(CORE, "HealthCheck")
        .carried_out(
            "timeout interval initial_jitter interval_jitter interval_jitter_percent unhealthy_threshold healthy_threshold \
             reuse_connection http_health_check tcp_health_check grpc_health_check no_traffic_interval no_traffic_healthy_interval \
             unhealthy_interval unhealthy_edge_interval healthy_edge_interval tls_options",
        )
        // All but the command of a probe is refused.
        .as_whole("custom_health_check transport_socket_match_criteria")
        .reported(&[
            ("alt_port", "checks go to the endpoint's port, or to that of its `health_check_config`"),
            ("event_log_path event_logger event_service", EVENTS),
            ("always_log_health_check_failures always_log_health_check_success", EVENTS),
        ]),
    of(CORE, "HealthCheck.TlsOptions").carried_out("alpn_protocols"),
    of(CORE, "HealthCheck.HttpHealthCheck")
        .carried_out(
            "host path send receive response_buffer_size request_headers_to_add request_headers_to_remove expected_statuses \
             retriable_statuses codec_client_type method",
        )
        // An instance of another service would count as healthy.
        .refused("service_name_matcher"),
    of(CORE, "HealthCheck.TcpHealthCheck").carried_out("send receive").refused("proxy_protocol_config"),
    of(CORE, "HealthCheck.GrpcHealthCheck").carried_out("service_name authority initial_metadata"),
    of(CORE, "HealthCheck.Payload").carried_out("text binary"),
];
