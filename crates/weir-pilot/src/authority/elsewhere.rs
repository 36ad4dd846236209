//! Answers requests for certificates of other machines, by a way of their own: nobody of this machine waits behind them, and none of them
//! behind one that asks for many.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{Semaphore, mpsc, watch};
use tonic::Status;
use weir_ads::certificates::{Call, Caller, Certificates};
use weir_model::MeshSnapshot;

use super::Followed;
use super::changes::Changes;
use super::credential::Credential;
use super::reviewer::Judges;
use super::service::{WAITING, answer_to, count, holder};
use crate::refusals::{Count, Refusals, Refused};
use crate::shares::Shares;

/// So many may be under way.
const UNDER_WAY: usize = 1024;
/// So many are looked into, and signed, at a time.
const AT_A_TIME: usize = 2;

/// What all requests share.
struct Elsewhere {
    /// Who knows the tokens that somebody may show; without any, he needs a certificate already.
    judges: Judges,
    refusals: Arc<Refusals>,
    changes: Changes,
    /// The places of those under way, by who asks.
    places: Shares<String>,
    signing: Arc<Semaphore>,
}

/// Answers them for as long as somebody may send one.
pub(crate) fn start(
    authority: &Followed,
    mesh: watch::Receiver<Arc<MeshSnapshot>>,
    judges: Judges,
    refusals: Arc<Refusals>,
) -> Certificates {
    serve(Elsewhere {
        judges,
        refusals,
        changes: Changes::new(mesh, authority.0.clone()),
        places: Shares::of(UNDER_WAY),
        signing: Arc::new(Semaphore::new(AT_A_TIME)),
    })
}

fn serve(elsewhere: Elsewhere) -> Certificates {
    let (certificates, mut calls) = mpsc::channel::<Call>(WAITING);
    let (elsewhere, room) = (Arc::new(elsewhere), Arc::new(Semaphore::new(UNDER_WAY)));
    tokio::spawn(async move {
        while let Some(call) = calls.recv().await {
            let Ok(permit) = room.clone().acquire_owned().await else { return };
            let elsewhere = elsewhere.clone();
            tokio::spawn(async move {
                elsewhere.answer(call).await;
                drop(permit);
            });
        }
    });
    certificates
}

impl Elsewhere {
    /// Who asks, as far as he has shown it.
    async fn credential(&self, caller: &Caller) -> Result<Credential, Refused> {
        let not_known = |status| Refused::new(Count::NotKnown, status);
        let Caller::Remote(shown) = caller else {
            return Err(not_known(Status::unauthenticated("only who comes by TLS is certified here")));
        };
        let config = self.changes.mesh.borrow().config.clone();
        Credential::of(shown, &self.judges, &config, SystemTime::now()).await.map_err(not_known)
    }

    async fn answer(&self, Call { caller, request, mut answer }: Call) {
        let asked = async {
            let credential = self.credential(&caller).await?;
            let busy = || Refused::new(Count::NotSigned, Status::resource_exhausted(format!("{} asks too often", credential.identity)));
            let place = self.places.take(credential.identity.to_string()).ok_or_else(busy)?;
            let failed = || Refused::new(Count::NotSigned, Status::internal("the authority failed"));
            let permit = self.signing.clone().acquire_owned().await.map_err(|_| failed())?;
            let (authority, mesh) = (self.changes.authority.borrow().clone(), self.changes.mesh.borrow().clone());
            let request = request.clone();
            // To read a request, and to sign with a large key, takes milliseconds.
            let work = move || {
                // Until it is done, also if nobody waits for that any more.
                let _held = (place, permit);
                let subject = holder(credential, &request, &mesh)?;
                match request.known() {
                    Some(_) => Ok((subject, None)),
                    None => answer_to(&authority, &mesh, &subject, &request, SystemTime::now()).map(|answer| (subject, Some(answer))),
                }
            };
            tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(failed()))
        };
        let answered = tokio::select! {
            answered = asked => answered,
            // Whose asker has gone, nobody needs.
            () = answer.closed() => return,
        };
        let answered = match answered {
            Ok((subject, None)) => return self.changes.answer_later(subject, request, None, answer),
            Ok((_, Some(issued))) => Ok(issued),
            Err(refused) => Err(refused),
        };
        count(&self.refusals, &caller, &request, answered.as_ref().err());
        // Who has gone meanwhile needs none.
        let _ = answer.send(answered.map_err(|refused| refused.status));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tonic::Code;
    use weir_ads::certificates::{IstioCertificateRequest, IstioCertificateResponse};
    use weir_ads::{Certified, Shown};
    use weir_model::DEFAULT_DOMAIN;

    use super::super::Authority;
    use super::*;

    type Answered = oneshot::Receiver<Result<IstioCertificateResponse, Status>>;

    /// Asks as this account.
    async fn ask(certificates: &Certificates, account: &str, request: IstioCertificateRequest) -> Answered {
        let id = format!("spiffe://cluster.local/ns/shop/sa/{account}");
        let certified = Certified { id, ends: SystemTime::now() + Duration::from_secs(3600) };
        let shown = Shown { peer: ([192, 0, 2, 1], 1).into(), certificate: Ok(Some(certified)), token: None };
        let (answer, answered) = oneshot::channel();
        certificates.send(Call { caller: Caller::Remote(Arc::new(shown)), request, answer }).await.unwrap();
        answered
    }

    #[tokio::test]
    async fn one_who_asks_for_many_takes_no_place_of_others() {
        let (_mesh, mesh) = watch::channel(Arc::new(MeshSnapshot::new(&[], Arc::default(), DEFAULT_DOMAIN)));
        let authority = Authority::in_memory("cluster.local").unwrap().follow();
        let signing = Arc::new(Semaphore::new(0));
        let changes = Changes::new(mesh, authority.0);
        let certificates = serve(Elsewhere {
            judges: Judges::default(),
            refusals: Arc::default(),
            changes,
            places: Shares::of(16),
            signing: signing.clone(),
        });
        let request = || IstioCertificateRequest { csr: "nonsense".to_owned(), ..IstioCertificateRequest::default() };
        let mut waiting = vec![];
        for account in ["a", "a", "b"] {
            waiting.push(ask(&certificates, account, request()).await);
        }
        let refused = ask(&certificates, "a", request()).await.await.unwrap().unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        signing.add_permits(1);
        for answered in waiting {
            // The mesh knows none of them.
            assert_ne!(answered.await.unwrap().unwrap_err().code(), Code::ResourceExhausted);
        }
        assert_ne!(ask(&certificates, "a", request()).await.await.unwrap().unwrap_err().code(), Code::ResourceExhausted);
    }
}
