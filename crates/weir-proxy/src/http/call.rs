//! One request while it is handled: what its filters and the router share, and how it is answered.

use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, ready};

use bytes::Bytes;
use http::{Method, StatusCode};
use weir_config::flags::ResponseFlags;
use weir_config::head::{REQUEST_ID, append_to};
use weir_config::http::ServerHeader;
use weir_http1::header::{self, HeaderName, HeaderValue, Headers, NameSet};
use weir_routing::action::Action;
use weir_routing::filters::peer_metadata::ToldInstances;
use weir_routing::{Decision, grpc};

use super::HttpRuntime;
use super::body::ResponseBody;
use super::control::Control;
use super::filters::{self, States};
use super::header_changes::apply_to_response;
use super::local_reply::LocalReply;
use super::mapped_reply;
use super::router::routes::Found;
use crate::exchange::failure::{Failure, FailureKind};
use crate::exchange::{Ending, Exchange, Matched};
use crate::io::client::OnUpgrade;
use crate::io::response::{Parts, Response};
use crate::upstream::body::Inbound;
use crate::upstream::body::arrived::read_arrived;
use crate::upstream::cluster::{LbContext, Wanted};

/// What belongs to a connection alone (RFC 9110, 7.6.1): an answer does not have it, whoever put it in.
const HOP_BY_HOP: NameSet = NameSet::of(&["connection", "transfer-encoding", "upgrade", "keep-alive", "proxy-connection"]);

