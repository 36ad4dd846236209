//! A route configuration, compiled: from a request to its virtual host and route.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use weir_http1::HeaderName;
use weir_xds::Message;
use weir_xds::route::route_action::RequestMirrorPolicy;
use weir_xds::route::virtual_host::TlsRequirementType;
use weir_xds::route::{Route as XdsRoute, RouteConfiguration, RouteMatch, VirtualHost as XdsVirtualHost};

use crate::action::Action;
use crate::clusters::WeightedCluster;
use crate::dynamic_metadata::DynamicMetadata;
use crate::error::CompileError;
use crate::filter_metadata::FilterMetadata;
use crate::filters::local_ratelimit::{RateLimitOverride, RateLimitPolicy};
use crate::filters::lua::{LuaOverride, Script};
use crate::filters::{Levels, Overrides};
use crate::header_changes::HeaderChanges;
use crate::host_index::{HostIndex, split_port};
use crate::matcher::RouteMatcher;
use crate::metadata::Metadata;
use crate::rate_limits::{self, Owner, RateLimit};
use crate::request::RequestHead;
use crate::retry::RetryPolicy;
use crate::route_index::RouteIndex;
use crate::shared::Shared;

/// A compiled `RouteConfiguration`. Virtual hosts that did not change are shared with the table before it.
#[derive(Debug, Clone)]
pub struct RouteTable {
    /// Its name.
    pub name: Arc<str>,
    /// In the order of the configuration.
    pub virtual_hosts: Vec<Arc<VirtualHost>>,
    pub(crate) hosts: Arc<HostIndex>,
    ignore_port: bool,
    /// The header that names the virtual host, if it is not the authority.
    host_header: Option<HeaderName>,
    /// Whether routes do not see what follows a `;` in the path.
    ignore_path_parameters: bool,
    /// Headers that are not believed and are taken from requests before they are routed.
    pub untrusted_headers: Box<[HeaderName]>,
    /// Whether of header changes the most special comes last, and so wins.
    most_specific_last: bool,
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
    /// Whether it is set on answers.
    pub attempt_count_in_answer: bool,
    /// Whether an attempt that is made again tells in `x-envoy-is-timeout-retry` if the one before took too long.
    pub tells_timeout_retry: bool,
    /// Changes to its requests.
    pub request_headers: HeaderChanges,
    /// Changes to its responses.
    pub response_headers: HeaderChanges,
    /// What it says of filters.
    pub filters: Overrides,
    /// What its requests count towards, where filters and routes do not say.
    pub rate_limits: Box<[RateLimit]>,
    /// What filters are told of it.
    pub filter_metadata: FilterMetadata,
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
    /// What filters are told of it.
    pub filter_metadata: FilterMetadata,
}

/// Two independent 64-bit hashes of a message's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Fingerprint(u64, u64);

