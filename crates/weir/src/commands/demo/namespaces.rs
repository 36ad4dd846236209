//! `weir demo --namespaces`: the applications know nothing of a mesh, and each has a network of its own, where the kernel hands its traffic
//! to its sidecar. Pilot and gateway are here.

use std::env;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use weir_capture::namespace::Namespace;
use weir_capture::{Kernel, programs};
use weir_samples::{Instance, Sample};

use super::machines::Machines;
use super::running::Folder;
use super::{FOLDER, told, write};
use crate::cli::{AuthorityArgs, ProcessArgs, RemoteArgs, XdsAddress};
use crate::commands::run::{Standing, Started};
use crate::mesh::authority::AuthoritySource;
use crate::mesh::{mesh_config, start_runtime};
use crate::print;

/// Runs until told to end.
///
/// # Errors
/// If there can be no namespaces here, or something does not start.
pub(super) fn run(sample: Sample, process: &ProcessArgs) -> anyhow::Result<ExitCode> {
    let Some(files) = sample.files_for_machines() else { bail!("{} does not run in namespaces, only bookinfo does", sample.name()) };
    if let Some(why) =
        lacking(cfg!(target_os = "linux"), rustix::process::geteuid().is_root(), |program| programs::found(program).is_some())
    {
        bail!("--namespaces: {why}");
    }
    Kernel::by(None)?;
    let dir = Path::new(FOLDER).join(format!("{}-namespaces", sample.name()));
    write(&files, &dir)?;
    start_runtime()?.block_on(async {
        let (folder, mut machines) = (Folder::new()?, Machines::default());
        // Sidecars show by its secret whose they are. The root is gone with this process.
        let authority = AuthorityArgs { ca: None, state: Some(folder.state()), ephemeral_root: true };
        let standing = Standing {
            dir: &dir,
            mesh: mesh_config(None)?,
            gateways: vec![],
            xds: vec![XdsAddress::Unix(folder.xds())],
            secrets_only_at_sockets: true,
            plaintext_xds: false,
            remote: RemoteArgs::default(),
            authority: AuthoritySource::Args(&authority, Some(&dir)),
            process,
            ends_with_terminal: true,
        };
        let (all, place) = (&mut machines, &folder);
        let started = |started: Started| async move {
            all.start(sample.instances().into_iter().map(Instance::alone).collect(), place).await?;
            print::say(&welcome(sample, &started, all)?);
            Ok(())
        };
        // When it returns the gateway has answered what was under way, and the machines may go.
        standing.start(started).await
    })
}

/// What is missing for it, and what to do.
fn lacking(is_linux: bool, is_root: bool, is_here: impl Fn(&str) -> bool) -> Option<String> {
    if !is_linux {
        return Some("only Linux has network namespaces; `weir demo` runs without them".to_owned());
    }
    if !is_root {
        return Some("only root may make network namespaces: run it with sudo; `weir demo` needs no rights".to_owned());
    }
    let programs = Namespace::PROGRAMS.into_iter().chain(["setpriv"]);
    let package = |program| if program == "ip" { "iproute2" } else { "util-linux" };
    let missing: Vec<String> = programs
        .filter(|program| !is_here(program))
        .map(|program| format!("{program} is not on this machine: install the package {}", package(program)))
        .collect();
    (!missing.is_empty()).then(|| missing.join("; "))
}

fn welcome(sample: Sample, started: &Started, machines: &Machines) -> anyhow::Result<String> {
    let dir = format!("{FOLDER}/{}-namespaces", sample.name());
    Ok(told(sample, &dir, &table(sample, started, machines), &things_to_try(sample, &dir, machines)?))
}

fn table(sample: Sample, started: &Started, machines: &Machines) -> String {
    let here = |what: &str, at: String, open: String| vec![what.to_owned(), at, "this machine".to_owned(), open];
    let gateway = here("gateway", sample.gateway().to_string(), sample.entrance().to_owned());
    let admin = here("admin", started.admin.to_string(), format!("http://{}/", started.admin));
    let machine = machines.iter().map(|machine| {
        let Instance { name, address, port, .. } = &machine.instance;
        vec![name.clone(), format!("{address}:{port}"), format!("process {}", machine.namespace.id()), String::new()]
    });
    let switch = machines.switch().map(|id| vec!["the wire".to_owned(), String::new(), format!("process {id}"), String::new()]);
    let rows = std::iter::once(gateway).chain(machine).chain(switch).chain([admin]);
    print::table(&["WHAT", "AT", "IN THE NETWORK OF", ""], rows.collect())
}

/// Sentences and the commands that show what they say.
fn things_to_try(sample: Sample, dir: &str, machines: &Machines) -> anyhow::Result<Vec<(String, String)>> {
    let of = |service: &str| machines.iter().find(|machine| machine.instance.service == service);
    let (Some(client), Some(server), Some(wire)) = (of("productpage"), of("reviews"), machines.switch()) else {
        bail!("the sample has no productpage, or no reviews");
    };
    let Instance { address, port, .. } = server.instance;
    let (client, weir) = (client.namespace.id(), env::current_exe()?.display().to_string());
    let rules = if programs::found("nft").is_some() { "nft list ruleset" } else { "iptables-save" };
    let [first, ..] = sample.things_to_try(dir);
    let things = [
        (
            "As root: call reviews as productpage does, by its plain name and without TLS. The sidecars do the rest.",
            format!("nsenter -t {client} -n -m curl -s http://reviews:{port}/reviews/0"),
        ),
        (
            "As root: listen to the wire while you do so again. There is an Istio handshake, and nothing that you could read.",
            format!("nsenter -t {wire} -n tcpdump -lnA -i any tcp port {port}"),
        ),
        (
            "See the certificate by which an instance of reviews shows who it is.",
            format!("openssl s_client -connect {address}:{port} </dev/null 2>&1 | openssl x509 -noout -ext subjectAltName -dates"),
        ),
        (
            "You have none: you are refused, until plain text is PERMISSIVE as well.",
            format!(
                "curl http://{address}:{port}/reviews/0\nsed -i.bak s/STRICT/PERMISSIVE/ {dir}/peer-authentication.yaml\nsleep 1\n\
                 curl http://{address}:{port}/reviews/0\nmv {dir}/peer-authentication.yaml.bak {dir}/peer-authentication.yaml"
            ),
        ),
        (
            "As root: read the kernel's rules that capture an application, and ask its sidecar what it has.",
            format!("nsenter -t {client} -n {rules}\nnsenter -t {client} -n {weir} proxy-config listeners"),
        ),
    ];
    let things = things.map(|(sentence, command)| (sentence.to_owned(), command));
    Ok(std::iter::once((first.sentence.to_owned(), first.command)).chain(things).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_what_to_do() {
        for (is_linux, is_root, absent, expected) in [
            (true, true, &[][..], None),
            (false, true, &[], Some("only Linux has network namespaces; `weir demo` runs without them")),
            (true, false, &["ip"], Some("only root may make network namespaces: run it with sudo; `weir demo` needs no rights")),
            (true, true, &["ip"], Some("ip is not on this machine: install the package iproute2")),
            (
                true,
                true,
                &["nsenter", "setpriv"],
                Some(
                    "nsenter is not on this machine: install the package util-linux; setpriv is not on this machine: install the package util-linux",
                ),
            ),
        ] {
            assert_eq!(lacking(is_linux, is_root, |program| !absent.contains(&program)).as_deref(), expected);
        }
    }
}
