//! What differs between what the pilot sent to a proxy and what that has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use serde_json::{Value, json};

use super::super::dump::{Dump, Section, address, items, name_of, text};
use crate::cli::Output;
use crate::print;

/// So many places of a resource are shown.
const PLACES: usize = 10;

/// Asks both, compares, and prints; exits 1 if anything differs.
///
/// # Errors
/// If one of them does not answer, or knows no such proxy.
pub(super) fn run(pilot: SocketAddr, proxy_admin: SocketAddr, proxy: &str, output: Output) -> anyhow::Result<ExitCode> {
    let sent = Dump::fetch_sent(pilot, proxy)?.map_err(|message| anyhow!(message))?;
    let has = match Dump::fetch_own(proxy_admin, Some(proxy))? {
        Ok(has) => has,
        Err(_) => bail!("{proxy} does not answer at {proxy_admin}; name where it does with --proxy-admin"),
    };
    let differences = compare(&sent, &has);
    match output {
        Output::Table => print::result(&story(&differences)),
        output => print::value(&document(&differences), output)?,
    }
    Ok(ExitCode::from(u8::from(!differences.is_empty())))
}

/// One resource that is not the same on both sides.
#[derive(Debug, PartialEq)]
struct Difference {
    section: Section,
    name: String,
    kind: Kind,
}

#[derive(Debug, PartialEq)]
enum Kind {
    /// The proxy lacks it.
    Missing,
    /// The proxy has it, and was not sent it.
    Extra,
    /// By path: what was sent, what the proxy has.
    Changed(Vec<(String, Value, Value)>),
}

fn compare(sent: &Dump, has: &Dump) -> Vec<Difference> {
    Section::ALL.into_iter().flat_map(|section| compare_section(section, sent, has)).collect()
}

fn compare_section(section: Section, sent: &Dump, has: &Dump) -> Vec<Difference> {
    let by_name = |dump: &Dump| -> BTreeMap<String, Value> {
        dump.dynamic(section).into_iter().map(|resource| (name_of(resource).to_owned(), normal(section, resource))).collect()
    };
    let (ours, theirs) = (by_name(sent), by_name(has));
    let asked = asked_for(section, has);
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let different = |name: &String| {
        let is_asked_for = asked.as_ref().is_none_or(|asked| asked.contains(name.as_str()));
        let kind = match (ours.get(name), theirs.get(name)) {
            // Envoy tells of the instances of all clusters, however it came to them.
            (None, _) | (_, None) if !is_asked_for => return None,
            (Some(_), None) => Kind::Missing,
            (None, Some(_)) => Kind::Extra,
            (Some(ours), Some(theirs)) if ours != theirs => {
                let mut places = vec![];
                differ("", ours, theirs, &mut places);
                Kind::Changed(places)
            }
            _ => return None,
        };
        Some(Difference { section, name: name.clone(), kind })
    };
    names.into_iter().filter_map(different).collect()
}

/// The names that the proxy asks for, of a type of which it asks for some by name.
fn asked_for(section: Section, has: &Dump) -> Option<BTreeSet<String>> {
    match section {
        Section::Clusters | Section::Listeners => None,
        Section::Endpoints => {
            let named = has.of(Section::Clusters).into_iter().filter_map(|cluster| {
                let eds = cluster.get("eds_cluster_config")?;
                Some(eds.get("service_name").and_then(Value::as_str).unwrap_or_else(|| name_of(cluster)).to_owned())
            });
            Some(named.collect())
        }
        Section::Routes => Some(texts(has, Section::Listeners, "route_config_name")),
        Section::Secrets => {
            let mut named = texts(has, Section::Listeners, "name");
            named.extend(texts(has, Section::Clusters, "name"));
            Some(named)
        }
    }
}

/// All texts that stand in a field of this name, anywhere in the resources of a type.
fn texts(dump: &Dump, section: Section, field: &str) -> BTreeSet<String> {
    fn collect(value: &Value, field: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get(field).and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| collect(value, field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, field, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    dump.of(section).into_iter().for_each(|resource| collect(resource, field, &mut found));
    found
}

/// A resource without what may differ though it is the same: a secret's content is told by nobody, the type of a resource by some,
/// and of instances Envoy tells what it has made of them.
fn normal(section: Section, resource: &Value) -> Value {
    match section {
        Section::Secrets => Value::Null,
        Section::Endpoints => items(resource, "/endpoints").map(group).collect(),
        Section::Clusters | Section::Listeners | Section::Routes => {
            let mut resource = resource.clone();
            if let Some(fields) = resource.as_object_mut() {
                fields.remove("@type");
            }
            resource
        }
    }
}

/// What counts of the instances of one locality and priority.
fn group(group: &Value) -> Value {
    let of = |endpoint: &Value| {
        let (ip, port) = address(&endpoint["endpoint"]["address"]);
        let health = match text(endpoint, "/health_status") {
            "" | "UNKNOWN" => "HEALTHY",
            health => health,
        };
        json!({ "address": ip, "port": port, "health": health, "weight": endpoint["load_balancing_weight"].as_u64().unwrap_or(1) })
    };
    let place = ["region", "zone", "sub_zone"].map(|part| text(&group["locality"], &format!("/{part}")));
    json!({
        "locality": place.join("/"),
        "priority": group["priority"].as_u64().unwrap_or_default(),
        "instances": items(group, "/lb_endpoints").map(of).collect::<Vec<_>>(),
    })
}

/// Where two values differ.
fn differ(path: &str, ours: &Value, theirs: &Value, places: &mut Vec<(String, Value, Value)>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let (ours, theirs) = (a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null));
                let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                differ(&below, ours, theirs, places);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for i in 0..a.len().max(b.len()) {
                differ(&format!("{path}[{i}]"), a.get(i).unwrap_or(&Value::Null), b.get(i).unwrap_or(&Value::Null), places);
            }
        }
        _ if ours == theirs => {}
        _ => places.push((path.to_owned(), ours.clone(), theirs.clone())),
    }
}