/// One request, while it is handled.
pub(super) struct Call {
    pub(super) http: Rc<HttpRuntime>,
    pub(super) exchange: Rc<Exchange>,
    /// Its end, until the answer has been given, which ends it.
    pub(super) ending: Option<Ending>,
    /// The client's connection.
    pub(super) control: Rc<Control>,
    /// What follows the head, until it is sent on.
    pub(super) body: Option<Inbound>,
    /// Whether a filter has waited for something: what came of the body meanwhile is not left unread.
    pub(super) waited: bool,
    /// Whether an answer of ours has taken the place of one that filters have begun to see.
    pub(super) replaced: bool,
    /// Hands over the client's connection, if it changes to another protocol.
    pub(super) on_upgrade: Option<OnUpgrade>,
    /// Where it goes, once somebody has asked.
    route: Option<RouteAnswer>,
    /// Whether what no client may say has been taken away.
    is_cleaned: bool,
    /// What its filters remember of it.
    pub(super) states: States,
    /// Its hash, where its like go to the same instance.
    pub(super) hash: Option<u64>,
    /// The instance that its session is at.
    pub(super) wanted: Option<Wanted>,
    /// The address of the host that it names, where that is what it goes to.
    pub(super) named: Option<SocketAddr>,
    /// Which instances are told whose workload asks; none, if nobody is.
    pub(super) tells_instances: Option<ToldInstances>,
    pub(super) method: Method,
    pub(super) grpc: bool,
}

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
        let ending = Some(Ending::new(exchange.clone(), http.recording.clone()));
        Self {
            http,
            exchange,
            ending,
            control,
            body: None,
            waited: false,
            replaced: false,
            on_upgrade: None,
            route: None,
            is_cleaned: false,
            states: States::default(),
            hash: None,
            wanted: None,
            named: None,
            tells_instances: None,
            method,
            grpc: false,
        }
    }

    /// Where it goes. That is found out when it is first asked for.
    pub(super) fn route(&mut self) -> &RouteAnswer {
        let Self { route, http, exchange, is_cleaned, .. } = self;
        route.get_or_insert_with(|| {
            // Once: what stands there later, filters have said.
            if !std::mem::replace(is_cleaned, true) {
                take_untrusted(http, exchange);
            }
            find(http, exchange)
        })
    }

    /// Finds the route once more, of the request as it is now.
    pub(super) fn find_route_anew(&mut self) {
        self.exchange.matched.replace(None);
        self.route = Some(find(&self.http, &self.exchange));
    }

    /// The route that was found; none where there is none, or nobody has asked for it.
    pub(super) fn found(&self) -> Option<&Found> {
        match &self.route {
            Some(RouteAnswer::Route(found)) => Some(found),
            _ => None,
        }
    }

    /// The route apart from the call, for who cannot borrow that; it is to be put back.
    pub(super) fn take_route(&mut self) -> Option<RouteAnswer> {
        self.route.take()
    }

    /// Puts the route back. Where there is none it is found anew when somebody asks.
    pub(super) fn put_route(&mut self, route: Option<RouteAnswer>) {
        self.route = route;
    }

    /// The route as it is now, for who looks at it later.
    pub(super) fn route_apart(&self) -> Option<RouteAnswer> {
        self.route.clone()
    }

    /// What the choice of an instance may depend on.
    pub(super) fn lb_context(&self) -> LbContext<'static> {
        LbContext {
            hash: self.hash,
            wanted: self.wanted,
            destination: self.named.or(self.exchange.connection.original_destination),
            tries: 1,
            ..LbContext::default()
        }
    }

    /// An answer of ours. Filters see it as they see an instance's.
    pub(super) async fn reply(&mut self, reply: LocalReply) -> Response<ResponseBody> {
        if self.waited {
            self.take_in().await;
        }
        let (mut head, mut body) = self.form(reply);
        self.finish(&mut head, &mut body).await;
        Response::from_parts(head, body)
    }

    /// Puts an answer of ours in the place of one that filters have begun to see. As with Envoy no filter sees this one.
    pub(super) fn replace_answer(&mut self, reply: LocalReply, head: &mut Parts, body: &mut ResponseBody) {
        (*head, *body) = self.form(reply);
        self.replaced = true;
    }

    /// An answer of ours, as it is said to the client.
    fn form(&mut self, mut reply: LocalReply) -> (Parts, ResponseBody) {
        if reply.changes_headers {
            // The status is settled only afterwards: what these write of it is 0, as in Envoy.
            self.change_response_headers(&mut reply.headers);
        }
        let (head, body) = self.settle(reply);
        (head, ResponseBody::local(body))
    }

    /// The head and the body of an answer of ours, as this client gets it.
    pub(super) fn settle(&self, mut reply: LocalReply) -> (Parts, Bytes) {
        self.exchange.code.set(reply.status.as_u16());
        if let Some(replies) = &self.http.config.local_replies {
            mapped_reply::map(replies, &self.exchange, &mut reply, self.grpc);
        }
        if self.grpc {
            let status = reply.grpc_status.unwrap_or_else(|| grpc::status_of_http(reply.status.as_u16()));
            self.exchange.grpc_status.set(Some(grpc::Status::Code(status)));
            self.exchange.code.set(200);
            if self.method == Method::HEAD {
                // A gRPC answer has its body in a header, and HEAD asks for none.
                reply.body = Bytes::new();
            }
        }
        let (mut head, mut body) = reply.into_parts(self.grpc);
        if head.status == StatusCode::NO_CONTENT {
            body = Bytes::new();
        }
        if (self.method == Method::HEAD || head.status == StatusCode::NOT_MODIFIED) && !body.is_empty() {
            head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
            body = Bytes::new();
        }
        (head, body)
    }

    /// Reads on what has arrived of a body that is not sent on.
    async fn take_in(&mut self) {
        let Self { body: Some(body), exchange, .. } = self else { return };
        read_arrived(|cx| match ready!(body.poll(cx)) {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                exchange.bytes_received.set(exchange.bytes_received.get() + length as u64);
                Poll::Ready(Some(length))
            }
            Some(Err(_)) | None => Poll::Ready(None),
        })
        .await;
    }

    /// Takes note of a failure; the answer that says so.
    pub(super) fn fail(&mut self, failure: &Failure) -> LocalReply {
        let retried = self.exchange.attempts.get() > 1;
        let told = failure.told(retried);
        if let FailureKind::Connect(error) = &failure.kind {
            self.exchange.transport_failure.replace(Some(error.reason()));
        }
        if let FailureKind::ClientGone = failure.kind {
            // How it went is noted in the end.
            self.ending.iter_mut().for_each(Ending::client_is_gone);
        } else {
            self.exchange.flag(told.flag);
            self.exchange.detail(told.details);
        }
        LocalReply::new(told.status, told.body)
    }

    /// An answer, through the filters, with the headers that all answers get. The exchange ends with its body.
    pub(super) async fn finish(&mut self, head: &mut Parts, body: &mut ResponseBody) {
        self.pass_back(head, body).await;
        body.end(self.ending.take());
    }

    /// The same, but the exchange ends with something else.
    pub(super) async fn pass_back(&mut self, head: &mut Parts, body: &mut ResponseBody) {
        filters::on_response(self, head, body).await;
        let headers = &mut head.headers;
        match &self.http.config.server {
            ServerHeader::Overwrite(name) => drop(headers.insert(header::SERVER, name.clone())),
            ServerHeader::AppendIfAbsent(name) => headers.insert_if_absent(header::SERVER, || name.clone()),
            ServerHeader::PassThrough => {}
        }
        if self.http.config.via.is_some() || self.http.config.answers_tell_request_id {
            self.tell_own(headers);
        }
        if !(head.status == StatusCode::SWITCHING_PROTOCOLS && self.exchange.request.borrow().upgrade.is_some()) {
            headers.remove_all(&HOP_BY_HOP);
        }
        self.note_logged_headers(headers);
        if self.exchange.is_http1() {
            self.settle_connection(head.status, headers);
        }
    }

    /// What this proxy says of itself in every answer.
    fn tell_own(&self, headers: &mut Headers) {
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

    /// What HTTP/1.1 needs besides: a connection whose request was not read to its end ends with the answer.
    fn settle_connection(&self, status: StatusCode, headers: &mut Headers) {
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let unread = match &self.body {
            Some(body) => !body.is_end_stream(),
            None => self.exchange.request_end.get().is_none(),
        };
        // What it still sends would make the system answer with a reset, which takes the answer away from it.
        self.control.lingers.set(unread);
        let request = self.exchange.request.borrow();
        if unread || request.close || request.upgrade.is_some() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }

    /// What the route, its virtual host and its table change, in this order; before them what the chosen
    /// cluster changes.
    pub(super) fn change_response_headers(&self, headers: &mut Headers) {
        if let Some(cluster) = self.found().and_then(Found::choice) {
            apply_to_response(&cluster.response_headers, headers, &self.exchange);
        }
        let matched = self.exchange.matched.borrow();
        let Some(matched) = matched.as_ref() else { return };
        // Who is only told to come by TLS has no route, and gets nothing that anybody adds: as in Envoy.
        let Some(route) = matched.route() else { return };
        for changes in matched.table.response_changes(matched.virtual_host(), route) {
            apply_to_response(changes, headers, &self.exchange);
        }
    }

    /// Whether a client may change to another protocol: the route says so, or else the listener.
    pub(super) fn allows_upgrade(&self, protocol: &HeaderValue) -> bool {
        let of_route = match self.found().and_then(Found::route).map(|route| &route.action) {
            Some(Action::Forward(to)) => to.websocket,
            _ => None,
        };
        match of_route.filter(|_| protocol.as_bytes().eq_ignore_ascii_case(b"websocket")) {
            Some(allowed) => allowed,
            None => self.http.config.allows_upgrade(protocol),
        }
    }

    fn note_logged_headers(&self, headers: &Headers) {
        let wanted = &self.http.recording.logged_headers;
        if wanted.is_empty() {
            return;
        }
        let found = wanted.iter().filter_map(|name: &HeaderName| Some((name.clone(), headers.get(name)?.clone())));
        self.exchange.response_headers.borrow_mut().extend(found);
    }
}

