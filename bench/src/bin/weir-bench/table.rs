//! The tables that are printed.

use weir_bench::peers::WEIR;
use weir_bench::table::table;

use crate::measure::Measured;

/// The peers of one case, and what Weir takes in parts of what each takes.
pub(crate) fn peers(all: &[Measured]) -> String {
    let weir = all.iter().find(|one| one.peer == WEIR);
    let ratio = |value: fn(&Measured) -> f64, one: &Measured| match weir {
        Some(weir) if weir.peer != one.peer => format!("{:.2}", value(weir) / value(one)),
        _ => String::new(),
    };
    let header = ["proxy", "CPU µs/req", "Weir/it", "requests/s", "Weir/it", "RSS MiB", "Weir/it", "core busy", "others", "ready s"];
    let rows = all.iter().map(|one| {
        vec![
            one.peer.to_owned(),
            format!("{:.1}", one.cpu),
            ratio(|one| one.cpu, one),
            format!("{:.0}", one.per_second),
            ratio(|one| one.per_second, one),
            format!("{:.1}", one.memory),
            ratio(|one| one.memory, one),
            format!("{:.0} %", one.busy * 100.0),
            format!("{:.0} %", one.others * 100.0),
            format!("{:.1}", one.ready),
        ]
    });
    table(&header, rows.collect()).to_string()
}

/// What a request costs with one route, and with many before its own.
pub(crate) fn growth(only: &[Measured], last: &[Measured], routes: u32) -> String {
    let header = ["proxy".to_owned(), "only route, CPU µs/req".to_owned(), format!("last of {routes}, CPU µs/req"), "ratio".to_owned()];
    let rows = only.iter().filter_map(|only| {
        let last = last.iter().find(|last| last.peer == only.peer)?;
        Some(vec![only.peer.to_owned(), format!("{:.1}", only.cpu), format!("{:.1}", last.cpu), format!("{:.2}", last.cpu / only.cpu)])
    });
    table(&header, rows.collect()).to_string()
}
