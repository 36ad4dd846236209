//! `weir kube-inject`: objects with sidecars, from a file.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use weir_api::Source;
use weir_inject::{DataPlane, DocumentError, Mesh, Settings, inject_documents};

use crate::cli::{DataPlaneName, KubeInjectArgs};
use crate::print;

/// Injects, or prints nothing and says what is wrong.
///
/// # Errors
/// If a file cannot be read, or an object asks for what cannot be read.
pub(crate) fn run(args: &KubeInjectArgs) -> anyhow::Result<ExitCode> {
    let settings = settings(args)?;
    let (name, text) = read(&args.file)?;
    let injected = match inject_documents(&Source::new(name, text), &settings) {
        Ok(injected) => injected,
        Err(DocumentError::Syntax(diagnostic)) => {
            print::diagnostic(&diagnostic);
            bail!("{} cannot be injected", args.file.display());
        }
        Err(DocumentError::Object(problem)) => bail!("{}: {problem}", args.file.display()),
    };
    injected.notes.iter().for_each(|note| print::say(&format!("weir: {note}")));
    match &args.output {
        Some(path) => fs::write(path, &injected.text).with_context(|| format!("{} cannot be written", path.display()))?,
        None => print::result(&injected.text),
    }
    Ok(ExitCode::SUCCESS)
}

fn settings(args: &KubeInjectArgs) -> anyhow::Result<Settings> {
    let usual = Settings::default();
    Ok(Settings {
        revision: args.revision.clone(),
        own_namespace: args.istio_namespace.clone(),
        data_plane: if args.data_plane == DataPlaneName::Envoy { DataPlane::Envoy } else { DataPlane::Weir },
        image: args.image.clone().unwrap_or(usual.image),
        envoy_image: args.envoy_image.clone().unwrap_or(usual.envoy_image),
        native_sidecars: args.native_sidecars,
        mesh: mesh(args.mesh_config.as_deref())?,
        ..Settings::default()
    })
}

fn mesh(path: Option<&Path>) -> anyhow::Result<Mesh> {
    let Some(path) = path else { return Ok(Mesh::default()) };
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let read = Mesh::parse(&Source::new(path.display().to_string(), text));
    let (found, mesh) = match read {
        Ok((mesh, found)) => (found, Some(mesh)),
        Err(found) => (found, None),
    };
    found.iter().for_each(print::diagnostic);
    mesh.with_context(|| format!("the mesh's configuration in {} is wrong", path.display()))
}

/// A text, and what people call it.
fn read(path: &Path) -> anyhow::Result<(String, String)> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
        return Ok(("standard input".to_owned(), text));
    }
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok((path.display().to_string(), text))
}
