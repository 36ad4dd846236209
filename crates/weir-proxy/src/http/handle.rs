//! One request, from its head to the head of its answer.

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use weir_routing::action::{Action, DirectResponse};
use weir_routing::clusters::{Clusters, WeightedCluster};
use weir_routing::rewrite;
use weir_routing::{Decision, Route};

use super::finish::Ending;
use super::header_changes::apply_to_response;
use super::local_reply::LocalReply;
use super::response_body::ResponseBody;
use super::{HttpRuntime, filters, forward, head};
use crate::config::http::ServerHeader;
use crate::log::exchange::{ConnectionInfo, Exchange};
use crate::log::flags::ResponseFlags;
use crate::worker::cluster::LbContext;
use crate::worker::routes::Matched;

/// One request, while it is handled.
pub(super) struct Call {
    pub(super) http: Rc<HttpRuntime>,
    pub(super) exchange: Rc<Exchange>,
    ending: Ending,
    /// Hands over the client's connection, if it changes to another protocol.
    pub(super) on_upgrade: Option<OnUpgrade>,
    /// The cluster that was chosen among several, which brings header changes of its own.
    pub(super) choice: Option<ChosenCluster>,
    /// The origin that may read the answer, where the route allows it.
    pub(super) allowed_origin: Option<HeaderValue>,
    /// Its hash, where its like go to the same instance.
    pub(super) hash: Option<u64>,
    /// The address of the host that it names, where that is what it goes to.
    pub(super) named: Option<SocketAddr>,
    method: Method,
    grpc: bool,
}

/// A choice among a route's weighted clusters, by its position.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChosenCluster(pub(super) usize);

/// Handles a request.
pub async fn handle(http: Rc<HttpRuntime>, connection: Rc<ConnectionInfo>, request: Request<Incoming>) -> Response<ResponseBody> {
    let (mut parts, incoming) = request.into_parts();
    let on_upgrade = parts.extensions.remove::<OnUpgrade>();
    let exchange = Rc::new(Exchange::new(connection, Some(parts.version), !http.logs.is_empty()));
    let ending = Ending::new(exchange.clone(), http.clone());
    let method = parts.method.clone();
    let mut call =
        Call { http, exchange, ending, on_upgrade, choice: None, allowed_origin: None, hash: None, named: None, method, grpc: false };
    let (head, remote) = match head::read(parts, &call.http.config, &call.exchange.connection) {
        Ok(read) => read,
        Err(refusal) => return call.refuse(&refusal),
    };
    call.exchange.remote.set(remote);
    call.grpc = head.is_grpc();
    call.exchange.request.replace(head);
    // A connection holds room for what this function is while it is idle, too: all that comes now is apart.
    Box::pin(call.route(incoming)).await
}

