//! Answers requests for certificates: who asks is found out first. Those of other machines come by a way of their own
//! ([`elsewhere`](super::elsewhere)).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::SanType;
use tokio::sync::{mpsc, watch};
use tonic::Status;
use weir_ads::certificates::{Call, Caller, Certificates, IstioCertificateRequest, IstioCertificateResponse};
use weir_api::resources::MeshConfig;
use weir_model::{Identity, Interception, MeshSnapshot, Proxy, canonical};

use super::changes::{self, Changes};
use super::credential::Credential;
use super::issue::{self, Refusal};
use super::secret::Secret;
use super::{Authority, Followed};
use crate::refusals::{Count, Refusals, Refused};

/// So many requests may wait.
pub(super) const WAITING: usize = 64;

/// By what other processes of this machine show who they are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// What those of this user know, on this machine; without it, none of them is answered.
    pub secret: Option<Arc<Secret>>,
}

/// Who a certificate is for.
#[derive(Debug)]
pub(super) enum Subject {
    /// A proxy of this machine: the mesh says who it is.
    Proxy(Box<Proxy>),
    /// Who has shown that, from another machine.
    Holder(Identity),
}

impl Subject {
    /// What tells it from others.
    pub fn name(&self) -> String {
        match self {
            Self::Proxy(proxy) => proxy.id.clone(),
            Self::Holder(identity) => identity.to_string(),
        }
    }

    /// Who that is; none if the mesh does not know.
    pub fn identity(&self, mesh: &MeshSnapshot) -> Option<Identity> {
        match self {
            Self::Proxy(proxy) => mesh.identity_of(proxy),
            Self::Holder(identity) => Some(identity.clone()),
        }
    }
}

/// Answers requests for as long as somebody may send one. The mesh says who its workloads are.
pub(crate) fn start(authority: &Followed, known: Known, mesh: watch::Receiver<Arc<MeshSnapshot>>, refusals: Arc<Refusals>) -> Certificates {
    serve(Changes::new(mesh, authority.0.clone()), known, refusals)
}

/// The same, of an authority that somebody follows already.
pub(super) fn serve(changes: Changes, known: Known, refusals: Arc<Refusals>) -> Certificates {
    let (certificates, mut calls) = mpsc::channel::<Call>(WAITING);
    tokio::spawn(async move {
        while let Some(Call { caller, request, answer }) = calls.recv().await {
            // Whose asker has gone, nobody needs.
            if answer.is_closed() {
                continue;
            }
            let (authority, mesh) = (changes.authority.borrow().clone(), changes.mesh.borrow().clone());
            // Before anything is signed for a stranger.
            let subject = subject(&known, &caller, &request);
            let secret = known.secret.clone();
            let answered = match subject {
                Err(refused) => Err(refused),
                Ok(subject) if request.known().is_some() => {
                    changes.answer_later(subject, request, secret, answer);
                    continue;
                }
                Ok(subject) => {
                    let request = request.clone();
                    // A signature with a large key takes milliseconds.
                    let answered = tokio::task::spawn_blocking(move || answer_to(&authority, &mesh, &subject, &request, SystemTime::now()));
                    answered.await.unwrap_or_else(|_| Err(Refused::new(Count::NotSigned, Status::internal("the authority failed"))))
                }
            };
            let answered = answered.map(|mut answer| {
                if let Some(secret) = &secret {
                    secret.sign_answer(&request, &mut answer);
                }
                answer
            });
            count(&refusals, &caller, &request, answered.as_ref().err());
            // Who has gone meanwhile needs none.
            let _ = answer.send(answered.map_err(|refused| refused.status));
        }
    });
    certificates
}

/// Counts what became of a request, and tells of one that was refused.
pub(super) fn count(refusals: &Refusals, caller: &Caller, request: &IstioCertificateRequest, refused: Option<&Refused>) {
    refusals.count(Count::Requests);
    let Some(Refused { count, status }) = refused else { return refusals.count(Count::Issued) };
    refusals.count(*count);
    let node = request.node().unwrap_or("a node without a name");
    let from = match caller {
        Caller::Hosted => String::new(),
        Caller::AtSocket => " at a socket".to_owned(),
        Caller::Connected(peer) => format!(" at {peer}"),
        Caller::Remote(shown) => format!(" at {}", shown.peer),
    };
    // Whoever asks wrote that: no line of the log is longer for it, nor two.
    let node: String = node.chars().filter(|letter| !letter.is_control()).take(256).collect();
    refusals.tell_no_certificate(format!("{node}{from}"), status.message());
}

/// Who a caller of this machine may have a certificate for.
pub(super) fn subject(known: &Known, caller: &Caller, request: &IstioCertificateRequest) -> Result<Subject, Refused> {
    admit(known.secret.as_deref(), caller, request).map_err(|status| Refused::new(Count::NotKnown, status))?;
    let nobody = || Refused::new(Count::NotKnown, Status::unauthenticated("the request names no proxy of a mesh"));
    let proxy = request.node().and_then(proxy).ok_or_else(nobody)?;
    Ok(Subject::Proxy(Box::new(proxy)))
}