impl Fingerprint {
    /// Of a virtual host, and of what it has from its table.
    fn of(host: &XdsVirtualHost, inherited: &Inherited) -> Self {
        let bytes = host.encode_to_vec();
        let mirrors: Vec<Vec<u8>> = inherited.mirrors.iter().map(Message::encode_to_vec).collect();
        let hash = |seed: u64| {
            let mut hasher = DefaultHasher::new();
            (seed, &bytes, &mirrors, inherited.max_body).hash(&mut hasher);
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

/// Envoy's limit of the body of a direct response, where none is given.
const MAX_BODY: u32 = 4096;

/// What virtual hosts have from their table, if they say nothing themselves.
#[derive(Debug, PartialEq)]
pub(crate) struct Inherited {
    mirrors: Arc<[RequestMirrorPolicy]>,
    max_body: usize,
}

impl Inherited {
    /// What virtual hosts have from this one.
    pub(crate) fn of(config: &RouteConfiguration) -> Self {
        let max_body = config.max_direct_response_body_size_bytes.unwrap_or(MAX_BODY) as usize;
        Self { mirrors: config.request_mirror_policies.as_slice().into(), max_body }
    }
}

fn header_name(field: &str, name: &str) -> Result<HeaderName, CompileError> {
    HeaderName::try_from(name).map_err(|_| CompileError::new(field, format!("`{name}` is no name of a header")))
}

/// Compiles virtual hosts, taking over from `previous` what did not change, and files them by their domains.
fn virtual_hosts(
    hosts: &[XdsVirtualHost],
    inherited: &Inherited,
    previous: Option<&RouteTable>,
) -> Result<(HostIndex, Vec<Arc<VirtualHost>>), CompileError> {
    let known: HashMap<Fingerprint, &Arc<VirtualHost>> =
        previous.into_iter().flat_map(|table| &table.virtual_hosts).map(|host| (host.fingerprint, host)).collect();
    let (mut index, mut compiled) = (HostIndex::default(), vec![]);
    for (number, host) in hosts.iter().enumerate() {
        let within = |error: CompileError| error.within(&format!("virtual_hosts[{}]", host.name));
        for domain in &host.domains {
            index.insert(domain, number as u32).map_err(within)?;
        }
        let fingerprint = Fingerprint::of(host, inherited);
        compiled.push(match known.get(&fingerprint) {
            Some(known) => Arc::clone(known),
            None => Arc::new(VirtualHost::compile(host, inherited, fingerprint).map_err(within)?),
        });
    }
    Ok((index, compiled))
}

impl RouteTable {
    /// What is said of filters at each level that applies to a request: those that its route was found at, and the cluster
    /// that was chosen among several.
    pub fn filter_levels<'o>(
        &'o self,
        host: &'o VirtualHost,
        route: Option<&'o Route>,
        cluster: Option<&'o WeightedCluster>,
    ) -> Levels<'o> {
        let of_cluster = route.and(cluster).map(|cluster| &cluster.filters);
        Levels::new([Some(&self.filters), Some(&host.filters), route.map(|route| &route.filters), of_cluster])
    }

    /// The scripts that it brings along, and what the filters are called that they are for.
    pub fn scripts(&self) -> impl Iterator<Item = (&str, &Arc<Script>)> {
        let of_routes = self.all_overrides().flat_map(Overrides::all::<LuaOverride>);
        of_routes.filter_map(|(name, of_route)| Some((name, of_route.own_script()?)))
    }

    /// The limits of requests that it brings along.
    pub fn limits(&self) -> impl Iterator<Item = &RateLimitPolicy> {
        self.all_overrides().flat_map(Overrides::all::<RateLimitOverride>).map(|(_, of_route)| &of_route.0)
    }

    /// What is said of filters at all levels, for whatever request.
    fn all_overrides(&self) -> impl Iterator<Item = &Overrides> {
        let hosts = self.virtual_hosts.iter();
        std::iter::once(&self.filters)
            .chain(hosts.flat_map(|host| std::iter::once(&host.filters).chain(host.routes.iter().flat_map(Route::all_overrides))))
    }

    /// Compiles a route configuration, taking over from `previous` what did not change.
    ///
    /// # Errors
    /// If any part of it is not valid; nothing of it is to be used then.
    pub fn compile(config: &RouteConfiguration, previous: Option<&RouteTable>) -> Result<Self, CompileError> {
        let RouteConfiguration {
            name,
            virtual_hosts: hosts,
            vhds,
            internal_only_headers,
            response_headers_to_add,
            response_headers_to_remove,
            request_headers_to_add,
            request_headers_to_remove,
            most_specific_header_mutations_wins,
            // Virtual hosts inherit these.
            max_direct_response_body_size_bytes: _,
            request_mirror_policies: _,
            ignore_port_in_host_matching,
            vhost_header,
            ignore_path_parameters_in_path_matching,
            route_specifiers,
            // A route that names a plugin is refused.
            cluster_specifier_plugins: _,
            metadata: _,
            typed_per_filter_config,
            // This is reported as not carried out.
            validate_clusters: _,
        } = config;
        if vhds.is_some() {
            return Err(CompileError::new("vhds", "is for route configurations that come by themselves"));
        }
        if !route_specifiers.is_empty() {
            return Err(CompileError::unsupported("route_specifiers"));
        }
        let (index, virtual_hosts) = virtual_hosts(hosts, &Inherited::of(config), previous)?;
        let changes = |field: &str, add: &[_], remove: &[_]| HeaderChanges::of_route(add, remove).map_err(|error| error.within(field));
        Ok(Self {
            name: name.as_str().into(),
            virtual_hosts,
            hosts: Arc::new(index),
            ignore_port: *ignore_port_in_host_matching,
            host_header: (!vhost_header.is_empty()).then(|| header_name("vhost_header", vhost_header)).transpose()?,
            ignore_path_parameters: *ignore_path_parameters_in_path_matching,
            untrusted_headers: internal_only_headers
                .iter()
                .map(|name| header_name("internal_only_headers", name))
                .collect::<Result<_, _>>()?,
            most_specific_last: *most_specific_header_mutations_wins,
            request_headers: changes("request_headers_to_add", request_headers_to_add, request_headers_to_remove)?,
            response_headers: changes("response_headers_to_add", response_headers_to_add, response_headers_to_remove)?,
            filters: Overrides::compile(typed_per_filter_config)?,
        })
    }

    /// The position of the virtual host that a request belongs to.
    fn find_host(&self, head: &RequestHead<'_>) -> Option<usize> {
        let host = match &self.host_header {
            None => head.authority,
            Some(name) => match head.headers.get(name) {
                Some(value) => value.to_str().ok()?,
                // Where all hosts are one, nobody asks.
                None => return self.hosts.only().map(|number| number as usize),
            },
        };
        let host = match split_port(host) {
            Some((bare, _)) if self.ignore_port => bare,
            _ => host,
        };
        self.hosts.find(host).map(|number| number as usize)
    }

    /// The part of a request's path that routes are matched by: without the query, and where the table says so without
    /// parameters.
    pub fn matched_path<'h>(&self, head: &RequestHead<'h>) -> &'h str {
        let path = head.path_only();
        if self.ignore_path_parameters { path.split_once(';').map_or(path, |(path, _)| path) } else { path }
    }

    /// Changes of a route, its virtual host and this table in the order in which they apply; what comes later wins.
    fn in_order<'c>(&self, route: &'c HeaderChanges, host: &'c HeaderChanges, table: &'c HeaderChanges) -> [&'c HeaderChanges; 3] {
        if self.most_specific_last { [table, host, route] } else { [route, host, table] }
    }

    /// The changes to a request, in the order in which they apply.
    pub fn request_changes<'t>(&'t self, host: &'t VirtualHost, route: &'t Route) -> impl Iterator<Item = &'t HeaderChanges> {
        self.in_order(&route.request_headers, &host.request_headers, &self.request_headers).into_iter()
    }

    /// The changes to an answer, in the order in which they apply.
    pub fn response_changes<'t>(&'t self, host: &'t VirtualHost, route: &'t Route) -> impl Iterator<Item = &'t HeaderChanges> {
        self.in_order(&route.response_headers, &host.response_headers, &self.response_headers).into_iter()
    }

    /// Where a request goes of which filters have learnt nothing yet.
    pub fn decide(&self, head: &RequestHead<'_>) -> Decision {
        self.decide_knowing(head, &DynamicMetadata::new())
    }

    /// Where a request goes. It came by TLS if `x-forwarded-proto` says so; without that, if its scheme does. `known` is what
    /// filters have learnt of it.
    pub fn decide_knowing(&self, head: &RequestHead<'_>, known: &DynamicMetadata) -> Decision {
        let Some(host) = self.find_host(head) else { return Decision::NoVirtualHost };
        let virtual_host = &self.virtual_hosts[host];
        if virtual_host.require_tls == RequireTls::All && !head.came_by_tls() {
            return Decision::TlsRequired(host);
        }
        match virtual_host.find(self.matched_path(head), head, known) {
            Some(route) => Decision::Route { host, route },
            None => Decision::NoRoute(host),
        }
    }
}

