//! Access logs, their filters and formats.

use super::{Decided, of};

const LOG: &str = "envoy.config.accesslog.v3";
const CORE: &str = "envoy.config.core.v3";

pub(super) const TABLE: &[Decided] = &[
    of(LOG, "AccessLog").carried_out("name filter typed_config"),
    of("envoy.extensions.access_loggers.file.v3", "FileAccessLog")
        .packed()
        .carried_out("path log_format")
        .as_whole("format json_format typed_json_format"),
    of(LOG, "AccessLogFilter")
        .carried_out(
            "status_code_filter duration_filter runtime_filter and_filter or_filter header_filter response_flag_filter \
             grpc_status_filter",
        )
        // No request is a health check that a filter answers.
        .as_whole("not_health_check_filter")
        // More would be written, or less, than asked for.
        .refused("traceable_filter extension_filter metadata_filter log_type_filter"),
    of(LOG, "StatusCodeFilter").carried_out("comparison"),
    of(LOG, "DurationFilter").carried_out("comparison"),
    of(LOG, "ComparisonFilter").carried_out("op value"),
    // Which requests are taken by chance nobody can know beforehand.
    of(LOG, "RuntimeFilter").carried_out("percent_sampled").unseen("runtime_key use_independent_randomness"),
    of(LOG, "AndFilter").carried_out("filters"),
    of(LOG, "OrFilter").carried_out("filters"),
    of(LOG, "HeaderFilter").carried_out("header"),
    of(LOG, "ResponseFlagFilter").carried_out("flags"),
    of(LOG, "GrpcStatusFilter").carried_out("statuses exclude"),
    of(CORE, "SubstitutionFormatString")
        .carried_out("text_format_source content_type")
        .as_whole("text_format json_format")
        // Formats with operators that only they know are refused; objects are always written in order.
        .unseen("formatters json_format_options")
        .reported(&[("omit_empty_values", "what has no value is written as `-` or null")]),
];
