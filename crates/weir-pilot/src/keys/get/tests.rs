use std::net::Ipv4Addr;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

const SHORT: Duration = Duration::from_secs(10);

/// A server that answers every request with this, `@` being its own address.
async fn server(said: &str, tls: Option<TlsAcceptor>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let said = said.replace('@', &address.to_string());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (said, tls) = (said.clone(), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => answer(socket, &said).await,
                    Some(tls) => {
                        if let Ok(socket) = tls.accept(socket).await {
                            answer(socket, &said).await;
                        }
                    }
                }
            });
        }
    });
    address
}

async fn answer(mut socket: impl AsyncRead + AsyncWrite + Unpin, said: &str) {
    let mut asked = vec![];
    while !asked.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => asked.push(byte),
            Err(_) => return,
        }
    }
    drop(socket.write_all(said.as_bytes()).await);
    // It stays open: whoever waits for more waits.
    drop(socket.read_u8().await);
}

fn document(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len())
}

fn elsewhere(location: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")
}

fn web() -> Web {
    Web { roots: None, blocked: Ok(vec![]), tls: OnceLock::new() }
}

/// An authority's file, and a server's side of TLS by it for `localhost`.
fn certified(dir: &Path) -> (PathBuf, TlsAcceptor) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let file = dir.join("roots.pem");
    std::fs::write(&file, made.cert.pem()).expect("written");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).expect("a pair");
    (file, TlsAcceptor::from(Arc::new(config)))
}

async fn told(web: &Web, address: &str, named: Named) -> String {
    web.get(address, named, SHORT).await.map_or_else(|error| error, |document| document.text)
}

#[test]
fn redirects_are_read_as_they_are_written() {
    let base: Uri = "https://a.test:8443/x/y?z".parse().expect("an address");
    for (next, expected) in
        [("/k", "https://a.test:8443/k"), ("https://b.test/k", "https://b.test/k"), ("//b.test/k", "//b.test/k"), ("k", "k")]
    {
        assert_eq!(resolved(&base, next), expected);
    }
}

#[tokio::test]
async fn what_is_no_document_is_told() {
    let long = document(&"x".repeat(MOST + 1));
    for (said, expected) in [
        (document("keys"), "keys"),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(), "the answer is 404 Not Found"),
        (elsewhere("/again"), "it is still elsewhere after 5 redirects"),
        (elsewhere("ftp://a.test/"), "ftp is not spoken here"),
        (long, "length limit exceeded"),
    ] {
        let address = server(&said, None).await;
        assert_eq!(told(&web(), &format!("http://{address}/"), Named::ByPolicy).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_waited_for_for_ever() {
    let address = server("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", None).await;
    let error = web().get(&format!("http://{address}/"), Named::ByPolicy, Duration::from_secs(5)).await.expect_err("no answer");
    assert_eq!(error, "no answer within 5s");
}

#[tokio::test]
async fn a_server_proves_who_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let (roots, acceptor) = certified(dir.path());
    let port = server(&document("keys"), Some(acceptor)).await.port();
    let trusting = Web { roots: Some(roots), ..web() };
    assert_eq!(told(&trusting, &format!("https://localhost:{port}/"), Named::ByPolicy).await, "keys");
    // By another name, and for those who do not trust who says so.
    let other = told(&trusting, &format!("https://127.0.0.1:{port}/"), Named::ByPolicy).await;
    assert!(other.contains("not valid for name"), "{other}");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let (others, _) = certified(elsewhere.path());
    let unknown = told(&Web { roots: Some(others), ..web() }, &format!("https://localhost:{port}/"), Named::ByPolicy).await;
    assert!(unknown.contains("invalid peer certificate"), "{unknown}");
}

#[tokio::test]
async fn authorities_that_come_late_are_found() {
    let dir = tempfile::tempdir().expect("a folder");
    let (roots, acceptor) = certified(dir.path());
    let port = server(&document("keys"), Some(acceptor)).await.port();
    let late = dir.path().join("late.pem");
    let web = Web { roots: Some(late.clone()), ..web() };
    let address = format!("https://localhost:{port}/");
    assert!(told(&web, &address, Named::ByPolicy).await.contains("No such file"));
    std::fs::rename(roots, late).expect("renamed");
    assert_eq!(told(&web, &address, Named::ByPolicy).await, "keys");
}

#[tokio::test]
async fn what_was_asked_for_by_tls_comes_by_tls() {
    let dir = tempfile::tempdir().expect("a folder");
    let (roots, acceptor) = certified(dir.path());
    let plain = server(&document("forged"), None).await;
    let port = server(&elsewhere(&format!("http://{plain}/")), Some(acceptor)).await.port();
    let web = Web { roots: Some(roots), ..web() };
    // However the scheme is written.
    for scheme in ["https", "HTTPS"] {
        let error = told(&web, &format!("{scheme}://localhost:{port}/"), Named::ByPolicy).await;
        assert_eq!(error, format!("it leads to http://{plain}/, which anybody could answer"));
    }
    let error = told(&web, &format!("http://{plain}/"), Named::ByAnswer { secure: true, local: true }).await;
    assert!(error.ends_with("which anybody could answer"), "{error}");
}

#[tokio::test]
async fn another_machine_does_not_lead_here() {
    let address = format!("http://{}/", server(&document("secret"), None).await);
    assert_eq!(told(&web(), &address, Named::ByAnswer { secure: false, local: true }).await, "secret");
    let error = told(&web(), &address, Named::ByAnswer { secure: false, local: false }).await;
    assert!(error.contains("127.0.0.1 is this machine"), "{error}");
    // Nor where anybody leads nobody may go.
    let redirect = server(&elsewhere("http://169.254.169.254/latest/meta-data"), None).await;
    let error = told(&web(), &format!("http://{redirect}/"), Named::ByPolicy).await;
    assert!(error.contains("169.254.169.254 is not the address of a server"), "{error}");
    let blocked = Web { blocked: Ok(vec!["127.0.0.0/8".parse().expect("a range")]), ..web() };
    assert!(told(&blocked, &address, Named::ByPolicy).await.contains("BLOCKED_CIDRS_IN_JWKS_URIS"));
    let unreadable = Web { blocked: Err("no range".to_owned()), ..web() };
    assert!(told(&unreadable, &address, Named::ByPolicy).await.ends_with("no range"));
}
