//! A route's conditions, all of which must hold.

use weir_xds::route::RouteMatch;

use crate::condition::{HeaderCondition, QueryCondition};
use crate::error::CompileError;
use crate::path::PathCondition;
use crate::request::RequestHead;

/// A compiled `RouteMatch`.
#[derive(Debug, Clone)]
pub struct RouteMatcher {
    /// On the path.
    pub path: PathCondition,
    /// On headers, the method, the scheme and the authority.
    pub headers: Box<[HeaderCondition]>,
    /// On query parameters.
    pub query: Box<[QueryCondition]>,
    /// Set where the route asks for something that a request of ours never has (a JWT claim): it never matches.
    pub impossible: bool,
}

/// The first condition of a route that a request does not satisfy.
#[derive(Debug, Clone, Copy)]
pub enum Mismatch<'m> {
    /// The path is another.
    Path(&'m PathCondition),
    /// A header, the method, the scheme or the authority is another.
    Header(&'m HeaderCondition),
    /// A query parameter is another.
    Query(&'m QueryCondition),
    /// It asks for what no request has.
    Impossible,
}

impl RouteMatcher {
    /// Compiles Envoy's route match.
    ///
    /// # Errors
    /// If a condition is not valid or of a kind that is not carried out.
    pub fn compile(route_match: &RouteMatch) -> Result<Self, CompileError> {
        if route_match.runtime_fraction.is_some() {
            return Err(CompileError::unsupported("runtime_fraction"));
        }
        if route_match.tls_context.is_some() {
            return Err(CompileError::unsupported("tls_context"));
        }
        let headers = route_match.headers.iter().enumerate();
        let query = route_match.query_parameters.iter().enumerate();
        Ok(Self {
            path: PathCondition::compile(route_match)?,
            headers: headers
                .map(|(i, header)| HeaderCondition::compile(header).map_err(|error| error.within(&format!("headers[{i}]"))))
                .collect::<Result<_, _>>()?,
            query: query
                .map(|(i, parameter)| QueryCondition::compile(parameter).map_err(|error| error.within(&format!("query_parameters[{i}]"))))
                .collect::<Result<_, _>>()?,
            impossible: !route_match.dynamic_metadata.is_empty() || !route_match.filter_state.is_empty() || route_match.grpc.is_some(),
        })
    }

    /// Whether a request satisfies all conditions; `path` is its path without the query, which whoever tries several routes cuts
    /// off once.
    pub fn matches(&self, path: &str, head: &RequestHead<'_>) -> bool {
        self.path.holds(path)
            && self.headers.iter().all(|header| header.holds(head))
            && self.query.iter().all(|parameter| parameter.holds(head))
            && !self.impossible
    }

    /// Whether a request satisfies all conditions, and else the first that it does not.
    ///
    /// # Errors
    /// That condition.
    pub fn check(&self, head: &RequestHead<'_>) -> Result<(), Mismatch<'_>> {
        if !self.path.holds(head.path_only()) {
            return Err(Mismatch::Path(&self.path));
        }
        if let Some(header) = self.headers.iter().find(|header| !header.holds(head)) {
            return Err(Mismatch::Header(header));
        }
        if let Some(parameter) = self.query.iter().find(|parameter| !parameter.holds(head)) {
            return Err(Mismatch::Query(parameter));
        }
        if self.impossible { Err(Mismatch::Impossible) } else { Ok(()) }
    }
}
