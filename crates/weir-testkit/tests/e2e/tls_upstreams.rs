//! Services that speak TLS, to clients that speak none: the client's sidecar does it for them, as a DestinationRule says.

use std::fmt::Write;
use std::path::Path;

use tempfile::TempDir;
use weir_testkit::{Certificate, DataPlane, Layout, Mesh, Peer, Protocol, SPOKEN, service_at, until};

use crate::support::over_each_data_plane;

over_each_data_plane!(
    a_service_is_spoken_to_by_tls,
    http2_is_agreed_on_by_alpn,
    an_authority_that_does_not_vouch_for_the_service_refuses_it,
    a_certificate_for_others_is_refused,
    a_certificate_that_has_expired_is_refused,
);

/// The server name that the certificates are for.
const NAME: &str = "shop.test";
const LOG: &str = "%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%";

/// The service `shop` with this instance, spoken to by TLS; `more` are more of the rule's fields.
fn service(layout: Layout, peer: &Peer, authority: &Path, more: &str) -> String {
    let mut text = service_at("shop", layout.http, &[peer], Protocol::Http);
    let authority = authority.display();
    let _ = write!(
        text,
        "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: shop, namespace: default}}
spec:
  host: shop
  trafficPolicy:
    tls: {{mode: SIMPLE, sni: {NAME}, caCertificates: {authority}{more}}}
"
    );
    text
}

/// What was agreed on with the instance, as it says itself.
async fn spoken(plane: DataPlane, alpn: &[&str], policy: &str) -> String {
    let (layout, files, certificate) = (Layout::new(), TempDir::new().unwrap(), Certificate::of(NAME));
    let peer = Peer::https("a", &certificate, alpn).await;
    let service = service(layout, &peer, &certificate.write(files.path(), "ca.pem"), "") + policy;
    let mesh = Mesh::start(plane, layout, &[("shop.yaml", &service)]).await;
    let mut client = mesh.inside("shop");
    let mut answer = None;
    until("the service answers", async || {
        answer = client.get("/", &[]).await.ok().filter(|answer| answer.is_from("a"));
        answer.is_some()
    })
    .await;
    answer.unwrap().headers[SPOKEN].to_str().unwrap().to_owned()
}

async fn a_service_is_spoken_to_by_tls(plane: DataPlane) {
    assert_eq!(spoken(plane, &["h2", "http/1.1"], "").await, "http/1.1 for shop.test");
}

async fn http2_is_agreed_on_by_alpn(plane: DataPlane) {
    let upgrade = "    connectionPool: {http: {h2UpgradePolicy: UPGRADE}}\n";
    assert_eq!(spoken(plane, &["h2", "http/1.1"], upgrade).await, "h2 for shop.test");
}

/// The line of the access log of a request to an instance that is not believed.
async fn refused(plane: DataPlane, shown: &Certificate, trusted: &Certificate, more: &str) -> String {
    let (layout, files) = (Layout::new(), TempDir::new().unwrap());
    let peer = Peer::https("a", shown, &[]).await;
    let service = service(layout, &peer, &trusted.write(files.path(), "ca.pem"), more);
    let mesh = Mesh::start_with_log(plane, layout, LOG, &[("shop.yaml", &service)]).await;
    let mut client = mesh.inside("shop");
    until("the service is in force", async || client.get("/", &[]).await.is_ok_and(|answer| answer.body.contains("connection fail"))).await;
    let mut lines = vec![];
    until("the log tells of it", async || {
        lines = mesh.log();
        lines.iter().any(|line| line.contains("TLS_error"))
    })
    .await;
    lines.into_iter().find(|line| line.contains("TLS_error")).unwrap()
}

/// It is 503 by the flag UF, and the reason is in the log.
fn tells(line: &str, words: &[&str]) {
    assert!(line.starts_with("503 ") && line.contains("UF"), "{line}");
    let reason = line.replace('_', " ");
    assert!(reason.contains("CERTIFICATE VERIFY FAILED"), "{line}");
    assert!(words.iter().any(|word| reason.contains(word)), "{line}");
}

async fn an_authority_that_does_not_vouch_for_the_service_refuses_it(plane: DataPlane) {
    let line = refused(plane, &Certificate::of(NAME), &Certificate::of(NAME), "").await;
    tells(&line, &["certificate signature failure", "unable to get local issuer certificate", "self signed certificate", "self-signed"]);
}

async fn a_certificate_for_others_is_refused(plane: DataPlane) {
    let certificate = Certificate::of("other.test");
    let line = refused(plane, &certificate, &certificate, &format!(", subjectAltNames: [{NAME}]")).await;
    tells(&line, &["SAN matcher"]);
}

async fn a_certificate_that_has_expired_is_refused(plane: DataPlane) {
    let certificate = Certificate::expired(NAME);
    let line = refused(plane, &certificate, &certificate, "").await;
    tells(&line, &["certificate has expired"]);
}
