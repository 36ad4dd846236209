//! One request while it is handled: what its filters and the router share, and how it is answered.

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use weir_config::flags::ResponseFlags;
use weir_config::head::{REQUEST_ID, append_to};
use weir_config::http::{LetterCase, ServerHeader};
use weir_routing::action::{Action, Clusters, WeightedCluster};
use weir_routing::{Decision, Route};

use super::HttpRuntime;
use super::body::ResponseBody;
use super::control::Control;
use super::filters::States;
use super::header_changes::apply_to_response;
use super::local_reply::LocalReply;
use super::mapped_reply;
use super::router::routes::Found;
use crate::exchange::{Ending, Exchange, Matched};
use crate::upstream::cluster::LbContext;

/// One request, while it is handled.
pub(super) struct Call {
    pub(super) http: Rc<HttpRuntime>,
    pub(super) exchange: Rc<Exchange>,
    pub(super) ending: Ending,
    /// The client's connection.
    pub(super) control: Rc<Control>,
    /// What follows the head, until it is sent on.
    pub(super) body: Option<Incoming>,
    /// Hands over the client's connection, if it changes to another protocol.
    pub(super) on_upgrade: Option<OnUpgrade>,
    /// Where it goes, once somebody has asked.
    route: Option<RouteAnswer>,
    /// What its filters remember of it.
    pub(super) states: States,
    /// The cluster that was chosen among several, which brings header changes of its own.
    pub(super) choice: Option<ChosenCluster>,
    /// Its hash, where its like go to the same instance.
    pub(super) hash: Option<u64>,
    /// The address of the host that it names, where that is what it goes to.
    pub(super) named: Option<SocketAddr>,
    pub(super) method: Method,
    pub(super) grpc: bool,
}

/// A choice among a route's weighted clusters, by its position.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChosenCluster(pub(super) usize);

/// Where a request goes.
#[derive(Debug, Clone)]
pub(super) enum RouteAnswer {
    /// Nowhere.
    Nowhere,
    /// To `https` first.
    ToHttps,
    /// Nobody knows: it names several hosts.
    Unclear,
    /// By this route.
    Route(Found),
}

impl Call {
    /// A request whose head is not read yet.
    pub(super) fn new(http: Rc<HttpRuntime>, exchange: Exchange, control: Rc<Control>, method: Method) -> Self {
        let exchange = Rc::new(exchange);
        let ending = Ending::new(exchange.clone(), http.recording.clone());
        Self {
            http,
            exchange,
            ending,
            control,
            body: None,
            on_upgrade: None,
            route: None,
            states: States::default(),
            choice: None,
            hash: None,
            named: None,
            method,
            grpc: false,
        }
    }

    /// Where it goes. That is found out when it is first asked for.
    pub(super) fn route(&mut self) -> &RouteAnswer {
        let Self { route, http, exchange, .. } = self;
        route.get_or_insert_with(|| find(http, exchange))
    }

    /// The request has changed: where it goes is to be found out anew.
    #[expect(dead_code, reason = "for filters that change what routes look at")]
    pub(super) fn forget_route(&mut self) {
        self.route = None;
        self.exchange.matched.borrow_mut().take();
    }

