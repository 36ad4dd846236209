//! Asks the service.

use std::net::SocketAddr;
use std::time::SystemTime;

use http::{Method, Version};
use weir_config::head::{Head, is_path};
use weir_config::http::client_certificate::ShownCertificate;
use weir_http1::Headers;
use weir_routing::dynamic_metadata::leave;
use weir_routing::filters::ext_authz::answer::{Decision, NAMESPACE, told_by_grpc};
use weir_routing::filters::ext_authz::question::{Asked, Body, Party};
use weir_routing::filters::ext_authz::{Asking, ExtAuthzPolicy, HttpService, Service};
use weir_routing::filters::service::GrpcService;
use weir_xds::auth::CheckResponse;
use weir_xds::prost_types::Struct;

use crate::exchange::ConnectionInfo;
use crate::http::call::Call;
use crate::http::header_changes::apply_to_own;
use crate::http::router::routes::Found;
use crate::http::side_call::grpc::{GrpcCall, unary};
use crate::http::side_call::{SideRequest, call};

/// The method of a service of gRPC.
pub(super) const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
/// The longest answer of a service of HTTP: what Envoy takes.
const MOST: usize = 32 << 20;

/// Asks about a request, of whose body this is for the service.
pub(super) async fn ask(policy: &ExtAuthzPolicy, call: &Call, asking: &Asking<'_>, body: Option<&Body>) -> Decision {
    match asking.service {
        Service::Http(service) => ask_http(policy, service, call, body).await,
        Service::Grpc(service, timeout) => {
            let message = with_asked(policy, call, body, |asked| policy.ask_grpc(asking, asked));
            let answer = unary::<CheckResponse>(&call.http.clusters, grpc_call(service, *timeout, call), &message).await;
            answer.map_or_else(
                |error| {
                    tracing::debug!(cluster = &*service.cluster, %error, "the authorization service has failed");
                    Decision::Error(None)
                },
                |answer| {
                    keep(policy, call, told_by_grpc(&answer));
                    policy.heard_grpc(answer)
                },
            )
        }
    }
}

/// Leaves what a service tells of a request for other filters and logs.
fn keep(policy: &ExtAuthzPolicy, call: &Call, told: Struct) {
    if policy.leaves_metadata {
        leave(&mut call.exchange.dynamic_metadata.borrow_mut(), NAMESPACE, told);
    }
}

fn grpc_call<'s>(service: &'s GrpcService, timeout: Option<std::time::Duration>, call: &Call) -> GrpcCall<'s> {
    let mut metadata = Headers::new();
    apply_to_own(&service.metadata, &mut metadata, &call.exchange);
    GrpcCall {
        cluster: &service.cluster,
        authority: &service.authority,
        path: CHECK,
        metadata,
        timeout,
        most: service.most,
        signed: service.signed,
    }
}

async fn ask_http(policy: &ExtAuthzPolicy, service: &HttpService, asker: &Call, body: Option<&Body>) -> Decision {
    let question = with_asked(policy, asker, body, |asked| policy.ask_http(service, asked));
    // A request that lacks these, as the configuration may want it, is none.
    let Some(method) = Method::from_bytes(question.method.as_bytes()).ok().filter(|_| is_path(&question.path)) else {
        return Decision::Error(None);
    };
    let mut head = Head { method, path: question.path, headers: question.headers, ..Head::default() };
    apply_to_own(&service.headers, &mut head.headers, &asker.exchange);
    let bytes = body.map(|body| body.bytes.clone()).unwrap_or_default();
    let mut request = SideRequest { head, body: bytes, timeout: service.timeout, most: MOST };
    request.sign();
    match call(&asker.http.clusters, &service.cluster, request).await {
        Ok(answer) => {
            if !answer.head.status.is_server_error() {
                keep(policy, asker, service.told_by(&answer.head.headers));
            }
            policy.heard_http(service, answer.head.status, &answer.head.headers, answer.body)
        }
        Err(error) => {
            tracing::debug!(cluster = &*service.cluster, %error, "the authorization service has failed");
            Decision::Error(None)
        }
    }
}

/// What is known of the request.
fn with_asked<R>(policy: &ExtAuthzPolicy, call: &Call, body: Option<&Body>, ask: impl FnOnce(&Asked<'_>) -> R) -> R {
    let exchange = &call.exchange;
    let request = exchange.request.borrow();
    let connection = &exchange.connection;
    let shown = connection.certificate();
    let certificate = shown.filter(|_| policy.peer_certificate).and_then(ShownCertificate::as_text);
    let known = exchange.dynamic_metadata.borrow();
    ask(&Asked {
        head: &request.for_routing(),
        protocol: protocol(exchange.protocol),
        source: Party { address: connection.remote, principal: shown.map_or("", principal) },
        destination: Party {
            address: destination(connection),
            principal: shown.and_then(|shown| shown.own_uris.first()).map_or("", |own| own),
        },
        certificate: certificate.as_deref(),
        server_name: connection.server_name.as_deref(),
        time: exchange.start_time.unwrap_or_else(|| SystemTime::now() - exchange.start.elapsed()),
        body,
        known: &known,
        route: call.found().and_then(Found::route).map(|route| &route.filter_metadata),
    })
}

/// Who a client is: as Envoy tells it by the first of these that its certificate has.
pub(super) fn principal(shown: &ShownCertificate) -> &str {
    shown.uris.first().or(shown.dns.first()).unwrap_or(&shown.subject)
}

/// Where the client connected to, whatever the kernel made of that.
pub(super) fn destination(connection: &ConnectionInfo) -> SocketAddr {
    connection.original_destination.unwrap_or(connection.local)
}

fn protocol(version: Option<Version>) -> &'static str {
    match version {
        Some(Version::HTTP_10) => "HTTP/1.0",
        Some(Version::HTTP_2) => "HTTP/2",
        _ => "HTTP/1.1",
    }
}
