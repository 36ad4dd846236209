//! The figures of the README, as Markdown: one command makes them all.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use weir_bench::h2load::{CONCURRENCY, HTTP2_CONNECTIONS, Load};
use weir_bench::open_loop::CONNECTIONS;
use weir_bench::peers::{ENVOY, HAPROXY, NGINX, RELAY, WEIR};
use weir_bench::table::table;

use crate::report::Report;
use crate::rounds::{Round, Series};
use crate::running::Bench;
use crate::workloads::{Latencies, Measured};

/// In the order of tables and charts.
pub(crate) const PEERS: [&str; 5] = [WEIR, ENVOY, HAPROXY, NGINX, RELAY];
/// Weir is shown in parts of these.
const RATIOS: [&str; 2] = [ENVOY, HAPROXY];

/// Between these lines of the README.
const BEGIN: &str = "<!-- figures: written by weir-bench --readme -->\n";
const END: &str = "<!-- end of figures -->\n";
/// The charts, for who does not read tables.
const CHARTS: [(&str, &str); 3] = [
    ("CPU for a request", "speed-cpu.svg"),
    ("Time to the answer", "speed-latency.svg"),
    ("Memory of an idle connection", "speed-idle.svg"),
];

/// Puts the figures where the README has its older ones.
///
/// # Errors
/// If the file has no place for them.
pub(crate) fn write(readme: &Path, charts: &Path, figures: &str) -> anyhow::Result<()> {
    let text = fs::read_to_string(readme).with_context(|| format!("{} cannot be read", readme.display()))?;
    let pictures: Vec<String> = CHARTS
        .iter()
        .map(|(title, name)| (title, charts.join(name)))
        .filter(|(_, file)| file.is_file())
        .map(|(title, file)| format!("![{title}]({})\n", file.display()))
        .collect();
    let figures = format!("{}\n{figures}", pictures.concat());
    let text = replaced(&text, &figures).with_context(|| format!("{} has no lines {BEGIN}and {END}", readme.display()))?;
    Ok(fs::write(readme, text)?)
}

fn replaced(text: &str, figures: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n\n{END}{after}", figures.trim()))
}

/// The whole section.
pub(crate) fn markdown(bench: &Bench, report: &Report) -> String {
    let mut text = format!(
        "Medians of {} rounds of {} s in which the proxies take turns, one worker each, on one core; {CONCURRENCY} requests at once, over\n\
         as many connections, or {HTTP2_CONNECTIONS} of HTTP/2. Ratios are the medians of the rounds' ratios.\n",
        bench.rounds, bench.seconds
    );
    text += &format!("\n{}\n", by_case("CPU for a request (user + system), µs", &report.floods, |round| round.cpu, 1));
    text += &format!("\n{}\n", by_case("requests/s", &report.floods, |round| round.load.per_second, 0));
    text += &format!("\n{}\n", by_case("resident memory, MiB", &report.floods, |round| round.memory, 0));
    if let Some(latencies) = &report.latencies {
        text += &format!("\n{}\n", latency(latencies));
    }
    if let Some(first) = report.idle.first() {
        text += &format!("\nOf {} connections that were asked once and then kept:\n\n{}\n", first.count, idle(report));
    }
    text
}

/// A case in each line, a peer in each column.
fn by_case(what: &str, floods: &[Measured<Load>], value: fn(&Round<Load>) -> f64, digits: usize) -> String {
    let rows = floods.iter().map(|(title, peers)| line(title, peers, value, digits));
    table(&header(what), rows.collect()).to_string()
}

fn latency(latencies: &Latencies) -> String {
    let what = format!("ms to the answer, {} requests/s over {CONNECTIONS} connections", latencies.rate);
    let peers = &latencies.peers;
    let rows = vec![
        line("p50", peers, |round| round.load.p50, 2),
        line("p99", peers, |round| round.load.p99, 2),
        line("p99.9", peers, |round| round.load.p999, 2),
    ];
    table(&header(&what), rows).to_string()
}

fn header(what: &str) -> Vec<String> {
    let ratios = RATIOS.map(|peer| format!("{WEIR} / {peer}"));
    [what].into_iter().chain(PEERS).map(str::to_owned).chain(ratios).collect()
}

fn line<L>(title: &str, peers: &[Series<L>], value: impl Fn(&Round<L>) -> f64, digits: usize) -> Vec<String> {
    let find = |name: &str| peers.iter().find(|one| one.peer == name);
    let median = |name| find(name).map_or_else(missing, |one| format!("{:.digits$}", one.median(&value)));
    let ratio = |name| match (find(WEIR), find(name)) {
        (Some(weir), Some(other)) => format!("{:.2}", weir.ratio(other, &value)),
        _ => missing(),
    };
    [title.to_owned()].into_iter().chain(PEERS.map(median)).chain(RATIOS.map(ratio)).collect()
}

fn idle(report: &Report) -> String {
    let peers = PEERS.iter().filter(|peer| **peer != RELAY);
    let rows = report.idle.iter().map(|connections| {
        let each =
            |name: &&str| connections.peers.iter().find(|one| one.peer == *name).map_or_else(missing, |one| format!("{:.1}", one.each));
        [connections.title.clone()].into_iter().chain(peers.clone().map(each)).collect()
    });
    let header: Vec<&str> = ["KiB for each idle connection"].into_iter().chain(peers.clone().copied()).collect();
    table(&header, rows.collect()).to_string()
}

fn missing() -> String {
    "–".to_owned()
}

/// What another tool of the bench prints, which stands beside this one.
///
/// # Errors
/// If it is not there, or fails.
pub(crate) fn of_tool(name: &str, weir: Option<&Path>) -> anyhow::Result<String> {
    let tool = std::env::current_exe()?.with_file_name(name);
    eprintln!("{name} ...");
    let mut command = Command::new(&tool);
    if let Some(weir) = weir {
        command.arg("--weir").arg(weir);
    }
    let output = command.output().with_context(|| format!("{} cannot be run", tool.display()))?;
    ensure!(output.status.success(), "{name} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_figures_are_replaced_and_nothing_else() {
        let text = |figures: &str| format!("# Speed\n{BEGIN}\n{figures}\n\n{END}more\n");
        assert_eq!(replaced(&text("old"), "new\n").unwrap(), text("new"));
        assert_eq!(replaced("# Speed\n", "new"), None);
    }

    #[test]
    fn a_peer_that_is_absent_leaves_its_place_empty() {
        let round = Round { load: (), cpu: 2.0, busy: 1.0, memory: 1.0, others: 0.0 };
        let series = |peer| Series { peer, ready: 0.0, rounds: vec![round] };
        let cells = line("case", &[series(WEIR), series(HAPROXY)], |round| round.cpu, 1);
        assert_eq!(cells, ["case", "2.0", "–", "2.0", "–", "–", "–", "1.00"]);
    }
}
