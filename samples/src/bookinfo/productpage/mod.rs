//! productpage: the page that people see, and its API.

mod page;
mod session;
mod sources;
mod template;

use std::net::SocketAddr;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::product_id;
use crate::caller::Caller;
use crate::http::{Application, Body, Refusal, html, json, typed, whole};
use sources::Source;

/// The longest form that is read.
const LARGEST_FORM: usize = 64 * 1024;

/// What the book is about; the page shows it under the title.
pub(super) const TITLE: &str = "The Comedy of Errors";
pub(super) const SUMMARY: &str = "Twin brothers, each with a servant who is also a twin, were parted by a shipwreck. \
    One day all four are in the same town, and nobody can tell who is who. Shakespeare's shortest play, and his most farcical.";

/// The application.
pub(crate) struct ProductPage {
    name: String,
    caller: Caller,
}

impl ProductPage {
    /// The instance of that name, calling the others through `caller`.
    pub(crate) fn new(name: String, caller: Caller) -> Self {
        ProductPage { name, caller }
    }

    async fn route(&self, head: &Parts, body: Bytes) -> Response<Body> {
        match head.uri.path().split('/').collect::<Vec<_>>().as_slice() {
            ["", ""] => fresh(html(include_str!("assets/index.html"))),
            ["", "productpage"] => fresh(self.page(head).await),
            ["", "login"] => session::login(head, &body).unwrap_or_else(Refusal::into_text),
            ["", "logout"] => session::logout(),
            ["", "health"] => super::health("Product page"),
            ["", "static", file] => asset(file).unwrap_or_else(|| Refusal::not_found(head.uri.path()).into_text()),
            ["", "api", "v1", "products"] => json(StatusCode::OK, &products()),
            ["", "api", "v1", "products", id] => self.api(&sources::DETAILS, id, head).await,
            ["", "api", "v1", "products", id, "reviews"] => self.api(&sources::REVIEWS, id, head).await,
            ["", "api", "v1", "products", id, "ratings"] => self.api(&sources::RATINGS, id, head).await,
            _ => Refusal::not_found(head.uri.path()).into_text(),
        }
    }

    /// Both parts are asked for at the same time; each may fail without the other.
    async fn page(&self, head: &Parts) -> Response<Body> {
        let headers = session::forwarded(&head.headers);
        let (details, reviews) =
            tokio::join!(sources::DETAILS.fetch(&self.caller, 0, &headers), sources::REVIEWS.fetch(&self.caller, 0, &headers));
        html(page::render(&self.name, session::user(&head.headers).as_deref(), &details, &reviews))
    }

    /// One source's own answer.
    async fn api(&self, source: &Source, id: &str, head: &Parts) -> Response<Body> {
        let id = match product_id(id) {
            Ok(id) => id,
            Err(refusal) => return refusal.into_json(),
        };
        let part = source.fetch(&self.caller, id, &session::forwarded(&head.headers)).await;
        match part.content {
            Ok(content) => json(StatusCode::OK, &content),
            Err(failure) => Refusal::new(failure.status, source.apology).into_json(),
        }
    }
}

impl Application for ProductPage {
    async fn answer(&self, request: Request<Incoming>, _peer: SocketAddr) -> Response<Body> {
        let (head, body) = request.into_parts();
        if head.method != Method::POST {
            super::discard(body).await;
            return self.route(&head, Bytes::new()).await;
        }
        match Limited::new(body, LARGEST_FORM).collect().await {
            Ok(body) => self.route(&head, body.to_bytes()).await,
            Err(_) => Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "this is more than any form here sends").into_text(),
        }
    }
}

fn products() -> Value {
    json!([{ "id": 0, "title": TITLE, "descriptionHtml": SUMMARY }])
}

fn asset(file: &str) -> Option<Response<Body>> {
    let (content_type, text) = match file {
        "style.css" => ("text/css; charset=utf-8", include_str!("assets/style.css")),
        "icon.svg" => ("image/svg+xml", include_str!("assets/icon.svg")),
        _ => return None,
    };
    let mut response = typed(StatusCode::OK, content_type, whole(text));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
    Some(response)
}

/// The next look may be made by other instances, so this one must not be kept.
fn fresh(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
