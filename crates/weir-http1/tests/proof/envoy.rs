//! A stock Envoy between a client and a backend that tells what it read.

use std::env;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::codec::Reader;
use crate::seen::{Message, Side};

/// The Envoy of this machine, as other tests find it.
pub fn program() -> Option<PathBuf> {
    let named = env::var_os("WEIR_TEST_ENVOY").filter(|path| !path.is_empty()).map(PathBuf::from);
    let in_path = || env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join("envoy")).find(|path| path.is_file());
    let found = named.or_else(in_path);
    if found.is_none() {
        eprintln!("\nNOT COMPARED WITH ENVOY: there is none in PATH; WEIR_TEST_ENVOY may name one\n");
        assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "CI must compare with Envoy");
    }
    found
}

/// A running one.
pub struct Envoy {
    process: Child,
    pub lanes: Vec<Lane>,
}

/// A listener of it, and the backend that all its requests go to.
pub struct Lane {
    pub address: SocketAddr,
    pub backend: Arc<Backend>,
}

/// Answers requests, and tells what they were.
#[derive(Default)]
pub struct Backend {
    pub seen: Mutex<Vec<Message>>,
    /// The bytes that it answers with, instead of 200; the connection ends behind them.
    pub answer: Mutex<Option<Vec<Vec<u8>>>>,
    /// How many requests it is reading or answering.
    open: AtomicUsize,
}

impl Envoy {
    /// Starts one, with so many lanes.
    pub fn start(program: &Path, lanes: usize, folder: &Path) -> Self {
        let backends: Vec<(u16, Arc<Backend>)> = (0..lanes).map(|_| start_backend()).collect();
        let file = |name: &str| folder.join(name);
        let ports: Vec<u16> = backends.iter().map(|(port, _)| *port).collect();
        fs::write(file("envoy.json"), bootstrap(&ports)).expect("it can be written");
        let log = fs::File::create(file("envoy.log")).expect("it can be written");
        let mut command = Command::new(program);
        command.arg("-c").arg(file("envoy.json")).arg("--admin-address-path").arg(file("admin"));
        command.args(["--use-dynamic-base-id", "--concurrency", "1", "-l", "error"]);
        let process = command.stdout(Stdio::null()).stderr(log).spawn().expect("it can be started");
        let mut envoy = Self { process, lanes: vec![] };
        let addresses = within(Duration::from_secs(30), || addresses(&file("admin"), lanes)).expect("it listens");
        let of_lane = |(address, (_, backend))| Lane { address, backend };
        envoy.lanes = addresses.into_iter().zip(backends).map(of_lane).collect();
        envoy
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Asks again and again.
fn within<T>(time: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + time;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() > end {
            return None;
        }
        thread::park_timeout(Duration::from_millis(2));
    }
}

/// Where its listeners are, as it tells by itself: they have no fixed ports.
fn addresses(admin: &Path, lanes: usize) -> Option<Vec<SocketAddr>> {
    let mut stream = TcpStream::connect(fs::read_to_string(admin).ok()?.trim().parse::<SocketAddr>().ok()?).ok()?;
    stream.write_all(b"GET /listeners HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").ok()?;
    let mut told = String::new();
    stream.read_to_string(&mut told).ok()?;
    let of_lane = |lane| told.lines().find_map(|line| line.strip_prefix(&format!("lane{lane}::"))?.parse().ok());
    (0..lanes).map(of_lane).collect()
}

fn bootstrap(backends: &[u16]) -> String {
    let listeners: Vec<String> = (0..backends.len()).map(listener).collect();
    let clusters: Vec<String> = backends.iter().enumerate().map(|(lane, port)| cluster(lane, *port)).collect();
    format!(
        r#"{{"admin": {{"address": {admin}}}, "static_resources": {{"listeners": [{listeners}], "clusters": [{clusters}]}}}}"#,
        admin = address(0),
        listeners = listeners.join(","),
        clusters = clusters.join(",")
    )
}

fn address(port: u16) -> String {
    format!(r#"{{"socket_address": {{"address": "127.0.0.1", "port_value": {port}}}}}"#)
}

fn listener(lane: usize) -> String {
    format!(
        r#"{{"name": "lane{lane}", "address": {address}, "filter_chains": [{{"filters": [{{
            "name": "hcm", "typed_config": {{
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "lane{lane}", "codec_type": "HTTP1", "delayed_close_timeout": "0s",
                "local_reply_config": {{"mappers": [{{
                    "filter": {{"status_code_filter": {{"comparison": {{"op": "GE", "value": {{"default_value": 1, "runtime_key": "no"}}}}}}}},
                    "headers_to_add": [{{"header": {{"key": "x-details", "value": "%RESPONSE_CODE_DETAILS%"}}}}]}}]}},
                "http_protocol_options": {{"accept_http_10": true, "default_host_for_http_10": "a.test", "enable_trailers": true}},
                "route_config": {{"virtual_hosts": [{{"name": "all", "domains": ["*"],
                    "routes": [{{"match": {{"prefix": ""}}, "route": {{"cluster": "lane{lane}"}}}}]}}]}},
                "http_filters": [{{"name": "router", "typed_config": {{
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}}}]
            }}}}]}}]}}"#,
        address = address(0)
    )
}

