//! How the health of one instance is checked, where that is not as for all others: `HealthCheckConfig`
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/endpoint/v3/endpoint_components.proto>).

use std::net::SocketAddr;

/// How the health of one instance is checked: `envoy.config.endpoint.v3.Endpoint.HealthCheckConfig`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct CheckTarget {
    /// Where it answers checks, if not where it serves.
    pub address: Option<SocketAddr>,
    /// At which port, if not there.
    pub port: Option<u16>,
    /// The authority of checks; may be empty.
    pub hostname: String,
    /// Whether it is not checked at all.
    pub is_disabled: bool,
}

impl CheckTarget {
    /// Compiles what an endpoint says of it.
    pub fn compile(found: &weir_xds::endpoint::Endpoint) -> Option<Box<Self>> {
        let config = found.health_check_config.as_ref()?;
        Some(Box::new(Self {
            address: config.address.as_ref().and_then(weir_xds::values::to_socket_addr),
            port: u16::try_from(config.port_value).ok().filter(|port| *port != 0),
            hostname: config.hostname.clone(),
            is_disabled: config.disable_active_health_check,
        }))
    }
}
