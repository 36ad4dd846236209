//! `weir uninstall`: a control plane is taken away, and what it wrote.

use std::process::ExitCode;

use anyhow::Context;
use weir_kubernetes::install::{Following, Removal, title};

use super::{installer, plane};
use crate::cli::UninstallArgs;
use crate::mesh::start_runtime;
use crate::print;

/// Takes it away, and says what stays.
///
/// # Errors
/// If the API server does not do it.
pub(crate) fn run(args: &UninstallArgs) -> anyhow::Result<ExitCode> {
    let settings = plane(&args.plane)?;
    let (namespace, revision) = (&settings.namespace, &settings.revision);
    start_runtime()?.block_on(async {
        let installer = installer(&args.cluster).await?;
        let removal = installer.removal(namespace, revision).await?;
        if removal.is_empty() {
            print::say(&format!("weir: nothing of revision {revision} is in {namespace}"));
        }
        tell_followers(&installer.following().await?, &removal, revision);
        if args.dry_run {
            print::result(&would_be_deleted(&removal));
        } else {
            let removed = installer.remove(&removal, args.timeout, |what| print::say(&format!("weir: {what}"))).await;
            removed.context("not all of it is taken away; the same command goes on")?;
        }
        for left in &removal.left {
            print::say(&format!("weir: {left}"));
        }
        print::say("weir: the definitions of Istio's resources stay, and these themselves: they are not Weir's");
        Ok(ExitCode::SUCCESS)
    })
}

/// Who is left behind: pods keep their sidecars and what these know.
fn tell_followers(following: &[Following], removal: &Removal, revision: &str) {
    for row in following {
        let namespace = &row.namespace;
        if let Some(pods) = row.pods.get(revision) {
            let count = pods.len();
            print::say(&format!(
                "weir: of {namespace} {count} pods follow this revision, and go on with what they know until their certificates end: \
                 start them anew when the namespace is labelled for another control plane, or for none"
            ));
        }
        if let (Some(asks), true) = (&row.asks, row.revision.as_deref() == Some(revision) && !removal.objects.is_empty()) {
            print::say(&format!("weir: namespace {namespace} asks for {asks}, which nobody answers to any more: new pods get no sidecars"));
        }
    }
    for tag in &removal.tags {
        print::say(&format!("weir: the tag {tag} means nothing any more"));
    }
}

fn would_be_deleted(removal: &Removal) -> String {
    let all = removal.objects.iter().chain(&removal.written).chain(&removal.own_namespace);
    all.map(|object| format!("{}: would be deleted\n", title(object))).collect()
}