/// Each request has a connection of its own, so that what one leaves behind reaches no other.
fn cluster(lane: usize, port: u16) -> String {
    format!(
        r#"{{"name": "lane{lane}", "connect_timeout": "2s",
            "load_assignment": {{"cluster_name": "lane{lane}", "endpoints": [{{"lb_endpoints": [{{"endpoint": {{"address": {address}}}}}]}}]}},
            "circuit_breakers": {{"thresholds": [{{"max_connections": 9999, "max_requests": 9999, "max_pending_requests": 9999}}]}},
            "typed_extension_protocol_options": {{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {{
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "common_http_protocol_options": {{"max_requests_per_connection": 1}},
                "explicit_http_config": {{"http_protocol_options": {{"enable_trailers": true}}}}}}}}}}"#,
        address = address(port)
    )
}

fn start_backend() -> (u16, Arc<Backend>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
    let port = listener.local_addr().expect("it is bound").port();
    let backend = Arc::new(Backend::default());
    let shared = backend.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let backend = shared.clone();
            thread::spawn(move || {
                // One that Envoy has opened, and not needed after all, waits for a request.
                if stream.peek(&mut [0]).is_ok_and(|length| length > 0) {
                    backend.open.fetch_add(1, Ordering::Relaxed);
                    backend.serve(stream);
                    backend.open.fetch_sub(1, Ordering::Relaxed);
                }
            });
        }
    });
    (port, backend)
}

impl Backend {
    /// Forgets what it has read, when it is busy no more, and answers with this from now on.
    pub fn reset(&self, answer: Option<Vec<Vec<u8>>>) {
        within(Duration::from_secs(1), || (self.open.load(Ordering::Relaxed) == 0).then_some(()));
        self.seen.lock().expect("nobody panics").clear();
        *self.answer.lock().expect("nobody panics") = answer;
    }

    fn serve(&self, mut stream: TcpStream) {
        let (mut reader, mut buffer) = (Reader::new(Side::Requests), [0; 4096]);
        let _ = stream.set_nodelay(true);
        loop {
            let length = stream.read(&mut buffer).unwrap_or(0);
            reader.feed(&buffer[..length]);
            if let Some(message) = reader.seen.messages.first().filter(|message| message.complete || length == 0) {
                self.seen.lock().expect("nobody panics").push(message.clone());
                if length > 0 {
                    self.give_answer(&mut stream);
                }
                return;
            }
            if length == 0 {
                return;
            }
        }
    }

    fn give_answer(&self, stream: &mut TcpStream) {
        let answer = self.answer.lock().expect("nobody panics").clone();
        let answer = answer.unwrap_or_else(|| vec![b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()]);
        for piece in answer {
            let _ = stream.write_all(&piece);
        }
        let _ = stream.shutdown(std::net::Shutdown::Write);
        // Until Envoy has read it all: who closes with something unread resets the connection.
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let _ = stream.read(&mut [0; 64]);
    }
}

/// What a client has got: the bytes, and whether its connection ended.
pub struct Got {
    pub bytes: Vec<u8>,
    pub closed: bool,
}

/// How long a client waits.
#[derive(Clone, Copy)]
pub struct Patience {
    /// For more than it expects.
    pub linger: Duration,
    /// In all.
    pub most: Duration,
}

/// Sends the pieces, and reads until the connection ends, there is what is expected and nothing more comes, or patience ends.
pub fn ask(address: SocketAddr, pieces: &[Vec<u8>], patience: Patience, done: impl Fn(&[u8]) -> bool) -> Got {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let _ = stream.set_nodelay(true);
    for piece in pieces {
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    let (mut got, end) = (Got { bytes: vec![], closed: false }, Instant::now() + patience.most);
    let mut buffer = [0; 4096];
    while Instant::now() < end {
        let wait =
            if done(&got.bytes) { patience.linger } else { end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)) };
        let _ = stream.set_read_timeout(Some(wait));
        match stream.read(&mut buffer) {
            Ok(0) => got.closed = true,
            Ok(length) => {
                got.bytes.extend_from_slice(&buffer[..length]);
                continue;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => got.closed = true,
        }
        break;
    }
    got
}
