//! The tables that are printed: all that was measured, case by case.

use weir_bench::h2load::Load;
use weir_bench::open_loop::Latency;
use weir_bench::peers::WEIR;
use weir_bench::table::table;

use crate::idle::IdleConnections;
use crate::rounds::{Round, Series};
use crate::workloads::{Latencies, Measured};

/// What a column shows: its name, its value, and how many digits behind the point.
type Column<L> = (&'static str, fn(&Round<L>) -> f64, usize);

const FLOOD: [Column<Load>; 4] = [
    ("CPU µs/req", |round| round.cpu, 1),
    ("requests/s", |round| round.load.per_second, 0),
    ("p99 ms", |round| round.load.p99, 2),
    ("RSS MiB", |round| round.memory, 1),
];
const LATENCY: [Column<Latency>; 4] = [
    ("CPU µs/req", |round| round.cpu, 1),
    ("p50 ms", |round| round.load.p50, 2),
    ("p99 ms", |round| round.load.p99, 2),
    ("p99.9 ms", |round| round.load.p999, 2),
];

/// The peers of one case, at as many requests as they can answer.
pub(crate) fn flood((title, all): &Measured<Load>) -> String {
    format!("\n{title}\n{}", peers(all, &FLOOD))
}

/// The peers at a fixed rate.
pub(crate) fn latency(latencies: &Latencies) -> String {
    format!("\nat {} requests/s\n{}", latencies.rate, peers(&latencies.peers, &LATENCY))
}

/// Each column, and what Weir has in parts of it.
fn peers<L>(all: &[Series<L>], columns: &[Column<L>]) -> String {
    let weir = all.iter().find(|one| one.peer == WEIR);
    let mut header = vec!["proxy"];
    header.extend(columns.iter().flat_map(|(name, ..)| [*name, "Weir/it"]));
    header.extend(["core busy", "others", "ready s"]);
    let rows = all.iter().map(|one| {
        let mut row = vec![one.peer.to_owned()];
        for (_, value, digits) in columns {
            row.push(format!("{:.digits$}", one.median(value)));
            row.push(weir.filter(|weir| weir.peer != one.peer).map_or_else(String::new, |weir| format!("{:.2}", weir.ratio(one, value))));
        }
        row.push(format!("{:.0} %", one.median(|round| round.busy) * 100.0));
        row.push(format!("{:.0} %", one.median(|round| round.others) * 100.0));
        row.push(format!("{:.1}", one.ready));
        row
    });
    table(&header, rows.collect()).to_string()
}

/// The memory of idle connections.
pub(crate) fn idle(connections: &IdleConnections) -> String {
    let rows = connections.peers.iter().map(|one| vec![one.peer.to_owned(), format!("{:.1}", one.at_first), format!("{:.1}", one.each)]);
    let rows = table(&["proxy", "RSS MiB after the first request", "KiB for each further connection"], rows.collect());
    format!("\n{} idle connections, {}\n{rows}", connections.count, connections.title)
}
