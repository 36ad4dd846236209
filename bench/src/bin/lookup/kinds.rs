//! Tables of many routes, in each of which one kind of condition decides, and the request that the last route is for.

use anyhow::Context;
use weir_http1::{HeaderValue, Headers};
use weir_routing::{RequestHead, RouteTable};
use weir_xds::matcher::string_matcher::MatchPattern;
use weir_xds::matcher::{RegexMatcher, StringMatcher};
use weir_xds::route::header_matcher::HeaderMatchSpecifier;
use weir_xds::route::route::Action;
use weir_xds::route::route_action::ClusterSpecifier;
use weir_xds::route::route_match::PathSpecifier;
use weir_xds::route::{HeaderMatcher, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost};

/// Which condition decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Prefixes,
    Hosts,
    Expressions,
    Headers,
}

/// A request that owns its parts.
pub(crate) struct Request {
    authority: String,
    path: String,
    headers: Headers,
}

impl Request {
    pub(crate) fn head(&self) -> RequestHead<'_> {
        RequestHead { method: "GET", scheme: "http", authority: &self.authority, path: &self.path, headers: &self.headers, random: 0 }
    }
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Prefixes, Self::Hosts, Self::Expressions, Self::Headers];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Prefixes => "prefixes",
            Self::Hosts => "hosts",
            Self::Expressions => "expressions",
            Self::Headers => "headers",
        }
    }

    pub(crate) fn parse(name: &str) -> anyhow::Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).with_context(|| format!("no kind is named {name}"))
    }

    /// How many routes are many.
    pub(crate) fn many(self) -> u32 {
        if self == Self::Expressions { 1_000 } else { 10_000 }
    }

    /// A table of so many routes, and a request for the last.
    pub(crate) fn table(self, size: u32) -> (RouteTable, Request) {
        let config = self.configuration(size);
        #[expect(clippy::expect_used, reason = "what is made here is valid")]
        let table = RouteTable::compile(&config, None).expect("a valid table");
        let last = size.saturating_sub(1);
        let mut headers = Headers::new();
        for (name, value) in [("user-agent", "wrk"), ("accept", "*/*"), ("x-request-id", "0a1b2c3d"), ("x-forwarded-proto", "http")] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if self == Self::Headers
            && let Ok(value) = HeaderValue::from_str(&value(last))
        {
            headers.insert("x-route", value);
        }
        let authority = if self == Self::Hosts { host(last) } else { "shop.test".to_owned() };
        (table, Request { authority, path: format!("{}items", path(last)), headers })
    }

    /// The xDS of so many routes.
    pub(crate) fn configuration(self, size: u32) -> RouteConfiguration {
        let virtual_hosts = match self {
            Self::Hosts => (0..size).map(|number| virtual_host(host(number), vec![self.route(number)])).collect(),
            _ => vec![virtual_host("*".to_owned(), (0..size).map(|number| self.route(number)).collect())],
        };
        RouteConfiguration { name: "many".to_owned(), virtual_hosts, ignore_port_in_host_matching: true, ..Default::default() }
    }

    /// Another name for the first route.
    pub(crate) fn change(self, config: &mut RouteConfiguration) {
        if let Some(route) = config.virtual_hosts.first_mut().and_then(|host| host.routes.first_mut()) {
            route.name = "changed".to_owned();
        }
    }

    fn route(self, number: u32) -> Route {
        let path_specifier = match self {
            Self::Prefixes => PathSpecifier::Prefix(path(number)),
            Self::Hosts | Self::Headers => PathSpecifier::Prefix("/".to_owned()),
            Self::Expressions => PathSpecifier::SafeRegex(RegexMatcher { regex: format!("{}[a-z]+", path(number)), ..Default::default() }),
        };
        let headers = if self == Self::Headers { vec![header(number)] } else { vec![] };
        let to = RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(format!("outbound|80||r{number:05}.test"))),
            ..Default::default()
        };
        Route {
            name: format!("r{number:05}"),
            r#match: Some(RouteMatch { path_specifier: Some(path_specifier), headers, ..Default::default() }),
            action: Some(Action::Route(to)),
            ..Default::default()
        }
    }
}

fn virtual_host(domain: String, routes: Vec<Route>) -> VirtualHost {
    VirtualHost { name: domain.clone(), domains: vec![domain], routes, ..Default::default() }
}

fn header(number: u32) -> HeaderMatcher {
    let exact = StringMatcher { match_pattern: Some(MatchPattern::Exact(value(number))), ..Default::default() };
    HeaderMatcher {
        name: "x-route".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(exact)),
        ..Default::default()
    }
}

fn host(number: u32) -> String {
    format!("host-{number:05}.test")
}

fn path(number: u32) -> String {
    format!("/r{number:05}/")
}

fn value(number: u32) -> String {
    format!("value-{number:05}")
}
