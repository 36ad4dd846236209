//! Attacks, each with a victim beside it that must not notice: none of its requests fails, and the slowest hundredth of them takes
//! at most twice as long as before the attack.
//!
//! | attack | by a client | by an instance |
//! |---|---|---|
//! | slow heads | [`clients`]`::slow_heads`, `slow_heads_of_http2` | [`instances`]`::a_head_that_never_ends` |
//! | slow bodies | [`clients`]`::slow_bodies`, `slow_bodies_of_http2` | [`instances`]`::answers_that_drip` |
//! | slow readers | [`clients`]`::slow_readers`, [`slow_readers`](crate::slow_readers) | [`instances`]`::uploads_that_are_not_read`, [`slow_readers`](crate::slow_readers) |
//! | single bytes | [`clients`]`::single_byte_chunks`, `single_byte_frames` | [`instances`]`::answers_in_single_byte_chunks` |
//! | handshakes that stall | [`connections`]`::handshakes_that_stall` | |
//! | too many connections | [`connections`]`::connections_that_come_and_go`, `more_connections_than_there_may_be` | |
//! | heads that are too large | [`clients`]`::header_floods`, [`floods`](crate::floods) | [`instances`]`::a_head_without_end` |
//! | requests that nobody waits for | [`clients`]`::pipelines_that_are_not_read`, `aborts_in_a_row` | |
//! | RESET, CONTINUATION, SETTINGS, PING, empty DATA, HPACK | [`floods`](crate::floods) | [`floods`](crate::floods) |
//! | 1xx for ever, more than was declared | | [`instances`]`::interim_answers_for_ever`, `more_than_was_declared` |
//!
//! What each may make the proxy hold is measured in `tests/attack_memory.rs`.
//!
//! A round compares the victim with itself; what else the machine does may fall on one half of it, so that a test takes a wide margin.
//! With `WEIR_ATTACK_ROUNDS` there are so many, of which the median counts, and the margin is narrow.

mod clients;
mod connections;
mod instances;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::support::{Limits, Proxy, Told, Upstream, cluster, routes, to};

/// So often the victim asks before an attack, and at least so often while it lasts.
const ASKED: usize = 300;
const VICTIM: &[u8] = b"GET /victim HTTP/1.1\r\nhost: a\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nvictim";

/// A proxy with two clusters: the victim's, and that of whoever attacks.
pub(crate) struct Stage {
    pub(crate) proxy: Proxy,
    /// The only instance of the cluster `a`, where everything goes but what the victim asks for.
    pub(crate) upstream: Upstream,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(json!({}), json!({})).await
    }

    /// With more fields of the connection manager, and of the cluster `a`.
    pub(crate) async fn with(manager: Value, more: Value) -> Self {
        Self::limited(manager, more, Limits::default()).await
    }

    /// The same, with limits of connections.
    pub(crate) async fn limited(manager: Value, more: Value, limits: Limits) -> Self {
        let upstream = Upstream::start().await;
        let (victim, clusters) = victims(cluster("a", &[&upstream], more)).await;
        let told = Told { manager, routes: routes(json!([victim, to("a")])), clusters, ..Told::default() };
        Self { proxy: Proxy::limited(told, limits).await, upstream }
    }

    /// Lets an attack happen; what it gives back is held until the victim has asked often enough beside it.
    pub(crate) async fn unnoticed<T>(&self, attack: impl AsyncFnMut() -> T) -> T {
        let address = self.proxy.address();
        unnoticed(move || TcpStream::connect(address), attack).await
    }
}

/// The victim's route, and its cluster beside another one.
pub(crate) async fn victims(other: Value) -> (Value, Vec<Value>) {
    let instance = Upstream::start().await;
    let own = cluster("victim", &[&instance], json!({}));
    instance.answer_all(ANSWER);
    (json!({"match": {"prefix": "/victim"}, "route": {"cluster": "victim"}}), vec![own, other])
}

