//! Clients that others have written.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use weir_testkit::{DataPlane, Layout, Mesh, Peer, Protocol, free_port, service_at, service_of, until};

use super::{Files, raw, said, servers};
use crate::support::over_each_data_plane;

over_each_data_plane!(
    openssl_agrees_on_the_versions_that_are_allowed,
    curl_speaks_both_versions_of_http,
    who_does_not_speak_what_the_port_does_is_turned_away,
    what_an_authority_says_of_a_certificate_is_shown_with_it,
    grpc_of_python_is_served,
    websockets_of_python_are_served,
);

const HOST: &str = "shop.test";
const REQUEST: &str = "GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n";

/// A gateway that serves a host over TLS.
struct Served {
    mesh: Mesh,
    port: u16,
    files: Files,
    _peer: Peer,
    layout: Layout,
}

impl Served {
    async fn start(plane: DataPlane) -> Self {
        let (layout, port, files, peer) = (Layout::new(), free_port(), Files::new(), Peer::http("a").await);
        files.certify(HOST);
        let resources = service_at("shop", layout.http, &[&peer], Protocol::Http) + &servers(port, &[(HOST, files.tls(HOST))]);
        let mesh = Mesh::start(plane, layout, &[("shop.yaml", &resources)]).await;
        let mut client = Mesh::at(port, HOST).trusting_all_of(&files.authority);
        until("the host is served", async || client.get("/", &[]).await.is_ok_and(|answer| answer.is_from("a"))).await;
        Self { mesh, port, files, _peer: peer, layout }
    }

    fn ca(&self) -> String {
        self.files.path().join("ca.pem").display().to_string()
    }

    /// What `openssl s_client` says, which sends a request if it gets so far.
    async fn openssl(&self, more: &[&str]) -> String {
        let (to, ca) = (format!("127.0.0.1:{}", self.port), self.ca());
        let usual = ["s_client", "-connect", &to, "-CAfile", &ca, "-verify_return_error", "-ign_eof"];
        said("openssl", &[&usual[..], more].concat(), REQUEST).await
    }

    async fn curl(&self, more: &[&str]) -> String {
        let (to, ca) = (format!("{HOST}:{0}:127.0.0.1:{0}", self.port), self.ca());
        let (url, told) = (format!("https://{HOST}:{}/", self.port), "%{http_code} %{http_version} %{num_connects}\n");
        let usual = ["-sS", "--cacert", &ca, "--connect-to", &to, "-o", "/dev/null", "-w", told, &url];
        said("curl", &[more, &usual[..]].concat(), "").await
    }
}

async fn openssl_agrees_on_the_versions_that_are_allowed(plane: DataPlane) {
    let served = Served::start(plane).await;
    // What is too old must be told apart from what this OpenSSL refuses itself.
    let old = ["-servername", HOST, "-cipher", "DEFAULT@SECLEVEL=0"];
    for (version, is_spoken) in [("-tls1_3", true), ("-tls1_2", true), ("-tls1_1", false), ("-tls1", false)] {
        let heard = served.openssl(&[&old[..], &[version]].concat()).await;
        assert_eq!(heard.contains("HTTP/1.1 200 OK"), is_spoken, "{version}: {heard}");
        // The client is told that it is not the line that is broken.
        let is_told = heard.contains("alert protocol version") || heard.contains("alert handshake failure");
        assert!(is_spoken || is_told, "{version}: {heard}");
    }
    // The server chooses: HTTP/2, if that is offered at all; none, if it knows none of them.
    for (offered, agreed) in [("h2,http/1.1", "ALPN protocol: h2"), ("http/1.1", "ALPN protocol: http/1.1"), ("foo", "No ALPN negotiated")]
    {
        let heard = served.openssl(&["-servername", HOST, "-alpn", offered]).await;
        assert!(heard.contains(agreed), "{offered}: {heard}");
    }
    // Nobody else's certificate is shown for a host that nobody serves, nor where none is named.
    for name in [&["-servername", "other.test"][..], &["-noservername"]] {
        let heard = served.openssl(name).await;
        assert!(heard.contains("no peer certificate available") && !heard.contains("HTTP/1.1"), "{name:?}: {heard}");
    }
    if plane == DataPlane::Weir {
        sessions_outlive_a_change(&served).await;
    }
}