fn story(differences: &[Difference]) -> String {
    let mut text = String::new();
    for section in Section::ALL {
        let of: Vec<&Difference> = differences.iter().filter(|difference| difference.section == section).collect();
        text += section.name();
        text += if of.is_empty() { " Match\n" } else { " Don't Match\n" };
        of.into_iter().for_each(|difference| text += &sentence(difference));
    }
    text
}

fn sentence(difference: &Difference) -> String {
    let name = &difference.name;
    match &difference.kind {
        Kind::Missing => format!("  {name}: sent by the pilot, and the proxy does not have it\n"),
        Kind::Extra => format!("  {name}: the proxy has it, and the pilot did not send it\n"),
        Kind::Changed(places) => {
            let shown = places.iter().take(PLACES);
            let lines: String = shown.map(|(path, ours, theirs)| format!("    {path}\n    - {ours}\n    + {theirs}\n")).collect();
            let more = places.len().saturating_sub(PLACES);
            let more = if more == 0 { String::new() } else { format!("    and {more} more\n") };
            format!("  {name}: differs (- sent, + in the proxy)\n{lines}{more}")
        }
    }
}

fn document(differences: &[Difference]) -> Value {
    let one = |difference: &Difference| {
        let (kind, places) = match &difference.kind {
            Kind::Missing => ("missing", vec![]),
            Kind::Extra => ("extra", vec![]),
            Kind::Changed(places) => {
                ("changed", places.iter().map(|(path, sent, has)| json!({ "path": path, "sent": sent, "has": has })).collect())
            }
        };
        json!({ "type": difference.section.name(), "name": difference.name, "difference": kind, "places": places })
    };
    differences.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(clusters: Value, routes: Value) -> Dump {
        let listener = json!({ "name": "l", "rds": { "route_config_name": "80" } });
        Dump::read(
            &json!({ "configs": [
                { "dynamic_active_clusters": clusters },
                { "dynamic_listeners": [{ "active_state": { "listener": listener } }] },
                { "dynamic_route_configs": routes },
            ] })
            .to_string(),
        )
        .unwrap()
    }

    #[test]
    fn instances_are_the_same_whatever_a_proxy_adds_to_them() {
        let endpoint = |extra: Value| {
            let mut endpoint = json!({ "endpoint": { "address": { "socket_address": { "address": "10.0.0.1", "port_value": 80 } } } });
            endpoint.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            json!({ "cluster_name": "a", "endpoints": [{ "locality": {}, "lb_endpoints": [endpoint] }] })
        };
        let sent = normal(Section::Endpoints, &endpoint(json!({})));
        let has = endpoint(json!({ "health_status": "HEALTHY", "load_balancing_weight": 1, "metadata": {} }));
        assert_eq!(sent, normal(Section::Endpoints, &has));
        assert_ne!(sent, normal(Section::Endpoints, &endpoint(json!({ "health_status": "UNHEALTHY" }))));
    }

    #[test]
    fn a_proxy_is_compared_with_what_it_was_sent_of_what_it_asks_for() {
        let route = |name: &str| json!({ "route_config": { "name": name } });
        let cluster = |name: &str, timeout: &str| json!({ "cluster": { "name": name, "connect_timeout": timeout } });
        let sent = dump(json!([cluster("a", "1s"), cluster("b", "1s")]), json!([route("80"), route("81")]));
        let has = dump(json!([cluster("a", "2s"), cluster("c", "1s")]), json!([]));
        let found: Vec<(String, Kind)> = compare(&sent, &has).into_iter().map(|difference| (difference.name, difference.kind)).collect();
        let changed = Kind::Changed(vec![("connect_timeout".to_owned(), "1s".into(), "2s".into())]);
        let named = |name: &str, kind| (name.to_owned(), kind);
        assert_eq!(found, [named("a", changed), named("b", Kind::Missing), named("c", Kind::Extra), named("80", Kind::Missing)]);
        assert!(compare(&sent, &sent).is_empty());
    }
}
