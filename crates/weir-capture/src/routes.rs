//! The route by which packets of a mark come to this machine, whatever their destination is: a rule that leads them to a table, which has
//! nothing but loopback.

use std::path::Path;

use crate::programs::{Error, run};
use crate::ruleset::{Capture, MarkRoute};

/// By its priority the rule is known as ours.
const PRIORITY: &str = "13337";

/// The families of addresses that the kernel knows, as `ip` calls them.
fn families() -> &'static [&'static str] {
    if Path::new("/proc/net/if_inet6").exists() { &["-4", "-6"] } else { &["-4"] }
}

/// A rule as the kernel has it: the mark, and the table that it leads to.
type Known = (String, String);

/// Makes this the route, or makes that there is none.
pub(crate) fn set(wanted: Option<MarkRoute>) -> Result<(), Error> {
    if listed()? == written(wanted) {
        return Ok(());
    }
    remove()?;
    let Some(MarkRoute { mark, table }) = wanted else { return Ok(()) };
    let (mark, table) = (mark.to_string(), table.to_string());
    for family in families() {
        route(family, "replace", &table)?;
        run("ip", &[family, "rule", "add", "priority", PRIORITY, "fwmark", &mark, "lookup", &table], "")?;
    }
    Ok(())
}

/// Takes it away; whether it was there.
pub(crate) fn remove() -> Result<bool, Error> {
    let mut was_there = false;
    for family in families() {
        for (_, table) in known(family)? {
            was_there = true;
            run("ip", &[family, "rule", "delete", "priority", PRIORITY], "")?;
            if leads_here(family, &table) {
                route(family, "delete", &table)?;
            }
        }
    }
    Ok(was_there)
}

/// What is there, a line for each family, as [`written`] has it.
pub(crate) fn listed() -> Result<String, Error> {
    let mut lines = String::new();
    for family in families() {
        for (mark, table) in known(family)? {
            let lacks = if leads_here(family, &table) { "" } else { ", which does not lead to lo" };
            lines += &(line(family, &mark, &table) + lacks + "\n");
        }
    }
    Ok(lines)
}

/// What is to be there.
pub(crate) fn written(wanted: Option<MarkRoute>) -> String {
    let Some(MarkRoute { mark, table }) = wanted else { return String::new() };
    families().iter().map(|family| line(family, &format!("{mark:#x}"), &table.to_string()) + "\n").collect()
}

fn line(family: &str, mark: &str, table: &str) -> String {
    format!("ip {family} rule: fwmark {mark} lookup {table}")
}

fn known(family: &str) -> Result<Vec<Known>, Error> {
    let rules = run("ip", &[family, "rule", "show", "priority", PRIORITY], "")?;
    Ok(rules.lines().filter_map(read).collect())
}

/// `13337: from all fwmark 0x539 lookup 133`
fn read(rule: &str) -> Option<Known> {
    let words: Vec<&str> = rule.split_whitespace().collect();
    let after = |name| words.windows(2).find_map(|pair| (pair[0] == name).then(|| pair[1].to_owned()));
    after("fwmark").zip(after("lookup"))
}

fn route(family: &str, action: &str, table: &str) -> Result<(), Error> {
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
    fn a_rule_is_read_as_the_kernel_lists_it() {
        let known = |mark: &str, table: &str| Some((mark.to_owned(), table.to_owned()));
        for (rule, expected) in [
            ("13337:\tfrom all fwmark 0x539 lookup 133", known("0x539", "133")),
            ("13337:\tfrom all fwmark 0x1/0xff lookup main", known("0x1/0xff", "main")),
            ("13337:\tfrom all lookup main", None),
            ("", None),
        ] {
            assert_eq!(read(rule), expected, "{rule}");
        }
    }
}
