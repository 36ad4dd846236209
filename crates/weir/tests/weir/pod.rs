//! A proxy as it runs in a pod: what the kubelet asks, and what waits for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Starts it; what it says comes line by line. When that is dropped, nobody hears it any more, which must not matter to it.
    fn start(command: &mut Command) -> (Self, Receiver<String>) {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let (sender, said) = sync_channel(1024);
        std::thread::spawn(move || lines.map_while(|line| sender.send(line).ok()).for_each(drop));
        (Self(child), said)
    }
}

fn weir() -> Command {
    Command::new(env!("CARGO_BIN_EXE_weir"))
}

/// A sidecar with status ports of its own, and where they are: status, readiness, metrics.
fn sidecar(xds: &str, folder: &Path, probers: &str) -> (Running, Vec<SocketAddr>) {
    let mut command = weir();
    command.args(["proxy", "--xds", xds, "--type", "sidecar", "--id", "app.default", "--admin", "127.0.0.1:0", "--workers", "1"]);
    command.args(["--status-port", "0", "--health-port", "0", "--metrics-port", "0", "--state"]).arg(folder);
    let (running, said) = Running::start(command.env("ISTIO_KUBE_APP_PROBERS", probers));
    let ports = status_ports(&said);
    (running, ports)
}

/// Where a proxy says that its status ports are: status, readiness, metrics.
fn status_ports(said: &Receiver<String>) -> Vec<SocketAddr> {
    let line = said.iter().find_map(|line| line.strip_prefix("weir: status, readiness and metrics at ").map(str::to_owned)).unwrap();
    let ports = line.split(", ").map(|address| address.parse::<SocketAddr>().unwrap().port());
    ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect()
}

/// The status and the body of an answer.
fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}

