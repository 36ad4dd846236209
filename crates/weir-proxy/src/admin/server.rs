//! Questions by HTTP and their answers, whoever is asked.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::admission::admit;

/// An answer of the admin interface.
pub struct AdminAnswer {
    status: StatusCode,
    content_type: &'static str,
    body: String,
}

impl AdminAnswer {
    /// Plain text.
    pub fn text(body: impl Into<String>) -> Self {
        Self { status: StatusCode::OK, content_type: "text/plain; charset=utf-8", body: body.into() }
    }

    /// JSON, for people as well: with line breaks.
    pub fn json(value: &serde_json::Value) -> Self {
        let body = serde_json::to_string_pretty(value).unwrap_or_else(|error| error.to_string());
        Self { status: StatusCode::OK, content_type: "application/json", body: body + "\n" }
    }

    /// Says that there is nothing of what was asked for.
    pub fn not_found(body: impl Into<String>) -> Self {
        Self::text(body).with_status(StatusCode::NOT_FOUND)
    }

    /// The same with another status.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// What it says.
    pub fn into_text(self) -> String {
        self.body
    }
}

/// The query of a request.
#[derive(Debug, Default)]
pub struct AdminQuery(Vec<(String, String)>);

impl AdminQuery {
    fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self(pairs.map(|(name, value)| (decode(name), decode(value))).collect())
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a parameter is there.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

/// Undoes percent-encoding: ids have `~` and `|` in them.
fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// What is answered to a path and its query.
pub type Answers = Arc<dyn Fn(&str, &AdminQuery) -> AdminAnswer + Send + Sync>;

/// Serves until the task is dropped.
///
/// # Errors
/// If the listener fails for good.
pub async fn serve_answers(listener: TcpListener, answers: Answers) -> io::Result<()> {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely; people can wait a moment.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        // Of whom nothing is known is gone already.
        let Ok(local) = stream.local_addr().map(|local| local.ip()) else { continue };
        let answers = answers.clone();
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let response = answer(&request, local, &answers);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an admin connection ended");
            }
        });
    }
}

fn answer(request: &Request<Incoming>, local: IpAddr, answers: &Answers) -> Response<Full<Bytes>> {
    let query = AdminQuery::parse(request.uri().query().unwrap_or_default());
    let answer = match (admit(request, local), request.method()) {
        (Err(reason), _) => AdminAnswer::text(reason).with_status(StatusCode::FORBIDDEN),
        (Ok(()), &Method::GET | &Method::HEAD) => answers(request.uri().path(), &query),
        _ => AdminAnswer::text("only GET\n").with_status(StatusCode::METHOD_NOT_ALLOWED),
    };
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = answer.status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    response
}
