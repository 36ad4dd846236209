//! Answers requests for certificates: who asks is found out first.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, watch};
use tonic::Status;
use weir_ads::certificates::{Call, Caller, Certificates, IstioCertificateRequest, IstioCertificateResponse};
use weir_model::{Interception, MeshSnapshot, Proxy};

use super::Authority;
use super::issue::Refusal;
use super::secret::Secret;

/// So many requests may wait.
const WAITING: usize = 64;
/// Refusals are logged so often: who asks again and again fills no disk.
const QUIET: Duration = Duration::from_secs(10);

/// Answers requests for as long as somebody may send one. The mesh says who its workloads are. Of other processes only those are
/// answered that know the secret; without one, none.
pub fn start(authority: Authority, secret: Option<Secret>, mesh: watch::Receiver<Arc<MeshSnapshot>>) -> Certificates {
    let (certificates, mut calls) = mpsc::channel::<Call>(WAITING);
    let authority = Arc::new(authority);
    tokio::spawn(async move {
        let mut refusals = Refusals::default();
        while let Some(Call { caller, request, answer }) = calls.recv().await {
            // Whose asker has gone, nobody needs.
            if answer.is_closed() {
                continue;
            }
            let answered = match admit(secret.as_ref(), caller, &request) {
                // Before anything is signed for a stranger.
                Err(status) => Err(status),
                Ok(()) => {
                    let (authority, mesh, request) = (authority.clone(), mesh.borrow().clone(), request.clone());
                    // A signature with a large key takes milliseconds.
                    let answered = tokio::task::spawn_blocking(move || answer_to(&authority, &mesh, &request, SystemTime::now()));
                    answered.await.unwrap_or_else(|_| Err(Status::internal("the authority failed")))
                }
            };
            let answered = answered.map(|mut answer| {
                if let Some(secret) = &secret {
                    secret.sign_answer(&request, &mut answer);
                }
                answer
            });
            if let Err(status) = &answered {
                refusals.tell(caller, status, Instant::now());
            }
            // Who has gone meanwhile needs none.
            let _ = answer.send(answered);
        }
    });
    certificates
}

/// Says now and then that somebody was refused.
#[derive(Default)]
struct Refusals {
    last: Option<Instant>,
    untold: u64,
}

impl Refusals {
    fn tell(&mut self, caller: Caller, status: &Status, now: Instant) -> bool {
        if self.last.is_some_and(|last| now.duration_since(last) < QUIET) {
            self.untold += 1;
            return false;
        }
        tracing::warn!(?caller, not_told = self.untold, "no certificate is issued: {}", status.message());
        (self.last, self.untold) = (Some(now), 0);
        true
    }
}

/// Whether a caller may ask at all: it is in this process, or knows the secret that only this user can read. That it comes from this
/// machine proves nothing, since everybody on it does.
pub(super) fn admit(secret: Option<&Secret>, caller: Caller, request: &IstioCertificateRequest) -> Result<(), Status> {
    let knows_secret = || secret.is_some_and(|secret| secret.vouches_for_request(request));
    if caller == Caller::Hosted || (caller.is_private() && knows_secret()) {
        return Ok(());
    }
    let who = match caller {
        Caller::Connected(peer) => peer.to_string(),
        Caller::Hosted | Caller::AtSocket => "who asks".to_owned(),
    };
    Err(Status::unauthenticated(format!("{who} does not show that it is of this user and on this machine")))
}

pub(super) fn answer_to(
    authority: &Authority,
    mesh: &MeshSnapshot,
    request: &IstioCertificateRequest,
    now: SystemTime,
) -> Result<IstioCertificateResponse, Status> {
    let proxy = request.node().and_then(proxy).ok_or_else(|| Status::unauthenticated("the request names no proxy of a mesh"))?;
    let unknown = || Status::failed_precondition(format!("the mesh knows no workload of {} yet, or more than one", proxy.id));
    let identity = mesh.identity_of(&proxy).ok_or_else(unknown)?;
    if !identity.is_valid() {
        return Err(Status::invalid_argument(format!("{identity} could be read as another identity")));
    }
    let id = identity.spiffe(&mesh.config.trust_domain);
    let asked = u64::try_from(request.validity_duration).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
    let cert_chain = authority.certify(&request.csr, &id, asked, now).map_err(|refusal| match refusal {
        Refusal::Request(_) => Status::invalid_argument(refusal.to_string()),
        Refusal::Randomness => Status::internal(refusal.to_string()),
        Refusal::Identity(_) | Refusal::Sign(_) | Refusal::Ended => Status::failed_precondition(refusal.to_string()),
    })?;
    tracing::debug!(proxy = %proxy.id, %id, "a certificate was issued");
    Ok(IstioCertificateResponse { cert_chain, proof: String::new() })
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
