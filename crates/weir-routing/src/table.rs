//! A route configuration, compiled: from a request to its virtual host and route.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use weir_xds::Message;
use weir_xds::route::virtual_host::TlsRequirementType;
use weir_xds::route::{Route as XdsRoute, RouteConfiguration, VirtualHost as XdsVirtualHost};

use crate::action::{Action, Shared};
use crate::error::CompileError;
use crate::filters::Overrides;
use crate::header_changes::HeaderChanges;
use crate::host_index::{HostIndex, without_port};
use crate::matcher::RouteMatcher;
use crate::metadata::Metadata;
use crate::rate_limits::{self, Owner, RateLimit};
use crate::request::RequestHead;
use crate::retry::RetryPolicy;
use crate::route_index::RouteIndex;

/// A compiled `RouteConfiguration`. Virtual hosts that did not change are shared with the table before it.
#[derive(Debug)]
pub struct RouteTable {
    /// Its name.
    pub name: Arc<str>,
    /// In the order of the configuration.
    pub virtual_hosts: Vec<Arc<VirtualHost>>,
    hosts: HostIndex,
    ignore_port: bool,
    /// Changes to all requests.
    pub request_headers: HeaderChanges,
    /// Changes to all responses.
    pub response_headers: HeaderChanges,
    /// What it says of filters.
    pub filters: Overrides,
}

/// A compiled virtual host.
#[derive(Debug)]
pub struct VirtualHost {
    /// Its name.
    pub name: Arc<str>,
    /// In the order in which they are tried.
    pub routes: Box<[Route]>,
    index: RouteIndex,
    /// The clusters that its routes lead to: a route names them by their position here.
    pub clusters: Box<[Arc<str>]>,
    /// Which requests are sent to `https` first.
    pub require_tls: RequireTls,
    /// Whether `x-envoy-attempt-count` is set on requests.
    pub attempt_count: bool,
    /// Changes to its requests.
    pub request_headers: HeaderChanges,
    /// Changes to its responses.
    pub response_headers: HeaderChanges,
    /// What it says of filters.
    pub filters: Overrides,
    /// What its requests count towards, where filters and routes do not say.
    pub rate_limits: Box<[RateLimit]>,
    /// Tells whether the configuration that it was compiled from has changed.
    fingerprint: Fingerprint,
}

/// Which requests must have come by TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequireTls {
    /// None.
    No,
    /// All.
    All,
}

/// A compiled route.
#[derive(Debug)]
pub struct Route {
    /// Its name; may be empty.
    pub name: Arc<str>,
    /// When it applies.
    pub matcher: RouteMatcher,
    /// What becomes of the request.
    pub action: Action,
    /// Changes to its requests.
    pub request_headers: HeaderChanges,
    /// Changes to its responses.
    pub response_headers: HeaderChanges,
    /// What it says of filters.
    pub filters: Overrides,
    /// The texts of its metadata, by namespace and key.
    pub metadata: Metadata,
}

/// Two independent 64-bit hashes of a message's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Fingerprint(u64, u64);

impl Fingerprint {
    fn of(bytes: &[u8]) -> Self {
        let hash = |seed: u64| {
            let mut hasher = DefaultHasher::new();
            (seed, bytes).hash(&mut hasher);
            hasher.finish()
        };
        Self(hash(1), hash(2))
    }
}

/// Where a request goes by a [`RouteTable`]: positions in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// To a route of a virtual host.
    Route {
        /// The virtual host's position.
        host: usize,
        /// The route's position in it.
        route: usize,
    },
    /// To `https` first, says this virtual host.
    TlsRequired(usize),
    /// This virtual host has no route for it.
    NoRoute(usize),
    /// Its authority belongs to no virtual host.
    NoVirtualHost,
}

