//! Which headers proxies add, as `proxyHeaders` of MeshConfig's `defaultConfig` asks for them.
//!
//! Facts: pilot/pkg/networking/util/proxy_headers.go of Istio, and who calls it.

use weir_api::resources::MeshConfig;
use weir_api::resources::proxy_config::{EnabledHeader, MetadataExchangeMode, OptionalHeader, ProxyHeaders};
use weir_xds::Any;
use weir_xds::core::http1_protocol_options::{HeaderKeyFormat, header_key_format::HeaderFormat};
use weir_xds::core::{Http1ProtocolOptions, TypedExtensionConfig};
use weir_xds::envoy::extensions::http::header_formatters::preserve_case::v3::PreserveCaseFormatterConfig;

/// What a mesh asks for, if it asks for anything.
pub(crate) fn written(mesh: &MeshConfig) -> Option<&ProxyHeaders> {
    mesh.default_config.proxy_headers.as_ref()
}

fn is_disabled(header: Option<&OptionalHeader>) -> bool {
    header.is_some_and(|header| header.disabled == Some(true))
}

fn is_enabled(header: Option<&EnabledHeader>) -> bool {
    header.is_some_and(|header| header.enabled == Some(true))
}

/// Whether requests are given an `x-request-id`.
pub(crate) fn numbers_requests(mesh: &MeshConfig) -> bool {
    !written(mesh).is_some_and(|headers| is_disabled(headers.request_id.as_ref()))
}

/// Whether the port that a client asked is told in `x-forwarded-port`.
pub(crate) fn appends_port(mesh: &MeshConfig) -> bool {
    written(mesh).is_some_and(|headers| is_enabled(headers.x_forwarded_port.as_ref()))
}

/// Whether a request says how often it was sent (`x-envoy-attempt-count`).
pub(crate) fn counts_attempts(mesh: &MeshConfig) -> bool {
    !written(mesh).is_some_and(|headers| is_disabled(headers.attempt_count.as_ref()))
}

/// Whether Envoy's headers about times, clusters and the like are left away.
pub(crate) fn suppresses_debug_headers(mesh: &MeshConfig) -> bool {
    written(mesh).is_some_and(|headers| is_disabled(headers.envoy_debug_headers.as_ref()))
}

/// Whether a host that is replaced is told in `x-forwarded-host`.
pub(crate) fn appends_host(mesh: &MeshConfig) -> bool {
    written(mesh).is_some_and(|headers| is_enabled(headers.x_forwarded_host.as_ref()))
}

/// Whether only instances within the mesh are told of a client's workload.
pub(crate) fn tells_metadata_in_mesh(mesh: &MeshConfig) -> bool {
    let written = written(mesh).and_then(|headers| headers.metadata_exchange_headers.as_ref());
    written.is_some_and(|headers| headers.mode == MetadataExchangeMode::InMesh)
}

/// Whether names of headers are written in HTTP/1.1 as they came.
pub(crate) fn preserves_case(mesh: &MeshConfig) -> bool {
    written(mesh).is_some_and(|headers| headers.preserve_http1_header_case == Some(true))
}

/// The options of HTTP/1.1, towards clients and services.
pub(crate) fn http1(mesh: &MeshConfig) -> Http1ProtocolOptions {
    let preserve = || TypedExtensionConfig {
        name: "preserve_case".to_owned(),
        typed_config: Some(Any::pack(&PreserveCaseFormatterConfig::default())),
    };
    let format = || HeaderKeyFormat { header_format: Some(HeaderFormat::StatefulFormatter(preserve())) };
    Http1ProtocolOptions { header_key_format: preserves_case(mesh).then(format), ..Default::default() }
}
