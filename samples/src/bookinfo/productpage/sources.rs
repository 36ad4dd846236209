//! The services that the page is made of, and what came of asking them.

use hyper::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::caller::{Answer, CallError, Caller};

/// A service that is asked about a book.
pub(super) struct Source {
    /// Its name.
    pub(super) service: &'static str,
    /// What to say when it does not answer.
    pub(super) apology: &'static str,
}

/// The facts.
pub(super) const DETAILS: Source =
    Source { service: "details", apology: "Sorry, product details are currently unavailable for this book." };
/// The opinions.
pub(super) const REVIEWS: Source =
    Source { service: "reviews", apology: "Sorry, product reviews are currently unavailable for this book." };
/// The stars.
pub(super) const RATINGS: Source =
    Source { service: "ratings", apology: "Sorry, product ratings are currently unavailable for this book." };

/// What came of asking.
pub(super) struct Part {
    /// The instance that answered, well or not, if it says so.
    pub(super) instance: Option<String>,
    /// What it answered.
    pub(super) content: Result<Value, Failure>,
}

/// Why there is no content.
pub(super) struct Failure {
    /// The status to answer with in turn.
    pub(super) status: StatusCode,
    /// One line for a person.
    pub(super) reason: String,
}

impl Source {
    /// `GET http://SERVICE/SERVICE/ID`.
    pub(super) async fn fetch(&self, caller: &Caller, id: u64, headers: &HeaderMap) -> Part {
        match caller.get(self.service, &format!("/{}/{id}", self.service), headers).await {
            Ok(answer) => Part { instance: answer.instance.clone(), content: content(&answer) },
            Err(error) => Part { instance: None, content: Err(failure(&error)) },
        }
    }
}

fn content(answer: &Answer) -> Result<Value, Failure> {
    let status = answer.status;
    if status == StatusCode::OK {
        let not_json = || Failure { status: StatusCode::BAD_GATEWAY, reason: "the answer is not JSON".to_owned() };
        return answer.json().ok_or_else(not_json);
    }
    let ours = if status.is_client_error() || status.is_server_error() { status } else { StatusCode::BAD_GATEWAY };
    Err(Failure { status: ours, reason: format!("answered {status}") })
}

fn failure(error: &CallError) -> Failure {
    let status = match error {
        CallError::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
        CallError::Failed(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    Failure { status, reason: error.to_string() }
}
