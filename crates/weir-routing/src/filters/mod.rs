//! What HTTP filters are told to do: the policy of each as data, and its decisions as functions of a request, a clock value and
//! random numbers. The deeds (waiting, answering, buffering) are the proxy's.
//!
//! A filter is configured in the connection manager's `http_filters` (a [`FilterPolicy`]) and, by the name that it has there,
//! in `typed_per_filter_config` of a route configuration, virtual host, route or weighted cluster (an [`Override`], which may
//! hold a [`RoutePolicy`]); see
//! <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/http/http_filters#route-specific-config>.
//!
//! A new filter is a file here, its `mod` line and its line in the list below.

use weir_xds::{Any, Message, Name};

use crate::error::CompileError;

pub mod admission_control;
pub mod bandwidth_limit;
pub mod basic_auth;
pub mod buffer;
pub mod cdn_loop;
mod chain;
pub mod coding;
pub mod compressor;
pub mod cors;
pub mod counters;
pub mod csrf;
pub mod custom_response;
pub mod decompressor;
pub mod ext_authz;
pub mod fault;
pub mod grpc_http1_bridge;
pub mod grpc_web;
pub mod header_mutation;
pub mod header_to_metadata;
pub mod health_check;
pub mod jwt_authn;
pub mod local_ratelimit;
pub mod lua;
mod overrides;
pub mod peer_metadata;
pub mod ratelimit;
pub mod rbac;
pub mod router;
pub mod service;
pub mod set_metadata;
mod share;
pub mod stateful_session;

pub use chain::{Filter, compile_chain};
pub use overrides::{Levels, Override, Overrides};
pub use share::Share;

/// A policy that is compiled of one type of message, by which it is recognised.
pub trait Policy: Sized {
    /// The message.
    type Message: Message + Name + Default;

    /// Compiles the message.
    ///
    /// # Errors
    /// If it is not valid, or asks for something that is not carried out.
    fn compile(message: &Self::Message) -> Result<Self, CompileError>;
}

/// A policy that a route can have for a filter.
pub trait OfRoute: Policy {
    /// The policy, if it is for this filter. Envoy passes over one that is for another.
    fn of(policy: &RoutePolicy) -> Option<&Self>;
}

