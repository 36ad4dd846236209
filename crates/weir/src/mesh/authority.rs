//! Who certifies the workloads of a mesh: the authority that is given, or one whose root is kept on this machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use weir_ads::certificates::{self, Caller, Certificates, IstioCertificateRequest};
use weir_ads::grpc;
use weir_api::resources::MeshConfig;
use weir_pilot::Authority;
use weir_proxy::control::certificate::Certification;

use crate::cli::AuthorityArgs;

/// Where a proxy's metadata says how long its certificates last, as Istio's agents read it.
const LIFETIME: &str = "SECRET_TTL";

/// Where the authority comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AuthoritySource<'s> {
    /// As the command line says, for the resources of a folder.
    Args(&'s AuthorityArgs, &'s Path),
    /// From nowhere: nobody keeps it.
    Memory,
}

impl AuthoritySource<'_> {
    /// Opens it.
    ///
    /// # Errors
    /// If it cannot be read, or its root is lost.
    pub fn open(self, mesh: &MeshConfig) -> anyhow::Result<Authority> {
        let (args, resources) = match self {
            Self::Args(args, resources) => (args, resources),
            Self::Memory => return Ok(Authority::in_memory(&mesh.trust_domain)?),
        };
        if let Some(folder) = &args.ca {
            return Authority::of_folder(folder).context("the authority of --ca cannot be used");
        }
        let Some(state) = args.state.clone().or_else(usual_state) else {
            tracing::warn!(
                "the mesh's root is kept nowhere, since nobody says where (--state) and no home is known: the next start makes another"
            );
            return Ok(Authority::in_memory(&mesh.trust_domain)?);
        };
        if is_below(&state, resources) {
            bail!("{} is below the resources, where no key may be: name another folder with --state", state.display());
        }
        if let Err(error) = fs::create_dir_all(&state).map_err(|error| error.to_string()) {
            if args.state.is_some() {
                bail!("{} cannot be made: {error}", state.display());
            }
            tracing::warn!("the mesh's root is kept nowhere, {} cannot be made: {error}: the next start makes another", state.display());
            return Ok(Authority::in_memory(&mesh.trust_domain)?);
        }
        Authority::kept_in(&state, &mesh.trust_domain).context("the mesh's root cannot be used")
    }
}

/// `$XDG_STATE_HOME/weir`, which is in the home where nobody says otherwise.
fn usual_state() -> Option<PathBuf> {
    let named = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = named("XDG_STATE_HOME").or_else(|| Some(named("HOME")?.join(".local/state")))?;
    Some(state.join("weir"))
}

/// Whether a path, which need not be there yet, is in a folder.
fn is_below(path: &Path, folder: &Path) -> bool {
    let Ok(folder) = folder.canonicalize() else { return false };
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = absolute.ancestors().find_map(|part| Some((part.canonicalize().ok()?, absolute.strip_prefix(part).ok()?)));
    there.is_some_and(|(real, rest)| real.join(rest).starts_with(&folder))
}

/// How proxies of this process come to their certificates.
pub(crate) fn hosted(id: &str, certificates: &Certificates, lifetime: Option<Duration>) -> Certification {
    let (id, certificates) = (id.to_owned(), certificates.clone());
    let sign = Arc::new(move |csr: String, lifetime: Option<Duration>| {
        let request = request(&id, csr, lifetime);
        let certificates = certificates.clone();
        let answer: std::pin::Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(async move {
            let answer = certificates::call(&certificates, Caller::Hosted, request).await;
            answer.map(|answer| answer.cert_chain).map_err(|status| status.message().to_owned())
        });
        answer
    });
    Certification { sign, lifetime, again: Arc::default() }
}

/// How a proxy comes to its certificate that follows a pilot of this machine.
pub(crate) fn following(id: &str, server: &str, lifetime: Option<Duration>) -> Certification {
    let (id, server) = (id.to_owned(), server.to_owned());
    let sign = Arc::new(move |csr: String, lifetime: Option<Duration>| {
        let (request, server) = (request(&id, csr, lifetime), server.clone());
        let answer: std::pin::Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(async move {
            let answer = grpc::client::create_certificate(&server, request).await;
            answer.map(|answer| answer.cert_chain).map_err(|error| error.to_string())
        });
        answer
    });
    Certification { sign, lifetime, again: Arc::default() }
}

fn request(id: &str, csr: String, lifetime: Option<Duration>) -> IstioCertificateRequest {
    let seconds = lifetime.map_or(0, |lifetime| i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX));
    IstioCertificateRequest::new(id, csr, seconds)
}

/// How long certificates of a mesh's own proxies last, where its configuration says so.
pub(crate) fn lifetime(mesh: &MeshConfig) -> Option<Duration> {
    let written = mesh.default_config.proxy_metadata.get(LIFETIME)?;
    weir_api::resources::Duration::parse(written).map(|lifetime| lifetime.to_std())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_never_below_the_resources() {
        let folder = tempfile::tempdir().unwrap();
        let resources = folder.path().join("mesh");
        fs::create_dir(&resources).unwrap();
        for (state, expected) in [("mesh/state", true), ("mesh", true), ("mesh/../mesh/a/b", true), ("state", false), ("mesh2", false)] {
            assert_eq!(is_below(&folder.path().join(state), &resources), expected, "{state}");
        }
    }
}