/// A client resumes its session though the listener has changed meanwhile.
async fn sessions_outlive_a_change(served: &Served) {
    let session = served.files.path().join("session").display().to_string();
    for version in ["-tls1_3", "-tls1_2"] {
        let first = served.openssl(&["-servername", HOST, version, "-sess_out", &session]).await;
        assert!(first.contains("New, TLSv1."), "{version}: {first}");
        let number = first.len();
        served.files.certify("more.test");
        let more = servers(served.port, &[("more.test", served.files.tls("more.test"))]);
        let plain = format!("# {number}\n{more}");
        served.mesh.write("more.yaml", &plain);
        let mut client = Mesh::at(served.port, "more.test").trusting_all_of(&served.files.authority);
        until("the listener has changed", async || client.get("/", &[]).await.is_ok_and(|answer| answer.is_from("a"))).await;
        let again = served.openssl(&["-servername", HOST, version, "-sess_in", &session]).await;
        assert!(again.contains("Reused, TLSv1.") && again.contains("HTTP/1.1 200 OK"), "{version}: {again}");
        served.mesh.write("more.yaml", "");
    }
}

async fn curl_speaks_both_versions_of_http(plane: DataPlane) {
    let served = Served::start(plane).await;
    assert_eq!(served.curl(&["--http1.1"]).await, "200 1.1 1\n");
    assert_eq!(served.curl(&["--http2"]).await, "200 2 1\n");
    // The second request goes by the connection of the first.
    let (to, ca) = (format!("{HOST}:{0}:127.0.0.1:{0}", served.port), served.ca());
    let url = format!("https://{HOST}:{}/", served.port);
    let (told, discarded) = ("%{http_code} %{num_connects};", ["-o", "/dev/null", "-o", "/dev/null"]);
    for version in ["--http1.1", "--http2"] {
        let usual = ["-sS", version, "--cacert", &ca, "--connect-to", &to, "-w", told];
        assert_eq!(said("curl", &[&usual[..], &discarded, &[&url, &url]].concat(), "").await, "200 1;200 0;", "{version}");
    }
}

async fn who_does_not_speak_what_the_port_does_is_turned_away(plane: DataPlane) {
    let served = Served::start(plane).await;
    // Plain text at a port of TLS ends without a word.
    assert_eq!(raw(served.port, REQUEST.as_bytes()).await, b"");
    // TLS at a port of plain text is no HTTP.
    let hello = [&[0x16, 3, 1, 0, 5][..], b"hello\r\n\r\n"].concat();
    let heard = String::from_utf8_lossy(&raw(served.layout.gateway, &hello).await).into_owned();
    assert!(heard.starts_with("HTTP/1.1 400 Bad Request"), "{heard}");
    let to = format!("127.0.0.1:{}", served.layout.gateway);
    let heard = said("openssl", &["s_client", "-connect", &to, "-servername", HOST], "").await;
    assert!(heard.contains("wrong version number"), "{heard}");
}

/// What an authority says of a certificate, by the tools that authorities have.
async fn staple(folder: &std::path::Path, serial: &str) {
    let path = |name: &str| folder.join(name).display().to_string();
    std::fs::write(folder.join("index"), format!("V\t351231235959Z\t\t{serial}\tunknown\t/CN=shop\n")).unwrap();
    let (index, ca, key, own, answer) = (path("index"), path("ca.pem"), path("ca.key"), path("own.pem"), path("answer"));
    let arguments = [
        "ocsp", "-index", &index, "-CA", &ca, "-rsigner", &ca, "-rkey", &key, "-issuer", &ca, "-cert", &own, "-ndays", "2", "-respout",
        &answer,
    ];
    let heard = said("openssl", &arguments, "").await;
    assert!(folder.join("answer").exists(), "{heard}");
}

