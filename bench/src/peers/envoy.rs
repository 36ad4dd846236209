//! Envoy, which follows the same pilot as Weir's proxy, by the same bootstrap.

use std::ffi::OsStr;
use std::path::Path;

/// One worker, and no shared memory that another Envoy could hold.
pub(crate) fn arguments(bootstrap: &Path) -> [&OsStr; 7] {
    [
        "-c".as_ref(),
        bootstrap.as_os_str(),
        "--concurrency".as_ref(),
        "1".as_ref(),
        "--use-dynamic-base-id".as_ref(),
        "-l".as_ref(),
        "error".as_ref(),
    ]
}

/// A gateway that follows the server at the port.
pub(crate) fn bootstrap(xds: u16) -> String {
    format!(
        "node:
  id: router~127.0.0.1~gw.default~default.svc.cluster.local
  cluster: gw.default
  metadata: {{NAMESPACE: default, LABELS: {{istio: ingressgateway}}}}
dynamic_resources:
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    grpc_services: [{{envoy_grpc: {{cluster_name: xds}}}}]
  cds_config: {{ads: {{}}, resource_api_version: V3}}
  lds_config: {{ads: {{}}, resource_api_version: V3}}
static_resources:
  clusters:
  - name: xds
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: xds
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {xds}}}}}}}
"
    )
}