impl Call {
    /// What the choice of an instance may depend on.
    pub(super) fn lb_context(&self) -> LbContext<'static> {
        LbContext {
            hash: self.hash,
            destination: self.named.or(self.exchange.connection.original_destination),
            tries: 1,
            ..LbContext::default()
        }
    }

    async fn route(self, incoming: Incoming) -> Response<ResponseBody> {
        let Some(routes) = self.http.routes.get() else { return self.no_route() };
        for name in &routes.table.untrusted_headers {
            self.exchange.request.borrow_mut().headers.remove(name);
        }
        let decision = routes.table.decide(&self.exchange.request.borrow().for_routing());
        let (host, route) = match decision {
            Decision::NoVirtualHost => return self.no_route(),
            Decision::NoRoute(host) => (host, None),
            Decision::TlsRequired(host) => (host, None),
            Decision::Route { host, route } => (host, Some(route)),
        };
        let matched = Matched { routes, host, route };
        self.exchange.matched.replace(Some(matched.clone()));
        if let Decision::TlsRequired(_) = decision {
            return self.redirect_to_https();
        }
        let Some(route) = matched.route() else { return self.no_route() };
        match &route.action {
            Action::Respond(direct) => self.respond(direct),
            Action::Redirect(redirect) => {
                self.exchange.detail("direct_response");
                let location = redirect.location(&route.matcher.path, &self.exchange.request.borrow().for_routing());
                self.redirect(redirect.status, &location)
            }
            Action::Forward(to) => forward::forward(self, &matched, route, to, incoming).await,
        }
    }

    fn redirect_to_https(self) -> Response<ResponseBody> {
        self.exchange.detail("direct_response");
        let location = rewrite::to_https(&self.exchange.request.borrow().for_routing());
        self.redirect(301, &location)
    }

    fn respond(self, direct: &DirectResponse) -> Response<ResponseBody> {
        self.exchange.detail("direct_response");
        let status = StatusCode::from_u16(direct.status).unwrap_or(StatusCode::OK);
        let reply = LocalReply::new(status, Bytes::copy_from_slice(&direct.body));
        // As in Envoy, such an answer leads to what was asked for.
        let leads = status == StatusCode::CREATED || status.is_redirection();
        let location = leads.then(|| rewrite::to_itself(&self.exchange.request.borrow().for_routing()));
        match location.and_then(|location| HeaderValue::from_str(&location).ok()) {
            Some(location) => self.reply(reply.with(header::LOCATION, location)),
            None => self.reply(reply),
        }
    }

    /// Whether a client may change to another protocol: the route says so, or else the listener.
    pub(super) fn allows_upgrade(&self, protocol: &HeaderValue) -> bool {
        let matched = self.exchange.matched.borrow();
        let of_route = match matched.as_ref().and_then(|matched| matched.route()).map(|route| &route.action) {
            Some(Action::Forward(to)) => to.websocket,
            _ => None,
        };
        protocol.as_bytes().eq_ignore_ascii_case(b"websocket") && of_route.unwrap_or(self.http.config.websocket)
    }

    fn redirect(self, status: u16, location: &str) -> Response<ResponseBody> {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::MOVED_PERMANENTLY);
        match HeaderValue::from_str(location) {
            Ok(location) => self.reply(LocalReply::new(status, Bytes::new()).with(header::LOCATION, location)),
            // The request brought along what no header may hold.
            Err(_) => self.reply(LocalReply::new(StatusCode::BAD_REQUEST, Bytes::new())),
        }
    }

    /// No route is 404, and no route's header changes apply.
    fn no_route(self) -> Response<ResponseBody> {
        self.exchange.flag(ResponseFlags::NO_ROUTE);
        self.exchange.detail("route_not_found");
        self.exchange.matched.borrow_mut().take();
        self.reply(LocalReply::new(StatusCode::NOT_FOUND, Bytes::new()))
    }

    /// The answer to a request that was not even routed.
    fn refuse(mut self, refusal: &head::Refusal) -> Response<ResponseBody> {
        self.exchange.detail(refusal.details);
        if refusal.details == "route_not_found" {
            self.exchange.flag(ResponseFlags::NO_ROUTE);
        }
        if !refusal.logged {
            self.ending.silence();
        }
        let mut response = self.reply(LocalReply::new(refusal.status, refusal.body));
        if !refusal.logged {
            // What the codec refuses ends the connection.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// An answer of ours.
    pub(super) fn reply(self, reply: LocalReply) -> Response<ResponseBody> {
        self.exchange.code.set(if self.grpc { 200 } else { reply.status.as_u16() });
        let (mut response, mut body) = reply.into_response(self.grpc);
        self.change_response_headers(response.headers_mut());
        if self.method == Method::HEAD && !body.is_empty() {
            let length = HeaderValue::from(body.len());
            response.headers_mut().insert(header::CONTENT_LENGTH, length);
            body = Bytes::new();
        }
        self.finish(response.map(|()| body), ResponseBody::local)
    }

    /// An answer, with the headers that all answers get. `body` makes its body.
    pub(super) fn finish<B>(self, mut response: Response<B>, body: impl FnOnce(B, Ending) -> ResponseBody) -> Response<ResponseBody> {
        let headers = response.headers_mut();
        match &self.http.config.server {
            ServerHeader::Overwrite(name) => drop(headers.insert(header::SERVER, name.clone())),
            ServerHeader::AppendIfAbsent(name) => drop(headers.entry(header::SERVER).or_insert_with(|| name.clone())),
            ServerHeader::PassThrough => {}
        }
        self.note_logged_headers(response.headers());
        response.map(|content| body(content, self.ending))
    }

    /// What the route, its virtual host and its table change, in this order; before them what the chosen
    /// cluster changes.
    pub(super) fn change_response_headers(&self, headers: &mut HeaderMap) {
        let matched = self.exchange.matched.borrow();
        let Some(matched) = matched.as_ref() else { return };
        if let Some(cluster) = matched.route().and_then(|route| self.chosen_cluster(route)) {
            apply_to_response(&cluster.response_headers, headers, &self.exchange);
        }
        for changes in matched.routes.table.response_changes(matched.virtual_host(), matched.route()) {
            apply_to_response(changes, headers, &self.exchange);
        }
        if let Some(origin) = &self.allowed_origin {
            filters::allow_origin(matched, origin, headers);
        }
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
        let wanted = &self.http.logged_headers;
        if wanted.is_empty() {
            return;
        }
        let found = wanted.iter().filter_map(|name: &HeaderName| Some((name.clone(), headers.get(name)?.clone())));
        self.exchange.response_headers.borrow_mut().extend(found);
    }
}