impl RouteTable {
    /// Compiles a route configuration, taking over from `previous` what did not change.
    ///
    /// # Errors
    /// If any part of it is not valid; nothing of it is to be used then.
    pub fn compile(config: &RouteConfiguration, previous: Option<&RouteTable>) -> Result<Self, CompileError> {
        let known: HashMap<Fingerprint, &Arc<VirtualHost>> =
            previous.into_iter().flat_map(|table| &table.virtual_hosts).map(|host| (host.fingerprint, host)).collect();
        let mut hosts = HostIndex::default();
        let mut virtual_hosts = vec![];
        for (number, host) in config.virtual_hosts.iter().enumerate() {
            let within = |error: CompileError| error.within(&format!("virtual_hosts[{}]", host.name));
            for domain in &host.domains {
                hosts.insert(domain, number as u32).map_err(within)?;
            }
            let fingerprint = Fingerprint::of(&host.encode_to_vec());
            virtual_hosts.push(match known.get(&fingerprint) {
                Some(known) => Arc::clone(known),
                None => Arc::new(VirtualHost::compile(host, fingerprint).map_err(within)?),
            });
        }
        let within = |error: CompileError| error.within("headers_to_add");
        Ok(Self {
            name: config.name.as_str().into(),
            virtual_hosts,
            hosts,
            ignore_port: config.ignore_port_in_host_matching,
            request_headers: HeaderChanges::compile(&config.request_headers_to_add, &config.request_headers_to_remove).map_err(within)?,
            response_headers: HeaderChanges::compile(&config.response_headers_to_add, &config.response_headers_to_remove)
                .map_err(within)?,
            filters: Overrides::compile(&config.typed_per_filter_config)?,
        })
    }

    /// The position of the virtual host that an authority belongs to.
    pub fn find_host(&self, authority: &str) -> Option<usize> {
        let authority = if self.ignore_port { without_port(authority) } else { authority };
        self.hosts.find(authority).map(|number| number as usize)
    }

    /// Where a request goes. It came by TLS if its scheme says so.
    pub fn decide(&self, head: &RequestHead<'_>) -> Decision {
        let Some(host) = self.find_host(head.authority) else { return Decision::NoVirtualHost };
        let virtual_host = &self.virtual_hosts[host];
        if virtual_host.require_tls == RequireTls::All && head.scheme != "https" {
            return Decision::TlsRequired(host);
        }
        match virtual_host.find(head) {
            Some(route) => Decision::Route { host, route },
            None => Decision::NoRoute(host),
        }
    }
}

impl VirtualHost {
    fn compile(host: &XdsVirtualHost, fingerprint: Fingerprint) -> Result<Self, CompileError> {
        let default_retry = host.retry_policy.as_ref().map(RetryPolicy::compile).transpose()?.map(Arc::new);
        let mut shared = Shared::new(default_retry);
        let routes = host
            .routes
            .iter()
            .enumerate()
            .map(|(i, route)| Route::compile(route, &mut shared).map_err(|error| error.within(&format!("routes[{i}]"))));
        let routes = routes.collect::<Result<Box<[_]>, _>>()?;
        let require_tls = match host.require_tls() {
            TlsRequirementType::None => RequireTls::No,
            // Nothing that a client says makes a request internal, so both mean all.
            TlsRequirementType::All | TlsRequirementType::ExternalOnly => RequireTls::All,
        };
        Ok(Self {
            name: host.name.as_str().into(),
            index: RouteIndex::build(routes.iter().map(|route| &route.matcher)),
            routes,
            clusters: shared.clusters.into(),
            require_tls,
            attempt_count: host.include_request_attempt_count,
            request_headers: HeaderChanges::compile(&host.request_headers_to_add, &host.request_headers_to_remove)?,
            response_headers: HeaderChanges::compile(&host.response_headers_to_add, &host.response_headers_to_remove)?,
            filters: Overrides::compile(&host.typed_per_filter_config)?,
            rate_limits: rate_limits::compile(&host.rate_limits, Owner::Route)?,
            fingerprint,
        })
    }

    /// The position of the first route that matches a request.
    pub fn find(&self, head: &RequestHead<'_>) -> Option<usize> {
        let path = head.path_only();
        let matches = |number: u32| self.routes.get(number as usize).is_some_and(|route| route.matcher.matches(path, head));
        self.index.find(path, head.headers, matches).map(|number| number as usize)
    }
}

impl Route {
    /// `file:line` of the rule that it was made of, where the control plane told.
    pub fn source(&self) -> Option<&str> {
        self.metadata.get("weir", "source")
    }

    fn compile(route: &XdsRoute, shared: &mut Shared) -> Result<Self, CompileError> {
        let route_match = route.r#match.as_ref().ok_or_else(|| CompileError::missing("match"))?;
        Ok(Self {
            name: route.name.as_str().into(),
            matcher: RouteMatcher::compile(route_match).map_err(|error| error.within("match"))?,
            action: Action::compile(route.action.as_ref(), shared)?,
            request_headers: HeaderChanges::compile(&route.request_headers_to_add, &route.request_headers_to_remove)?,
            response_headers: HeaderChanges::compile(&route.response_headers_to_add, &route.response_headers_to_remove)?,
            filters: Overrides::compile(&route.typed_per_filter_config)?,
            metadata: Metadata::compile(route.metadata.as_ref()),
        })
    }
}