impl VirtualHost {
    /// Compiles one; the same as before if that was made of the same.
    pub(crate) fn compile_anew(
        host: &XdsVirtualHost,
        inherited: &Inherited,
        before: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, CompileError> {
        let fingerprint = Fingerprint::of(host, inherited);
        match before.filter(|before| before.fingerprint == fingerprint) {
            Some(before) => Ok(before.clone()),
            None => Self::compile(host, inherited, fingerprint).map(Arc::new),
        }
    }

    #[allow(deprecated)] // All fields are named, old ones as well.
    fn compile(host: &XdsVirtualHost, inherited: &Inherited, fingerprint: Fingerprint) -> Result<Self, CompileError> {
        let XdsVirtualHost {
            name,
            // The table files them.
            domains: _,
            routes,
            matcher,
            require_tls: _,
            request_headers_to_add,
            request_headers_to_remove,
            response_headers_to_add,
            response_headers_to_remove,
            include_request_attempt_count,
            include_attempt_count_in_response,
            include_is_timeout_retry_header,
            retry_policy,
            request_mirror_policies,
            route_specifiers,
            rate_limits,
            typed_per_filter_config,
            metadata,
            // These are reported as not carried out.
            virtual_clusters,
            cors: _,
            retry_policy_typed_config: _,
            hedge_policy: _,
            per_request_buffer_limit_bytes: _,
            request_body_buffer_limit: _,
        } = host;
        if matcher.is_some() {
            return Err(CompileError::unsupported("matcher"));
        }
        if !route_specifiers.is_empty() {
            return Err(CompileError::unsupported("route_specifiers"));
        }
        if virtual_clusters.iter().any(|cluster| cluster.name.is_empty()) {
            return Err(CompileError::missing("virtual_clusters.name"));
        }
        let retry = retry_policy.as_ref().map(RetryPolicy::compile).transpose().map_err(|error| error.within("retry_policy"))?;
        let mirrors =
            if request_mirror_policies.is_empty() { inherited.mirrors.clone() } else { request_mirror_policies.as_slice().into() };
        let mut shared = Shared::new(retry.map(Arc::new), mirrors, inherited.max_body);
        let compile = |(i, route)| Route::compile(route, &mut shared).map_err(|error| error.within(&format!("routes[{i}]")));
        let routes = routes.iter().enumerate().map(compile).collect::<Result<Box<[_]>, _>>()?;
        let require_tls = match host.require_tls() {
            TlsRequirementType::None => RequireTls::No,
            // Nothing that a client says makes a request internal, so both mean all.
            TlsRequirementType::All | TlsRequirementType::ExternalOnly => RequireTls::All,
        };
        Ok(Self {
            name: name.as_str().into(),
            index: RouteIndex::build(routes.iter().map(|route| &route.matcher)),
            routes,
            clusters: shared.clusters.into(),
            require_tls,
            attempt_count: *include_request_attempt_count,
            attempt_count_in_answer: *include_attempt_count_in_response,
            tells_timeout_retry: *include_is_timeout_retry_header,
            request_headers: HeaderChanges::of_route(request_headers_to_add, request_headers_to_remove)?,
            response_headers: HeaderChanges::of_route(response_headers_to_add, response_headers_to_remove)?,
            filters: Overrides::compile(typed_per_filter_config)?,
            rate_limits: rate_limits::compile(rate_limits, Owner::Route)?,
            filter_metadata: FilterMetadata::compile(metadata.as_ref()),
            fingerprint,
        })
    }

    /// The position of the first route that matches a request; `path` is what routes are matched by.
    fn find(&self, path: &str, head: &RequestHead<'_>, known: &DynamicMetadata) -> Option<usize> {
        let matches = |number: u32| self.routes.get(number as usize).is_some_and(|route| route.matcher.matches(path, head, known));
        self.index.find(path, head.headers, matches).map(|number| number as usize)
    }
}

impl Route {
    /// `file:line` of the rule that it was made of, where the control plane told.
    pub fn source(&self) -> Option<&str> {
        self.metadata.get("weir", "source")
    }