/// Makes the closed enums and finds their members by the types of messages. Each line is a variant, the filter's policy, and
/// what a route can say, for filters of which it can say something.
macro_rules! filters {
    ($($name:ident: $policy:ty $(, $route:ty)?;)+) => {
        /// What the connection manager says of a filter.
        #[derive(Debug, Clone)]
        pub enum FilterPolicy {
            $(#[doc = concat!("[`", stringify!($policy), "`]")] $name($policy),)+
            /// Does nothing that a client or an instance could see.
            Unseen,
        }

        /// What a route says of a filter.
        #[derive(Debug, Clone)]
        pub enum RoutePolicy {
            $($(#[doc = concat!("[`", stringify!($route), "`]")] $name($route),)?)+
        }

        $($(impl OfRoute for $route {
            fn of(policy: &RoutePolicy) -> Option<&Self> {
                match policy {
                    RoutePolicy::$name(policy) => Some(policy),
                    _ => None,
                }
            }
        })?)+

        fn filter_policy(config: &Any) -> Option<Result<FilterPolicy, CompileError>> {
            $(if config.is::<<$policy as Policy>::Message>() {
                return Some(unpack::<$policy>(config).map(FilterPolicy::$name));
            })+
            None
        }

        fn route_policy(config: &Any) -> Option<Result<RoutePolicy, CompileError>> {
            $($(if config.is::<<$route as Policy>::Message>() {
                return Some(unpack::<$route>(config).map(RoutePolicy::$name));
            })?)+
            None
        }
    };
}

filters! {
    AdmissionControl: admission_control::AdmissionPolicy;
    BandwidthLimit: bandwidth_limit::BandwidthPolicy, bandwidth_limit::BandwidthPolicy;
    BasicAuth: basic_auth::BasicAuthPolicy, basic_auth::Users;
    Buffer: buffer::BufferPolicy, buffer::BufferOverride;
    CdnLoop: cdn_loop::CdnLoopPolicy;
    Compressor: compressor::CompressorPolicy, compressor::CompressorOverride;
    Cors: cors::CorsFilter, cors::CorsPolicy;
    ExtAuthz: ext_authz::ExtAuthzPolicy, ext_authz::ExtAuthzOverride;
    Csrf: csrf::CsrfPolicy, csrf::CsrfPolicy;
    CustomResponse: custom_response::CustomResponsePolicy, custom_response::CustomResponsePolicy;
    Decompressor: decompressor::DecompressorPolicy;
    Fault: fault::FaultPolicy, fault::FaultPolicy;
    GrpcHttp1Bridge: grpc_http1_bridge::BridgePolicy;
    GrpcWeb: grpc_web::GrpcWebFilter;
    HeaderMutation: header_mutation::HeaderMutationPolicy, header_mutation::Mutations;
    HeaderToMetadata: header_to_metadata::TakingPolicy, header_to_metadata::RoutePolicy;
    HealthCheck: health_check::HealthCheckPolicy;
    JwtAuthn: jwt_authn::JwtPolicy, jwt_authn::JwtOverride;
    LocalRateLimit: local_ratelimit::RateLimitPolicy, local_ratelimit::RateLimitOverride;
    Lua: lua::LuaPolicy, lua::LuaOverride;
    PeerMetadata: peer_metadata::PeerMetadataPolicy;
    RateLimit: ratelimit::GlobalLimitPolicy, ratelimit::GlobalLimitOverride;
    Rbac: rbac::RbacPolicy, rbac::RbacOverride;
    SetMetadata: set_metadata::MetadataPolicy, set_metadata::MetadataPolicy;
    StatefulSession: stateful_session::SessionPolicy, stateful_session::SessionOverride;
    Router: router::RouterPolicy;
}

/// They count, or look up names that the proxy looks up where it connects.
const UNSEEN: &[&str] =
    &["envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig", "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"];

impl FilterPolicy {
    /// Compiles what the connection manager says of a filter; `None` for a type that is not known.
    ///
    /// # Errors
    /// If it is not valid, or asks for something that is not carried out.
    pub fn compile(config: &Any) -> Result<Option<Self>, CompileError> {
        match config.type_name() {
            name if UNSEEN.contains(&name) => Ok(Some(Self::Unseen)),
            _ => filter_policy(config).transpose(),
        }
    }
}

impl RoutePolicy {
    /// Compiles what a route says of a filter; `None` for a type that is not known.
    ///
    /// # Errors
    /// If it is not valid, or asks for something that is not carried out.
    pub fn compile(config: &Any) -> Result<Option<Self>, CompileError> {
        route_policy(config).transpose()
    }
}

fn unpack<P: Policy>(config: &Any) -> Result<P, CompileError> {
    let message = config.unpack::<P::Message>().map_err(|error| CompileError::new("", error.to_string()))?;
    P::compile(&message)
}

#[cfg(test)]
mod tests {
    use weir_xds::cors::Cors;
    use weir_xds::fault::HttpFault;
    use weir_xds::router::Router;

    use super::*;

    fn of_type(name: &str) -> Any {
        Any { type_url: format!("type.googleapis.com/{name}"), ..Default::default() }
    }

    #[test]
    fn filters_are_known_by_the_types_of_their_configuration() {
        let compile = |config: Any| FilterPolicy::compile(&config).expect("valid");
        assert!(matches!(compile(Any::pack(&Cors::default())), Some(FilterPolicy::Cors(_))));
        assert!(matches!(compile(Any::pack(&HttpFault::default())), Some(FilterPolicy::Fault(_))));
        assert!(matches!(compile(Any::pack(&Router::default())), Some(FilterPolicy::Router(_))));
        assert!(matches!(compile(of_type(UNSEEN[1])), Some(FilterPolicy::Unseen)));
        for unknown in ["", "a.B", "envoy.extensions.filters.http.buffer.v3.BufferPerRoute"] {
            assert!(compile(of_type(unknown)).is_none(), "{unknown}");
        }
    }

    #[test]
    fn what_is_no_message_of_its_type_is_refused() {
        let mut config = Any::pack(&HttpFault::default());
        config.value = vec![0xff].into();
        assert!(FilterPolicy::compile(&config).is_err() && RoutePolicy::compile(&config).is_err());
    }
}
