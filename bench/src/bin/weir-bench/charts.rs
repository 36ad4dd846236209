//! The charts in `docs/`.

mod svg;

use std::fs;
use std::path::Path;

use weir_bench::peers::{ENVOY, HAPROXY, NGINX, RELAY, WEIR};

use self::svg::{Bar, Chart, Group, Tint};
use crate::report::Report;
use crate::rounds::Series;

/// Where a bar that is too long is cut, in parts of Envoy's.
const LONGEST: f64 = 2.0;

/// Writes a chart for each kind of figure that was measured.
///
/// # Errors
/// If a file cannot be written.
pub(crate) fn write(report: &Report, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    for (name, chart) in [("speed-cpu.svg", cpu(report)), ("speed-latency.svg", latency(report)), ("speed-idle.svg", idle(report))] {
        if !chart.groups.is_empty() {
            fs::write(folder.join(name), chart.draw())?;
        }
    }
    Ok(())
}

/// In parts of Envoy's, since the cases lie a hundredfold apart.
fn cpu(report: &Report) -> Chart {
    let group = |(title, peers): &(String, Vec<Series<_>>)| {
        let envoy = peers.iter().find(|one| one.peer == ENVOY)?;
        let bars = peers.iter().filter_map(|one| {
            let text = format!("{:.1} µs", one.median(|round| round.cpu));
            bar(one.peer, one.ratio(envoy, |round| round.cpu), text)
        });
        Some(Group { title: title.clone(), bars: bars.collect() })
    };
    Chart {
        title: "CPU for a request".to_owned(),
        note: "beside Envoy's; shorter is better".to_owned(),
        groups: report.floods.iter().filter_map(group).collect(),
        longest: Some(LONGEST),
    }
}

fn latency(report: &Report) -> Chart {
    let Some(latencies) = &report.latencies else { return Chart::default() };
    let group = |title: &str, value: fn(&crate::rounds::Round<weir_bench::open_loop::Latency>) -> f64| {
        let bars = latencies.peers.iter().filter_map(|one| bar(one.peer, one.median(value), format!("{:.2} ms", one.median(value))));
        Group { title: title.to_owned(), bars: bars.collect() }
    };
    Chart {
        title: format!("Time to the answer at {} requests/s", latencies.rate),
        note: "in an open loop; shorter is better".to_owned(),
        groups: vec![group("p50", |round| round.load.p50), group("p99", |round| round.load.p99), group("p99.9", |round| round.load.p999)],
        longest: None,
    }
}

fn idle(report: &Report) -> Chart {
    let groups = report.idle.iter().map(|connections| {
        let bars = connections.peers.iter().filter_map(|one| bar(one.peer, one.each, format!("{:.1} KiB", one.each)));
        Group { title: connections.title.clone(), bars: bars.collect() }
    });
    Chart {
        title: "Memory of an idle connection".to_owned(),
        note: "shorter is better".to_owned(),
        groups: groups.collect(),
        longest: None,
    }
}

/// Nothing for a peer without a colour.
fn bar(peer: &'static str, length: f64, text: String) -> Option<Bar> {
    let tint = match peer {
        WEIR => Tint::Own,
        ENVOY => Tint::First,
        HAPROXY => Tint::Second,
        NGINX => Tint::Third,
        RELAY => Tint::Floor,
        _ => return None,
    };
    Some(Bar { name: peer, tint, length, text })
}
