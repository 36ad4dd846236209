//! Answers requests for certificates: who asks is found out first.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tonic::Status;
use weir_ads::certificates::{Call, Caller, Certificates, IstioCertificateRequest, IstioCertificateResponse};
use weir_model::{Interception, MeshSnapshot, Proxy};

use super::changes::{self, Changes};
use super::issue::Refusal;
use super::secret::Secret;
use super::{Authority, watched};
use crate::refusals::{Count, Refusals};

/// So many requests may wait.
const WAITING: usize = 64;

/// Answers requests for as long as somebody may send one. The mesh says who its workloads are. Of other processes only those are
/// answered that know the secret; without one, none.
pub(crate) fn start(
    authority: Authority,
    secret: Option<Secret>,
    mesh: watch::Receiver<Arc<MeshSnapshot>>,
    refusals: Arc<Refusals>,
) -> Certificates {
    serve(Changes::new(mesh, watched::follow(authority)), secret, refusals)
}

/// The same, of an authority that somebody follows already.
pub(super) fn serve(changes: Changes, secret: Option<Secret>, refusals: Arc<Refusals>) -> Certificates {
    let (certificates, mut calls) = mpsc::channel::<Call>(WAITING);
    let secret = secret.map(Arc::new);
    tokio::spawn(async move {
        while let Some(Call { caller, request, answer }) = calls.recv().await {
            // Whose asker has gone, nobody needs.
            if answer.is_closed() {
                continue;
            }
            let admitted = admit(secret.as_deref(), caller, &request);
            if admitted.is_ok() && request.known().is_some() {
                changes.answer_later(request, secret.clone(), answer);
                continue;
            }
            let answered = match admitted {
                // Before anything is signed for a stranger.
                Err(status) => Err(Refused { count: Count::NotKnown, status }),
                Ok(()) => {
                    let (authority, mesh) = (changes.authority.borrow().clone(), changes.mesh.borrow().clone());
                    let request = request.clone();
                    // A signature with a large key takes milliseconds.
                    let answered = tokio::task::spawn_blocking(move || answer_to(&authority, &mesh, &request, SystemTime::now()));
                    answered
                        .await
                        .unwrap_or_else(|_| Err(Refused { count: Count::NotSigned, status: Status::internal("the authority failed") }))
                }
            };
            let answered = answered.map(|mut answer| {
                if let Some(secret) = &secret {
                    secret.sign_answer(&request, &mut answer);
                }
                answer
            });
            count(&refusals, caller, &request, answered.as_ref().err());
            // Who has gone meanwhile needs none.
            let _ = answer.send(answered.map_err(|refused| refused.status));
        }
    });
    certificates
}

/// A request that is refused: what is counted of that, and what is answered.
#[derive(Debug)]
pub(super) struct Refused {
    pub count: Count,
    pub status: Status,
}

/// Counts what became of a request, and tells of one that was refused.
fn count(refusals: &Refusals, caller: Caller, request: &IstioCertificateRequest, refused: Option<&Refused>) {
    refusals.count(Count::Requests);
    let Some(Refused { count, status }) = refused else { return refusals.count(Count::Issued) };
    refusals.count(*count);
    let node = request.node().unwrap_or("a node without a name");
    let from = match caller {
        Caller::Hosted => String::new(),
        Caller::AtSocket => " at a socket".to_owned(),
        Caller::Connected(peer) => format!(" at {peer}"),
    };
    // Whoever asks wrote that: no line of the log is longer for it, nor two.
    let node: String = node.chars().filter(|letter| !letter.is_control()).take(256).collect();
    refusals.tell_no_certificate(format!("{node}{from}"), status.message());
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
) -> Result<IstioCertificateResponse, Refused> {
    let refused = |count, status| Refused { count, status };
    let nobody = || refused(Count::NotKnown, Status::unauthenticated("the request names no proxy of a mesh"));
    let proxy = request.node().and_then(proxy).ok_or_else(nobody)?;
    let unknown = || {
        let message = format!("the mesh knows no workload of {} yet, or more than one", proxy.id);
        refused(Count::NoIdentity, Status::failed_precondition(message))
    };
    let identity = mesh.identity_of(&proxy).ok_or_else(unknown)?;
    if !identity.is_valid() {
        let message = format!("{identity} could be read as another identity");
        return Err(refused(Count::NoIdentity, Status::invalid_argument(message)));
    }
    let id = identity.spiffe(&mesh.config.trust_domain);
    let asked = u64::try_from(request.validity_duration).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
    let cert_chain = authority.certify(&request.csr, &id, asked, now).map_err(|refusal| match refusal {
        Refusal::Request(_) => refused(Count::NoRequest, Status::invalid_argument(refusal.to_string())),
        Refusal::Randomness => refused(Count::NotSigned, Status::internal(refusal.to_string())),
        Refusal::Identity(_) => refused(Count::NoIdentity, Status::failed_precondition(refusal.to_string())),
        Refusal::Sign(_) | Refusal::Ended => refused(Count::NotSigned, Status::failed_precondition(refusal.to_string())),
    })?;
    tracing::debug!(proxy = %proxy.id, %id, "a certificate was issued");
    Ok(IstioCertificateResponse { cert_chain, proof: String::new(), state: changes::state(&proxy, mesh, authority) })
}

/// What a node id says of its proxy.
pub(super) fn proxy(id: &str) -> Option<Proxy> {
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
