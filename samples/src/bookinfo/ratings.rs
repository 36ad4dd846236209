//! ratings: how many stars each reviewer gives.

use std::net::SocketAddr;

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use serde_json::json;

use super::{discard, health, product_id};
use crate::http::{Application, Body, Refusal, json};

/// The application.
pub(crate) struct Ratings;

impl Application for Ratings {
    async fn answer(&self, request: Request<Incoming>, _peer: SocketAddr) -> Response<Body> {
        let (head, body) = request.into_parts();
        discard(body).await;
        match head.uri.path().split('/').collect::<Vec<_>>().as_slice() {
            ["", "health"] => health("Ratings"),
            ["", "ratings", id] => match product_id(id) {
                Ok(id) => json(StatusCode::OK, &json!({ "id": id, "ratings": { "Reviewer1": 5, "Reviewer2": 4 } })),
                Err(refusal) => refusal.into_json(),
            },
            _ => Refusal::not_found(head.uri.path()).into_json(),
        }
    }
}