/// How often an attack is repeated.
pub(crate) fn rounds() -> u32 {
    std::env::var("WEIR_ATTACK_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}

/// Lets an attack on this proxy happen whose victim connects by TCP.
pub(crate) async fn unnoticed_at<T>(address: SocketAddr, attack: impl AsyncFnMut() -> T) -> T {
    unnoticed(move || TcpStream::connect(address), attack).await
}

/// Lets an attack happen beside a victim that connects like this.
async fn unnoticed<T, S>(connect: impl Fn() -> std::io::Result<S> + Send + Sync + 'static, mut attack: impl AsyncFnMut() -> T) -> T
where
    S: Read + Write,
{
    let connect = Arc::new(connect);
    let (mut seen, mut last) = (vec![], None);
    for _ in 0..rounds() {
        // What the last round held is not held in this one's calm.
        drop(last.take());
        let calm = beside(&connect, async || ()).await.0;
        let (attacked, given) = beside(&connect, &mut attack).await;
        seen.push((calm, attacked));
        last = Some(given);
    }
    judge(&seen, Duration::from_millis(if rounds() > 1 { 5 } else { 200 }));
    last.expect("there was a round")
}

/// What a victim sees beside this: the median, and the slowest hundredth.
async fn beside<T, S>(connect: &Arc<impl Fn() -> std::io::Result<S> + Send + Sync + 'static>, attack: impl AsyncFnOnce() -> T) -> (Seen, T)
where
    S: Read + Write,
{
    let is_over = Arc::new(AtomicBool::new(false));
    let (connect, told) = (connect.clone(), is_over.clone());
    let (started, starts) = tokio::sync::oneshot::channel();
    // A thread of its own: it does not wait for the attacker, only for the proxy.
    let asking = spawn_blocking(move || {
        let mut stream = connect().unwrap();
        ask(&mut stream);
        let _ = started.send(());
        let (mut times, mut since) = (vec![], 0);
        while since < ASKED {
            times.push(ask(&mut stream));
            since += usize::from(told.load(Ordering::Relaxed));
        }
        times.sort();
        Seen { median: times[times.len() / 2], slowest_hundredth: times[times.len() * 99 / 100] }
    });
    starts.await.expect("the victim is served");
    let given = attack().await;
    is_over.store(true, Ordering::Relaxed);
    (asking.await.expect("each of the victim's requests is answered"), given)
}

/// Asks once; how long that took.
fn ask(stream: &mut (impl Read + Write)) -> Duration {
    let began = Instant::now();
    stream.write_all(VICTIM).unwrap();
    let (mut room, mut heard) = ([0; 4096], 0);
    while !room[..heard].ends_with(b"victim") {
        let length = stream.read(&mut room[heard..]).unwrap();
        assert!(length > 0, "the victim's connection ended: {:?}", String::from_utf8_lossy(&room[..heard]));
        heard += length;
    }
    assert!(room.starts_with(b"HTTP/1.1 200 OK"), "{:?}", String::from_utf8_lossy(&room[..heard]));
    began.elapsed()
}

/// How long answers took.
#[derive(Clone, Copy)]
struct Seen {
    median: Duration,
    slowest_hundredth: Duration,
}

/// Compares what was seen in calm and beside an attack, in each round; of several the median counts.
fn judge(seen: &[(Seen, Seen)], margin: Duration) {
    let compare = |what: &str, of: fn(&Seen) -> Duration| {
        let mut rounds: Vec<_> = seen.iter().map(|(calm, attacked)| (of(attacked), of(calm))).collect();
        let ratio = |(attacked, calm): &(Duration, Duration)| attacked.as_secs_f64() / calm.as_secs_f64();
        rounds.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
        let (attacked, calm) = rounds[rounds.len() / 2];
        eprintln!("{what}: {attacked:?} beside the attack, {calm:?} without");
        assert!(attacked <= 2 * calm + margin, "{what}: {attacked:?} beside the attack, {calm:?} without");
    };
    compare("median", |seen| seen.median);
    compare("slowest hundredth", |seen| seen.slowest_hundredth);
}
