//! The route by which packets of a mark come to this machine, whatever their destination is: a rule that leads them to a table, which has
//! nothing but loopback.

use crate::loopback;
use crate::programs::{Error, run};
use crate::ruleset::{Capture, MarkRoute};
use crate::transparent::IN_ANOTHERS_NAME;

/// By its priority and its mark the rule is known as ours.
const PRIORITY: &str = "13337";

/// The families of addresses that are in use here, as `ip` calls them.
fn families() -> &'static [&'static str] {
    if loopback::is_wanted() { &["-4", "-6"] } else { &["-4"] }
}

/// Makes the route, if it is not there; whether it was not. Then what was done of it is undone if it fails.
pub(crate) fn add(route: MarkRoute) -> Result<bool, Error> {
    if listed() == written(Some(route)) {
        return Ok(false);
    }
    remove()?;
    let MarkRoute { mark, table } = route;
    let (mark, table) = (mark.to_string(), table.to_string());
    let added = families().iter().try_for_each(|family| {
        change_route(family, "replace", &table)?;
        run("ip", &[family, "rule", "add", "priority", PRIORITY, "fwmark", &mark, "lookup", &table], "").map(drop)
    });
    if added.is_err() {
        let _ = remove();
    }
    added.map(|()| true)
}

/// Takes it away; whether it was there.
pub(crate) fn remove() -> Result<bool, Error> {
    let mut was_there = false;
    for family in families() {
        for table in tables(family) {
            was_there = true;
            let mark = IN_ANOTHERS_NAME.to_string();
            run("ip", &[family, "rule", "delete", "priority", PRIORITY, "fwmark", &mark, "lookup", &table], "")?;
            if leads_here(family, &table) {
                change_route(family, "delete", &table)?;
            }
        }
    }
    Ok(was_there)
}

/// What is there, a line for each family, as [`written`] has it.
pub(crate) fn listed() -> String {
    let mut lines = String::new();
    for family in families() {
        for table in tables(family) {
            let lacks = if leads_here(family, &table) { "" } else { ", which does not lead to lo" };
            lines += &(line(family, &table) + lacks + "\n");
        }
    }
    lines
}

/// What is to be there.
pub(crate) fn written(wanted: Option<MarkRoute>) -> String {
    let Some(MarkRoute { table, .. }) = wanted else { return String::new() };
    families().iter().map(|family| line(family, &table.to_string()) + "\n").collect()
}

fn line(family: &str, table: &str) -> String {
    format!("ip {family} rule: fwmark {IN_ANOTHERS_NAME} lookup {table}")
}

/// The tables that rules of ours lead to. Where there is no `ip`, or the kernel knows no such rules, there are none.
fn tables(family: &str) -> Vec<String> {
    let rules = run("ip", &[family, "rule", "show", "priority", PRIORITY], "").unwrap_or_default();
    rules.lines().filter_map(table_of).collect()
}

/// That of `13337: from all fwmark 0x539 lookup 133`; none of a rule that is somebody else's.
fn table_of(rule: &str) -> Option<String> {
    let mark = format!("{IN_ANOTHERS_NAME:#x}");
    match rule.split_whitespace().collect::<Vec<_>>().as_slice() {
        [_, "from", "all", "fwmark", marked, "lookup", table] if *marked == mark => Some((*table).to_owned()),
        _ => None,
    }
}

fn change_route(family: &str, action: &str, table: &str) -> Result<(), Error> {
    run("ip", &[family, "route", action, "local", "default", "dev", "lo", "table", table], "").map(drop)
}

/// Of a table that is not there `ip` says that it is not, as an error.
fn leads_here(family: &str, table: &str) -> bool {
    run("ip", &[family, "route", "show", "table", table], "").is_ok_and(|routes| routes.contains("local default dev lo"))
}

impl Capture {
    /// The commands that make the route that the rules need; none if they need none.
    pub fn route_commands(&self) -> Vec<String> {
        let Some(MarkRoute { mark, table }) = self.route else { return vec![] };
        let of = |family| {
            let route = format!("ip {family} route replace local default dev lo table {table}");
            [route, format!("ip {family} rule add priority {PRIORITY} fwmark {mark} lookup {table}")]
        };
        ["-4", "-6"].into_iter().flat_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_ours_by_its_mark() {
        for (rule, expected) in [
            ("13337:\tfrom all fwmark 0x539 lookup 133", Some("133")),
            ("13337:\tfrom all fwmark 0x539/0xff lookup 133", None),
            ("13337:\tfrom all fwmark 0x7/0xff lookup 200", None),
            ("13337:\tfrom 10.1.0.0/16 fwmark 0x539 lookup 201", None),
            ("13337:\tfrom all lookup main", None),
            ("", None),
        ] {
            assert_eq!(table_of(rule).as_deref(), expected, "{rule}");
        }
    }
}