/// Takes away what no client may say, as long as only the client has said anything.
fn take_untrusted(http: &HttpRuntime, exchange: &Exchange) {
    let Some(routes) = http.routes.get().filter(|_| !exchange.request.borrow().without_scheme) else { return };
    for name in &routes.table.untrusted_headers {
        exchange.request.borrow_mut().headers.remove(name);
    }
}

/// Where a request goes; the exchange takes note of it.
pub(super) fn find(http: &HttpRuntime, exchange: &Exchange) -> RouteAnswer {
    let Some(routes) = http.routes.get() else { return RouteAnswer::Nowhere };
    if exchange.request.borrow().without_scheme {
        return RouteAnswer::Nowhere;
    }
    let request = exchange.request.borrow();
    let head = request.for_routing();
    let (host, route) = match routes.table.decide_knowing(&head, &exchange.dynamic_metadata.borrow()) {
        // No route is 404, and no header changes of its virtual host apply.
        Decision::NoVirtualHost | Decision::NoRoute(_) => return RouteAnswer::Nowhere,
        _ if request.several_hosts => return RouteAnswer::Unclear,
        Decision::TlsRequired(host) => (host, None),
        Decision::Route { host, route } => (host, Some(route)),
    };
    exchange.matched.replace(Some(Matched { table: routes.table.clone(), host, route }));
    match route {
        None => RouteAnswer::ToHttps,
        Some(route) => {
            let source = exchange.connection.remote.ip();
            RouteAnswer::Route(Found::new(routes, host, route, &head, source))
        }
    }
}

/// Flags and details of a request that goes nowhere.
pub(super) fn note_no_route(exchange: &Exchange) {
    exchange.flag(ResponseFlags::NO_ROUTE);
    exchange.detail("route_not_found");
}