    fn all_overrides(&self) -> impl Iterator<Item = &Overrides> {
        let clusters = match &self.action {
            Action::Forward(to) => to.clusters.weighted(),
            Action::Redirect(_) | Action::Respond(_) => &[],
        };
        std::iter::once(&self.filters).chain(clusters.iter().map(|cluster| &cluster.filters))
    }

    fn compile(route: &XdsRoute, shared: &mut Shared) -> Result<Self, CompileError> {
        #[allow(deprecated)] // All fields are named, old ones as well.
        let XdsRoute {
            name,
            r#match,
            action,
            metadata,
            request_headers_to_add,
            request_headers_to_remove,
            response_headers_to_add,
            response_headers_to_remove,
            typed_per_filter_config,
            route_specifiers,
            // There is no tracing.
            decorator: _,
            tracing: _,
            // These are reported as not carried out.
            stat_prefix: _,
            per_request_buffer_limit_bytes: _,
            request_body_buffer_limit: _,
        } = route;
        if !route_specifiers.is_empty() {
            return Err(CompileError::unsupported("route_specifiers"));
        }
        let route_match: &RouteMatch = r#match.as_ref().ok_or_else(|| CompileError::missing("match"))?;
        Ok(Self {
            name: name.as_str().into(),
            matcher: RouteMatcher::compile(route_match).map_err(|error| error.within("match"))?,
            action: Action::compile(action.as_ref(), shared)?,
            request_headers: HeaderChanges::of_route(request_headers_to_add, request_headers_to_remove)?,
            response_headers: HeaderChanges::of_route(response_headers_to_add, response_headers_to_remove)?,
            filters: Overrides::compile(typed_per_filter_config)?,
            metadata: Metadata::compile(metadata.as_ref()),
            filter_metadata: FilterMetadata::compile(metadata.as_ref()),
        })
    }
}