    /// What the choice of an instance may depend on.
    pub(super) fn lb_context(&self) -> LbContext<'static> {
        LbContext {
            hash: self.hash,
            destination: self.named.or(self.exchange.connection.original_destination),
            tries: 1,
            ..LbContext::default()
        }
    }

    /// An answer of ours. Filters see it as they see an instance's.
    pub(super) fn reply(self, mut reply: LocalReply) -> Response<ResponseBody> {
        self.exchange.code.set(reply.status.as_u16());
        let changes_headers = reply.changes_headers;
        if let Some(replies) = &self.http.config.local_replies {
            mapped_reply::map(replies, &self.exchange, &mut reply);
        }
        if self.grpc {
            self.exchange.code.set(200);
        }
        let (mut response, mut body) = reply.into_response(self.grpc);
        if changes_headers {
            self.change_response_headers(response.headers_mut());
        }
        if self.method == Method::HEAD && !body.is_empty() {
            let length = HeaderValue::from(body.len());
            response.headers_mut().insert(header::CONTENT_LENGTH, length);
            body = Bytes::new();
        }
        self.finish(response.map(|()| body), ResponseBody::local)
    }

    /// An answer, through the filters, with the headers that all answers get. `body` makes its body.
    pub(super) fn finish<B>(mut self, response: Response<B>, body: impl FnOnce(B, Ending) -> ResponseBody) -> Response<ResponseBody> {
        let (mut parts, content) = response.into_parts();
        super::filters::on_response(&mut self, &mut parts);
        let headers = &mut parts.headers;
        match &self.http.config.server {
            ServerHeader::Overwrite(name) => drop(headers.insert(header::SERVER, name.clone())),
            ServerHeader::AppendIfAbsent(name) => drop(headers.entry(header::SERVER).or_insert_with(|| name.clone())),
            ServerHeader::PassThrough => {}
        }
        if self.http.config.via.is_some() || self.http.config.answers_tell_request_id {
            self.tell_own(headers);
        }
        self.note_logged_headers(headers);
        if self.exchange.is_http1() {
            self.settle_connection(parts.status, headers);
        }
        Response::from_parts(parts, body(content, self.ending))
    }

    /// What this proxy says of itself in every answer.
    fn tell_own(&self, headers: &mut HeaderMap) {
        let config = &self.http.config;
        if let Some(via) = &config.via {
            append_to(headers, &header::VIA, via.clone(), b", ");
        }
        if config.answers_tell_request_id
            && let Some(id) = self.exchange.request.borrow().headers.get(REQUEST_ID)
        {
            headers.insert(REQUEST_ID, id.clone());
        }
    }

    /// What HTTP/1.1 needs besides: a connection whose request was not read to its end ends with the answer, and an answer without
    /// a body says how long it would have been.
    fn settle_connection(&self, status: StatusCode, headers: &mut HeaderMap) {
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let unread = match &self.body {
            Some(body) => !body.is_end_stream(),
            None => self.exchange.request_end.get().is_none(),
        };
        let request = self.exchange.request.borrow();
        if unread || request.close || request.upgrade.is_some() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let Some(line) = self.control.line.get() else { return };
        if unread {
            line.linger();
        }
        let is_http11 = self.exchange.protocol == Some(Version::HTTP_11);
        match headers.get(header::CONTENT_LENGTH) {
            Some(length) if status == StatusCode::NOT_MODIFIED => {
                line.add_to_head(self.spelled("content-length", "Content-Length"), length);
            }
            None if self.method == Method::HEAD && is_http11 && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED => {
                line.add_to_head(self.spelled("transfer-encoding", "Transfer-Encoding"), &HeaderValue::from_static("chunked"));
            }
            _ => {}
        }
    }

    /// The name of a header as it is spelled here.
    fn spelled(&self, lower: &'static str, proper: &'static str) -> &'static str {
        if self.http.config.letter_case == LetterCase::Proper { proper } else { lower }
    }

    /// What the route, its virtual host and its table change, in this order; before them what the chosen
    /// cluster changes.
    pub(super) fn change_response_headers(&self, headers: &mut HeaderMap) {
        let matched = self.exchange.matched.borrow();
        let Some(matched) = matched.as_ref() else { return };
        if let Some(route) = matched.route() {
            if let Some(cluster) = self.chosen_cluster(route) {
                apply_to_response(&cluster.response_headers, headers, &self.exchange);
            }
            apply_to_response(&route.response_headers, headers, &self.exchange);
        }
        apply_to_response(&matched.virtual_host().response_headers, headers, &self.exchange);
        apply_to_response(&matched.table.response_headers, headers, &self.exchange);
    }

    /// The cluster that was chosen among several.
    pub(super) fn chosen_cluster<'r>(&self, route: &'r Route) -> Option<&'r WeightedCluster> {
        let ChosenCluster(position) = self.choice?;
        match &route.action {
            Action::Forward(forward) => match &forward.clusters {
                Clusters::Weighted(weighted) => weighted.choices.get(position),
                _ => None,
            },
            _ => None,
        }
    }

    fn note_logged_headers(&self, headers: &HeaderMap) {
        let wanted = &self.http.recording.logged_headers;
        if wanted.is_empty() {
            return;
        }
        let found = wanted.iter().filter_map(|name: &HeaderName| Some((name.clone(), headers.get(name)?.clone())));
        self.exchange.response_headers.borrow_mut().extend(found);
    }
}

/// Where a request goes; the exchange takes note of it.
fn find(http: &HttpRuntime, exchange: &Exchange) -> RouteAnswer {
    let Some(routes) = http.routes.get() else { return RouteAnswer::Nowhere };
    if exchange.request.borrow().without_scheme {
        return RouteAnswer::Nowhere;
    }
    let decision = routes.table.decide(&exchange.request.borrow().for_routing());
    let (host, route) = match decision {
        Decision::NoVirtualHost => return RouteAnswer::Nowhere,
        _ if exchange.request.borrow().several_hosts => return RouteAnswer::Unclear,
        // No route is 404, and no header changes of its virtual host apply.
        Decision::NoRoute(_) => return RouteAnswer::Nowhere,
        Decision::TlsRequired(host) => (host, None),
        Decision::Route { host, route } => (host, Some(route)),
    };
    let matched = Matched { table: routes.table.clone(), host, route };
    exchange.matched.replace(Some(matched.clone()));
    match route {
        None => RouteAnswer::ToHttps,
        Some(_) => RouteAnswer::Route(Found { routes, matched }),
    }
}

/// Flags and details of a request that goes nowhere.
pub(super) fn note_no_route(exchange: &Exchange) {
    exchange.flag(ResponseFlags::NO_ROUTE);
    exchange.detail("route_not_found");
}
