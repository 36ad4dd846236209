//! `weir check`: whether a control plane can be installed, whether it is whole, and who follows which.

use std::process::ExitCode;

use weir_kubernetes::install::{Check, ControlPlane, Following};

use super::{installer, plane};
use crate::cli::{CheckArgs, Output};
use crate::mesh::start_runtime;
use crate::print;

/// Looks, and exits 1 if there is something to be done.
///
/// # Errors
/// If the API server does not tell.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let settings = plane(&args.plane)?;
    start_runtime()?.block_on(async {
        let check = installer(&args.cluster).await?.check(&settings).await?;
        match args.output {
            Output::Table => print::result(&text(&check)),
            output => print::value(&serde_json::to_value(&check)?, output)?,
        }
        Ok(if check.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
    })
}

fn text(check: &Check) -> String {
    let defined = |(group, is_there): &(String, bool)| format!("{group} {}", if *is_there { "is defined" } else { "is not defined" });
    let mut text = format!("API server {}; {}\n", check.version, check.definitions.iter().map(defined).collect::<Vec<_>>().join(", "));
    let mut part = |name: &str, table: String| text.extend(["\n", name, "\n", &table]);
    if !check.control_planes.is_empty() {
        let head = ["NAMESPACE", "NAME", "REVISION", "TAGS", "MANAGED BY", "AVAILABLE", "IMAGE"];
        part("control planes", print::table(&head, check.control_planes.iter().map(control_plane).collect()));
    }
    if !check.following.is_empty() {
        let head = ["NAMESPACE", "ASKS FOR", "REVISION", "PODS"];
        part("who follows", print::table(&head, check.following.iter().map(follower).collect()));
    }
    let findings = check.findings.iter().map(|finding| format!("- {finding}\n")).collect::<String>();
    part("to be done", if findings.is_empty() { "nothing\n".to_owned() } else { findings });
    text
}

fn control_plane(plane: &ControlPlane) -> Vec<String> {
    let tags = if plane.tags.is_empty() { "-".to_owned() } else { plane.tags.join(",") };
    let (namespace, name, revision) = (plane.namespace.clone(), plane.name.clone(), plane.revision.clone());
    vec![namespace, name, revision, tags, plane.managed_by.clone(), plane.available.to_string(), plane.image.clone()]
}

fn follower(row: &Following) -> Vec<String> {
    let absent = || "-".to_owned();
    let pods: Vec<String> = row.pods.iter().map(|(revision, pods)| format!("{revision} {}", pods.len())).collect();
    let pods = if pods.is_empty() { absent() } else { pods.join(", ") };
    vec![row.namespace.clone(), row.asks.clone().unwrap_or_else(absent), row.revision.clone().unwrap_or_else(absent), pods]
}
