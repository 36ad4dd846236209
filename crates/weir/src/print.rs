//! What people see: results on standard output, everything else on standard error.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde_json::Value;
use tracing_subscriber::EnvFilter;
use weir_api::Diagnostic;

use crate::cli::Output;

/// What libraries log at each attempt, and we say once in our own words. Who names them in `--log` hears them.
const TWICE: &str = "kube_runtime=off,kube_client::client=off";

/// Logs to standard error.
pub(crate) fn start_log(level: &str) {
    let level = if level.contains("kube") { level.to_owned() } else { format!("{level},{TWICE}") };
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new(format!("info,{TWICE}")));
    let color = io::stderr().is_terminal() && no_color().is_none();
    // Who cannot log goes on: to say so on standard error, as is usual, would be a panic where that is gone.
    let log = tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(color)
        .with_target(false);
    // A second call would be an error; there is none.
    let _ = log.try_init();
}

fn no_color() -> Option<std::ffi::OsString> {
    std::env::var_os("NO_COLOR").filter(|value| !value.is_empty())
}

/// Prints a result. A reader that has gone away is no error: `weir get vs | head` is fine.
pub(crate) fn result(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints a value in a form for programs; as a table it is printed by who knows its columns.
pub(crate) fn value(value: &Value, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Yaml => result(&serde_saphyr::to_string(value)?),
        Output::Json | Output::Table => result(&(serde_json::to_string_pretty(value)? + "\n")),
    }
    Ok(())
}

/// Says something to the person at the terminal.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Says why nothing can be done.
pub(crate) fn error(error: &anyhow::Error) {
    say(&format!("weir: {error:#}"));
}

/// Says what is wrong with a resource, with a picture of the place.
pub(crate) fn diagnostic(diagnostic: &Diagnostic) {
    let color = io::stderr().is_terminal() && no_color().is_none();
    say(diagnostic.render(color).trim_end());
}

/// A table as kubectl prints it: columns that are as wide as they must be, and no lines.
pub(crate) fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 3)).set_cell_alignment(CellAlignment::Left);
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// A duration as kubectl prints it: the older, the coarser.
pub(crate) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let both = |large: u64, small: u64, units: (&str, &str)| match small {
        0 => format!("{large}{}", units.0),
        _ => format!("{large}{}{small}{}", units.0, units.1),
    };
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => both(minutes, seconds % 60, ("m", "s")),
        () if hours < 3 => format!("{minutes}m"),
        () if hours < 8 => both(hours, minutes % 60, ("h", "m")),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => both(days, hours % 24, ("d", "h")),
        () if days < 730 => format!("{days}d"),
        () if days < 2920 => both(days / 365, days % 365, ("y", "d")),
        () => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_printed_as_kubectl_does() {
        let cases = [
            (59, "59s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (3600, "60m"),
            (11_000, "3h3m"),
            (90_000, "25h"),
            (338_400, "3d22h"),
            (6_307_200, "73d"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(age(Duration::from_secs(seconds)), expected);
        }
    }
}
