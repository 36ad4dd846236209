//! `weir proxy-status`: which proxies follow the pilot, and which of them have what they were sent.

mod difference;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::pilot_admin;
use crate::cli::{Output, ProxyStatusArgs};
use crate::mesh::ask;
use crate::print;

/// The types of resources that have a column. No pilot of Weir's sends extension configurations: it is there for who reads it.
const COLUMNS: [&str; 7] = ["CDS", "LDS", "EDS", "RDS", "VHDS", "SDS", "ECDS"];

/// Asks, compares if a proxy is named, and prints.
///
/// # Errors
/// If nobody answers who is a pilot, or there is no such proxy.
pub(crate) fn run(args: &ProxyStatusArgs) -> anyhow::Result<ExitCode> {
    let admin = args.ask.admin;
    if let Some(proxy) = &args.proxy {
        return difference::run(admin, args.proxy_admin.unwrap_or(admin), proxy, args.ask.output);
    }
    let json = ask_pilot(admin, pilot_admin::SYNCZ)?;
    match args.ask.output {
        Output::Table => print::result(&table(&read(json)?)),
        output => print::value(json.get("proxies").unwrap_or(&Value::Null), output)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// How all proxies stand, as a pilot tells it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Standings {
    pub config_version: u64,
    pub proxies: Vec<Standing>,
}

/// How a proxy stands.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Standing {
    pub proxy: String,
    cluster_id: String,
    program: String,
    /// The newest version of the configuration that it has answered.
    pub answered_version: u64,
    pub types: BTreeMap<String, OfType>,
}

/// How it stands with one type of resources.
#[derive(Debug, Deserialize)]
pub(crate) struct OfType {
    state: String,
    since: Option<String>,
    /// Why it refused.
    pub error: Option<String>,
}

/// How the proxies of a pilot stand now.
///
/// # Errors
/// If nobody answers who is a pilot.
pub(crate) fn standings(admin: SocketAddr) -> anyhow::Result<Standings> {
    read(ask_pilot(admin, pilot_admin::SYNCZ)?)
}

fn read(json: Value) -> anyhow::Result<Standings> {
    serde_json::from_value(json).context("the pilot's answer is none that this version understands")
}

/// What a pilot answers to a path that all pilots know.
///
/// # Errors
/// If nobody answers who is a pilot.
pub(crate) fn ask_pilot(admin: SocketAddr, path: &str) -> anyhow::Result<Value> {
    match ask(admin, path, &[])? {
        Ok(text) => serde_json::from_str(&text).context("the pilot's answer is no JSON"),
        Err(_) => bail!("what answers at {admin} is no pilot; name one with --admin (weir run, or weir pilot with --admin)"),
    }
}

fn table(standings: &Standings) -> String {
    if standings.proxies.is_empty() {
        return "No proxy follows the pilot.\n".to_owned();
    }
    let head: Vec<&str> = ["NAME", "CLUSTER"].into_iter().chain(COLUMNS).chain(["CONFIG", "VERSION"]).collect();
    let row = |standing: &Standing| {
        let behind = standings.config_version.saturating_sub(standing.answered_version);
        let config = if behind == 0 { standing.answered_version.to_string() } else { format!("{} (-{behind})", standing.answered_version) };
        let cells = [dash(&standing.proxy), dash(&standing.cluster_id)].into_iter();
        cells.chain(COLUMNS.map(|name| cell(standing.types.get(name)))).chain([config, dash(&standing.program)]).collect()
    };
    let mut text = print::table(&head, standings.proxies.iter().map(row).collect());
    for standing in &standings.proxies {
        text += &refusals(standing);
    }
    text
}

/// Why a proxy refused what it refuses, since when: too long for a table.
pub(crate) fn refusals(standing: &Standing) -> String {
    let refused = standing.types.iter().filter_map(|(name, of)| Some((name, of, of.error.as_ref()?)));
    refused.map(|(name, of, error)| format!("\n{} has refused {name}{}:\n  {error}\n", standing.proxy, since(of))).collect()
}

fn cell(of: Option<&OfType>) -> String {
    match of {
        None => "IGNORED".to_owned(),
        Some(of) => age(of).map_or_else(|| of.state.clone(), |age| format!("{} ({age})", of.state)),
    }
}

fn since(of: &OfType) -> String {
    age(of).map(|age| format!(" for {age}")).unwrap_or_default()
}

fn age(of: &OfType) -> Option<String> {
    let since: Timestamp = of.since.as_ref()?.parse().ok()?;
    let age = SystemTime::now().duration_since(SystemTime::from(since)).unwrap_or(Duration::ZERO);
    Some(print::age(age))
}

fn dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_has_a_row_for_each_proxy_and_a_word_for_each_refusal() {
        let types = json!({
            "CDS": { "state": "SYNCED", "since": null, "error": null },
            "RDS": { "state": "ERROR", "since": null, "error": "80: no such cluster" },
        });
        let proxy = json!({
            "proxy": "a.b", "id": "sidecar~1.1.1.1~a.b~b.svc", "clusterId": "", "program": "envoy 1.40.0", "connectedSince": null,
            "configVersion": 7, "answeredVersion": 5, "settled": false, "types": types,
        });
        let text = table(&read(json!({ "configVersion": 7, "proxies": [proxy] })).unwrap());
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["NAME", "CLUSTER", "CDS", "LDS", "EDS", "RDS", "VHDS", "SDS", "ECDS", "CONFIG", "VERSION"]);
        assert_eq!(
            words[1],
            ["a.b", "-", "SYNCED", "IGNORED", "IGNORED", "ERROR", "IGNORED", "IGNORED", "IGNORED", "5", "(-2)", "envoy", "1.40.0"]
        );
        assert!(text.ends_with("\na.b has refused RDS:\n  80: no such cluster\n"), "{text}");
    }
}
