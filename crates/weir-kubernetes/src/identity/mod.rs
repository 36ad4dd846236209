//! Who is who in a cluster, by the word of its API server; and what the mesh's certificates rest on there.
//!
//! | | asked or written | |
//! |---|---|---|
//! | [`TokenReviews`] | TokenReview | whose a projected token is that a proxy shows |
//! | [`KeyReviews`] | SubjectAccessReview | which accounts may have the keys of Secrets |
//! | [`root`] | Secrets `cacerts`, `istio-ca-secret` | the mesh's root, made once and kept |
//! | [`Distribution`] | ConfigMaps `istio-ca-root-cert` | the roots' certificates, in every namespace |
//!
//! An API server that is away is waited for, and never taken for a yes.

mod claims;
mod distribution;
mod following;
mod keys;
mod plan;
mod recent;
pub mod root;
#[cfg(test)]
mod scripted;
mod tokens;

use std::future::Future;
use std::time::Duration;

pub use distribution::Distribution;
pub use keys::KeyReviews;
pub use tokens::TokenReviews;

/// So long an API server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How somebody stands whom the API server knows as a service account.
const ACCOUNT: &str = "system:serviceaccount:";
/// The group of all of them.
const ACCOUNTS: &str = "system:serviceaccounts";

/// Waits for an answer of the API server's.
///
/// # Errors
/// Why there is none, in words that say what may help.
async fn answer<T>(asking: impl Future<Output = kube::Result<T>>, what: &str) -> Result<T, kube::Error> {
    let late = |_| {
        let silent = std::io::Error::new(std::io::ErrorKind::TimedOut, format!("the API server does not answer {what}"));
        Err(kube::Error::Service(Box::new(silent)))
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(late)
}

/// The status that the API server refuses with.
fn status(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// An error with its causes, for who must act.
fn words(error: &kube::Error, right: &str) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => format!("the API server does not let this account {right}: its Role must"),
        kube::Error::Api(status) => format!("the API server refuses: {}", status.message),
        error => {
            let mut said = error.to_string();
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                let text = error.to_string();
                if !said.contains(&text) {
                    said += &format!(": {text}");
                }
                cause = error.source();
            }
            said
        }
    }
}
