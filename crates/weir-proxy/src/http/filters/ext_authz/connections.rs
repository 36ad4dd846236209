//! Connections that a service decides about.

use std::rc::Rc;

use weir_config::http::client_certificate::ShownCertificate;
use weir_http1::Headers;
use weir_routing::filters::ext_authz::connections::{Asked, ConnectionAuthz};
use weir_routing::filters::ext_authz::question::Party;
use weir_xds::auth::CheckResponse;

use super::ask::{CHECK, destination, principal};
use crate::exchange::{ConnectionInfo, Exchange};
use crate::http::header_changes::apply_to_own;
use crate::http::side_call::grpc::{GrpcCall, unary};
use crate::upstream::clusters::Clusters;

/// Asks the service about a connection.
///
/// # Errors
/// Why it does not pass, as logs have it.
pub async fn ask(authz: &ConnectionAuthz, info: &Rc<ConnectionInfo>, clusters: &Clusters) -> Result<(), &'static str> {
    let shown = info.certificate();
    let certificate = shown.and_then(ShownCertificate::as_text);
    let own = shown.and_then(|shown| shown.own_uris.first()).map_or("", |own| own);
    let message = authz.ask(&Asked {
        source: Party { address: info.remote, principal: shown.map_or("", principal) },
        destination: Party { address: destination(info), principal: own },
        certificate: certificate.as_deref(),
        server_name: info.server_name.as_deref(),
    });
    let mut metadata = Headers::new();
    apply_to_own(&authz.service.metadata, &mut metadata, &Exchange::new(info.clone(), None, false));
    let call = GrpcCall {
        cluster: &authz.service.cluster,
        authority: &authz.service.authority,
        path: CHECK,
        metadata,
        timeout: authz.timeout,
        most: authz.service.most,
        signed: authz.service.signed,
    };
    let answer = unary::<CheckResponse>(clusters, call, &message).await;
    if let Err(error) = &answer {
        tracing::debug!(cluster = &*authz.service.cluster, %error, "the authorization service has failed");
    }
    authz.heard(answer.as_ref().ok())
}
