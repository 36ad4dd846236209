//! Whose a token is that a proxy shows: the API server says so, which has signed it, and knows whether its Pod and account are still there
//! (TokenReview, `authentication.k8s.io/v1`).
//!
//! Anybody may come with any number of tokens. So what cannot be one is refused unasked ([`Claims`]), what was answered a moment ago is not asked
//! again, few are asked for at a time, and few wait from one place. (Facts: security/pkg/k8s/tokenreview of Istio.)

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use weir_model::Identity;
use weir_pilot::{Review, ReviewError, Reviewed, Shares, TokenReviewer};

use super::claims::{AUDIENCE, Claims};
use super::recent::Recent;
use super::{ACCOUNT, ACCOUNTS, answer, words};

/// What the API server says besides of whom a token is: the Pod that it is for.
const POD: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// So many are asked for at a time.
const AT_A_TIME: usize = 8;
/// So many wait for that, an eighth of them from one place.
const WAITING: usize = 512;
/// So long, with the asking.
const PATIENCE: Duration = Duration::from_secs(8);
/// So many answers are kept of each kind.
const KEPT: usize = 8192;
/// So long a yes counts: a proxy shows its token for a certificate, and then to follow. The account may be deleted meanwhile.
const YES: Duration = Duration::from_secs(10);
/// And a no. A token that is none now will not be one soon.
const NO: Duration = Duration::from_secs(10);

/// Stands for a token, which is kept nowhere.
type Hash = [u8; 32];

/// Asks the API server.
pub struct TokenReviews {
    api: Api<TokenReview>,
    /// Who is behind tokens that hold.
    good: Recent<Hash, Reviewed>,
    /// Why others do not. Apart, so that no flood of them takes the places of the former.
    bad: Recent<Hash, String>,
    places: Shares<IpAddr>,
    asking: Semaphore,
}

impl TokenReviews {
    /// Asks by this client.
    pub fn new(client: &Client) -> Arc<Self> {
        Arc::new(Self {
            api: Api::all(client.clone()),
            good: Recent::of(KEPT),
            bad: Recent::of(KEPT),
            places: Shares::of(WAITING),
            asking: Semaphore::new(AT_A_TIME),
        })
    }

    /// What was answered a moment ago.
    fn known(&self, hash: &Hash) -> Option<Result<Reviewed, ReviewError>> {
        let good = self.good.get(hash).map(|(reviewed, _)| Ok(reviewed));
        good.or_else(|| self.bad.get(hash).map(|(reason, _)| Err(ReviewError::Refused(reason))))
    }

    async fn look(&self, from: IpAddr, token: &str) -> Result<Reviewed, ReviewError> {
        let claims = Claims::read(token, SystemTime::now()).map_err(ReviewError::Refused)?;
        let hash = hash(token);
        if let Some(known) = self.known(&hash) {
            return known;
        }
        let busy = || ReviewError::Unavailable("too many tokens are to be looked at, of all or from there: it may come again".to_owned());
        let _place = self.places.take(from).ok_or_else(busy)?;
        let asked = async {
            let _permit = self.asking.acquire().await.map_err(|_| busy())?;
            // Somebody else may have asked meanwhile.
            match self.known(&hash) {
                Some(known) => known,
                None => self.ask(token, hash, claims).await,
            }
        };
        timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(busy()))
    }

    async fn ask(&self, token: &str, hash: Hash, claims: Claims) -> Result<Reviewed, ReviewError> {
        let spec = TokenReviewSpec { audiences: Some(vec![AUDIENCE.to_owned()]), token: token.to_owned() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let asked = answer(self.api.create(&PostParams::default(), &review), "whose a token is").await;
        let asked = asked.map_err(|error| {
            let reason = format!("whose the token is cannot be asked: {}", words(&error, "create tokenreviews"));
            tracing::warn!("{reason}");
            ReviewError::Unavailable(reason)
        })?;
        match whose(&asked, claims.ends) {
            Ok(reviewed) => {
                let left = reviewed.ends.duration_since(SystemTime::now()).unwrap_or_default();
                self.good.put(hash, reviewed.clone(), Instant::now() + left.min(YES));
                Ok(reviewed)
            }
            Err(reason) => {
                self.bad.put(hash, reason.clone(), Instant::now() + NO);
                Err(ReviewError::Refused(reason))
            }
        }
    }
}

