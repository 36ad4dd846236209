//! Tells those who have a certificate when they would get another one: they are somebody else now, or the authority is another one.
//! Who asks waits for the answer, and asks again when nothing has changed for a while.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tonic::Status;
use weir_ads::certificates::{IstioCertificateRequest, IstioCertificateResponse};
use weir_ads::grpc::client::CHANGES_TIMEOUT;
use weir_model::MeshSnapshot;

use super::Authority;
use super::secret::Secret;
use super::service::Subject;
use crate::shares::Shares;

/// So long an answer waits for a change.
const WAIT: Duration = Duration::from_secs(15);
/// Askers wait longer, also when the answer takes its time to come: who gives up before hears of nothing.
const _: () = assert!(WAIT.as_secs() + 5 <= CHANGES_TIMEOUT.as_secs());
/// So many may wait.
const WAITING: usize = 10_000;

/// Where an answer goes.
type Answer = oneshot::Sender<Result<IstioCertificateResponse, Status>>;

/// What certificates depend on.
#[derive(Clone)]
pub(super) struct Changes {
    pub mesh: watch::Receiver<Arc<MeshSnapshot>>,
    pub authority: watch::Receiver<Arc<Authority>>,
    waiting: Shares<String>,
}

impl Changes {
    pub fn new(mesh: watch::Receiver<Arc<MeshSnapshot>>, authority: watch::Receiver<Arc<Authority>>) -> Self {
        Self { mesh, authority, waiting: Shares::of(WAITING) }
    }

    /// Answers a request that is for changes alone, when there is one, with the proof of a secret. None of these waits for another.
    pub fn answer_later(&self, subject: Subject, request: IstioCertificateRequest, secret: Option<Arc<Secret>>, answer: Answer) {
        let now = state(&subject, &self.mesh.borrow(), &self.authority.borrow());
        if request.known() != Some(now.as_str()) {
            // Who need not wait takes nobody's place.
            return drop(answer.send(Ok(word_of(now, &request, secret.as_deref()))));
        }
        let Some(place) = self.waiting.take(subject.name()) else {
            return drop(answer.send(Err(Status::resource_exhausted("too many wait for changes"))));
        };
        let changes = self.clone();
        tokio::spawn(async move {
            changes.answer(&subject, &request, secret.as_deref(), answer).await;
            drop(place);
        });
    }

    async fn answer(mut self, subject: &Subject, request: &IstioCertificateRequest, secret: Option<&Secret>, mut answer: Answer) {
        let until = Instant::now() + WAIT;
        loop {
            let (mesh, authority) = (self.mesh.borrow_and_update().clone(), self.authority.borrow_and_update().clone());
            let state = state(subject, &mesh, &authority);
            if request.known() != Some(state.as_str()) || Instant::now() >= until {
                // Who has gone meanwhile needs none.
                let _ = answer.send(Ok(word_of(state, request, secret)));
                return;
            }
            let changed = async {
                tokio::select! {
                    changed = self.mesh.changed() => changed.is_ok(),
                    // An authority that never changes says nothing any more.
                    Ok(()) = self.authority.changed() => true,
                }
            };
            tokio::select! {
                is_there = changed => if !is_there { return },
                () = tokio::time::sleep_until(until) => {}
                () = answer.closed() => return,
            }
        }
    }
}

/// An answer that says how it is now, and nothing else.
fn word_of(state: String, request: &IstioCertificateRequest, secret: Option<&Secret>) -> IstioCertificateResponse {
    let mut answer = IstioCertificateResponse { state, ..IstioCertificateResponse::default() };
    if let Some(secret) = secret {
        secret.sign_answer(request, &mut answer);
    }
    answer
}

/// What somebody's certificate depends on, in short; a text that nobody else need understand.
pub(super) fn state(subject: &Subject, mesh: &MeshSnapshot, authority: &Authority) -> String {
    let identity = subject.identity(mesh).map(|identity| identity.spiffe(&mesh.config.trust_domain)).unwrap_or_default();
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(authority.fingerprint());
    context.update(identity.as_bytes());
    context.finish().as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

impl Authority {
    /// What tells it from others that would sign in another way, or trust others. All who wait are looked at whenever anything changes in
    /// the mesh: so it is made once.
    fn fingerprint(&self) -> &[u8; 32] {
        self.fingerprint.get_or_init(|| {
            let mut context = digest::Context::new(&digest::SHA256);
            for part in std::iter::once(&self.roots).chain(&self.between) {
                context.update(&(part.len() as u64).to_be_bytes());
                context.update(part.as_bytes());
            }
            let mut fingerprint = [0; 32];
            fingerprint.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
            fingerprint
        })
    }
}

#[cfg(test)]
mod tests {
    use weir_model::DEFAULT_DOMAIN;

    use super::*;

    #[tokio::test]
    async fn who_need_not_wait_is_answered_though_all_places_are_taken() {
        const NODE: &str = "router~0.0.0.0~gw.shop~shop.svc.cluster.local";
        let (_mesh, mesh) = watch::channel(Arc::new(MeshSnapshot::new(&[], Arc::default(), DEFAULT_DOMAIN)));
        let (_authority, authority) = watch::channel(Arc::new(Authority::in_memory("td").unwrap()));
        let changes = Changes { waiting: Shares::of(0), ..Changes::new(mesh, authority) };
        let ask = async |known: &str| {
            let (answer, answered) = oneshot::channel();
            let subject = Subject::Proxy(Box::new(super::super::service::proxy(NODE).unwrap()));
            changes.answer_later(subject, IstioCertificateRequest::for_changes(NODE, known), None, answer);
            answered.await.unwrap()
        };
        let now = ask("of another time").await.unwrap().state;
        assert_eq!(ask(&now).await.unwrap_err().code(), tonic::Code::ResourceExhausted);
    }

    #[tokio::test]
    async fn one_who_waits_often_leaves_places_to_others() {
        let (_mesh, mesh) = watch::channel(Arc::new(MeshSnapshot::new(&[], Arc::default(), DEFAULT_DOMAIN)));
        let (_authority, authority) = watch::channel(Arc::new(Authority::in_memory("td").unwrap()));
        let changes = Changes { waiting: Shares::of(16), ..Changes::new(mesh, authority) };
        let ask = |account: &str| {
            let subject = Subject::Holder(weir_model::Identity::new("shop", account));
            let now = state(&subject, &changes.mesh.borrow(), &changes.authority.borrow());
            let (answer, answered) = oneshot::channel();
            changes.answer_later(subject, IstioCertificateRequest::for_changes("node", &now), None, answer);
            answered
        };
        let waiting = [ask("a"), ask("a")];
        assert_eq!(ask("a").await.unwrap().unwrap_err().code(), tonic::Code::ResourceExhausted);
        assert!(ask("b").try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        drop(waiting);
    }
}
