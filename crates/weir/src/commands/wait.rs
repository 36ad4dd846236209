//! `weir wait --for applied`: until every proxy has answered a configuration that has the objects of files as they are written; and
//! `--for ready`: until the proxy of this pod is ready.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Deserialize;
use weir_api::{Object, Severity};
use weir_pilot::answers::content;
use weir_registry::files;

use super::pilot_admin;
use super::proxy_status::{Standing, Standings, ask_pilot, refusals, standings};
use crate::cli::WaitArgs;
use crate::print;

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(50);
/// A proxy of this pod answers in that time, or is asked again.
const ANSWER: Duration = Duration::from_secs(1);
/// Of its answer only the first line counts.
const LONGEST_LINE: u64 = 1024;

/// Waits, and exits 1 if it takes too long.
///
/// # Errors
/// If there is nothing to wait for, or nobody answers who is a pilot.
pub(crate) fn run(args: &WaitArgs) -> anyhow::Result<ExitCode> {
    let deadline = Instant::now() + args.timeout;
    if args.what == "ready" {
        return Ok(until_ready(args, deadline));
    }
    if let Some(missing) = args.files.iter().find(|path| path.as_os_str() != "-" && !path.exists()) {
        bail!("{} is not there", missing.display());
    }
    let catalog = files::read(&args.inputs());
    catalog.diagnostics().for_each(print::diagnostic);
    if catalog.diagnostics().any(|diagnostic| diagnostic.severity == Severity::Error) {
        print::say("weir: what is wrong is not applied");
        return Ok(ExitCode::from(1));
    }
    if catalog.is_empty() {
        bail!("there is nothing to wait for in {}", args.names());
    }
    let wanted: Vec<Wanted> = catalog.objects().map(|object| Wanted::of(object)).collect();
    // The version of which it is known that it has all objects as they are written.
    let mut version = None;
    loop {
        let lacking = match look(args, &wanted, &mut version)? {
            lacking if lacking.is_empty() => {
                print::say(&format!("weir: {} resources are applied", wanted.len()));
                return Ok(ExitCode::SUCCESS);
            }
            lacking => lacking,
        };
        if Instant::now() >= deadline {
            print::say(&format!("weir: not applied within {:?}\n{lacking}", args.timeout));
            return Ok(ExitCode::from(1));
        }
        pause();
    }
}

/// Waits until the proxy of this pod is ready: what comes after it may then call others.
fn until_ready(args: &WaitArgs, deadline: Instant) -> ExitCode {
    loop {
        let Err(problem) = is_ready(args.health) else { return ExitCode::SUCCESS };
        if Instant::now() >= deadline {
            print::say(&format!("weir: the proxy is not ready within {:?}: {} answers {problem}", args.timeout, args.health));
            return ExitCode::from(1);
        }
        pause();
    }
}

/// Whether the proxy says that it is ready; or what it says instead.
fn is_ready(address: SocketAddr) -> Result<(), String> {
    let ask = || -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        write!(stream, "GET /healthz/ready HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
        let mut line = String::new();
        io::BufReader::new(stream.take(LONGEST_LINE)).read_line(&mut line)?;
        Ok(line)
    };
    match ask() {
        Ok(line) if line.split(' ').nth(1) == Some("200") => Ok(()),
        Ok(line) => Err(line.trim_end().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[expect(clippy::disallowed_methods, reason = "the pilot is another process, which is asked again and again")]
fn pause() {
    std::thread::sleep(PAUSE);
}

/// An object as it is written.
struct Wanted {
    key: Key,
    content: String,
}

/// Kind, namespace and name.
type Key = (String, String, String);

impl Wanted {
    fn of(object: &Object) -> Self {
        let key = (object.kind.name().to_owned(), object.meta.namespace.clone(), object.meta.name.clone());
        Self { key, content: content(object) }
    }
}

/// The objects that are in force.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    config_version: u64,
    objects: Vec<InForce>,
}

#[derive(Deserialize)]
struct InForce {
    kind: String,
    namespace: String,
    name: String,
    content: String,
}

/// What is lacking now, for people; nothing if all is applied.
fn look(args: &WaitArgs, wanted: &[Wanted], version: &mut Option<u64>) -> anyhow::Result<String> {
    if version.is_none() {
        let versions = serde_json::from_value(ask_pilot(args.admin, pilot_admin::VERSIONS)?);
        let versions: Versions = versions.context("the pilot's answer is none that this version understands")?;
        let lacking = lacked_by_pilot(wanted, &versions);
        if !lacking.is_empty() {
            return Ok(lacking);
        }
        *version = Some(versions.config_version);
    }
    let (standings, wanted) = (standings(args.admin)?, version.unwrap_or_default());
    if standings.config_version < wanted {
        // Another pilot answers there now: it counts anew.
        *version = None;
        return Ok("  the pilot has just started\n".to_owned());
    }
    Ok(lacked_by_proxies(&standings, wanted))
}

fn lacked_by_pilot(wanted: &[Wanted], versions: &Versions) -> String {
    let in_force: BTreeMap<Key, &str> = versions
        .objects
        .iter()
        .map(|object| ((object.kind.clone(), object.namespace.clone(), object.name.clone()), object.content.as_str()))
        .collect();
    let lack = |wanted: &Wanted| {
        let (kind, namespace, name) = &wanted.key;
        match in_force.get(&wanted.key) {
            Some(content) if *content == wanted.content => None,
            Some(_) => Some(format!("  {kind} {namespace}/{name} is another one in the mesh\n")),
            None => Some(format!("  {kind} {namespace}/{name} is not in the mesh\n")),
        }
    };
    wanted.iter().filter_map(lack).collect()
}

fn lacked_by_proxies(standings: &Standings, version: u64) -> String {
    let lack = |standing: &Standing| match refusals(standing) {
        refusals if !refusals.is_empty() => refusals,
        _ if standing.answered_version < version => format!("  {} has not answered yet\n", standing.proxy),
        _ => String::new(),
    };
    standings.proxies.iter().map(lack).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_applied_when_the_mesh_has_it_as_it_is_written() {
        let wanted = Wanted { key: ("Service".to_owned(), "default".to_owned(), "a".to_owned()), content: "1".to_owned() };
        let versions = |content: Option<&str>| Versions {
            config_version: 1,
            objects: content
                .map(|content| InForce { kind: "Service".into(), namespace: "default".into(), name: "a".into(), content: content.into() })
                .into_iter()
                .collect(),
        };
        let lacking = |content| lacked_by_pilot(std::slice::from_ref(&wanted), &versions(content));
        assert_eq!(lacking(Some("1")), "");
        assert_eq!(lacking(Some("2")), "  Service default/a is another one in the mesh\n");
        assert_eq!(lacking(None), "  Service default/a is not in the mesh\n");
    }
}
