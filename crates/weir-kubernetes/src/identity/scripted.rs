//! An API server that answers as a test says, in the same process: time may stand still for it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tower_service::Service;

type Answer = dyn Fn(&Method, &str, &Value) -> (u16, Value) + Send + Sync;

/// What was asked, in order, and how it is answered.
#[derive(Clone)]
pub(super) struct Scripted {
    answer: Arc<Answer>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    /// Each answer takes one of these.
    answers: Arc<Semaphore>,
}

impl Scripted {
    /// One that answers like this: with a status and an object, by the method, the path with its query, and the body.
    pub fn new(answer: impl Fn(&Method, &str, &Value) -> (u16, Value) + Send + Sync + 'static) -> Self {
        Self { answer: Arc::new(answer), asked: Arc::default(), answers: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)) }
    }

    /// One that is silent, until it is given answers.
    #[must_use]
    pub fn silent(mut self) -> Self {
        self.answers = Arc::new(Semaphore::new(0));
        self
    }

    /// Lets so many be answered.
    pub fn speak(&self, answers: usize) {
        self.answers.add_permits(answers);
    }

    pub fn client(&self) -> Client {
        Client::new(self.clone(), "default")
    }

    /// What it answers to somebody.
    pub fn answer(&self, method: &Method, path: &str, body: &Value) -> (u16, Value) {
        (self.answer)(method, path, body)
    }

    /// What was asked so far: paths and bodies.
    pub fn asked(&self) -> Vec<(String, Value)> {
        self.asked.lock().unwrap().clone()
    }
}

impl Service<Request<Body>> for Scripted {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let own = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let path = parts.uri.path_and_query().map_or("", |path| path.as_str()).to_owned();
            own.asked.lock().unwrap().push((path.clone(), body.clone()));
            own.answers.acquire().await.unwrap().forget();
            let (status, answer) = (own.answer)(&parts.method, &path, &body);
            Ok(Response::builder().status(status).body(Full::from(answer.to_string())).unwrap())
        })
    }
}

/// How an API server refuses.
pub(super) fn refusal(code: u16) -> (u16, Value) {
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": "Refused", "message": "so says the test"}),
    )
}