impl TokenReviewer for TokenReviews {
    fn review<'r>(&'r self, from: IpAddr, token: &'r str) -> Review<'r> {
        Box::pin(self.look(from, token))
    }
}

fn hash(token: &str) -> Hash {
    let mut hash = [0; 32];
    hash.iter_mut().zip(digest(&SHA256, token.as_bytes()).as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

/// Whose a token is by the API server's answer.
fn whose(review: &TokenReview, ends: SystemTime) -> Result<Reviewed, String> {
    let status = review.status.clone().unwrap_or_default();
    if status.authenticated != Some(true) {
        // The API server says no more than that it does not know it; what it says is of its own.
        let reason = status.error.unwrap_or_else(|| "it knows no such token".to_owned());
        return Err(format!("the API server does not accept the token: {reason}"));
    }
    // One that does not know of audiences answers without.
    if !status.audiences.unwrap_or_default().iter().any(|audience| audience == AUDIENCE) {
        return Err(format!("the API server does not say that the token is for {AUDIENCE:?}"));
    }
    let user = status.user.unwrap_or_default();
    let identity = account(&user).ok_or_else(|| format!("{:?} is no service account", user.username.as_deref().unwrap_or_default()))?;
    let extra = user.extra.unwrap_or_default();
    let pod = only(&extra, POD);
    if let (Some(pod), Some(uid)) = (&pod, only(&extra, POD_UID)) {
        tracing::debug!(%identity, pod, uid, "the API server knows a token");
    }
    Ok(Reviewed { identity, pod, ends })
}

/// The account of a user: `system:serviceaccount:NAMESPACE:NAME`, in the group of all accounts, and nothing else.
fn account(user: &UserInfo) -> Option<Identity> {
    let is_account = user.groups.iter().flatten().any(|group| group == ACCOUNTS);
    let (namespace, account) = user.username.as_deref()?.strip_prefix(ACCOUNT)?.split_once(':')?;
    let identity = Identity { namespace: namespace.to_owned(), account: account.to_owned() };
    (is_account && identity.is_valid()).then_some(identity)
}

fn only(extra: &BTreeMap<String, Vec<String>>, name: &str) -> Option<String> {
    match extra.get(name).map(Vec::as_slice) {
        Some([only]) => Some(only.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};
    use tokio::task::JoinSet;

    use super::super::scripted::{Scripted, refusal};
    use super::*;

    /// A token that may be one, of that account, which holds for so many seconds.
    fn token(account: &str, seconds: u64) -> String {
        let end = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + seconds;
        let claims = json!({"iss": "x", "sub": format!("{ACCOUNT}shop:{account}"), "aud": [AUDIENCE], "exp": end});
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    /// Accepts tokens of the account `cart`.
    fn api_server() -> Scripted {
        Scripted::new(|_, path, review| {
            assert_eq!(path.split('?').next(), Some("/apis/authentication.k8s.io/v1/tokenreviews"));
            assert_eq!(review["spec"]["audiences"], json!([AUDIENCE]));
            let payload = review["spec"]["token"].as_str().unwrap().split('.').nth(1).unwrap().to_owned();
            let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
            let user = json!({"username": claims["sub"], "groups": [ACCOUNTS]});
            let is_cart = claims["sub"] == "system:serviceaccount:shop:cart";
            (201, json!({"spec": review["spec"], "status": {"authenticated": is_cart, "audiences": [AUDIENCE], "user": user}}))
        })
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[tokio::test(start_paused = true)]
    async fn who_was_asked_for_a_moment_ago_is_not_asked_for_again_nor_longer_than_he_may_be() {
        let server = api_server();
        let reviews = TokenReviews::new(&server.client());
        let (good, bad, short) = (token("cart", 3600), token("till", 3600), token("cart", 4));
        let asked = async |token: &str| {
            let before = server.asked().len();
            (reviews.review(HERE, token).await.is_ok(), server.asked().len() - before)
        };
        for (token, is_good) in [(&good, true), (&bad, false), (&short, true)] {
            assert_eq!([asked(token).await, asked(token).await], [(is_good, 1), (is_good, 0)]);
        }
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!([asked(&good).await.1, asked(&bad).await.1, asked(&short).await.1], [0, 0, 1], "it has ended, or is about to");
        tokio::time::advance(YES.max(NO)).await;
        assert_eq!([asked(&good).await, asked(&bad).await], [(true, 1), (false, 1)]);
        let before = server.asked().len();
        for token in ["", "a.b.c", "x.e30.y", &"x".repeat(1 << 20)] {
            assert!(matches!(reviews.review(HERE, token).await, Err(ReviewError::Refused(_))), "{token:.9}");
        }
        assert_eq!(server.asked().len(), before, "what cannot be a token costs the API server nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_tokens_is_no_flood_of_questions_and_keeps_out_nobody_else() {
        let server = api_server().silent();
        let reviews = TokenReviews::new(&server.client());
        let (mut flood, own) = (JoinSet::new(), token("cart", 3600));
        for nth in 0..1000 {
            let (reviews, token) = (reviews.clone(), token(&format!("thief-{nth}"), 3600));
            flood.spawn(async move { reviews.review(HERE, &token).await });
        }
        let friend = tokio::spawn({
            let (reviews, own) = (reviews.clone(), own.clone());
            async move { reviews.review(THERE, &own).await }
        });
        let mut refused = 0;
        while refused < 1000 - WAITING / 8 {
            assert!(matches!(flood.join_next().await.unwrap().unwrap(), Err(ReviewError::Unavailable(_))));
            refused += 1;
        }
        assert_eq!(server.asked().len(), AT_A_TIME);
        server.speak(WAITING);
        assert_eq!(friend.await.unwrap().unwrap().identity, Identity::new("shop", "cart"));
        while let Some(answered) = flood.join_next().await {
            assert!(matches!(answered.unwrap(), Err(ReviewError::Refused(_))));
        }
        assert_eq!(server.asked().len(), WAITING / 8 + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_is_away_is_no_yes_and_no_lasting_no() {
        let is_away = Arc::new(AtomicBool::new(true));
        let (away, good) = (is_away.clone(), api_server());
        let server = Scripted::new(move |method, path, body| match away.load(Ordering::Relaxed) {
            true => refusal(500),
            false => good.answer(method, path, body),
        });
        let (reviews, own) = (TokenReviews::new(&server.client()), token("cart", 3600));
        assert!(matches!(reviews.review(HERE, &own).await, Err(ReviewError::Unavailable(_))));
        is_away.store(false, Ordering::Relaxed);
        assert!(reviews.review(HERE, &own).await.is_ok());
        // One that says nothing at all.
        let reviews = TokenReviews::new(&api_server().silent().client());
        assert!(matches!(reviews.review(HERE, &own).await, Err(ReviewError::Unavailable(_))));
    }

    fn of(status: Value) -> Result<Reviewed, String> {
        let review: TokenReview = serde_json::from_value(json!({"spec": {"token": "t"}, "status": status})).unwrap();
        whose(&review, SystemTime::UNIX_EPOCH)
    }

    fn status(user: Value) -> Value {
        json!({"authenticated": true, "audiences": [AUDIENCE], "user": user})
    }

    #[test]
    fn only_a_service_account_that_the_api_server_knows_for_this_audience_is_somebody() {
        let user = json!({"username": "system:serviceaccount:shop:cart", "groups": ["system:serviceaccounts", "system:authenticated"],
            "extra": {POD: ["cart-1"], POD_UID: ["u"]}});
        let good = of(status(user.clone())).unwrap();
        assert_eq!((good.identity, good.pod), (Identity::new("shop", "cart"), Some("cart-1".to_owned())));
        let with = |name: &str, value: Value| {
            let mut user = user.clone();
            user[name] = value;
            status(user)
        };
        assert_eq!(of(with("extra", json!({}))).unwrap().pod, None);
        for (attempt, status) in [
            ("not known", json!({"authenticated": false, "error": "[invalid bearer token]"})),
            ("no answer", json!(null)),
            ("nothing said", json!({"user": user})),
            ("for another audience", json!({"authenticated": true, "audiences": ["vault"], "user": user})),
            ("by one who knows of no audiences", json!({"authenticated": true, "user": user})),
            ("a person", with("username", json!("admin"))),
            ("a node", with("username", json!("system:node:a"))),
            ("an account by name alone", with("groups", json!(["system:authenticated"]))),
            ("no namespace", with("username", json!("system:serviceaccount:cart"))),
            ("no name", with("username", json!("system:serviceaccount:shop:"))),
            ("too many words", with("username", json!("system:serviceaccount:shop:cart:x"))),
            ("a name that would be another's", with("username", json!("system:serviceaccount:shop:a/sa/b"))),
        ] {
            assert!(of(status).is_err(), "{attempt}");
        }
    }
}
