//! The calls of a group through proxies that run.

use std::collections::BTreeMap;

use weir_testkit::{Answer, DataPlane, ECHO, Mesh, tcp_greeting, tls_greeting};

use super::table::{Call, Door, Group, Outcome, Speech};
use super::text::Settled;

/// So many requests show how several instances share them.
const SAMPLE: u32 = 200;

/// Starts a mesh with the group's configuration, makes each call, and tells of all that went otherwise.
pub(super) async fn check(plane: DataPlane, group: Group) {
    let settled = Settled::new(&group).await;
    let files = [("group.yaml", settled.resources.as_str())];
    let mut mesh = Mesh::start_with(plane, settled.layout, &settled.mesh_config, &files).await;
    let mut failures = vec![];
    for case in &group.cases {
        for call in &case.calls {
            for door in &call.doors {
                if let Err(failure) = make(&settled, call, *door, case.name).await {
                    failures.push(format!("{}: {} {} {:?} at {door:?}: {failure}", case.name, call.method, call.path, call.host));
                }
            }
        }
    }
    failures.extend(mesh.refusals().into_iter().map(|line| format!("refused: {line}")));
    failures.extend(mesh.weir().said().lines().filter(|line| is_complaint(line)).map(|line| format!("weir said: {line}")));
    assert!(failures.is_empty(), "over {plane:?}, {} are wrong:\n{}\n", failures.len(), failures.join("\n"));
}

/// Whether a line says that something of the configuration is wrong, is refused or has no effect: then the case says nothing.
fn is_complaint(line: &str) -> bool {
    line.starts_with("error") || ["ERROR", "refused", "not carried out"].iter().any(|words| line.contains(words))
}

async fn make(settled: &Settled, call: &Call, door: Door, host: &str) -> Result<(), String> {
    let (Door::Gateway(port) | Door::Sidecar(port)) = door;
    let port = settled.port(port);
    match call.speech {
        Speech::Http | Speech::Https => request(settled, call, port, host).await,
        Speech::Tcp | Speech::Tls(_) => connection(call, port).await,
    }
}

async fn connection(call: &Call, port: u16) -> Result<(), String> {
    let address = format!("{}:{port}", call.address).parse().map_err(|_| "no address".to_owned())?;
    let greeting = async || match call.speech {
        Speech::Tls(server_name) => tls_greeting(address, server_name).await,
        Speech::Http | Speech::Https | Speech::Tcp => tcp_greeting(address).await,
    };
    match &call.outcome {
        Outcome::Shares(shares) => {
            let mut counts = BTreeMap::new();
            for _ in 0..SAMPLE {
                *counts.entry(greeting().await).or_insert(0) += 1;
            }
            fair(&counts, shares)
        }
        Outcome::Reaches(instance) => same("instance", &greeting().await.as_str(), instance),
        Outcome::Nobody(_) => same("instance", &greeting().await.as_str(), &""),
        other => Err(format!("{other:?} is no outcome of a connection")),
    }
}

async fn request(settled: &Settled, call: &Call, port: u16, host: &str) -> Result<(), String> {
    let host = call.host.map_or_else(|| host.to_owned(), |host| settled.text(host));
    let mut client = Mesh::at(port, &host);
    if let (Speech::Https, Some(certificate)) = (call.speech, &settled.certificate) {
        client = client.trusting(certificate);
    }
    let headers: Vec<(&str, String)> = call.headers.iter().map(|(name, value)| (*name, settled.text(value))).collect();
    let mut headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    headers.push((ECHO, "1"));
    if let Outcome::Shares(shares) = call.outcome {
        let mut counts = BTreeMap::new();
        for _ in 0..SAMPLE {
            *counts.entry(client.ask(call.method, call.path, &headers).await?.instance).or_insert(0) += 1;
        }
        return fair(&counts, shares);
    }
    let answer = client.ask(call.method, call.path, &headers).await?;
    outcome(settled, call, &answer)?;
    for (name, values) in &call.answered {
        same(&format!("the answer's {name}"), &answer.values(name), &settled_values(settled, values))?;
    }
    if call.seen.is_empty() {
        return Ok(());
    }
    let seen = answer.seen().ok_or("no instance says what it saw")?;
    for (name, values) in &call.seen {
        let found = match *name {
            ":path" => vec![seen.path.clone()],
            ":method" => vec![seen.method.clone()],
            name => seen.values(name),
        };
        same(&format!("the instance's {name}"), &found, &settled_values(settled, values))?;
    }
    Ok(())
}

fn outcome(settled: &Settled, call: &Call, answer: &Answer) -> Result<(), String> {
    let (status, instance) = match &call.outcome {
        Outcome::Reaches(instance) => (200, *instance),
        Outcome::NoHost | Outcome::NoRoute => (404, ""),
        Outcome::RedirectsToHttps(_) => (301, ""),
        Outcome::Redirects(status, _) | Outcome::Answers(status, _) | Outcome::Filtered(status) | Outcome::Fails(status, _) => {
            (*status, "")
        }
        other => return Err(format!("{other:?} is no outcome of a request")),
    };
    same("status and instance", &(answer.status, answer.instance.as_str()), &(status, instance))?;
    match &call.outcome {
        Outcome::Redirects(_, location) | Outcome::RedirectsToHttps(location) => {
            same("location", &answer.values("location"), &vec![settled.text(location)])
        }
        Outcome::Answers(_, body) => same("body", &answer.body.as_str(), body),
        _ => Ok(()),
    }
}

fn settled_values(settled: &Settled, values: &[&str]) -> Vec<String> {
    values.iter().map(|value| settled.text(value)).collect()
}

/// Whether each instance has its share, and nobody else has any. Five standard deviations are once in a million.
fn fair(counts: &BTreeMap<String, u32>, shares: &[(&str, u32)]) -> Result<(), String> {
    let total: u32 = shares.iter().map(|(_, weight)| weight).sum();
    for (instance, weight) in shares {
        let part = f64::from(*weight) / f64::from(total);
        let (expected, deviation) = (part * f64::from(SAMPLE), (part * (1.0 - part) * f64::from(SAMPLE)).sqrt());
        let count = f64::from(counts.get(*instance).copied().unwrap_or_default());
        if (count - expected).abs() > 5.0 * deviation {
            return Err(format!("{instance} has {count} of {SAMPLE} instead of {expected}: {counts:?}"));
        }
    }
    match counts.keys().find(|name| !shares.iter().any(|(instance, _)| instance == *name)) {
        Some(other) => Err(format!("{other:?} has some: {counts:?}")),
        None => Ok(()),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?} instead of {expected:?}")) }
}
