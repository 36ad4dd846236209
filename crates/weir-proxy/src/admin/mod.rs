//! The admin interface: what the proxies do, for people and tools. Paths and shapes are Envoy's
//! (<https://www.envoyproxy.io/docs/envoy/latest/operations/admin>); where a process hosts several proxies,
//! `?proxy=ID` chooses one.

mod dump;
mod prometheus;
mod text;

use std::convert::Infallible;
use std::io;
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

use crate::DataPlane;
use crate::checks;
use prometheus::Families;

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

    fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }
}

/// More paths, of whoever embeds the data plane: the answer to a path and its query, if it knows them.
pub type More = Arc<dyn Fn(&str, &AdminQuery) -> Option<AdminAnswer> + Send + Sync>;

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

/// Serves until the task is dropped.
///
/// # Errors
/// If the listener fails for good.
pub async fn serve(listener: TcpListener, plane: Arc<DataPlane>, more: More) -> io::Result<()> {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely; people can wait a moment.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let (plane, more) = (plane.clone(), more.clone());
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let answer = answer(&request, &plane, &more);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an admin connection ended");
            }
        });
    }
}

fn answer(request: &Request<Incoming>, plane: &DataPlane, more: &More) -> Response<Full<Bytes>> {
    let query = AdminQuery::parse(request.uri().query().unwrap_or_default());
    let answer = match *request.method() {
        Method::GET | Method::HEAD => route(request.uri().path(), &query, plane, more),
        _ => AdminAnswer::text("only GET\n").with_status(StatusCode::METHOD_NOT_ALLOWED),
    };
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = answer.status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    response
}

const INDEX: &str = "\
/ready                  whether all proxies are ready
/listeners              what listens where
/clusters               clusters and their instances
/config_dump            all xDS resources (?include_eds adds the instances)
/stats/prometheus       all statistics
?proxy=ID chooses one proxy, where a process hosts several
";

fn route(path: &str, query: &AdminQuery, plane: &DataPlane, more: &More) -> AdminAnswer {
    let wanted = match query.get("proxy") {
        None => plane.ids(),
        Some(id) => plane.ids().into_iter().filter(|known| **known == *id).collect(),
    };
    if query.has("proxy") && wanted.is_empty() {
        let known = plane.ids().iter().map(|id| format!("  {id}\n")).collect::<String>();
        return AdminAnswer::text(format!("there is no such proxy; there are\n{known}")).with_status(StatusCode::NOT_FOUND);
    }
    match path {
        "/" => AdminAnswer::text(INDEX),
        "/ready" => ready(plane),
        "/stats" | "/stats/prometheus" => AdminAnswer::text(statistics(plane)),
        "/config_dump" => AdminAnswer::json(&dump::config_dump(plane, &wanted, query.has("include_eds"))),
        "/clusters" => AdminAnswer::text(text::clusters(plane, &wanted)),
        "/listeners" => AdminAnswer::text(text::listeners(plane, &wanted)),
        _ => more(path, query)
            .unwrap_or_else(|| AdminAnswer::text(format!("no such path; there are\n{INDEX}")).with_status(StatusCode::NOT_FOUND)),
    }
}

fn ready(plane: &DataPlane) -> AdminAnswer {
    if plane.is_draining() {
        return AdminAnswer::text("DRAINING\n").with_status(StatusCode::SERVICE_UNAVAILABLE);
    }
    let is_ready = |id: &Arc<str>| plane.status(id).is_some_and(|status| status.borrow().ready);
    if plane.ids().iter().all(is_ready) {
        AdminAnswer::text("LIVE\n")
    } else {
        AdminAnswer::text("PRE_INITIALIZING\n").with_status(StatusCode::SERVICE_UNAVAILABLE)
    }
}

fn statistics(plane: &DataPlane) -> String {
    let mut families = Families::default();
    for id in plane.ids() {
        let Some(config) = plane.config(&id) else { continue };
        for (name, cluster) in config.clusters.iter() {
            families.cluster(&id, name, cluster);
            if cluster.policy.health_check.is_some() {
                families.health_checks(&id, name, checks::passing(&cluster.hosts), &cluster.stats.health_checks);
            }
        }
        for open in config.listeners.iter() {
            families.listener(&id, &open.listener.name, &open.stats);
            families.connection_limits(&id, &open.listener);
        }
        if let Some(status) = plane.status(&id) {
            families.proxy(&id, &status.borrow());
        }
    }
    families.requests(plane.series());
    families.process(plane);
    families.encode()
}