async fn what_an_authority_says_of_a_certificate_is_shown_with_it(plane: DataPlane) {
    let (layout, port, files, peer) = (Layout::new(), free_port(), Files::new(), Peer::http("a").await);
    std::fs::write(files.path().join("ca.key"), files.authority.key_pem()).unwrap();
    let certificate = files.authority.certify(&[HOST]);
    certificate.write_with_key(files.path(), "own");
    let own = files.path().join("own.pem").display().to_string();
    let serial = said("openssl", &["x509", "-in", &own, "-noout", "-serial"], "").await;
    staple(files.path(), serial.trim().trim_start_matches("serial=")).await;
    let answer = std::fs::read(files.path().join("answer")).unwrap();
    let secret = certificate.secret("own") + &format!("data:\n  tls.ocsp-staple: {}\n", base64(&answer));
    let tls = "{mode: SIMPLE, credentialName: own}".to_owned();
    let resources = service_at("shop", layout.http, &[&peer], Protocol::Http) + &servers(port, &[(HOST, tls)]) + "---\n" + &secret;
    let mesh = Mesh::start(plane, layout, &[("shop.yaml", &resources)]).await;
    let mut client = Mesh::at(port, HOST).trusting_all_of(&files.authority);
    until("the host is served", async || client.get("/", &[]).await.is_ok_and(|answer| answer.is_from("a"))).await;
    let served = Served { mesh, port, files, _peer: peer, layout };
    for version in ["-tls1_3", "-tls1_2"] {
        let heard = served.openssl(&["-servername", HOST, version, "-status"]).await;
        assert!(heard.contains("OCSP Response Status: successful") && heard.contains("Cert Status: good"), "{version}: {heard}");
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letter = |bits: u32| char::from(LETTERS[(bits & 63) as usize]);
    let group = |part: &[u8]| {
        let bits = part.iter().chain([&0, &0]).take(3).fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        let letters = [18, 12, 6, 0].map(|shift| letter(bits >> shift));
        letters.into_iter().take(part.len() + 1).chain(std::iter::repeat('=')).take(4).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

/// The Python that has these packages; where there is none, that is said, and it is a failure in CI.
async fn python(package: &str) -> Option<String> {
    let python = std::env::var("WEIR_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    if said(&python, &["-c", &format!("import {package}; print('there')")], "").await.contains("there") {
        return Some(python);
    }
    eprintln!("\nNOT TESTED: {python} has no {package}; WEIR_TEST_PYTHON may name a Python that has\n");
    assert!(std::env::var("CI").is_err(), "CI must test with it");
    None
}

/// A server that a script runs, and its port.
async fn serve(python: &str, script: &str) -> (Child, u16) {
    let mut command = Command::new(python);
    let mut child = command.args(["-u", "-c", script, "serve"]).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    (child, line.trim().parse().unwrap())
}

/// What a script's client says that asks the gateway, in front of the script's own server.
async fn through_a_gateway(plane: DataPlane, package: &str, script: &str, protocol: &str) -> Option<String> {
    let python = python(package).await?;
    let (layout, port, files) = (Layout::new(), free_port(), Files::new());
    files.certify(HOST);
    let (_server, instance) = serve(&python, script).await;
    let service = service_of("shop", layout.http, &[(([127, 0, 0, 1], instance).into(), "v1")], protocol);
    let _mesh = Mesh::start(plane, layout, &[("shop.yaml", &(service + &servers(port, &[(HOST, files.tls(HOST))])))]).await;
    let (ca, port) = (files.path().join("ca.pem").display().to_string(), port.to_string());
    let mut heard = String::new();
    until("the client is served", async || {
        heard = said(&python, &["-c", script, "ask", &port, &ca, HOST], "").await;
        heard.contains("served")
    })
    .await;
    Some(heard)
}

async fn grpc_of_python_is_served(plane: DataPlane) {
    let heard = through_a_gateway(plane, "grpc", include_str!("grpc_echo.py"), "GRPC").await;
    if let Some(heard) = heard {
        for words in ["unary: hello", "stream: 1000 of 1000", "error: NOT_FOUND no such thing"] {
            assert!(heard.contains(words), "{words}: {heard}");
        }
        // The client's clock and the gateway's, which reads `grpc-timeout`, run out together: either may be the first to say so.
        let ends = ["deadline: DEADLINE_EXCEEDED", "deadline: UNAVAILABLE upstream request timeout"];
        assert!(ends.iter().any(|words| heard.contains(words)), "{heard}");
    }
}

async fn websockets_of_python_are_served(plane: DataPlane) {
    let heard = through_a_gateway(plane, "websockets", include_str!("websocket_echo.py"), "HTTP").await;
    if let Some(heard) = heard {
        for words in ["text: hello", "bytes: 300000", "closed: 4000 enough"] {
            assert!(heard.contains(words), "{words}: {heard}");
        }
    }
}
