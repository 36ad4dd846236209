//! Tokens that are not the mesh's own. Who signed them alone can say whose they are: the API server of a cluster, which is asked
//! ([`TokenReviewer`]). Which of the two a token is of, it says itself, and is not believed: whoever is asked then looks whether it is.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tonic::Status;
use weir_model::Identity;

use super::credential::{Bound, Credential, Names};
use super::tokens::Tokens;
use crate::secure::place_of;

/// Who has a token, by the word of whoever signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reviewed {
    /// The service account.
    pub identity: Identity,
    /// The Pod that the token is for, if it is for one alone.
    pub pod: Option<String>,
    /// When the token ends.
    pub ends: SystemTime,
}

/// Why nobody says who has a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReviewError {
    /// It does not hold, or is none.
    Refused(String),
    /// Who could say it is away, or has too much to do: it may be tried again.
    Unavailable(String),
}

/// An answer to come.
pub type Review<'r> = Pin<Box<dyn Future<Output = Result<Reviewed, ReviewError>> + Send + 'r>>;

/// Says who has a token.
pub trait TokenReviewer: Send + Sync {
    /// Looks at one that somebody from there shows. It is asked several times for one token, and bounds itself how often that comes to
    /// whoever is behind it: anybody may come with any number of tokens.
    fn review<'r>(&'r self, from: IpAddr, token: &'r str) -> Review<'r>;
}

/// Who can say of tokens whose they are.
#[derive(Clone, Default)]
pub(crate) struct Judges {
    /// The key of the mesh's own.
    pub own: Option<Arc<Tokens>>,
    /// Who knows those of others.
    pub others: Option<Arc<dyn TokenReviewer>>,
}

impl fmt::Debug for Judges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judges").field("own", &self.own).field("others", &self.others.is_some()).finish()
    }
}

impl Judges {
    /// Who has a token that somebody shows.
    ///
    /// # Errors
    /// Why it is not accepted: `UNAUTHENTICATED`, or `UNAVAILABLE` where nobody can say so now.
    pub async fn read(&self, peer: SocketAddr, token: &str, names: Names<'_>, now: SystemTime) -> Result<Credential, Status> {
        let unknown = |reason: String| Status::unauthenticated(format!("{peer}: {reason}"));
        match (&self.others, &self.own) {
            (Some(reviewer), _) if names_an_issuer(token) => {
                let reviewed = reviewer.review(place_of(peer.ip()), token).await.map_err(|error| match error {
                    ReviewError::Refused(reason) => unknown(reason),
                    ReviewError::Unavailable(reason) => Status::unavailable(format!("{peer}: {reason}")),
                })?;
                let Reviewed { identity, pod, ends } = reviewed;
                if !identity.is_valid() {
                    return Err(unknown(format!("the token is of {identity}, which no certificate can name")));
                }
                Ok(Credential { identity, workload: pod.map(Bound::Pod), ends, is_reviewed: true })
            }
            (_, Some(own)) => own.read(token, names, now).map_err(unknown),
            (Some(_), None) => Err(unknown("the token is none of a service account, and this pilot signs no tokens".to_owned())),
            (None, None) => Err(unknown("this pilot signs no tokens: it has no --state".to_owned())),
        }
    }
}

/// Whether a token says who has signed it (RFC 7519, section 4.1.1). The mesh's own do not.
fn names_an_issuer(token: &str) -> bool {
    let payload = token.split('.').nth(1).and_then(|payload| URL_SAFE_NO_PAD.decode(payload).ok());
    let claims = payload.and_then(|payload| serde_json::from_slice::<serde_json::Value>(&payload).ok());
    claims.is_some_and(|claims| claims.get("iss").is_some())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use tonic::Code;

    use super::super::tokens::Grant;
    use super::*;

    /// Says the same of every token.
    struct Always(Result<Reviewed, ReviewError>);

    impl TokenReviewer for Always {
        fn review<'r>(&'r self, _: IpAddr, _: &'r str) -> Review<'r> {
            Box::pin(async { self.0.clone() })
        }
    }

    const NAMES: Names<'static> = Names { trust_domain: "td", aliases: &[] };

    fn of_cluster() -> String {
        ["{}", &json!({"iss": "https://kubernetes.default.svc"}).to_string(), "x"].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
    }

    #[tokio::test]
    async fn a_token_goes_to_whom_it_says_has_signed_it_who_has_the_last_word() {
        let now = SystemTime::now();
        let own = Arc::new(Tokens::kept_in(tempfile::tempdir().unwrap().path()).unwrap());
        let cart = Identity::new("shop", "cart");
        let reviewed = Reviewed { identity: cart.clone(), pod: Some("cart-1".to_owned()), ends: now + Duration::from_secs(9) };
        let grant = Grant { trust_domain: "td".to_owned(), identity: cart.clone(), workload: None, lifetime: Duration::from_secs(60) };
        let signed = own.sign(&grant, now).unwrap();
        let others = |answer| Some(Arc::new(Always(answer)) as Arc<dyn TokenReviewer>);
        let read = async |own: Option<&Arc<Tokens>>, others, token: &str| {
            let judges = Judges { own: own.cloned(), others };
            judges.read("192.0.2.1:7".parse().unwrap(), token, NAMES, now).await.map_err(|status| status.code())
        };
        let found = read(Some(&own), others(Ok(reviewed.clone())), &of_cluster()).await.unwrap();
        assert_eq!((&found.identity, found.workload, found.ends), (&cart, Some(Bound::Pod("cart-1".to_owned())), reviewed.ends));
        // The mesh's own need nobody else.
        let away = || others(Err(ReviewError::Unavailable(String::new())));
        assert_eq!(read(Some(&own), away(), &signed).await.map(|found| found.is_reviewed), Ok(false));
        let odd = Reviewed { identity: Identity::new("shop", "a/sa/b"), ..reviewed.clone() };
        for (attempt, own, others, token, code) in [
            (
                "refused by the API server",
                Some(&own),
                others(Err(ReviewError::Refused(String::new()))),
                of_cluster(),
                Code::Unauthenticated,
            ),
            ("while the API server is away", Some(&own), away(), of_cluster(), Code::Unavailable),
            ("of an account that could be read as another", Some(&own), others(Ok(odd)), of_cluster(), Code::Unauthenticated),
            ("of a cluster where there is none", Some(&own), None, of_cluster(), Code::Unauthenticated),
            ("of a mesh that signs none", None, others(Ok(reviewed.clone())), signed.clone(), Code::Unauthenticated),
            ("that is none", Some(&own), others(Ok(reviewed)), "a.b.c".to_owned(), Code::Unauthenticated),
        ] {
            assert_eq!(read(own, others, &token).await.map(|found| found.identity), Err(code), "{attempt}");
        }
    }
}
