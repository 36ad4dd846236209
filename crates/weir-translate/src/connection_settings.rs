//! `defaultConfig.connectionSettings` of the mesh: buffers, times and limits of the connections of clients.
//!
//! Facts: pilot/pkg/networking/core/connection_settings.go of Istio, and its documentation on edge proxies. Istio itself does
//! nothing for `listenerConnectionLimit` yet; here it becomes a network filter that both data planes know. How many connections
//! a whole process may have (`globalDownstreamConnectionLimit`) is no matter of xDS: a process is told when it starts.

use weir_api::resources::proxy_config::{
    ConnectionProfile, ConnectionSettings, HeadersWithUnderscoresAction as Underscores, PathWithEscapedSlashesAction as Slashes,
};
use weir_model::ProxyKind;
use weir_xds::Any;
use weir_xds::cluster::Cluster;
use weir_xds::connection_limit::ConnectionLimit;
use weir_xds::core::http_protocol_options::HeadersWithUnderscoresAction;
use weir_xds::hcm::HttpConnectionManager;
use weir_xds::hcm::http_connection_manager::PathWithEscapedSlashesAction;
use weir_xds::listener::filter::ConfigType;
use weir_xds::listener::{Filter, Listener};
use weir_xds::prost_types::Duration;
use weir_xds::values::duration;

use crate::names;

/// What counts for a proxy: at the edge, a gateway has what Envoy recommends for strangers where nothing else is written.
pub(crate) fn of_proxy(written: Option<&ConnectionSettings>, kind: ProxyKind) -> ConnectionSettings {
    let settings = written.cloned().unwrap_or_default();
    if kind == ProxyKind::Router && settings.profile == ConnectionProfile::Edge { at_the_edge(settings) } else { settings }
}

fn at_the_edge(written: ConnectionSettings) -> ConnectionSettings {
    const KIB: i32 = 1024;
    let seconds = |seconds| weir_api::resources::Duration::from_secs(seconds);
    ConnectionSettings {
        listener_per_connection_buffer_limit_bytes: written.listener_per_connection_buffer_limit_bytes.or(Some(32 * KIB)),
        cluster_per_connection_buffer_limit_bytes: written.cluster_per_connection_buffer_limit_bytes.or(Some(32 * KIB)),
        http_idle_timeout: written.http_idle_timeout.or(Some(seconds(3600))),
        http_stream_idle_timeout: written.http_stream_idle_timeout.or(Some(seconds(300))),
        http_request_timeout: written.http_request_timeout.or(Some(seconds(300))),
        http_request_headers_timeout: written.http_request_headers_timeout.or(Some(seconds(60))),
        http_max_concurrent_streams: written.http_max_concurrent_streams.or(Some(100)),
        http2_initial_stream_window_size: written.http2_initial_stream_window_size.or(Some(64 * KIB)),
        http2_initial_connection_window_size: written.http2_initial_connection_window_size.or(Some(1024 * KIB)),
        http_headers_with_underscores_action: match written.http_headers_with_underscores_action {
            Underscores::Unspecified => Underscores::RejectRequest,
            action => action,
        },
        http_merge_slashes: written.http_merge_slashes.or(Some(true)),
        http_path_with_escaped_slashes_action: match written.http_path_with_escaped_slashes_action {
            Slashes::Unspecified => Slashes::UnescapeAndRedirect,
            action => action,
        },
        ..written
    }
}

