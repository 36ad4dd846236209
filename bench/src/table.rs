//! The tables that are printed.

use comfy_table::{CellAlignment, Table, presets};

/// A table whose first column is text, and the others are numbers.
pub fn table(header: &[impl AsRef<str>], rows: Vec<Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header.iter().map(AsRef::as_ref)).add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
