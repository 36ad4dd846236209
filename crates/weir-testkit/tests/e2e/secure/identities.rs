//! Clients that show certificates, and what a gateway asks of those.

use std::path::Path;

use weir_testkit::{Certificate, DataPlane, Layout, Mesh, Peer, Protocol, free_port, service_at, until};

use super::{Files, said, servers};
use crate::support::over_each_data_plane;

over_each_data_plane!(clients_are_let_in_by_what_is_asked_of_their_certificates);

/// Who asks, and whom each host lets in.
const CLIENTS: [&str; 4] = ["nobody", "known", "other", "stranger"];
const HOSTS: [(&str, &str, &[&str]); 7] = [
    ("any.test", "mode: MUTUAL", &["known", "other"]),
    ("optional.test", "mode: OPTIONAL_MUTUAL", &["nobody", "known", "other"]),
    ("name.test", "mode: MUTUAL, subjectAltNames: [known.test]", &["known"]),
    ("key.test", "mode: MUTUAL, verifyCertificateSpki: [SPKI]", &["known"]),
    ("hash.test", "mode: MUTUAL, verifyCertificateHash: ['HASH']", &["known"]),
    ("revoked.test", "mode: MUTUAL, caCrl: FOLDER/crl.pem", &["known", "other"]),
    ("skip.test", "mode: MUTUAL, insecureSkipVerify: true", &["known", "other", "stranger"]),
];

/// The hashes by which a certificate and its key are known, as openssl tells them.
async fn hashes(certificate: &Path) -> (String, String) {
    let path = certificate.display().to_string();
    let hash = said("openssl", &["x509", "-in", &path, "-noout", "-fingerprint", "-sha256"], "").await;
    let script =
        format!("openssl x509 -in {path} -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64");
    let key = said("sh", &["-c", &script], "").await;
    (hash.trim().rsplit('=').next().unwrap().to_owned(), key.trim().to_owned())
}

/// Whether a client is let in.
async fn is_let_in(files: &Files, port: u16, host: &str, client: &str) -> bool {
    let path = |name: &str| files.path().join(name).display().to_string();
    let (to, url, ca) = (format!("{host}:{port}:127.0.0.1:{port}"), format!("https://{host}:{port}/"), path("ca.pem"));
    let (certificate, key) = (path(&format!("{client}.pem")), path(&format!("{client}.key")));
    let mut arguments = vec!["-sS", "--cacert", &ca, "--connect-to", &to, "-o", "/dev/null", "-w", "%{http_code}", &url];
    if client != "nobody" {
        arguments.extend(["--cert", &certificate, "--key", &key]);
    }
    said("curl", &arguments, "").await.starts_with("200")
}

fn write(files: &Files, name: &str, text: &str) {
    let draft = files.path().join("draft");
    std::fs::write(&draft, text).unwrap();
    std::fs::rename(draft, files.path().join(name)).unwrap();
}

async fn clients_are_let_in_by_what_is_asked_of_their_certificates(plane: DataPlane) {
    let (layout, port, files, peer) = (Layout::new(), free_port(), Files::new(), Peer::http("a").await);
    files
        .authority
        .certify(&["any.test", "optional.test", "name.test", "key.test", "hash.test", "revoked.test", "skip.test"])
        .write_with_key(files.path(), "own");
    files.certify("known.test");
    let other: Certificate = files.certify("other.test");
    weir_testkit::Authority::new().certify(&["known.test"]).write_with_key(files.path(), "stranger");
    write(&files, "crl.pem", &files.authority.revoking(&[]));
    let (hash, key) = hashes(&files.path().join("known.pem")).await;
    let folder = files.path().display().to_string();
    let usual = format!("serverCertificate: {folder}/own.pem, privateKey: {folder}/own.key, caCertificates: {folder}/ca.pem");
    let tls = |asked: &str| format!("{{{}, {usual}}}", asked.replace("SPKI", &key).replace("HASH", &hash).replace("FOLDER", &folder));
    let all: Vec<(&str, String)> = HOSTS.iter().map(|(host, asked, _)| (*host, tls(asked))).collect();
    let resources = service_at("shop", layout.http, &[&peer], Protocol::Http) + &servers(port, &all);
    let _mesh = Mesh::start(plane, layout, &[("shop.yaml", &resources)]).await;
    until("clients are let in", async || is_let_in(&files, port, "any.test", "known").await).await;
    for (host, _, let_in) in HOSTS {
        for client in CLIENTS {
            assert_eq!(is_let_in(&files, port, host, client).await, let_in.contains(&client), "{client} at {host}");
        }
    }
    // What an authority takes back counts as soon as the file says so, and for nobody else.
    write(&files, "crl.pem", &files.authority.revoking(&[&other]));
    until("it is revoked", async || !is_let_in(&files, port, "revoked.test", "other").await).await;
    assert!(is_let_in(&files, port, "revoked.test", "known").await && is_let_in(&files, port, "any.test", "other").await);
}
