//! The virtual host and the route of a request.

use http::header::COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue};
use weir_routing::inline_headers;
use weir_routing::normalize::{PathRules, Refused};
use weir_routing::{Decision, RequestHead, Route, RouteTable, VirtualHost, told_scheme};
use weir_xds::hcm::HttpConnectionManager;
use weir_xds::hcm::http_connection_manager::RouteSpecifier;

use super::Explainer;
use super::answer::{Answer, Error};
use super::call::{Call, Protocol, Tls};
use super::words;

/// So many routes that were passed over are told of; of the others only how many they are.
const PASSED_OVER: usize = 20;

impl Explainer<'_> {
    /// Follows a request from its connection manager on.
    pub(super) fn http(&self, manager: &HttpConnectionManager, call: &Call, answer: &mut Answer) -> Result<(), Error> {
        let inline;
        let (config, table) = match &manager.route_specifier {
            Some(RouteSpecifier::RouteConfig(config)) => {
                inline = RouteTable::compile(config, None).map_err(|error| error.to_string());
                (config, inline.as_ref())
            }
            Some(RouteSpecifier::Rds(rds)) => {
                answer.route_config = Some(rds.route_config_name.clone());
                self.table(&rds.route_config_name).ok_or_else(|| {
                    answer.step("no virtual host", format!("there is no route configuration {}", rds.route_config_name));
                    Error::NoVirtualHost
                })?
            }
            _ => return Err(Error::NoVirtualHost),
        };
        answer.route_config = Some(config.name.clone());
        let table = table.map_err(|error| {
            answer.step(format!("routes {} are refused", config.name), error);
            Error::NoRoute
        })?;
        let path = settle_path(manager, call, answer)?;
        let headers = headers(call);
        let own_scheme = if call.tls == Tls::Plaintext { "http" } else { "https" };
        let head = RequestHead {
            method: call.method.as_deref().unwrap_or("GET"),
            scheme: told_scheme(&headers, manager.use_remote_address.unwrap_or(false), manager.xff_num_trusted_hops).unwrap_or(own_scheme),
            authority: call.host.as_deref().unwrap_or_default(),
            path: &path,
            headers: &headers,
            // What is decided by chance, this request gets.
            random: 0,
        };
        self.route(table, &head, answer)
    }

    fn route(&self, table: &RouteTable, head: &RequestHead<'_>, answer: &mut Answer) -> Result<(), Error> {
        let decision = table.decide(head);
        let host = match decision {
            Decision::NoVirtualHost => {
                answer.step("404, no virtual host", format!("no domain of {} is for the host `{}`", table.name, head.authority));
                return Err(Error::NoVirtualHost);
            }
            Decision::Route { host, .. } | Decision::TlsRequired(host) | Decision::NoRoute(host) => &table.virtual_hosts[host],
        };
        answer.virtual_host = Some(host.name.to_string());
        answer.step(format!("virtual host {} in {}", host.name, table.name), format!("is for the host `{}`", head.authority));
        match decision {
            Decision::Route { route, .. } => {
                pass_over(&host.routes[..route], table.matched_path(head), head, answer);
                self.take(table, host, &host.routes[route], head, answer);
                Ok(())
            }
            Decision::TlsRequired(_) => {
                answer.step("301 to https", "the virtual host asks for TLS");
                Err(Error::TlsRedirect)
            }
            Decision::NoRoute(_) | Decision::NoVirtualHost => {
                pass_over(&host.routes, table.matched_path(head), head, answer);
                answer.step("404, no route", format!("no rule of {} is for this request", host.name));
                Err(Error::NoRoute)
            }
        }
    }

    fn take(&self, table: &RouteTable, host: &VirtualHost, route: &Route, head: &RequestHead<'_>, answer: &mut Answer) {
        answer.route = Some(route.name.to_string());
        answer.step_at(named("rule", route), words::all_of(&route.matcher), route.source());
        self.outcome(table, host, route, head, answer);
    }
}

/// Says of the routes before the one that matched why they did not.
fn pass_over(routes: &[Route], path: &str, head: &RequestHead<'_>, answer: &mut Answer) {
    for route in routes.iter().take(PASSED_OVER) {
        if let Err(mismatch) = route.matcher.check(path, head) {
            answer.step_at(named("not rule", route), words::why_not(mismatch, head), route.source());
        }
    }
    if let Some(more) = routes.len().checked_sub(PASSED_OVER).filter(|more| *more > 0) {
        answer.step(format!("not {more} more rules"), "nor do they match");
    }
}

fn named(what: &str, route: &Route) -> String {
    if route.name.is_empty() { what.to_owned() } else { format!("{what} {}", route.name) }
}

/// The path as routes see it.
fn settle_path(manager: &HttpConnectionManager, call: &Call, answer: &mut Answer) -> Result<String, Error> {
    let path = call.path.as_deref().unwrap_or("/");
    let rules = PathRules::compile(manager).map_err(|error| {
        answer.step("the listener is refused", error.to_string());
        Error::NoRoute
    })?;
    let settled = rules.settle(path).map_err(|Refused| {
        answer.step("400", "the path hides a NUL character, or slashes that must not be hidden");
        Error::ProtocolError
    })?;
    if settled != path {
        answer.step(format!("path {settled}"), format!("is how the proxy writes {path}"));
    }
    Ok(settled.into_owned())
}

/// The headers as routes see them; what is none is left out.
fn headers(call: &Call) -> HeaderMap {
    let pairs = call.headers.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    let pairs = pairs.filter_map(|(name, value)| Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?)));
    let mut headers: HeaderMap = pairs.collect();
    inline_headers::join_repeated(&mut headers, &inline_headers::REQUEST);
    if call.protocol == Protocol::Http2 {
        inline_headers::join(&mut headers, &COOKIE, b"; ");
    }
    headers
}
