//! Which accounts may have the keys of Secrets: those that may list the Secrets of their namespace themselves (SubjectAccessReview,
//! `authorization.k8s.io/v1`). (Facts: pilot/pkg/credentials/kube/secrets.go of Istio.)

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use weir_model::Identity;
use weir_pilot::{Judging, KeyAccess, Verdict};

use super::recent::Recent;
use super::{ACCOUNT, ACCOUNTS, Quiet, answer, words};

/// So long a yes counts, and so long it takes at most until a Role that was taken away takes its keys away.
const YES: Duration = Duration::from_secs(300);
/// And a no.
const NO: Duration = Duration::from_secs(60);
/// So many are asked for at a time.
const AT_A_TIME: usize = 8;
/// So many answers are kept: there may be as many gateways and more.
const KEPT: usize = 16384;

/// Asks the API server.
#[derive(Clone)]
pub struct KeyReviews(Arc<Shared>);

struct Shared {
    api: Api<SubjectAccessReview>,
    known: Recent<Identity, bool>,
    asking: Semaphore,
    quiet: Quiet,
}

impl KeyReviews {
    /// Asks by this client.
    pub fn new(client: &Client) -> Self {
        let (api, asking) = (Api::all(client.clone()), Semaphore::new(AT_A_TIME));
        Self(Arc::new(Shared { api, known: Recent::of(KEPT), asking, quiet: Quiet::default() }))
    }
}

impl KeyAccess for KeyReviews {
    fn judge(&self, identity: &Identity) -> Judging {
        let (shared, identity) = (self.0.clone(), identity.clone());
        // Who waits may look at it no more, and not drop it either: its turn comes to an end by itself.
        Box::pin(async move {
            let mut asking = JoinSet::new();
            asking.spawn(async move { shared.judge(identity).await });
            match asking.join_next().await {
                Some(Ok(answer)) => answer,
                _ => Err("nobody asks any more".to_owned()),
            }
        })
    }
}

impl Shared {
    async fn judge(&self, identity: Identity) -> Result<Verdict, String> {
        let known = || self.known.get(&identity).map(|(is_allowed, until)| Verdict { is_allowed, until });
        if let Some(known) = known() {
            return Ok(known);
        }
        let _permit = self.asking.acquire().await.map_err(|_| "nobody asks any more".to_owned())?;
        // Another proxy of the account may have asked meanwhile.
        if let Some(known) = known() {
            return Ok(known);
        }
        let (params, review) = (PostParams::default(), review(&identity));
        let asked = answer(self.api.create(&params, &review), "who may list Secrets").await.map_err(|error| {
            let reason = words(&error, "create subjectaccessreviews");
            if self.quiet.ends() {
                tracing::warn!("whether {identity} may have the keys of Secrets cannot be asked: {reason}");
            }
            reason
        })?;
        let status = asked.status.unwrap_or_default();
        // Who evaluates it may fail in part, and still say yes by the rest; denied goes before.
        let is_allowed = status.allowed && status.denied != Some(true);
        let until = Instant::now() + if is_allowed { YES } else { NO };
        self.known.put(identity, is_allowed, until);
        Ok(Verdict { is_allowed, until })
    }
}

/// What is asked. The groups are those that the API server itself would find an account in.
fn review(identity: &Identity) -> SubjectAccessReview {
    let Identity { namespace, account } = identity;
    let attributes = ResourceAttributes {
        namespace: Some(namespace.clone()),
        resource: Some("secrets".to_owned()),
        verb: Some("list".to_owned()),
        version: Some("v1".to_owned()),
        ..ResourceAttributes::default()
    };
    let groups = vec![ACCOUNTS.to_owned(), format!("{ACCOUNTS}:{namespace}"), "system:authenticated".to_owned()];
    let spec = SubjectAccessReviewSpec {
        resource_attributes: Some(attributes),
        user: Some(format!("{ACCOUNT}{namespace}:{account}")),
        groups: Some(groups),
        ..SubjectAccessReviewSpec::default()
    };
    SubjectAccessReview { spec, ..SubjectAccessReview::default() }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::json;

    use super::super::scripted::{Scripted, refusal};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_account_is_asked_for_once_in_a_while_and_what_is_not_known_is_no_yes() {
        let said = Arc::new(Mutex::new(json!({"allowed": false})));
        let says = said.clone();
        let server = Scripted::new(move |_, path, review| {
            assert_eq!(path.split('?').next(), Some("/apis/authorization.k8s.io/v1/subjectaccessreviews"));
            let expected = json!({"namespace": "shop", "resource": "secrets", "verb": "list", "version": "v1"});
            assert_eq!(
                (&review["spec"]["resourceAttributes"], &review["spec"]["user"]),
                (&expected, &json!("system:serviceaccount:shop:edge"))
            );
            let status = says.lock().unwrap().clone();
            if status.is_null() { refusal(403) } else { (201, json!({"spec": review["spec"], "status": status})) }
        });
        let reviews = KeyReviews::new(&server.client());
        let judge = async || {
            let before = server.asked().len();
            let is_allowed = reviews.judge(&Identity::new("shop", "edge")).await.map(|verdict| verdict.is_allowed).ok();
            (is_allowed, server.asked().len() - before)
        };
        let says = |status: serde_json::Value| *said.lock().unwrap() = status;
        let later = async |seconds: u64| tokio::time::advance(Duration::from_secs(seconds)).await;
        assert_eq!([judge().await, judge().await], [(Some(false), 1), (Some(false), 0)]);
        says(json!({"allowed": true}));
        later(59).await;
        assert_eq!(judge().await, (Some(false), 0));
        later(1).await;
        assert_eq!(judge().await, (Some(true), 1));
        says(json!({"allowed": true, "denied": true}));
        later(299).await;
        assert_eq!(judge().await, (Some(true), 0));
        later(1).await;
        assert_eq!(judge().await, (Some(false), 1), "a no goes before a yes");
        says(json!(null));
        later(60).await;
        assert_eq!([judge().await, judge().await], [(None, 1), (None, 1)]);
        says(json!({"allowed": true}));
        assert_eq!(judge().await, (Some(true), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn who_looks_at_no_answer_holds_up_nobody_else() {
        let server = Scripted::new(|_, _, review| (201, json!({"spec": review["spec"], "status": {"allowed": true}}))).silent();
        let reviews = KeyReviews::new(&server.client());
        let mut held = vec![];
        for index in 0..AT_A_TIME {
            let mut asking = reviews.judge(&Identity::new("shop", &format!("edge-{index}")));
            assert!(tokio::time::timeout(Duration::from_millis(1), &mut asking).await.is_err());
            held.push(asking);
        }
        assert_eq!(server.asked().len(), AT_A_TIME);
        tokio::time::sleep(super::super::PATIENCE).await;
        server.speak(1);
        let one_more = reviews.judge(&Identity::new("shop", "one-more"));
        let answer = tokio::time::timeout(Duration::from_secs(1), one_more).await.unwrap();
        assert!(answer.is_ok_and(|verdict| verdict.is_allowed));
        drop(held);
    }
}