/// What they say of HTTP. It takes the place of what the mesh says of paths.
pub(crate) fn set_http(manager: &mut HttpConnectionManager, settings: &ConnectionSettings) {
    let ConnectionSettings {
        http_idle_timeout,
        http_max_connection_duration,
        http_max_stream_duration,
        http_stream_idle_timeout,
        http_request_timeout,
        http_request_headers_timeout,
        http_drain_timeout,
        http_max_concurrent_streams,
        http2_initial_stream_window_size,
        http2_initial_connection_window_size,
        http_headers_with_underscores_action,
        http_merge_slashes,
        http_path_with_escaped_slashes_action,
        // Already looked at, or said of connections of any kind.
        profile: _,
        listener_per_connection_buffer_limit_bytes: _,
        cluster_per_connection_buffer_limit_bytes: _,
        listener_connection_limit: _,
        global_downstream_connection_limit: _,
    } = settings;
    let mut common = manager.common_http_protocol_options.take().unwrap_or_default();
    put_time(&mut common.idle_timeout, *http_idle_timeout);
    put_time(&mut common.max_connection_duration, *http_max_connection_duration);
    put_time(&mut common.max_stream_duration, *http_max_stream_duration);
    if let Some(action) = underscores(*http_headers_with_underscores_action) {
        common.headers_with_underscores_action = action.into();
    }
    put_time(&mut manager.stream_idle_timeout, *http_stream_idle_timeout);
    put_time(&mut manager.request_timeout, *http_request_timeout);
    put_time(&mut manager.request_headers_timeout, *http_request_headers_timeout);
    put_time(&mut manager.drain_timeout, *http_drain_timeout);
    let mut http2 = manager.http2_protocol_options.take().unwrap_or_default();
    put(&mut http2.max_concurrent_streams, *http_max_concurrent_streams);
    put(&mut http2.initial_stream_window_size, *http2_initial_stream_window_size);
    put(&mut http2.initial_connection_window_size, *http2_initial_connection_window_size);
    manager.common_http_protocol_options = (common != Default::default()).then_some(common);
    manager.http2_protocol_options = (http2 != Default::default()).then_some(http2);
    if let Some(merge) = http_merge_slashes {
        manager.merge_slashes = *merge;
    }
    if let Some(action) = escaped_slashes(*http_path_with_escaped_slashes_action) {
        manager.path_with_escaped_slashes_action = action.into();
    }
}

/// What they say of a listener.
pub(crate) fn set_listener(listener: &mut Listener, settings: &ConnectionSettings) {
    put(&mut listener.per_connection_buffer_limit_bytes, settings.listener_per_connection_buffer_limit_bytes);
    let Some(most) = settings.listener_connection_limit.and_then(|most| u64::try_from(most).ok()).filter(|most| *most > 0) else { return };
    // A dot would end the name in Envoy's statistics.
    let limit = ConnectionLimit { stat_prefix: listener.name.replace('.', "_"), max_connections: Some(most), ..Default::default() };
    let config_type = Some(ConfigType::TypedConfig(Any::pack(&limit)));
    let limit = Filter { name: "envoy.filters.network.connection_limit".to_owned(), config_type };
    let chains = listener.filter_chains.iter_mut().chain(&mut listener.default_filter_chain);
    chains.for_each(|chain| chain.filters.insert(0, limit.clone()));
}

/// What they say of a cluster. Nothing passes the one that leads nowhere.
pub(crate) fn set_cluster(cluster: &mut Cluster, settings: &ConnectionSettings) {
    if cluster.name != names::BLACK_HOLE {
        put(&mut cluster.per_connection_buffer_limit_bytes, settings.cluster_per_connection_buffer_limit_bytes);
    }
}

/// A negative number says nothing.
fn put(field: &mut Option<u32>, written: Option<i32>) {
    if let Some(number) = written.and_then(|number| u32::try_from(number).ok()) {
        *field = Some(number);
    }
}

fn put_time(field: &mut Option<Duration>, written: Option<weir_api::resources::Duration>) {
    if let Some(time) = written {
        *field = Some(duration(time.to_std()));
    }
}

fn underscores(written: Underscores) -> Option<HeadersWithUnderscoresAction> {
    match written {
        Underscores::Unspecified => None,
        Underscores::Allow => Some(HeadersWithUnderscoresAction::Allow),
        Underscores::RejectRequest => Some(HeadersWithUnderscoresAction::RejectRequest),
        Underscores::DropHeader => Some(HeadersWithUnderscoresAction::DropHeader),
    }
}

fn escaped_slashes(written: Slashes) -> Option<PathWithEscapedSlashesAction> {
    match written {
        Slashes::Unspecified => None,
        Slashes::KeepUnchanged => Some(PathWithEscapedSlashesAction::KeepUnchanged),
        Slashes::RejectRequest => Some(PathWithEscapedSlashesAction::RejectRequest),
        Slashes::UnescapeAndRedirect => Some(PathWithEscapedSlashesAction::UnescapeAndRedirect),
        Slashes::UnescapeAndForward => Some(PathWithEscapedSlashesAction::UnescapeAndForward),
    }
}