fn wait(health: SocketAddr, timeout: &str) -> (Option<i32>, String) {
    let output = weir().args(["wait", "--for", "ready", "--timeout", timeout, "--health", &health.to_string()]).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_sidecar_is_waited_for_until_it_is_ready_and_asks_its_application() {
    let folder = tempfile::tempdir().unwrap();
    let (mesh, socket) = (folder.path().join("mesh"), folder.path().join("xds"));
    std::fs::create_dir(&mesh).unwrap();
    let xds = format!("unix:{}", socket.display());
    let application = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = application.local_addr().unwrap().port();
    let probers = format!(r#"{{"/app-health/app/livez": {{"tcpSocket": {{"port": {port}}}}}}}"#);
    // The sidecar comes before its pilot.
    let (_sidecar, ports) = sidecar(&xds, folder.path(), &probers);
    assert_eq!(get(ports[1], "/healthz/ready"), ("503".to_owned(), "not ready: PRE_INITIALIZING\n".to_owned()));
    let (code, said) = wait(ports[1], "0.1s");
    assert!(code == Some(1) && said.contains("the proxy is not ready within 100ms") && said.contains("503"), "{said}");
    let mut pilot = weir();
    pilot.arg("pilot").arg(&mesh).args(["--xds", &xds, "--state"]).arg(folder.path());
    let (_pilot, _said) = Running::start(&mut pilot);
    assert_eq!(wait(ports[1], "60s"), (Some(0), String::new()));
    assert_eq!(get(ports[0], "/app-health/app/livez"), ("200".to_owned(), String::new()));
    assert_eq!(get(ports[0], "/app-health/app/readyz").0, "400");
    drop(application);
    assert_eq!(get(ports[0], "/app-health/app/livez").0, "500");
    assert_eq!((get(ports[2], "/stats/prometheus").0, get(ports[2], "/healthz/ready").0), ("200".to_owned(), "404".to_owned()));
}

/// A pilot that serves by TLS, and what a pod of it has: the file of its token, and that of the authorities.
struct Remote {
    _pilot: Running,
    server: String,
    token: PathBuf,
    root: PathBuf,
}

impl Remote {
    fn start(folder: &Path) -> Self {
        let mesh = folder.join("mesh");
        std::fs::create_dir(&mesh).unwrap();
        let entry = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: app}\nspec: {address: 127.0.0.1, labels: {app: app}}\n";
        std::fs::write(mesh.join("app.yaml"), entry).unwrap();
        let mut pilot = weir();
        let xds = format!("unix:{}", folder.join("xds").display());
        pilot.arg("pilot").arg(&mesh).args(["--xds", &xds, "--tls-xds", "127.0.0.1:0", "--tls-name", "localhost", "--state"]).arg(folder);
        let (running, said) = Running::start(&mut pilot);
        let line = said.iter().find(|line| line.contains("(TLS)")).unwrap();
        let port = line.split(" (TLS)").next().unwrap().rsplit(':').next().unwrap();
        let server = format!("localhost:{port}");
        let file = folder.join("join.json");
        let mut token = weir();
        token.args(["workload", "token", "app", "--pilot", &server, "-f"]).arg(&mesh).arg("--state").arg(folder).arg("-o").arg(&file);
        assert!(token.output().unwrap().status.success());
        let join: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let (token, root) = (folder.join("istio-token"), folder.join("root-cert.pem"));
        std::fs::write(&token, join["token"].as_str().unwrap()).unwrap();
        std::fs::write(&root, join["root"].as_str().unwrap()).unwrap();
        std::thread::spawn(move || said.iter().for_each(drop));
        Self { _pilot: running, server, token, root }
    }

    /// What injection says of it, and of ports that nobody else has.
    fn arguments(&self, command: &mut Command) {
        command.args(["--xds", &self.server, "--id", "sidecar~127.0.0.1~app.default~default.svc.cluster.local", "--token-file"]);
        command.arg(&self.token).arg("--root-cert").arg(&self.root).args([
            "--status-port",
            "0",
            "--health-port",
            "0",
            "--metrics-port",
            "0",
        ]);
    }
}

#[test]
fn a_pod_follows_its_pilot_by_token_and_root() {
    let folder = tempfile::tempdir().unwrap();
    let remote = Remote::start(folder.path());
    let mut proxy = weir();
    proxy.args(["proxy", "--admin", "127.0.0.1:0", "--workers", "1"]);
    remote.arguments(&mut proxy);
    let (_proxy, said) = Running::start(&mut proxy);
    assert_eq!(wait(status_ports(&said)[1], "60s"), (Some(0), String::new()));
}

#[test]
fn an_agent_answers_for_its_envoy_and_leads_it_to_the_pilot_by_tls() {
    let folder = tempfile::tempdir().unwrap();
    let remote = Remote::start(folder.path());
    // In Envoy's place somebody who is ready.
    let envoy = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = envoy.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in envoy.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nLIVE\n");
        }
    });
    let (socket, bootstrap) = (folder.path().join("secrets.sock"), folder.path().join("envoy.json"));
    let mut agent = weir();
    agent.args(["agent", "--envoy-admin", &admin.to_string(), "--socket"]).arg(&socket).arg("--bootstrap").arg(&bootstrap);
    remote.arguments(&mut agent);
    let (_agent, said) = Running::start(&mut agent);
    assert_eq!(wait(status_ports(&said)[1], "60s"), (Some(0), String::new()));
    let written: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(bootstrap).unwrap()).unwrap();
    let pilot = &written["static_resources"]["clusters"][0];
    assert_eq!((&pilot["type"], &pilot["transport_socket"]["typed_config"]["sni"]), (&"STRICT_DNS".into(), &"localhost".into()));
    assert_eq!(written["admin"]["address"]["socket_address"]["port_value"], admin.port());
}

#[test]
fn what_injection_has_not_written_is_told_before_anything_starts() {
    let mut command = weir();
    command.args([
        "proxy",
        "--xds",
        "127.0.0.1:1",
        "--type",
        "sidecar",
        "--id",
        "app.default",
        "--admin",
        "127.0.0.1:0",
        "--status-port",
        "0",
    ]);
    let output = command.args(["--health-port", "0", "--metrics-port", "0"]).env("ISTIO_KUBE_APP_PROBERS", "[]").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("ISTIO_KUBE_APP_PROBERS: it is no JSON object of probes"), "{said}");
    let mut command = weir();
    command.args([
        "proxy",
        "--xds",
        "istiod.test:15012",
        "--type",
        "sidecar",
        "--id",
        "a.b",
        "--token-file",
        "/nowhere",
        "--root-cert",
        "/nowhere",
    ]);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("/nowhere: it cannot be read"), "{said}");
}
