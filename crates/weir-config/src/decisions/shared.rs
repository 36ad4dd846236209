//! Types that many messages use.

use super::{Decided, of};

const CORE: &str = "envoy.config.core.v3";
const TYPES: &str = "envoy.type.v3";
const MATCHERS: &str = "envoy.type.matcher.v3";

const STREAM: &str = "it comes from the server that the proxy is connected to";

pub(super) const TABLE: &[Decided] = &[
    of(CORE, "Address").carried_out("socket_address pipe").refused("envoy_internal_address"),
    // Permissions of a socket that others have opened are theirs.
    of(CORE, "Pipe").carried_out("path mode"),
    of(CORE, "SocketAddress")
        .carried_out("address port_value ipv4_compat")
        // UDP, which is what another than the first protocol is; ports by name; sockets elsewhere than in the proxy's own network.
        .refused("protocol named_port network_namespace_filepath")
        .reported(&[("resolver_name", "names are looked up in DNS")]),
    of(CORE, "CidrRange").carried_out("address_prefix prefix_len"),
    of(CORE, "ConfigSource")
        .as_whole("ads self resource_api_version authorities")
        .reported(&[("path path_config_source api_config_source", STREAM)])
        .reported_unless_zero(&[("initial_fetch_timeout", "it is waited for as long as it takes")]),
    // A file is read when the configuration comes.
    of(CORE, "DataSource")
        .carried_out("filename inline_bytes inline_string")
        .refused("environment_variable")
        .reported(&[("watched_directory", "files are read when the configuration comes")]),
    of(CORE, "HeaderValueOption").carried_out("header append append_action keep_empty_value"),
    // Of headers that are added Envoy reads `value` alone.
    of(CORE, "HeaderValue").carried_out("key value").unseen("raw_value"),
    of(CORE, "Locality").carried_out("region zone sub_zone"),
    of(CORE, "TcpKeepalive").carried_out("keepalive_probes keepalive_time keepalive_interval"),
    of(CORE, "TransportSocket").carried_out("name typed_config"),
    of(CORE, "ExtensionConfigSource").carried_out("config_source default_config apply_default_config_without_warming type_urls"),
    of(CORE, "TypedExtensionConfig").carried_out("name typed_config"),
    // There is no runtime that could say otherwise than the default.
    of(CORE, "RuntimeFeatureFlag").carried_out("default_value").unseen("runtime_key"),
    of(CORE, "RuntimeFractionalPercent").carried_out("default_value").unseen("runtime_key"),
    of(CORE, "RuntimeUInt32").carried_out("default_value").unseen("runtime_key"),
    of(CORE, "RuntimeDouble").carried_out("default_value").unseen("runtime_key"),
    of(TYPES, "FractionalPercent").carried_out("numerator denominator"),
    of(TYPES, "HttpStatus").carried_out("code"),
    of(TYPES, "Int32Range").carried_out("start end"),
    of(TYPES, "Int64Range").carried_out("start end"),
    of(TYPES, "Percent").carried_out("value"),
    of(MATCHERS, "StringMatcher").carried_out("exact prefix suffix safe_regex contains ignore_case").refused("custom"),
    // How large a program may get, which has a limit of its own.
    of(MATCHERS, "RegexMatcher").carried_out("regex").unseen("google_re2"),
    of(MATCHERS, "RegexMatchAndSubstitute").carried_out("pattern substitution"),
];