/// Whether who has come from another machine may have what he asks for: a certificate of his own, and of nobody else. Istio's agents name
/// no node, but ask for their identity in the request; others need not.
pub(super) fn holder(credential: Credential, request: &IstioCertificateRequest, mesh: &MeshSnapshot) -> Result<Subject, Refused> {
    let denied = |reason: String| Refused::new(Count::NoIdentity, Status::permission_denied(reason));
    let named = match request.node() {
        None => None,
        Some(id) => Some(proxy(id).ok_or_else(|| denied(format!("the node {id:?} is none of a mesh")))?),
    };
    credential.may_be_certified(mesh, named.as_ref()).map_err(denied)?;
    if request.known().is_none() {
        let own = credential.identity.spiffe(&mesh.config.trust_domain);
        asks_only_for(&own, &mesh.config, &credential, &request.csr)?;
    }
    Ok(Subject::Holder(credential.identity))
}

/// Whether a request asks for no other identity than this one.
fn asks_only_for(own: &str, mesh: &MeshConfig, credential: &Credential, csr: &str) -> Result<(), Refused> {
    let asked = issue::asked_names(csr).map_err(|refusal| Refused::new(Count::NoRequest, Status::invalid_argument(refusal.to_string())))?;
    let earlier = |name: &str| mesh.trust_domain_aliases.iter().any(|alias| credential.identity.spiffe(alias) == name);
    let other = asked.iter().find(|name| !matches!(name, SanType::URI(uri) if uri.as_str() == own || earlier(uri.as_str())));
    let Some(other) = other else { return Ok(()) };
    let shown = match other {
        SanType::URI(uri) => uri.as_str().to_owned(),
        _ => "a name that is no SPIFFE id".to_owned(),
    };
    let reason = format!("the request of {} asks for a certificate of another: {shown}", credential.identity);
    Err(Refused::new(Count::NoIdentity, Status::permission_denied(reason)))
}

/// Whether a caller of this machine may ask at all: it is in this process, or knows the secret that only this user can read. That it comes
/// from this machine proves nothing, since everybody on it does.
pub(super) fn admit(secret: Option<&Secret>, caller: &Caller, request: &IstioCertificateRequest) -> Result<(), Status> {
    let knows_secret = || secret.is_some_and(|secret| secret.vouches_for_request(request));
    if *caller == Caller::Hosted || (caller.is_private() && knows_secret()) {
        return Ok(());
    }
    let who = match caller {
        Caller::Connected(peer) => peer.to_string(),
        Caller::Hosted | Caller::AtSocket | Caller::Remote(_) => "who asks".to_owned(),
    };
    Err(Status::unauthenticated(format!("{who} does not show that it is of this user and on this machine")))
}

pub(super) fn answer_to(
    authority: &Authority,
    mesh: &MeshSnapshot,
    subject: &Subject,
    request: &IstioCertificateRequest,
    now: SystemTime,
) -> Result<IstioCertificateResponse, Refused> {
    let unknown = || {
        let id = request.node().unwrap_or_default();
        let message = format!("the mesh knows no workload of {id} yet, or more than one");
        Refused::new(Count::NoIdentity, Status::failed_precondition(message))
    };
    let identity = subject.identity(mesh).ok_or_else(unknown)?;
    if !identity.is_valid() {
        let message = format!("{identity} could be read as another identity");
        return Err(Refused::new(Count::NoIdentity, Status::invalid_argument(message)));
    }
    let id = identity.spiffe(&mesh.config.trust_domain);
    let asked = u64::try_from(request.validity_duration).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
    // What another machine has shown may be stolen, and a token of an hour is to be no certificate of months.
    let asked = asked.map(|asked| if matches!(subject, Subject::Holder(_)) { asked.min(issue::LIFETIME) } else { asked });
    let cert_chain = authority.certify(&request.csr, &id, asked, now).map_err(|refusal| match refusal {
        Refusal::Request(_) => Refused::new(Count::NoRequest, Status::invalid_argument(refusal.to_string())),
        Refusal::Randomness => Refused::new(Count::NotSigned, Status::internal(refusal.to_string())),
        Refusal::Identity(_) => Refused::new(Count::NoIdentity, Status::failed_precondition(refusal.to_string())),
        Refusal::Sign(_) | Refusal::Ended => Refused::new(Count::NotSigned, Status::failed_precondition(refusal.to_string())),
    })?;
    tracing::debug!(proxy = request.node().unwrap_or_default(), %id, "a certificate was issued");
    Ok(IstioCertificateResponse { cert_chain, proof: String::new(), state: changes::state(subject, mesh, authority) })
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
        addresses: vec![canonical(&address)],
        locality: String::new(),
        interception: Interception::None,
    })
}
