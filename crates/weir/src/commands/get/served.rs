//! Tables that the API server makes, as kubectl prints them.

use serde_json::Value;

use crate::print;

/// One table of all pages, with a column for namespaces if it is to have one; nothing if there are no rows. Columns of less importance are
/// for a wide one.
pub(super) fn table(pages: &[Value], with_namespace: bool, is_wide: bool) -> String {
    let shown: Vec<(usize, &str)> = pages.first().map(|page| columns(page, is_wide)).unwrap_or_default();
    let rows = pages.iter().flat_map(|page| list(page, "rows"));
    let namespaced = with_namespace && rows.clone().any(|row| !namespace(row).is_empty());
    let cells = |row: &Value| {
        let own = namespaced.then(|| namespace(row).to_owned()).into_iter();
        own.chain(shown.iter().map(|(index, _)| cell(&row["cells"][*index]))).collect()
    };
    let rows: Vec<Vec<String>> = rows.map(cells).collect();
    if rows.is_empty() {
        return String::new();
    }
    let head: Vec<String> =
        namespaced.then(|| "NAMESPACE".to_owned()).into_iter().chain(shown.iter().map(|(_, name)| head(name))).collect();
    print::table(&head.iter().map(String::as_str).collect::<Vec<_>>(), rows)
}

fn list<'p>(page: &'p Value, name: &str) -> impl Iterator<Item = &'p Value> + Clone + use<'p> {
    page.get(name).and_then(Value::as_array).into_iter().flatten()
}

/// Which cells are shown, and what stands above them.
fn columns(page: &Value, is_wide: bool) -> Vec<(usize, &str)> {
    let all = list(page, "columnDefinitions").enumerate();
    let shown = all.filter(|(_, column)| is_wide || column["priority"].as_i64().unwrap_or_default() == 0);
    shown.map(|(index, column)| (index, column["name"].as_str().unwrap_or_default())).collect()
}

fn head(name: &str) -> String {
    printable(&name.to_uppercase())
}

fn namespace(row: &Value) -> &str {
    row.pointer("/object/metadata/namespace").and_then(Value::as_str).unwrap_or_default()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        // Of several lines the first is shown.
        Value::String(text) => match text.split_once('\n') {
            Some((first, _)) => printable(first) + "...",
            None => printable(text),
        },
        other => other.to_string(),
    }
}

/// Without what a terminal would carry out: whoever may write an object does not choose what a reader's terminal does.
fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { char.escape_default().to_string() } else { char.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pages() -> [Value; 2] {
        let column = |name: &str, priority: u8| json!({"name": name, "priority": priority});
        let row = |namespace: &str, cells: Value| json!({"cells": cells, "object": {"metadata": {"namespace": namespace}}});
        [
            json!({"columnDefinitions": [column("Name", 0), column("Hosts", 0), column("Selector", 1), column("Age", 0)],
                "rows": [row("shop", json!(["a", "[\"a\"]", "x=y", "5m"]))]}),
            json!({"rows": [row("web", json!(["b", null, 7, "two\nlines"])), row("web", json!(["\u{1b}[2J", "c", null, "1s"]))]}),
        ]
    }

    #[test]
    fn a_table_is_what_kubectl_would_print() {
        let narrow = "NAME        HOSTS   AGE\na           [\"a\"]   5m\nb                   two...\n\\u{1b}[2J   c       1s\n";
        assert_eq!(table(&pages(), false, false), narrow);
        let wide = table(&pages(), true, true);
        let lines: Vec<Vec<&str>> = wide.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[..2], [vec!["NAMESPACE", "NAME", "HOSTS", "SELECTOR", "AGE"], vec!["shop", "a", "[\"a\"]", "x=y", "5m"]]);
    }

    #[test]
    fn where_nothing_is_there_is_no_table() {
        assert_eq!(table(&[json!({"columnDefinitions": [{"name": "Name"}], "rows": []})], true, false), "");
        // Whatever somebody answers who is no API server.
        for odd in [json!({}), json!({"rows": 7, "columnDefinitions": {}}), json!({"rows": [1, {"cells": 3}]}), json!(null)] {
            table(&[odd], true, true);
        }
    }
}
