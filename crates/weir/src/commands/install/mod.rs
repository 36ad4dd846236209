//! `weir install`, `weir upgrade`, `weir uninstall` and `weir check`: a control plane in a cluster.

mod changes;
mod check;
mod settings;
mod uninstall;

use std::process::ExitCode;

use anyhow::{Context, bail};
use weir_inject::decision::DEFAULT;
use weir_kubernetes::install::{Change, InstallSettings, Installer, Plan, manifest};
use weir_registry::kubernetes::{Access, connect};

pub(crate) use check::run as check;
pub(crate) use uninstall::run as uninstall;

use crate::cli::{InstallArgs, ManifestFormat, PlaneArgs, TargetArgs};
use crate::mesh::start_runtime;
use crate::print;

/// Installs, or brings what is installed to what is asked for.
///
/// # Errors
/// If that cannot be installed, or the API server does not do it.
pub(crate) fn install(args: &InstallArgs) -> anyhow::Result<ExitCode> {
    run(args, false)
}

/// The same, where a control plane is there already.
///
/// # Errors
/// As [`install`], and if none is.
pub(crate) fn upgrade(args: &InstallArgs) -> anyhow::Result<ExitCode> {
    run(args, true)
}

fn run(args: &InstallArgs, must_be_there: bool) -> anyhow::Result<ExitCode> {
    let settings = settings::settings(args)?;
    if let Some(format) = args.output {
        print_manifest(&settings, format)?;
        return Ok(ExitCode::SUCCESS);
    }
    start_runtime()?.block_on(async {
        let installer = installer(&args.cluster).await?;
        let plan = installer.plan(&settings, args.force_conflicts).await.context("nothing is changed")?;
        if must_be_there && plan.steps.iter().any(|step| step.object["kind"] == "Deployment" && step.change == Change::New) {
            bail!("no revision {} is in {} that could be upgraded: weir install makes one", settings.revision, settings.namespace);
        }
        if args.dry_run {
            print::result(&changes::text(&plan));
        }
        let conflicts = plan.conflicts();
        if !conflicts.is_empty() && !args.force_conflicts {
            print::say(&format!("weir: nothing is changed, for others own some of it:\n  {}", conflicts.join("\n  ")));
            print::say("weir: --force-conflicts takes it from them; another --revision stands beside them");
            return Ok(ExitCode::from(1));
        }
        if !args.dry_run {
            carry_out(args, &installer, &plan).await?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn carry_out(args: &InstallArgs, installer: &Installer, plan: &Plan) -> anyhow::Result<()> {
    let wait = (!args.no_wait).then_some(args.timeout);
    let done = installer.carry_out(plan, wait, |what| print::say(&format!("weir: {what}"))).await;
    done.context("not all of it is installed; what is stays, and the same command goes on")?;
    print::say(if plan.is_done() { "weir: all is there already" } else { "weir: all is there" });
    Ok(())
}

fn print_manifest(settings: &InstallSettings, format: ManifestFormat) -> anyhow::Result<()> {
    let objects = manifest(settings);
    let text = match format {
        ManifestFormat::Json => {
            let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
            serde_json::to_string_pretty(&list)? + "\n"
        }
        ManifestFormat::Yaml => {
            let documents: Result<Vec<String>, _> = objects.iter().map(serde_saphyr::to_string).collect();
            documents?.join("---\n")
        }
    };
    print::result(&text);
    Ok(())
}

/// A control plane of this name and place, with the usual settings.
///
/// # Errors
/// If it can have no such name.
fn plane(args: &PlaneArgs) -> anyhow::Result<InstallSettings> {
    let revision = args.revision.clone().unwrap_or_else(|| DEFAULT.to_owned());
    let settings = InstallSettings { namespace: args.namespace.clone(), revision, ..InstallSettings::default() };
    match settings.problems() {
        problems if problems.is_empty() => Ok(settings),
        problems => bail!("there is no such control plane: {}", problems.join("; ")),
    }
}

/// Who asks the cluster that kubectl would ask.
async fn installer(args: &TargetArgs) -> anyhow::Result<Installer> {
    let context = args.context.clone();
    let access = match &args.kubeconfig {
        Some(path) => Access::Kubeconfig { path: path.clone(), context },
        None => Access::Usual { context },
    };
    Ok(Installer::new(connect(&access).await?))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use weir_kubernetes::install::{InstallSettings, manifest};

    use crate::cli::{Cli, Command};

    #[test]
    fn what_the_control_plane_is_told_is_understood_by_this_very_program() {
        let envoy = InstallSettings { data_plane: "envoy".to_owned(), envoy_image: "envoy:1".to_owned(), ..InstallSettings::default() };
        let plain = InstallSettings { plaintext_xds: true, revision: "canary".to_owned(), ..envoy.clone() };
        for settings in [InstallSettings::default(), envoy, plain] {
            let deployment = manifest(&settings).into_iter().find(|object| object["kind"] == "Deployment").unwrap();
            let words = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap().clone();
            let words = words.iter().map(|word| word.as_str().unwrap());
            let cli = Cli::try_parse_from(std::iter::once("weir").chain(words)).unwrap();
            let Command::Pilot(args) = cli.command else { panic!("{:?}", cli.command) };
            assert_eq!(
                (args.source.revision, args.source.namespace, args.source.in_cluster),
                (settings.revision, settings.namespace, true)
            );
            assert_eq!(args.webhooks.address(true).unwrap().port(), 15017);
            assert_eq!((args.plaintext_xds, args.webhooks.sidecar.image), (settings.plaintext_xds, Some(settings.image)));
        }
    }
}
