//! The settings of an installation: those of a file of values, and over them those of the command line.

use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Map, Value};
use weir_kubernetes::install::InstallSettings;

use crate::cli::InstallArgs;

/// Reads them, and checks them.
///
/// # Errors
/// If a file cannot be read, or what is asked for cannot be installed.
pub(super) fn settings(args: &InstallArgs) -> anyhow::Result<InstallSettings> {
    let mut settings = match &args.values {
        Some(path) => values(path)?,
        None => InstallSettings::default(),
    };
    settings.namespace.clone_from(&args.plane.namespace);
    if let Some(revision) = &args.plane.revision {
        settings.revision.clone_from(revision);
    }
    if let Some(image) = &args.image {
        settings.image.clone_from(image);
    }
    for tag in &args.tag {
        if !settings.tags.contains(tag) {
            settings.tags.push(tag.clone());
        }
    }
    if let Some(replicas) = args.replicas {
        settings.replicas = replicas;
        settings.autoscale.enabled = false;
    }
    if let Some(path) = &args.mesh_config {
        settings.mesh_config = mesh(path)?;
    }
    settings.plaintext_xds |= args.plaintext_xds;
    match settings.problems() {
        problems if problems.is_empty() => Ok(settings),
        problems => bail!("this cannot be installed:\n  {}", problems.join("\n  ")),
    }
}

fn values(path: &Path) -> anyhow::Result<InstallSettings> {
    let what = || format!("{} has no values of an installation", path.display());
    let values: Value = serde_saphyr::from_str(&read(path)?).with_context(what)?;
    InstallSettings::of_values(&values).with_context(what)
}

/// The mesh's configuration, as it is written in a file of its own or in Istio's ConfigMap.
fn mesh(path: &Path) -> anyhow::Result<Map<String, Value>> {
    let of = |text: &str| serde_saphyr::from_str::<Value>(text).with_context(|| format!("{} is no YAML", path.display()));
    let mut document = of(&read(path)?)?;
    if document["kind"] == "ConfigMap" {
        let text = document["data"]["mesh"].as_str().with_context(|| format!("the ConfigMap in {} has no data.mesh", path.display()))?;
        document = of(text)?;
    }
    match document {
        Value::Object(mesh) => Ok(mesh),
        Value::Null => Ok(Map::new()),
        _ => bail!("{} is no configuration of a mesh: fields are wanted", path.display()),
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
        return Ok(text);
    }
    fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}
