//! One request over a connection of its own, whose answer is bounded.

use bytes::Bytes;
use http::header::LOCATION;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// An answer.
pub(super) struct Fetched {
    pub status: StatusCode,
    /// Where whoever asks is sent, if it says that.
    pub location: Option<String>,
    /// The body, or why that cannot be had.
    pub body: Result<Bytes, String>,
}

/// Sends a request, and reads at most so many bytes of what is answered.
///
/// # Errors
/// If there is no answer; in words.
pub(super) async fn fetch<S>(stream: S, request: Request<Empty<Bytes>>, most: usize) -> Result<Fetched, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let driver = Driver(tokio::spawn(connection));
    let answer = sender.send_request(request).await.map_err(failed)?;
    let status = answer.status();
    let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = Limited::new(answer.into_body(), most).collect().await;
    drop(driver);
    let too_long = |error: Box<dyn std::error::Error + Send + Sync>| match error.downcast::<LengthLimitError>() {
        Ok(_) => format!("it answers more than {most} bytes"),
        Err(error) => error.to_string(),
    };
    Ok(Fetched { status, location, body: body.map(|body| body.to_bytes()).map_err(too_long) })
}

/// What drives the connection: it ends with the request, also where nobody waits for that any more.
struct Driver(tokio::task::JoinHandle<hyper::Result<()>>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}
