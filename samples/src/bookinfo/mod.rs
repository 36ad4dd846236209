//! Bookinfo, as Istio's: a page about a book, made of what three other services tell.
//!
//! productpage asks details and reviews; reviews exists in three versions, two of which ask ratings for the stars.

mod details;
mod forwarded;
mod productpage;
mod ratings;
mod reviews;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Response, StatusCode};
use serde_json::json;

use crate::http::{Body, Refusal, json};

pub(crate) use details::Details;
pub(crate) use productpage::ProductPage;
pub(crate) use ratings::Ratings;
pub(crate) use reviews::{Reviews, Stars};

/// Reads what a client sends along though nobody asked for it: closing a connection on a client that still sends would
/// often cost it the answer.
async fn discard(mut body: Incoming) {
    while let Some(Ok(_)) = body.frame().await {}
}

/// What the services answer at `/health`.
fn health(service: &str) -> Response<Body> {
    json(StatusCode::OK, &json!({ "status": format!("{service} is healthy") }))
}

/// The number in `/details/0` and the like.
fn product_id(text: &str) -> Result<u64, Refusal> {
    text.parse().map_err(|_| Refusal::bad_request("please provide numeric product ID"))
}
