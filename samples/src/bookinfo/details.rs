//! details: the facts about a book.

use std::net::SocketAddr;

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};

use super::{discard, health, product_id};
use crate::http::{Application, Body, Refusal, json};

/// The application.
pub(crate) struct Details;

impl Application for Details {
    async fn answer(&self, request: Request<Incoming>, _peer: SocketAddr) -> Response<Body> {
        let (head, body) = request.into_parts();
        discard(body).await;
        match head.uri.path().split('/').collect::<Vec<_>>().as_slice() {
            ["", "health"] => health("Details"),
            ["", "details", id] => match product_id(id) {
                Ok(id) => json(StatusCode::OK, &details(id)),
                Err(refusal) => refusal.into_json(),
            },
            _ => Refusal::not_found(head.uri.path()).into_json(),
        }
    }
}

fn details(id: u64) -> Value {
    json!({
        "id": id,
        "author": "William Shakespeare",
        "year": 1595,
        "type": "paperback",
        "pages": 200,
        "publisher": "PublisherA",
        "language": "English",
        "ISBN-10": "1234567890",
        "ISBN-13": "123-1234567890",
    })
}
