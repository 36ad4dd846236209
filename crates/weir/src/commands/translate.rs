//! `weir translate`: the xDS resources that a proxy would get.

use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Value, json};
use weir_analysis::preview::{Preview, preview};
use weir_api::{Diagnostic, Severity};
use weir_translate::{Change, Translation};
use weir_xds::json::Names;
use weir_xds::lines::of_messages;
use weir_xds::tls::Secret;
use weir_xds::{Any, Message, Name};

use super::offline;
use crate::cli::{Output, TranslateArgs};
use crate::print;

/// Reads, translates, and prints.
///
/// # Errors
/// If the proxy or the mesh's configuration cannot be read.
pub(crate) fn run(args: &TranslateArgs) -> anyhow::Result<ExitCode> {
    let mesh = offline::read(&args.input, &args.revision, args.mesh_config.as_deref())?.mesh;
    let proxy = offline::read_proxy(&args.proxy)?;
    let translation = offline::translate_for(&mesh, &proxy, args.dns);
    let changes = weir_translate::patched(&mesh, &proxy);
    changes.iter().for_each(|change| print::diagnostic(&told(change)));
    weir_translate::unmatched(&mesh, &proxy).iter().for_each(print::diagnostic);
    for preview in preview(&translation) {
        print::diagnostic(&foreseen(&preview, &changes));
    }
    match args.output {
        Output::Yaml => print::result(&serde_saphyr::to_string(&to_json(&translation)?)?),
        Output::Json => print::result(&(serde_json::to_string_pretty(&to_json(&translation)?)? + "\n")),
        Output::Table => print::result(&table(&translation)),
    }
    Ok(ExitCode::SUCCESS)
}

/// What a proxy will say of a resource; where EnvoyFilters changed that, at the place of the first that did.
fn foreseen(preview: &Preview, changes: &[Change]) -> Diagnostic {
    let changed = changes.iter().find(|change| change.kind == preview.kind && change.name == preview.name);
    let Some(patch) = changed.and_then(|change| change.by.first()) else { return Diagnostic::warning(preview.to_string()) };
    Diagnostic::warning(format!("{preview} (it is changed by {}: {})", patch.object.name(), patch.path)).placed(patch.place())
}

/// What EnvoyFilters changed of a resource, line by line, at the place of the first that did.
fn told(change: &Change) -> Diagnostic {
    let done = match (&change.before, &change.after) {
        (None, _) => "added",
        (_, None) => "removed",
        _ => "changed",
    };
    let patches: Vec<String> = change.by.iter().map(|origin| format!("{}: {}", origin.object.name(), origin.path)).collect();
    let mut message = format!("{} `{}` is {done} by {}", change.kind.name(), change.name, patches.join(", "));
    if change.after.is_some() {
        let lines = of_messages(change.before.as_ref(), change.after.as_ref());
        lines.iter().for_each(|line| message += &format!("\n  {line}"));
    }
    let place = change.by.first().and_then(|origin| origin.place());
    Diagnostic::new(Severity::Info, message).placed(place)
}

fn list<M: Message + Name>(messages: &[M]) -> anyhow::Result<Vec<Value>> {
    let json = |message: &M| {
        let mut value = weir_xds::json::any_to_value(&Any::pack(message), Names::Camel)?;
        // A message's maps have no order, and what is printed twice should be the same.
        value.sort_all_objects();
        anyhow::Ok(value)
    };
    messages.iter().map(json).collect::<Result<_, _>>().context("a message has no JSON form")
}

fn to_json(translation: &Translation) -> anyhow::Result<Value> {
    let secret = |secret: &Secret| json!({ "name": secret.name, "value": "[redacted]" });
    Ok(json!({
        "listeners": list(&translation.listeners)?,
        "routes": list(&translation.routes)?,
        "clusters": list(&translation.clusters)?,
        "endpoints": list(&translation.endpoints)?,
        "secrets": translation.secrets.iter().map(secret).collect::<Vec<_>>(),
        "extensions": list(&translation.extensions)?,
    }))
}

fn table(translation: &Translation) -> String {
    let listeners = translation.listeners.iter().map(|listener| vec!["listener".to_owned(), listener.name.clone()]);
    let routes = translation.routes.iter().flat_map(|routes| {
        routes.virtual_hosts.iter().map(|host| vec!["virtual host".to_owned(), format!("{} in {}", host.name, routes.name)])
    });
    let clusters = translation.clusters.iter().map(|cluster| vec!["cluster".to_owned(), cluster.name.clone()]);
    print::table(&["TYPE", "NAME"], listeners.chain(routes).chain(clusters).collect())
}
