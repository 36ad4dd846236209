//! httpbin: endpoints that answer with what they were asked, in the JSON that httpbin.org prints, or misbehave as told.

mod asked;
mod misbehave;
mod streams;
mod upload;

use std::net::SocketAddr;

use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use crate::http::{Application, Body, Refusal, html, json};
use asked::Asked;
use upload::Upload;

/// The application. It has no state.
pub(crate) struct Httpbin;

impl Application for Httpbin {
    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let (head, body) = request.into_parts();
        // The whole request before the answer, whatever it is: closing a connection on a client that still sends would
        // often cost it the answer.
        let Ok(upload) = Upload::receive(body).await else {
            return Refusal::bad_request("the request's body broke off").into_text();
        };
        let asked = Asked { head, upload, peer };
        let path = asked.head.uri.path();
        let (endpoint, rest) = path.strip_prefix('/').unwrap_or(path).split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
        match methods(endpoint) {
            Some(methods) if !methods.is_empty() && !methods.contains(&asked.head.method.as_str()) => not_allowed(methods),
            _ => route(endpoint, rest, &asked).await.unwrap_or_else(Refusal::into_text),
        }
    }
}

/// With which methods an endpoint may be asked; none named: with all.
fn methods(endpoint: &str) -> Option<&'static [&'static str]> {
    match endpoint {
        "status" | "delay" | "anything" | "redirect-to" => Some(&[]),
        "post" => Some(&["POST"]),
        "put" => Some(&["PUT"]),
        "patch" => Some(&["PATCH"]),
        "delete" => Some(&["DELETE"]),
        "response-headers" => Some(&["GET", "HEAD", "POST"]),
        "" | "get" | "headers" | "ip" | "user-agent" | "uuid" | "cookies" | "bytes" | "stream" | "stream-bytes" | "drip" => {
            Some(&["GET", "HEAD"])
        }
        _ => None,
    }
}

async fn route(endpoint: &str, rest: &str, asked: &Asked) -> Result<Response<Body>, Refusal> {
    Ok(match (endpoint, rest) {
        ("", "") => html(include_str!("index.html")),
        ("get", "") => json(StatusCode::OK, &asked.get()),
        ("post" | "put" | "patch" | "delete", "") => json(StatusCode::OK, &asked.with_upload(false)),
        ("anything", _) => json(StatusCode::OK, &asked.with_upload(true)),
        ("headers", "") => json(StatusCode::OK, &asked.only("headers", asked.headers())),
        ("ip", "") => json(StatusCode::OK, &asked.only("origin", asked.origin().into())),
        ("user-agent", "") => json(StatusCode::OK, &asked.only("user-agent", asked.user_agent())),
        ("cookies", "") => json(StatusCode::OK, &asked.only("cookies", asked.cookies())),
        ("uuid", "") => json(StatusCode::OK, &asked.only("uuid", misbehave::uuid(fastrand::u128(..)).into())),
        ("status", codes) => misbehave::status(codes)?,
        ("delay", seconds) => misbehave::delay(seconds, asked).await?,
        ("redirect-to", "") => misbehave::redirect_to(asked)?,
        ("response-headers", "") => misbehave::response_headers(asked)?,
        ("bytes", count) => streams::bytes(count)?,
        ("stream-bytes", count) => streams::stream_bytes(count, asked)?,
        ("stream", lines) => streams::stream(lines, asked)?,
        ("drip", "") => streams::drip(asked).await?,
        _ => return Err(Refusal::not_found(asked.head.uri.path())),
    })
}

fn not_allowed(methods: &[&str]) -> Response<Body> {
    let listed = methods.join(", ");
    let mut response = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, format!("ask with {listed}")).into_text();
    if let Ok(listed) = HeaderValue::try_from(listed) {
        response.headers_mut().insert(ALLOW, listed);
    }
    response
}

/// A number in a path or a query.
fn number<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|_| Refusal::bad_request(format!("{what}: {text:?} is not a number that is possible here")))
}

/// Whether the client asked for the head of the answer only; streams need not be made then.
fn is_head(asked: &Asked) -> bool {
    asked.head.method == Method::HEAD
}
