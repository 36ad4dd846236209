//! Asks the admin interface of a running mesh.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// A mesh that does not answer for so long will not. All that a proxy has may be many megabytes.
const PATIENCE: Duration = Duration::from_secs(30);

/// The answer to a question; the inner error is what the mesh says if there is nothing of what was asked for.
///
/// # Errors
/// If nobody answers there.
pub(crate) fn ask(admin: SocketAddr, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Result<String, String>> {
    let pairs: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = runtime.block_on(async { tokio::time::timeout(PATIENCE, get(admin, &format!("{path}?{}", pairs.join("&")))).await });
    let (status, body) = asked.map_err(|_| anyhow::anyhow!("the mesh at {admin} does not answer"))??;
    match status {
        200 => Ok(Ok(body)),
        404 => Ok(Err(body.trim_end().to_owned())),
        status => bail!("the mesh at {admin} answers {status}: {}", body.trim_end()),
    }
}

async fn get(admin: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    let nobody = || format!("no mesh answers at {admin}; name another address with --admin");
    let stream = tokio::net::TcpStream::connect(admin).await.with_context(nobody)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.with_context(nobody)?;
    let connection = tokio::spawn(connection);
    let request = hyper::Request::get(path).header("host", admin.to_string()).body(Empty::<bytes::Bytes>::new())?;
    let response = sender.send_request(request).await.with_context(nobody)?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.with_context(nobody)?.to_bytes();
    connection.abort();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
