//! `weir workload token`: the file by which the machine of a workload joins the mesh. It is written where the pilot runs, by its user.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, bail};
use jiff::Timestamp;
use weir_api::resources::MeshConfig;
use weir_model::workload_group::{identity_of_instances, labels_of_instances};
use weir_model::{Identity, MeshSnapshot, ProxyKind};
use weir_pilot::{Authority, Bound, Grant, LONGEST_TOKEN, Tokens, shared_account};

use super::file::{JoinFile, Workload};
use crate::cli::{TokenArgs, WorkloadKind};
use crate::commands::offline::read_mesh;
use crate::mesh::authority;
use crate::print;

/// Istio's port for proxies that come by TLS.
const PORT: u16 = 15012;

/// Writes the file.
///
/// # Errors
/// If there is no such workload, or the pilot's key or root cannot be read.
pub(crate) fn run(args: &TokenArgs) -> anyhow::Result<ExitCode> {
    let mesh = read_mesh(&args.files, args.mesh_config.as_deref())?;
    let Found { workload, identity, labels } = find(&mesh, args)?;
    if let Some(other) = shared_account(&mesh, &identity).filter(|_| ProxyKind::of_workload(&labels) == ProxyKind::Router) {
        bail!("{other} has the account {identity}, too, and could be the gateway {}: give that a serviceAccount of its own", args.name);
    }
    if !identity.is_valid() {
        bail!("{identity} is no identity that a certificate could be for: names must be those of the DNS");
    }
    let lifetime = authority::parse_lifetime(&args.duration).context("--duration")?;
    if lifetime > LONGEST_TOKEN {
        bail!("--duration {}: whoever has the file is the workload for so long; 24h is the most", args.duration);
    }
    let (pilot, host) = address(&args.pilot)?;
    let state = authority::state_of(args.state.as_deref())?;
    let root = root(args.ca.as_deref(), &state, &mesh.config)?;
    let now = SystemTime::now();
    let bound = match &workload {
        Workload::Entry { name, .. } => Bound::Entry(name.clone()),
        Workload::Group { name } => Bound::Group(name.clone()),
    };
    let grant = Grant { trust_domain: mesh.config.trust_domain.clone(), identity: identity.clone(), workload: Some(bound), lifetime };
    let token = Tokens::kept_in(&state).context("the key of the tokens cannot be used")?.sign(&grant, now);
    let file = JoinFile {
        pilot,
        server_name: args.tls_name.clone().unwrap_or(host),
        root,
        token: token.map_err(anyhow::Error::msg)?,
        issued: Timestamp::try_from(now)?,
        expires: Timestamp::try_from(now + lifetime)?,
        namespace: identity.namespace.clone(),
        service_account: identity.account.clone(),
        workload,
        labels,
    };
    let path = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{}.join.json", args.name)));
    file.write(&path)?;
    print::say(&format!(
        "weir: {} lets its machine join as {identity} until {:.0}: copy it there, and run `weir workload join {}`",
        path.display(),
        file.expires,
        path.file_name().unwrap_or_default().to_string_lossy()
    ));
    Ok(ExitCode::SUCCESS)
}

/// A workload of the mesh.
struct Found {
    workload: Workload,
    identity: Identity,
    labels: std::collections::BTreeMap<String, String>,
}

/// The workload that is meant.
fn find(mesh: &MeshSnapshot, args: &TokenArgs) -> anyhow::Result<Found> {
    let TokenArgs { name, namespace, kind, .. } = args;
    let wants = |other: WorkloadKind| kind.is_none_or(|kind| kind == other);
    let is_meant = |workload: &&std::sync::Arc<weir_model::Workload>| {
        workload.object.kind == weir_api::Kind::WorkloadEntry && workload.name == *name && workload.namespace == *namespace
    };
    let entry = mesh.workloads.iter().find(is_meant).filter(|_| wants(WorkloadKind::Entry));
    let group = mesh.groups.get(namespace, name).filter(|_| wants(WorkloadKind::Group));
    match (entry, group) {
        (Some(_), Some(_)) => bail!("there are a WorkloadEntry and a WorkloadGroup {namespace}/{name}: say which with --kind"),
        (Some(entry), None) => {
            let address = entry.address.parse().with_context(|| {
                format!("WorkloadEntry {namespace}/{name} has the address {:?}: a machine joins by an IP address", entry.address)
            })?;
            Ok(Found {
                workload: Workload::Entry { name: name.clone(), address },
                identity: Identity::new(namespace, &entry.service_account),
                labels: (*entry.labels).clone(),
            })
        }
        (None, Some(group)) => Ok(Found {
            workload: Workload::Group { name: name.clone() },
            identity: identity_of_instances(group),
            labels: labels_of_instances(group),
        }),
        (None, None) => bail!("there is no WorkloadEntry and no WorkloadGroup {namespace}/{name} in these files"),
    }
}

/// Where the pilot is, with its port, and its host alone.
fn address(written: &str) -> anyhow::Result<(String, String)> {
    let read: Option<http::uri::Authority> = written.parse().ok().filter(|read: &http::uri::Authority| !read.as_str().contains('@'));
    let Some(read) = read.filter(|read| !read.host().is_empty()) else { bail!("--pilot {written:?} is no HOST:PORT") };
    let host = read.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok((format!("{}:{}", read.host(), read.port_u16().unwrap_or(PORT)), host))
}

/// The mesh's root, which must be there already: one that was made here, no pilot would know.
fn root(ca: Option<&Path>, state: &Path, mesh: &MeshConfig) -> anyhow::Result<String> {
    let authority = match ca {
        Some(folder) => Authority::of_folder(folder).context("the authority of --ca cannot be used")?,
        None if !Authority::is_kept_in(state) => {
            bail!("no pilot has kept its root in {}: start it first, or name its folder with --state", state.display())
        }
        None => Authority::kept_in(state, &mesh.trust_domain).context("the mesh's root cannot be used")?,
    };
    Ok(authority.roots().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pilot_has_istios_port_where_nobody_says_otherwise() {
        let of = |written: &str| address(written).ok();
        let pair = |server: &str, host: &str| Some((server.to_owned(), host.to_owned()));
        assert_eq!(of("pilot.example"), pair("pilot.example:15012", "pilot.example"));
        assert_eq!(of("10.0.0.1:7"), pair("10.0.0.1:7", "10.0.0.1"));
        assert_eq!(of("[fd00::1]:7"), pair("[fd00::1]:7", "fd00::1"));
        assert_eq!([of(""), of("a b"), of("me@pilot"), of(":15012")], [None, None, None, None]);
    }
}
