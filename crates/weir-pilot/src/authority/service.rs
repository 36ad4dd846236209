//! Answers requests for certificates: who asks is found out first.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tonic::Status;
use weir_ads::certificates::{Call, Caller, Certificates, IstioCertificateRequest, IstioCertificateResponse};
use weir_model::{Interception, MeshSnapshot, Proxy};

use super::issue::Refusal;
use super::{Authority, local};

/// So many requests may wait.
const WAITING: usize = 64;

/// Answers requests for as long as somebody may send one. The mesh says who its workloads are.
pub fn start(authority: Authority, mesh: watch::Receiver<Arc<MeshSnapshot>>) -> Certificates {
    let (certificates, mut calls) = mpsc::channel::<Call>(WAITING);
    let authority = Arc::new(authority);
    tokio::spawn(async move {
        while let Some(Call { caller, request, answer }) = calls.recv().await {
            let (authority, mesh) = (authority.clone(), mesh.borrow().clone());
            // A signature with a large key takes milliseconds.
            let answered = tokio::task::spawn_blocking(move || answer_to(&authority, &mesh, caller, &request, SystemTime::now()));
            let answered = answered.await.unwrap_or_else(|_| Err(Status::internal("the authority failed")));
            if let Err(status) = &answered {
                tracing::warn!(?caller, "no certificate is issued: {}", status.message());
            }
            // Who has gone needs none.
            let _ = answer.send(answered);
        }
    });
    certificates
}

pub(super) fn answer_to(
    authority: &Authority,
    mesh: &MeshSnapshot,
    caller: Caller,
    request: &IstioCertificateRequest,
    now: SystemTime,
) -> Result<IstioCertificateResponse, Status> {
    if let Caller::Connected { peer, local } = caller
        && !local::is_own(peer, local)
    {
        return Err(Status::unauthenticated(format!("{peer} is no process of this user on this machine, and proves by nothing who it is")));
    }
    let proxy = request.node().and_then(proxy).ok_or_else(|| Status::unauthenticated("the request names no proxy of a mesh"))?;
    let id = mesh.identity_of(&proxy).spiffe(&mesh.config.trust_domain);
    let asked = u64::try_from(request.validity_duration).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
    let cert_chain = authority.certify(&request.csr, &id, asked, now).map_err(|refusal| match refusal {
        Refusal::Request(_) => Status::invalid_argument(refusal.to_string()),
        Refusal::Identity(_) | Refusal::Sign(_) | Refusal::Ended => Status::failed_precondition(refusal.to_string()),
    })?;
    tracing::debug!(proxy = %proxy.id, %id, "a certificate was issued");
    Ok(IstioCertificateResponse { cert_chain })
}

/// What a node id says of its proxy.
fn proxy(id: &str) -> Option<Proxy> {
    let (kind, address, name, namespace) = Proxy::parse_id(id)?;
    Some(Proxy {
        id: id.to_owned(),
        kind,
        name,
        namespace,
        labels: Default::default(),
        addresses: vec![address],
        locality: String::new(),
        interception: Interception::None,
    })
}
