//! What people see: results on standard output, everything else on standard error.

use std::io::{self, IsTerminal, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table};
use tracing_subscriber::EnvFilter;
use weir_api::Diagnostic;

/// Logs to standard error.
pub(crate) fn start_log(level: &str) {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let color = io::stderr().is_terminal() && no_color().is_none();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(color).with_target(false);
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
