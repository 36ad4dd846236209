//! What can be measured, and measuring it.

use clap::ValueEnum;
use weir_bench::cases::{Case, Certificate, Connections, Protocol};
use weir_bench::h2load::{self, Load};
use weir_bench::handshakes;
use weir_bench::open_loop::{self, Latency, Plan};
use weir_bench::peers::{ENVOY, RELAY};

use crate::rounds::{Series, interleaved, median};
use crate::running::{Bench, Running, left_out};

/// Requests a second through a script, where not as many are sent as can be answered.
const SCRIPT_RATE: u32 = 1_000;

/// Connections are opened and caches filled before the first round.
const WARM_UP_SECONDS: u16 = 2;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// HTTP/1.1, a header match and a split
    Split,
    /// The only prefix route, and the last of many
    Routes,
    /// HTTP/2 on both sides
    Http2,
    /// Unary calls of gRPC
    Grpc,
    /// Answers of 64 KiB, and requests of 64 KiB
    Bodies,
    /// TLS: connections that are kept, sessions that are resumed, new handshakes
    Tls,
    /// Between two sidecars, which know each other by certificates of the mesh: CPU and memory of both
    Mtls,
    /// Bytes, in small and in large parts
    Tcp,
    /// A script in Lua that adds a header: as many requests as can be answered, and 1,000 a second
    Lua,
    /// How long answers take at half of what Envoy can do
    Latency,
    /// The memory of connections on which nothing happens
    Idle,
}

impl Workload {
    /// The cases in which a peer is sent as much as it can answer.
    pub fn floods(self, bench: &Bench, routes: u32, certificate: &Certificate) -> Vec<Case> {
        let upstreams = bench.origin.ports;
        match self {
            Self::Split => vec![Case::split(upstreams)],
            Self::Routes => vec![Case::only_route(upstreams), Case::last_route(upstreams, routes)],
            Self::Http2 => vec![Case::http2(upstreams)],
            Self::Grpc => vec![Case::grpc(upstreams)],
            Self::Bodies => vec![Case::large_answers(upstreams), Case::large_requests(upstreams)],
            Self::Tls => {
                let tls = |protocol, connections| Case::over_tls(upstreams, protocol, connections, certificate);
                vec![
                    tls(Protocol::Tls, Connections::Kept),
                    tls(Protocol::Http2Tls, Connections::Kept),
                    tls(Protocol::Tls, Connections::Resumed),
                    tls(Protocol::Tls, Connections::New),
                ]
            }
            Self::Mtls => vec![Case::mutual_tls(upstreams)],
            Self::Tcp => vec![Case::bytes(upstreams, false), Case::bytes(upstreams, true)],
            Self::Lua => vec![Case::script(upstreams)],
            Self::Latency | Self::Idle => vec![],
        }
    }
}

/// A case's title, and what its peers did.
pub(crate) type Measured<L> = (String, Vec<Series<L>>);

/// Sends each peer as much as it can answer.
///
/// # Errors
/// If the system does not tell what was used.
pub(crate) fn flood(bench: &Bench, case: &Case) -> anyhow::Result<Measured<Load>> {
    let mut running = bench.start_all(case);
    // What only copies bytes speaks no TLS.
    running.retain(|one| one.peer != RELAY || !matches!(case.downstream, Protocol::Tls | Protocol::Http2Tls));
    running.retain(|one| warm_up(one).inspect_err(|error| left_out(case, one.peer, error)).is_ok());
    let send = |one: &Running<'_>| {
        let load = load(one, bench.seconds)?;
        Ok((load, load.requests))
    };
    Ok((case.title.clone(), interleaved(bench, running, &send)?))
}

fn warm_up(running: &Running<'_>) -> anyhow::Result<Load> {
    load(running, WARM_UP_SECONDS)
}

/// As much as the peer can answer.
fn load(running: &Running<'_>, seconds: u16) -> anyhow::Result<Load> {
    let (case, port, work) = (running.setting.case, running.setting.port, &running.setting.work);
    let resumes = match case.connections {
        Connections::Kept => return h2load::flood(case, port, seconds, work),
        Connections::Resumed => true,
        Connections::New => false,
    };
    handshakes::measure(&handshakes::Plan { port, path: case.path.clone(), seconds, resumes }, work)
}

/// How long answers take at a rate that stays the same.
#[derive(Debug)]
pub(crate) struct Latencies {
    /// Requests a second.
    pub rate: u32,
    pub peers: Vec<Series<Latency>>,
}

/// Sends each peer requests at the rate, or at half of what Envoy can answer.
///
/// # Errors
/// If there is neither a rate nor an Envoy.
pub(crate) fn latency(bench: &Bench, rate: Option<u32>) -> anyhow::Result<Option<Latencies>> {
    let mut case = Case::split(bench.origin.ports);
    case.name = "latency";
    let running = warm(bench, &case);
    let Some(rate) = rate.map_or_else(|| half_of_envoy(bench, &running), |rate| Ok(Some(rate)))? else {
        eprintln!("!!! NO LATENCIES: without Envoy the rate must be given (--rate)");
        return Ok(None);
    };
    at_rate(bench, running, rate).map(Some)
}

/// Sends each peer that runs scripts a few requests.
///
/// # Errors
/// If the system does not tell what was used.
pub(crate) fn few_through_a_script(bench: &Bench) -> anyhow::Result<Latencies> {
    let mut case = Case::script(bench.origin.ports);
    case.name = "lua-few";
    at_rate(bench, warm(bench, &case), SCRIPT_RATE)
}

/// The peers that answer, after some requests.
fn warm<'a>(bench: &Bench, case: &'a Case) -> Vec<Running<'a>> {
    let mut running = bench.start_all(case);
    running.retain(|one| warm_up(one).inspect_err(|error| left_out(case, one.peer, error)).is_ok());
    running
}

fn at_rate(bench: &Bench, running: Vec<Running<'_>>, rate: u32) -> anyhow::Result<Latencies> {
    let send = |one: &Running<'_>| {
        let plan = Plan { port: one.setting.port, path: one.setting.case.path.clone(), rate, seconds: bench.seconds };
        let latency = open_loop::measure(&plan, &one.setting.work)?;
        Ok((latency, latency.requests))
    };
    Ok(Latencies { rate, peers: interleaved(bench, running, &send)? })
}

/// In round numbers; nothing without Envoy.
fn half_of_envoy(bench: &Bench, running: &[Running<'_>]) -> anyhow::Result<Option<u32>> {
    let Some(envoy) = running.iter().find(|one| one.peer == ENVOY) else { return Ok(None) };
    let mut rates = vec![];
    for _ in 0..bench.rounds {
        rates.push(h2load::flood(envoy.setting.case, envoy.setting.port, bench.seconds, &envoy.setting.work)?.per_second);
    }
    Ok(Some((median(rates) / 200.0).round().max(1.0) as u32 * 100))
}
