//! `weir translate`: the xDS resources that a proxy would get.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use weir_model::{DEFAULT_DOMAIN, Interception, MeshSnapshot, Proxy, ProxyKind};
use weir_registry::files;
use weir_translate::{Translation, translate};
use weir_xds::json::Names;
use weir_xds::tls::Secret;
use weir_xds::{Any, Message, Name};

use crate::cli::{Output, TranslateArgs};
use crate::mesh::mesh_config;
use crate::print;

/// Reads, translates, and prints.
///
/// # Errors
/// If the proxy or the mesh's configuration cannot be read.
pub(crate) fn run(args: &TranslateArgs) -> anyhow::Result<ExitCode> {
    let config = match &args.mesh_config {
        Some(path) => mesh_config(Some(path))?,
        None => Default::default(),
    };
    let catalog = files::read(&args.files.inputs());
    catalog.diagnostics.iter().for_each(print::diagnostic);
    let mesh = MeshSnapshot::new(&catalog.objects, config, DEFAULT_DOMAIN);
    mesh.virtual_services.findings.iter().for_each(print::diagnostic);
    let translation = translate(&mesh, &read_proxy(&args.proxy)?);
    translation.findings.iter().for_each(print::diagnostic);
    match args.output {
        Output::Yaml => print::result(&serde_saphyr::to_string(&to_json(&translation)?)?),
        Output::Json => print::result(&(serde_json::to_string_pretty(&to_json(&translation)?)? + "\n")),
        Output::Table => print::result(&table(&translation)),
    }
    Ok(ExitCode::SUCCESS)
}

/// A proxy as scripts describe it. Its traffic is redirected unless it says `"interception": "NONE"`: that is Istio's
/// default.
pub(crate) fn read_proxy(path: &Path) -> anyhow::Result<Proxy> {
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let json: Value = serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))?;
    let word = |name: &str| json[name].as_str();
    let kind = match word("type") {
        Some("router") => ProxyKind::Router,
        Some("sidecar") | None => ProxyKind::Sidecar,
        Some(other) => bail!("{}: the type {other:?} is neither sidecar nor router", path.display()),
    };
    let namespace = word("namespace").unwrap_or("default").to_owned();
    let name = word("name").unwrap_or("proxy").to_owned();
    let labels = json["labels"].as_object().into_iter().flatten();
    let labels: BTreeMap<String, String> = labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
    let addresses: Vec<String> = json["addresses"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let address = addresses.first().map_or("0.0.0.0", String::as_str);
    Ok(Proxy {
        id: Proxy::make_id(kind, address, &name, &namespace, DEFAULT_DOMAIN),
        kind,
        name,
        namespace,
        labels,
        interception: if word("interception") == Some("NONE") { Interception::None } else { Interception::Redirect },
        addresses,
    })
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
