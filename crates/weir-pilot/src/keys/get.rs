//! One document of the web, as keys of issuers are published: a plain GET, within limits.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, HOST, LOCATION, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// The longest document.
const MOST: usize = 1 << 20;
/// So often it may be elsewhere.
const REDIRECTS: usize = 5;

/// Where systems keep the authorities that everybody trusts.
const ROOTS: [&str; 4] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"];

/// What was answered.
enum Answer {
    Document(String),
    Elsewhere(String),
}

/// The text at an address.
///
/// # Errors
/// Says why there is none.
pub(super) async fn get(address: &str, limit: Duration) -> Result<String, String> {
    let all = async {
        let mut address = address.to_owned();
        for _ in 0..=REDIRECTS {
            match once(&address).await? {
                Answer::Document(text) => return Ok(text),
                // What was asked for by TLS comes by TLS.
                Answer::Elsewhere(next) if address.starts_with("https:") && !next.starts_with("https:") => {
                    return Err(format!("{address} leads to {next}, which anybody could answer"));
                }
                Answer::Elsewhere(next) => address = next,
            }
        }
        Err(format!("it is still elsewhere after {REDIRECTS} redirects"))
    };
    timeout(limit, all).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
}

async fn once(address: &str) -> Result<Answer, String> {
    let uri: Uri = address.parse().map_err(|error| format!("{address} is no address: {error}"))?;
    let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else { return Err(format!("{address} is no address")) };
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((bare, port)).await.map_err(|error| format!("{host}:{port}: {error}"))?;
    match scheme {
        "http" => ask(stream, &uri).await,
        "https" => {
            let name = ServerName::try_from(bare.to_owned()).map_err(|error| format!("{host}: {error}"))?;
            let connector = TlsConnector::from(tls()?);
            ask(connector.connect(name, stream).await.map_err(|error| format!("{host}:{port}: {error}"))?, &uri).await
        }
        other => Err(format!("{other} is not spoken here")),
    }
}

async fn ask(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, uri: &Uri) -> Result<Answer, String> {
    let wrong = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(wrong)?;
    let connection = tokio::spawn(connection);
    let asked = async {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let host = uri.authority().map_or("", |authority| authority.as_str());
        let request = Request::get(path).header(HOST, host).header(USER_AGENT, "weir").header(ACCEPT, "application/json");
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        let answer = sender.send_request(request).await.map_err(wrong)?;
        if answer.status().is_redirection()
            && let Some(next) = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok())
        {
            return Ok(Answer::Elsewhere(resolved(uri, next)));
        }
        if answer.status() != StatusCode::OK {
            return Err(format!("the answer is {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), MOST).collect().await.map_err(|error| error.to_string())?;
        String::from_utf8(body.to_bytes().into()).map(Answer::Document).map_err(|_| "the answer is no text".to_owned())
    };
    let answer = asked.await;
    connection.abort();
    answer
}

/// An address that may be within the site of another one.
fn resolved(base: &Uri, next: &str) -> String {
    match (next.strip_prefix('/'), base.scheme_str(), base.authority()) {
        (Some(rest), Some(scheme), Some(authority)) if !rest.starts_with('/') => format!("{scheme}://{authority}{next}"),
        _ => next.to_owned(),
    }
}

/// TLS with servers that the system trusts, or those of `SSL_CERT_FILE`. Read once.
fn tls() -> Result<Arc<ClientConfig>, String> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    CONFIG
        .get_or_init(|| {
            let named = std::env::var("SSL_CERT_FILE").ok();
            let file = named.as_deref().or_else(|| ROOTS.into_iter().find(|path| Path::new(path).exists()));
            let file = file.ok_or("the system names no authorities that servers are certified by; SSL_CERT_FILE can name some")?;
            let mut roots = RootCertStore::empty();
            let pem = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
            roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
            let config = config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
            Ok(Arc::new(config))
        })
        .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_read_as_they_are_written() {
        let base: Uri = "https://a.test:8443/x/y?z".parse().expect("an address");
        for (next, expected) in
            [("/k", "https://a.test:8443/k"), ("https://b.test/k", "https://b.test/k"), ("//b.test/k", "//b.test/k"), ("k", "k")]
        {
            assert_eq!(resolved(&base, next), expected);
        }
    }
}
