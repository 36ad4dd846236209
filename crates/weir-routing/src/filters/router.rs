//! The router, which sends requests on and stands at the end of every chain: Envoy's router filter, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter>).

use weir_xds::router::Router;

use super::Policy;
use crate::error::CompileError;

/// How requests are sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RouterPolicy {
    /// Whether the headers are left out by which the proxy tells instances and clients of itself (`x-envoy-…`).
    pub suppress_envoy_headers: bool,
}

impl Policy for RouterPolicy {
    type Message = Router;

    #[allow(deprecated)] // It is decided about all the same.
    fn compile(message: &Router) -> Result<Self, CompileError> {
        let Router {
            suppress_envoy_headers,
            upstream_http_filters,
            // Statistics, traces and logs are reported where they are asked for; headers that Envoy would read are taken away
            // from every request, so that there is nothing to check or to respect.
            dynamic_stats: _,
            start_child_span: _,
            upstream_log: _,
            upstream_log_options: _,
            strict_check_headers: _,
            respect_expected_rq_timeout: _,
            suppress_grpc_request_failure_code_stats: _,
            // Of HTTP/3 and of QUIC's early data.
            reject_connect_request_early_data: _,
        } = message;
        if !upstream_http_filters.is_empty() {
            return Err(CompileError::unsupported("upstream_http_filters"));
        }
        Ok(Self { suppress_envoy_headers: *suppress_envoy_headers })
    }
}

#[cfg(test)]
mod tests {
    use weir_xds::hcm::HttpFilter;

    use super::*;

    #[test]
    fn filters_towards_instances_are_refused() {
        let compile = |router: Router| RouterPolicy::compile(&router);
        assert!(compile(Router { suppress_envoy_headers: true, ..Router::default() }).expect("valid").suppress_envoy_headers);
        assert!(compile(Router { upstream_http_filters: vec![HttpFilter::default()], ..Router::default() }).is_err());
    }
}
