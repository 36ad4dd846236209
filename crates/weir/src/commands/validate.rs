//! `weir validate`: each document by itself, in files or in a cluster.

use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value, json};
use weir_analysis::preview::{Said, of_patch};
use weir_api::{Diagnostic, Object, ObjectName, Severity};
use weir_registry::files;
use weir_translate::{patch_values, unsupported};

use crate::cli::{InputPlace, Output, ValidateArgs};
use crate::mesh::Cluster;
use crate::print;

/// Checks, prints, and exits 1 if anything is wrong.
///
/// # Errors
/// If the cluster does not answer that is to be read.
pub(crate) fn run(args: &ValidateArgs) -> anyhow::Result<ExitCode> {
    let catalog = match args.input.place()? {
        InputPlace::Files(inputs) => files::read(&inputs),
        InputPlace::Cluster => {
            let cluster = Cluster::reach(&args.input.cluster)?;
            let namespace = args.namespace.as_deref().unwrap_or(cluster.namespace());
            cluster.written((!args.all_namespaces).then_some(namespace))?
        }
    };
    let objects: Vec<Arc<Object>> = catalog.objects().cloned().collect();
    let found = catalog.diagnostics().cloned().chain(unsupported::findings(&objects));
    let diagnostics: Vec<Diagnostic> = found.chain(objects.iter().flat_map(foreseen)).collect();
    let has_errors = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    match args.output {
        Output::Json => print::result(&(serde_json::to_string_pretty(&verdicts(&objects, &diagnostics))? + "\n")),
        Output::Yaml => print::result(&serde_saphyr::to_string(&verdicts(&objects, &diagnostics))?),
        Output::Table => {
            diagnostics.iter().for_each(print::diagnostic);
            print::result(&summary(&objects, &diagnostics));
        }
    }
    Ok(if has_errors { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// What Weir's own proxy will say of what an EnvoyFilter puts in.
fn foreseen(object: &Arc<Object>) -> Vec<Diagnostic> {
    let mut found = vec![];
    for patch in patch_values(object) {
        for said in of_patch(&patch.value, patch.is_whole) {
            let message = match said {
                Said::Refused(reason) => format!("Weir's own proxy will refuse it: {reason}"),
                Said::PassedOver(field) => format!("Weir's own proxy passes over a part of it: {field}"),
            };
            found.push(object.diagnostic(Severity::Warning, patch.path.key("patch").key("value"), message));
        }
    }
    found
}

fn summary(objects: &[Arc<Object>], diagnostics: &[Diagnostic]) -> String {
    let count = |severity| diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count();
    let counted = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let good = objects.iter().filter(|object| !object.stands_in()).count();
    format!("{}, {}, {}\n", counted(good, "good resource"), counted(errors, "error"), counted(warnings, "warning"))
}

/// One verdict for each document: those that are refused as well as those that are not.
fn verdicts(objects: &[Arc<Object>], diagnostics: &[Diagnostic]) -> Vec<Value> {
    let mut verdicts: Vec<(Option<ObjectName>, Vec<&Diagnostic>)> = objects.iter().map(|object| (Some(object.name()), vec![])).collect();
    for diagnostic in diagnostics {
        let known = diagnostic.object.as_ref().and_then(|name| verdicts.iter_mut().find(|(known, _)| known.as_ref() == Some(name)));
        match known {
            Some((_, diagnostics)) => diagnostics.push(diagnostic),
            None => verdicts.push((diagnostic.object.clone(), vec![diagnostic])),
        }
    }
    verdicts.into_iter().map(|(name, diagnostics)| verdict(name.as_ref(), &diagnostics)).collect()
}

fn verdict(name: Option<&ObjectName>, diagnostics: &[&Diagnostic]) -> Value {
    let of = |severity| -> Vec<Value> {
        diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).map(|diagnostic| finding(diagnostic)).collect()
    };
    let errors = of(Severity::Error);
    json!({
        "resource": name.map(ToString::to_string),
        "valid": errors.is_empty(),
        "errors": errors,
        "warnings": of(Severity::Warning),
    })
}

fn finding(diagnostic: &Diagnostic) -> Value {
    let place = diagnostic.place.as_ref();
    json!({
        "path": diagnostic.path.to_string(),
        "message": diagnostic.message,
        "help": diagnostic.help,
        "file": place.map(|place| &place.source.path),
        "line": place.map(|place| place.span.line),
        "column": place.map(|place| place.span.column),
    })
}
