//! `weir analyze`: all documents together.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, bail};
use serde_json::Value;
use weir_analysis::analyze::{Finding, Input, Printed, analyze};
use weir_api::resources::MeshConfig;
use weir_api::syntax::yaml;
use weir_api::{Node, Severity, Source};
use weir_registry::files;

use crate::cli::{AnalyzeArgs, Output};
use crate::print;

/// Analyses, prints, and exits 1 if anything is wrong; what is only good to know is not.
///
/// # Errors
/// If the mesh's configuration or its networks cannot be read.
pub(crate) fn run(args: &AnalyzeArgs) -> anyhow::Result<ExitCode> {
    let (mesh, written) = mesh_config(args.mesh_config.as_deref())?;
    let networks = args.mesh_networks.as_deref().map(networks).transpose()?;
    let (documents, unreadable) = files::read_documents(&args.files.inputs());
    let findings = analyze(&Input {
        documents: &documents,
        unreadable: &unreadable,
        mesh: &mesh,
        written: &written,
        networks: networks.as_ref().map(|(source, node)| (source, node)),
        now: Some(SystemTime::now()),
        has_standard_gateway: !args.no_standard_gateway,
        alpha_annotations: args.alpha_annotations,
    });
    let printed = || findings.iter().map(Finding::printed).collect::<Vec<Printed>>();
    match args.output {
        Output::Json => print::result(&(serde_json::to_string_pretty(&printed())? + "\n")),
        Output::Yaml => print::result(&serde_saphyr::to_string(&printed())?),
        Output::Table => {
            findings.iter().for_each(show);
            print::result(&summary(documents.len(), &findings));
        }
    }
    let is_wrong = findings.iter().any(|finding| finding.level() != Severity::Info);
    Ok(if is_wrong { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// With its code before what it says.
fn show(finding: &Finding) {
    let mut diagnostic = finding.diagnostic.clone();
    let object = diagnostic.object.take().map(|object| format!("{object}: ")).unwrap_or_default();
    let path = std::mem::take(&mut diagnostic.path);
    let field = if path.0.is_empty() { String::new() } else { format!("{path}: ") };
    diagnostic.message = format!("[{}] {object}{field}{}", finding.code.id, diagnostic.message);
    print::diagnostic(&diagnostic);
}

fn summary(documents: usize, findings: &[Finding]) -> String {
    let count = |severity| findings.iter().filter(|finding| finding.level() == severity).count();
    let counted = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let (errors, warnings, notes) = (count(Severity::Error), count(Severity::Warning), count(Severity::Info));
    let found = [counted(errors, "error"), counted(warnings, "warning"), counted(notes, "note")].join(", ");
    format!("{}: {found}\n", counted(documents, "document"))
}

fn read(path: &Path) -> anyhow::Result<Arc<Source>> {
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(Source::new(path.display().to_string(), text))
}

/// A mesh's configuration, and what of it is written.
fn mesh_config(path: Option<&Path>) -> anyhow::Result<(Arc<MeshConfig>, Value)> {
    let Some(path) = path else { return Ok((Arc::default(), Value::Null)) };
    let (mesh, written, diagnostics) = MeshConfig::parse_as_written(&read(path)?);
    diagnostics.iter().for_each(print::diagnostic);
    if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        bail!("the mesh's configuration in {} is wrong", path.display());
    }
    Ok((Arc::new(mesh), written))
}

/// A mesh's networks, and their text.
fn networks(path: &Path) -> anyhow::Result<(Arc<Source>, Node)> {
    let source = read(path)?;
    match yaml::documents(&source).into_iter().next() {
        Some(Ok(node)) => Ok((source, node)),
        Some(Err(error)) => bail!("{error}"),
        None => bail!("{} is empty", path.display()),
    }
}
