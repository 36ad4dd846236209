//! Gateways that end TLS, as the clients of this world see them.

mod broken;
mod clients;
mod identities;
mod misdirected;
mod rotation;
mod seeds;
mod sockets;

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use weir_testkit::{Authority, Certificate};

/// How long a program, or the end of a connection, is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Certificates of one authority, in files.
struct Files {
    authority: Authority,
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        Self { authority, folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A certificate for a host, in files of its first label.
    fn certify(&self, host: &str) -> Certificate {
        let certificate = self.authority.certify(&[host]);
        certificate.write_with_key(self.path(), first_label(host));
        certificate
    }

    /// How a server ends TLS with the certificate of a host.
    fn tls(&self, host: &str) -> String {
        let (folder, name) = (self.path().display(), first_label(host));
        format!("{{mode: SIMPLE, serverCertificate: {folder}/{name}.pem, privateKey: {folder}/{name}.key}}")
    }
}

fn first_label(host: &str) -> &str {
    host.split('.').next().unwrap()
}

/// A Gateway with a server of HTTPS for each host, which goes to the service `shop`: its host, and how it ends TLS.
fn servers(port: u16, servers: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (host, tls) in servers {
        let name = first_label(host);
        let _ = write!(
            text,
            "---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: default}}
spec: {{selector: {{istio: ingressgateway}}, servers: [{{port: {{number: {port}, name: {name}, protocol: HTTPS}}, hosts: [{host}], tls: {tls}}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: default}}
spec: {{hosts: [{host}], gateways: [{name}], http: [{{route: [{{destination: {{host: shop}}}}]}}]}}
"
        );
    }
    text
}

/// What a program says to both of its outputs.
async fn said(program: &str, arguments: &[&str], input: &str) -> String {
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut writing = child.stdin.take().unwrap();
    // Who ends early does not read all of it.
    let _ = writing.write_all(input.as_bytes()).await;
    drop(writing);
    let output = timeout(PATIENCE, child.wait_with_output()).await;
    assert!(output.is_ok(), "{program} {arguments:?} does not end");
    let output = output.unwrap().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// What comes back for these bytes until the connection ends.
async fn raw(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut heard = vec![];
    // A reset is an end, too.
    let ended = timeout(PATIENCE, stream.read_to_end(&mut heard)).await;
    assert!(ended.is_ok(), "the connection does not end");
    heard
}
