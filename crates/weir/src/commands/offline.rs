//! What the tools that need no running mesh have in common: a mesh that was read from files, and a proxy of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use serde_json::Value;
use weir_api::resources::MeshConfig;
use weir_model::{DEFAULT_DOMAIN, Interception, MeshSnapshot, Proxy, ProxyKind, canonical};
use weir_registry::{Catalog, files};
use weir_translate::{Translation, translate, translate_answering_dns};

use crate::cli::{FileArgs, InputArgs, InputPlace};
use crate::mesh::{Cluster, mesh_config};
use crate::print;

/// Reads a mesh from files, and says what is wrong with them.
///
/// # Errors
/// If the mesh's configuration cannot be read.
pub(crate) fn read_mesh(inputs: &FileArgs, config: Option<&Path>) -> anyhow::Result<MeshSnapshot> {
    Ok(snapshot(&files::read(&inputs.inputs()), mesh_config_of(config)?))
}

/// A mesh that was read, and the cluster that it is, if it is one.
pub(crate) struct Read {
    pub mesh: MeshSnapshot,
    pub cluster: Option<Cluster>,
}

/// Reads a mesh from files or from a cluster, as a pilot of this revision sees it, and says what is wrong with its resources.
///
/// # Errors
/// If the mesh's configuration cannot be read, or the cluster does not answer.
pub(crate) fn read(input: &InputArgs, revision: &str, config: Option<&Path>) -> anyhow::Result<Read> {
    let config = mesh_config_of(config)?;
    match input.place()? {
        InputPlace::Files(inputs) => Ok(Read { mesh: snapshot(&files::read(&inputs), config), cluster: None }),
        InputPlace::Cluster => {
            let cluster = Cluster::reach(&input.cluster)?;
            let catalog = cluster.mesh(revision, &config)?;
            Ok(Read { mesh: snapshot(&catalog, config), cluster: Some(cluster) })
        }
    }
}

fn mesh_config_of(path: Option<&Path>) -> anyhow::Result<Arc<MeshConfig>> {
    match path {
        Some(path) => mesh_config(Some(path)),
        None => Ok(Arc::default()),
    }
}

/// The mesh of these resources; says what is wrong with them.
fn snapshot(catalog: &Catalog, config: Arc<MeshConfig>) -> MeshSnapshot {
    catalog.diagnostics().for_each(print::diagnostic);
    let mesh = MeshSnapshot::new(&catalog.objects().cloned().collect::<Vec<_>>(), config, DEFAULT_DOMAIN);
    let of_rules = mesh.virtual_services.findings().chain(mesh.destination_rules.findings());
    of_rules.chain(mesh.peer_authentications.findings()).for_each(print::diagnostic);
    mesh
}

/// What a proxy would get that answers questions of DNS, or does not; says what of the mesh has no effect there.
pub(crate) fn translate_for(mesh: &MeshSnapshot, proxy: &Proxy, answers_dns: bool) -> Translation {
    let translation = if answers_dns { translate_answering_dns(mesh, proxy) } else { translate(mesh, proxy) };
    translation.findings.iter().for_each(print::diagnostic);
    translation
}

/// A proxy as scripts describe it. Its traffic is redirected unless it says `"interception": "NONE"` or `"TPROXY"`: that is
/// Istio's default.
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
    let addresses: Vec<String> = json["addresses"].as_array().into_iter().flatten().filter_map(Value::as_str).map(canonical).collect();
    let address = addresses.first().map_or("0.0.0.0", String::as_str);
    Ok(Proxy {
        id: Proxy::make_id(kind, address, &name, &namespace, DEFAULT_DOMAIN),
        kind,
        name,
        namespace,
        labels,
        interception: Interception::of_name(word("interception")),
        addresses,
        locality: word("locality").unwrap_or_default().to_owned(),
    })
}
