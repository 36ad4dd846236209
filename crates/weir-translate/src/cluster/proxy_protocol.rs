//! The PROXY protocol towards the instances of a cluster: each connection begins with who the client is.

use weir_api::resources::destination_rule::{ProxyProtocol, ProxyProtocolVersion};
use weir_xds::Any;
use weir_xds::cluster::Cluster;
use weir_xds::core::{ProxyProtocolConfig, TransportSocket, proxy_protocol_config::Version, transport_socket::ConfigType};
use weir_xds::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use weir_xds::proxy_protocol_socket::ProxyProtocolUpstreamTransport;

/// Puts the header before what the cluster sends, also before TLS.
pub(super) fn apply(cluster: &mut Cluster, written: &ProxyProtocol) {
    let version = match written.version {
        ProxyProtocolVersion::V1 => Version::V1,
        ProxyProtocolVersion::V2 => Version::V2,
    };
    let behind_header = |inner: TransportSocket| {
        let transport = ProxyProtocolUpstreamTransport {
            config: Some(ProxyProtocolConfig { version: version.into(), ..Default::default() }),
            transport_socket: Some(inner),
            ..Default::default()
        };
        socket("envoy.transport_sockets.upstream_proxy_protocol", Any::pack(&transport))
    };
    for of_instances in &mut cluster.transport_socket_matches {
        of_instances.transport_socket = of_instances.transport_socket.take().map(behind_header);
    }
    if cluster.transport_socket_matches.is_empty() {
        cluster.transport_socket = Some(behind_header(cluster.transport_socket.take().unwrap_or_else(plaintext)));
    }
}

/// No TLS.
pub(super) fn plaintext() -> TransportSocket {
    socket("envoy.transport_sockets.raw_buffer", Any::pack(&RawBuffer {}))
}

fn socket(name: &str, config: Any) -> TransportSocket {
    TransportSocket { name: name.to_owned(), config_type: Some(ConfigType::TypedConfig(config)) }
}
