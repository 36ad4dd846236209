//! How the health of one instance is checked, where that is not as for all others: `HealthCheckConfig`
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/endpoint/v3/endpoint_components.proto>).

use std::net::SocketAddr;

use weir_routing::CompileError;
use weir_xds::endpoint::Endpoint;
use weir_xds::endpoint::endpoint::HealthCheckConfig;
use weir_xds::values::to_socket_addr;

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
    ///
    /// # Errors
    /// If it is to be checked at a place that is none.
    pub fn compile(found: &Endpoint) -> Result<Option<Box<Self>>, CompileError> {
        let Some(config) = &found.health_check_config else { return Ok(None) };
        let HealthCheckConfig { port_value, hostname, address, disable_active_health_check } = config;
        let elsewhere = address.as_ref().map(|address| to_socket_addr(address).ok_or(address)).transpose();
        Ok(Some(Box::new(Self {
            address: elsewhere.map_err(|_| CompileError::new("address", "is not an IP address and a port"))?,
            port: match u16::try_from(*port_value) {
                Ok(0) => None,
                Ok(port) => Some(port),
                Err(_) => return Err(CompileError::new("port_value", "is no port")),
            },
            hostname: hostname.clone(),
            is_disabled: *disable_active_health_check,
        })))
    }
}
