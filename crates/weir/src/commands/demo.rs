//! `weir demo`: a sample's applications, sidecars and gateway in one process, from files that a person can change; or each application
//! on a machine of its own.

pub(crate) mod application;
mod machines;
mod namespaces;
mod running;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use tokio::sync::watch;
use weir_samples::{Bound, Instance, Sample};

use super::run::{Standing, Started};
use crate::cli::{DemoArgs, RemoteArgs, SampleName};
use crate::mesh::authority::AuthoritySource;
use crate::mesh::{mesh_config, start_runtime};
use crate::print;

/// Where samples are written.
const FOLDER: &str = "weir-demo";

/// Runs until told to end.
///
/// # Errors
/// If the files cannot be written, or an address is taken; in namespaces, if there can be none.
pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let sample = match args.sample {
        SampleName::Bookinfo => Sample::Bookinfo,
        SampleName::Httpbin => Sample::Httpbin,
        SampleName::TcpEcho => Sample::TcpEcho,
    };
    if args.namespaces {
        return namespaces::run(sample, &args.process);
    }
    let dir = Path::new(FOLDER).join(sample.name());
    write(sample.files(), &dir)?;
    start_runtime()?.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let mut applications = vec![];
        for instance in sample.instances() {
            let bound = instance.bind().await?;
            applications.push(tokio::spawn(serve(bound, stopped.clone())));
        }
        let standing = Standing {
            dir: &dir,
            mesh: mesh_config(None)?,
            gateways: vec![],
            xds: vec![],
            secrets_only_at_sockets: false,
            plaintext_xds: false,
            remote: RemoteArgs::default(),
            authority: AuthoritySource::Memory,
            process: &args.process,
            ends_with_terminal: true,
        };
        let welcome = |started: Started| async move {
            print::say(&welcome(sample, &started));
            Ok(())
        };
        let code = standing.start(welcome).await?;
        // Requests that were in flight have been answered by now.
        stop.send_replace(true);
        applications.iter().for_each(tokio::task::JoinHandle::abort);
        Ok(code)
    })
}

async fn serve(bound: Bound, mut stopped: watch::Receiver<bool>) {
    bound.serve(async move { drop(stopped.wait_for(|stopped| *stopped).await) }).await;
}

/// Writes a sample's files. What is there already is kept: a person may have changed it.
fn write(files: &[(&str, &str)], dir: &Path) -> anyhow::Result<()> {
    if dir.exists() {
        return Ok(());
    }
    let failed = || format!("the sample cannot be written to {}", dir.display());
    fs::create_dir_all(dir).with_context(failed)?;
    for (name, text) in files {
        fs::write(dir.join(name), text).with_context(failed)?;
    }
    Ok(())
}

fn welcome(sample: Sample, started: &Started) -> String {
    let dir = format!("{FOLDER}/{}", sample.name());
    let things = sample.things_to_try(&dir).map(|thing| (thing.sentence.to_owned(), thing.command));
    told(sample, &dir, &listening(sample, started), &things)
}

/// What runs, from which files, and what can be tried with it: sentences with commands.
fn told(sample: Sample, dir: &str, running: &str, things: &[(String, String)]) -> String {
    let mut text = format!("\n{} runs from the files in ./{dir}\n\n{running}\n", sample.name());
    for (number, (sentence, command)) in things.iter().enumerate() {
        let command: String = command.trim_end().lines().map(|line| format!("     {line}\n")).collect();
        text += &format!("{}. {sentence}\n\n{command}\n", number + 1);
    }
    text + "Ctrl-C ends it; the files stay. The access log follows.\n"
}

fn listening(sample: Sample, started: &Started) -> String {
    let gateway = vec!["gateway".to_owned(), sample.gateway().to_string(), String::new(), sample.entrance().to_owned()];
    let row = |instance: &Instance| {
        let inbound = format!("{}:{}", instance.address, instance.port);
        vec![instance.name.clone(), inbound, format!("{}:*", instance.outbound), instance.listen.to_string()]
    };
    let instances = sample.instances();
    let rows = std::iter::once(gateway).chain(instances.iter().map(row));
    let admin = vec!["admin".to_owned(), started.admin.to_string(), String::new(), format!("http://{}/", started.admin)];
    print::table(&["WHAT", "TAKES IN AT", "SENDS OUT BY", "APPLICATION"], rows.chain([admin]).collect())
}
