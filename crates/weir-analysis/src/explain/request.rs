//! The virtual host and the route of a request.

use weir_config::http::{HttpConfig, RouteSource};
use weir_http1::header::COOKIE;
use weir_http1::{HeaderName, HeaderValue, Headers};
use weir_routing::dynamic_metadata::DynamicMetadata;
use weir_routing::inline_headers;
use weir_routing::normalize::{PathRules, Unsettled};
use weir_routing::{Decision, RequestHead, Route, RouteTable, VirtualHost, told_scheme};
use weir_xds::resource::ResourceType;

use super::Explainer;
use super::answer::{Answer, Error};
use super::call::{Call, Protocol, Tls};
use super::tokens::{self, Checked};
use super::words;

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// So many routes that were passed over are told of; of the others only how many they are.
const PASSED_OVER: usize = 20;

impl Explainer<'_> {
    /// Follows a request from its connection manager on.
    pub(super) fn http(&self, manager: &HttpConfig, call: &Call, answer: &mut Answer) -> Result<(), Error> {
        let table = match &manager.routes {
            RouteSource::Inline(table) => table,
            RouteSource::Named(name) => self.named_table(name, answer)?,
        };
        answer.route_config = Some(table.name.to_string());
        let path = settle_path(&manager.paths, call, answer)?;
        let mut headers = headers(call);
        let own_scheme = if call.tls == Tls::Plaintext { "http" } else { "https" };
        if manager.edge && manager.trusted_hops == 0 || !headers.contains_key(&FORWARDED_PROTO) {
            // Nobody is believed at the edge.
            headers.insert(&FORWARDED_PROTO, HeaderValue::from_static(own_scheme));
        }
        let head = RequestHead {
            method: call.method.as_deref().unwrap_or("GET"),
            scheme: told_scheme(&headers, manager.edge, manager.trusted_hops).unwrap_or(own_scheme),
            authority: call.host.as_deref().unwrap_or_default(),
            path: &path,
            headers: &headers,
            // What is decided by chance, this request gets.
            random: 0,
        };
        let mut known = DynamicMetadata::new();
        match tokens::check(self, manager, &head, &mut known, answer) {
            Checked::Refused => Err(Error::AccessDenied),
            Checked::Passed(changed) => {
                let head = RequestHead { headers: changed.as_ref().unwrap_or(&headers), ..head };
                self.enter((manager, table), &head, &known, call, answer)?;
                self.route(table, &head, &known, answer)
            }
        }
    }

    /// The routes that come under a name of their own.
    fn named_table(&self, name: &str, answer: &mut Answer) -> Result<&RouteTable, Error> {
        answer.route_config = Some(name.to_owned());
        self.patched(ResourceType::Route, name, answer);
        match self.table(name) {
            Some(Ok(table)) => Ok(table),
            Some(Err(error)) => {
                answer.step(format!("routes {name} are refused"), error);
                Err(Error::NoRoute)
            }
            None => {
                answer.step("no virtual host", format!("there is no route configuration {name}"));
                Err(Error::NoVirtualHost)
            }
        }
    }

    fn route(&self, table: &RouteTable, head: &RequestHead<'_>, known: &DynamicMetadata, answer: &mut Answer) -> Result<(), Error> {
        let decision = table.decide_knowing(head, known);
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
                pass_over(&host.routes[..route], table.matched_path(head), (head, known), answer);
                self.take(table, host, &host.routes[route], head, answer);
                Ok(())
            }
            Decision::TlsRequired(_) => {
                answer.step("301 to https", "the virtual host asks for TLS");
                Err(Error::TlsRedirect)
            }
            Decision::NoRoute(_) | Decision::NoVirtualHost => {
                pass_over(&host.routes, table.matched_path(head), (head, known), answer);
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
fn pass_over(routes: &[Route], path: &str, (head, known): (&RequestHead<'_>, &DynamicMetadata), answer: &mut Answer) {
    for route in routes.iter().take(PASSED_OVER) {
        if let Err(mismatch) = route.matcher.check(path, head, known) {
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
fn settle_path(rules: &PathRules, call: &Call, answer: &mut Answer) -> Result<String, Error> {
    let path = call.path.as_deref().unwrap_or("/");
    let settled = rules.settle(path).map_err(|unsettled| {
        match unsettled {
            Unsettled::Refused => answer.step("400", "the path hides a NUL character, or slashes that must not be hidden"),
            Unsettled::Elsewhere(path) => answer.step("307", format!("the path hides slashes, and the client is sent to {path}")),
        }
        Error::ProtocolError
    })?;
    if settled != path {
        answer.step(format!("path {settled}"), format!("is how the proxy writes {path}"));
    }
    Ok(settled.into_owned())
}

/// The headers as routes see them; what is none is left out.
fn headers(call: &Call) -> Headers {
    let pairs = call.headers.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    let pairs = pairs.filter_map(|(name, value)| Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?)));
    let mut headers: Headers = pairs.collect();
    inline_headers::join_repeated(&mut headers, &inline_headers::REQUEST);
    if call.protocol == Protocol::Http2 {
        inline_headers::join(&mut headers, &COOKIE, b"; ");
    }
    headers
}
