//! Who certifies the workloads of a mesh: the authority that is given, or one whose root is kept on this machine.

use std::env;
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use weir_ads::certificates::{self, Caller, Certificates, IstioCertificateRequest, IstioCertificateResponse};
use weir_ads::grpc;
use weir_api::resources::MeshConfig;
use weir_model::Proxy;
use weir_pilot::{Authority, Secret};
use weir_proxy::control::certificate::Certification;
use weir_proxy::control::pilot::RemotePilot;

use super::renewal::{self, Known};
use crate::cli::AuthorityArgs;

/// Where a proxy's metadata says how long its certificates last, as Istio's agents read it.
const LIFETIME: &str = "SECRET_TTL";

/// Where the authority comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AuthoritySource<'s> {
    /// As the command line says, for the resources of a folder, if they are in one.
    Args(&'s AuthorityArgs, Option<&'s Path>),
    /// From nowhere: nobody keeps it.
    Memory,
}

/// Who certifies, and by what processes of this user show who they are; where nobody keeps that, no other process gets anything.
pub(crate) struct Opened {
    pub authority: Authority,
    pub secret: Option<Secret>,
    /// The folder of what is kept, if there is one.
    pub state: Option<PathBuf>,
}

impl AuthoritySource<'_> {
    /// Opens it.
    ///
    /// # Errors
    /// If it cannot be read, or its root is lost.
    pub fn open(self, mesh: &MeshConfig) -> anyhow::Result<Opened> {
        let (args, resources) = match self {
            Self::Args(args, resources) => (args, resources),
            Self::Memory => return Ok(Opened { authority: Authority::in_memory(&mesh.trust_domain)?, secret: None, state: None }),
        };
        let state = args.state.clone().or_else(usual_state);
        if let Some(state) = state.as_ref().filter(|state| resources.is_some_and(|resources| is_below(state, resources))) {
            bail!("{} is below the resources, where no key may be: name another folder with --state", state.display());
        }
        let authority = match (&args.ca, &state) {
            (Some(folder), _) => Authority::of_folder(folder).context("the authority of --ca cannot be used")?,
            (None, Some(state)) if !args.ephemeral_root => Authority::kept_in(state, &mesh.trust_domain).context(
                "the mesh's root cannot be used: name another folder with --state, or take one that nobody keeps with --ephemeral-root",
            )?,
            (None, _) => {
                if !args.ephemeral_root {
                    // There is no place where an earlier one could be.
                    tracing::error!("the mesh's root is kept nowhere, since no home is known: the next start makes another; say --state");
                }
                Authority::in_memory(&mesh.trust_domain)?
            }
        };
        Ok(Opened { authority, secret: secret(args, state.as_deref())?, state })
    }
}

/// The secret in a folder. Without it the proxies of this process do well: only a folder that somebody named must do.
fn secret(args: &AuthorityArgs, state: Option<&Path>) -> anyhow::Result<Option<Secret>> {
    let Some(state) = state else { return Ok(None) };
    match Secret::kept_in(state) {
        Ok(secret) => Ok(Some(secret)),
        Err(error) if args.state.is_some() => Err(anyhow::Error::new(error).context("proxies of other processes cannot be certified")),
        Err(error) => {
            tracing::warn!("proxies of other processes get no certificates: {error}");
            Ok(None)
        }
    }
}

/// The secret in the usual folder, where the authority is in none. Why there is none is said.
#[cfg(feature = "kubernetes")]
pub(super) fn usual_secret() -> Option<Secret> {
    secret(&AuthorityArgs { ca: None, state: None, ephemeral_root: false }, usual_state().as_deref()).unwrap_or_default()
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

/// Asks the authority.
pub(super) type Ask = Arc<dyn Fn(IstioCertificateRequest) -> Asking + Send + Sync>;
pub(super) type Asking = Pin<Box<dyn Future<Output = Result<IstioCertificateResponse, String>> + Send>>;

/// How proxies of this process come to their certificates.
pub(crate) fn hosted(proxy: &Proxy, certificates: &Certificates, lifetime: Option<Duration>) -> Certification {
    let certificates = certificates.clone();
    let ask: Ask = Arc::new(move |request| {
        let certificates = certificates.clone();
        Box::pin(
            async move { certificates::call(&certificates, Caller::Hosted, request).await.map_err(|status| status.message().to_owned()) },
        )
    });
    certification(proxy, ask, lifetime)
}

/// How a proxy comes to its certificate that follows a pilot of this machine and of this user, which keeps its secret in a folder.
pub(crate) fn following(proxy: &Proxy, server: &str, state: PathBuf, lifetime: Option<Duration>) -> Certification {
    certification(proxy, asker(server, state), lifetime)
}

/// How a proxy comes to its certificate whose pilot is on another machine: by a token, and then by the last one.
pub(crate) fn remote(proxy: &Proxy, pilot: &Arc<RemotePilot>, lifetime: Option<Duration>) -> Certification {
    let presented = pilot.presented();
    let pilot = pilot.clone();
    let ask: Ask = Arc::new(move |request| {
        let pilot = pilot.clone();
        Box::pin(async move { pilot.certify(request).await })
    });
    Certification { presented: Some(presented), ..certification(proxy, ask, lifetime) }
}

/// Asks a pilot by the secret that it keeps in a folder.
fn asker(server: &str, state: PathBuf) -> Ask {
    let server = server.to_owned();
    Arc::new(move |request| {
        let (server, state) = (server.clone(), state.clone());
        Box::pin(async move { ask(&server, request, &state).await.map_err(|error| format!("{error:#}")) })
    })
}

/// Has a proxy certified by who is asked, and again when the authority tells that it would answer otherwise now.
fn certification(proxy: &Proxy, ask: Ask, lifetime: Option<Duration>) -> Certification {
    let (id, known, again) = (proxy.id.clone(), Known::default(), Arc::default());
    renewal::follow(&id, &known, &again, ask.clone());
    let sign = Arc::new(move |csr: String, lifetime: Option<Duration>| {
        let (asking, known) = (ask(request(&id, csr, lifetime)), known.clone());
        let answer: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(async move {
            let IstioCertificateResponse { cert_chain, proof: _, state } = asking.await?;
            known.set(state);
            Ok(cert_chain)
        });
        answer
    });
    Certification { sign, namespace: proxy.namespace.clone(), lifetime, again, presented: None }
}

/// Asks a pilot, and looks whether it was that which answered: at a port of this machine may be anybody.
async fn ask(server: &str, request: IstioCertificateRequest, state: &Path) -> anyhow::Result<IstioCertificateResponse> {
    let secret = Secret::read(state).context("the pilot's secret cannot be read")?;
    let request = secret.sign_request(request)?;
    let answer = grpc::client::create_certificate(server, request.clone()).await?;
    if !secret.vouches_for_answer(&request, &answer) {
        bail!("who answers at {server} does not show that it is a pilot of this user");
    }
    Ok(answer)
}

/// The folder where a pilot's secret is that a proxy can have certificates by; none if there is no way to them: the pilot is on
/// another machine, or its secret is not ours to read.
pub(crate) fn way(server: &str, state: Option<&Path>) -> Option<PathBuf> {
    if grpc::socket_path(server).is_none() && !is_loopback(server) {
        return None;
    }
    let state = state.map(Path::to_owned).or_else(usual_state)?;
    match Secret::read(&state) {
        Ok(_) => Some(state),
        Err(error) => {
            tracing::warn!("this proxy gets no certificates of the mesh, since it cannot read the secret of the pilot's user: {error}");
            None
        }
    }
}

/// Where a pilot's secret is, as somebody says or as is usual.
pub(crate) fn state_of(state: Option<&Path>) -> anyhow::Result<PathBuf> {
    state.map(Path::to_owned).or_else(usual_state).context("no home is known: name the folder of the pilot's secret with --state")
}

/// Whether a server, `host:port`, is on this machine alone, whatever its name is.
fn is_loopback(server: &str) -> bool {
    let Ok(addresses) = server.to_socket_addrs() else { return false };
    let mut addresses = addresses.peekable();
    addresses.peek().is_some() && addresses.all(|address| address.ip().to_canonical().is_loopback())
}

fn request(id: &str, csr: String, lifetime: Option<Duration>) -> IstioCertificateRequest {
    let seconds = lifetime.map_or(0, |lifetime| i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX));
    IstioCertificateRequest::new(id, csr, seconds)
}

/// How long certificates of a mesh's own proxies last, where its configuration says so.
///
/// # Errors
/// If it says what no certificate can last.
pub(crate) fn lifetime(mesh: &MeshConfig) -> anyhow::Result<Option<Duration>> {
    let written = mesh.default_config.proxy_metadata.get(LIFETIME);
    written.map(|written| parse_lifetime(written).with_context(|| format!("defaultConfig.proxyMetadata.{LIFETIME}"))).transpose()
}

/// Reads how long a certificate is to last.
///
/// # Errors
/// If it is no time, or none that can be asked for: the authority is asked for whole seconds.
pub(crate) fn parse_lifetime(written: &str) -> anyhow::Result<Duration> {
    let lifetime = weir_api::resources::Duration::parse(written).map(|lifetime| lifetime.to_std());
    let lifetime = lifetime.with_context(|| format!("{written:?} is not a duration: write 12h or 30m"))?;
    if lifetime < Duration::from_secs(1) {
        bail!("{written:?} is too short: a certificate lasts a second at least");
    }
    Ok(lifetime)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use tokio::net::TcpListener;
    use tokio::sync::{Notify, mpsc, watch};
    use weir_ads::certificates::Call;
    use weir_ads::grpc::server::Services;
    use weir_api::{Source, parse};
    use weir_model::DEFAULT_DOMAIN;
    use weir_pilot::{Options, Pilot};
    use weir_registry::Catalog;

    use super::*;

    const CART: &str = "sidecar~10.0.0.1~cart.shop~shop.svc.cluster.local";

    /// A mesh in which that workload has this account.
    fn catalog(account: &str) -> Arc<Catalog> {
        const MESH: &str = "apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart, namespace: shop}
spec: {address: 10.0.0.1, serviceAccount: ACCOUNT}
";
        Arc::new(Catalog::of(parse(&Source::new("mesh.yaml", MESH.replace("ACCOUNT", account))).objects))
    }

    /// A pilot's authority, which keeps its secret in a folder.
    fn authority(catalog: watch::Receiver<Arc<Catalog>>, state: &Path) -> Certificates {
        let options = Options { mesh: Arc::default(), domain: DEFAULT_DOMAIN.to_owned(), say: Box::new(|_| {}) };
        let secret = Secret::kept_in(state).unwrap();
        Pilot::start(catalog, options).certificates(Authority::in_memory("cluster.local").unwrap(), Some(secret))
    }

    /// Who answers at a port of this machine.
    async fn serve(certificates: Certificates) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(grpc::server::serve(listener, Services { certificates: Some(certificates), ..Services::default() }));
        address
    }

    #[tokio::test]
    async fn a_proxy_of_another_process_hears_of_another_account_in_one_call() {
        let folder = tempfile::tempdir().unwrap();
        let (catalogs, watched) = watch::channel(catalog("cart"));
        let ask = asker(&serve(authority(watched, folder.path())).await, folder.path().to_owned());
        // Who knows nothing yet is told at once.
        let first = ask(IstioCertificateRequest::for_changes(CART, "")).await.unwrap();
        let (known, again) = (Known::default(), Arc::new(Notify::new()));
        known.set(first.state);
        renewal::follow(CART, &known, &again, ask);
        catalogs.send_replace(catalog("other"));
        // The pilot would wait longer than this, and so would who asks a second time.
        tokio::time::timeout(Duration::from_secs(10), again.notified()).await.unwrap();
    }

    /// Somebody between a proxy and its pilot, who gives the pilot's first answer for ever.
    fn replaying(pilot: Certificates) -> Certificates {
        let (certificates, mut calls) = mpsc::channel::<Call>(1);
        tokio::spawn(async move {
            let mut first = None;
            while let Some(Call { caller, request, answer }) = calls.recv().await {
                let said = match first.take() {
                    Some(said) => said,
                    None => certificates::call(&pilot, caller, request).await,
                };
                first = Some(said.clone());
                let _ = answer.send(said);
            }
        });
        certificates
    }

    #[tokio::test]
    async fn an_answer_that_is_given_a_second_time_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (_keep, watched) = watch::channel(catalog("cart"));
        let ask = asker(&serve(replaying(authority(watched, folder.path()))).await, folder.path().to_owned());
        let asked = || ask(IstioCertificateRequest::for_changes(CART, ""));
        assert!(asked().await.is_ok());
        let refused = asked().await.unwrap_err();
        assert!(refused.contains("does not show that it is a pilot of this user"), "{refused}");
    }

    #[test]
    fn a_proxy_has_a_way_to_certificates_only_on_this_machine_and_by_a_secret_that_it_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let way = |server: &str| way(server, Some(folder.path())).is_some();
        assert!(!way("127.0.0.1:15010"), "no secret");
        Secret::kept_in(folder.path()).unwrap();
        for (server, expected) in [
            ("127.0.0.1:15010", true),
            ("localhost:15010", true),
            ("[::1]:15010", true),
            ("[::ffff:127.0.0.1]:15010", true),
            ("192.0.2.1:15010", false),
            ("0.0.0.0:15010", false),
            ("nonsense", false),
            ("unix:/run/xds", true),
        ] {
            assert_eq!(way(server), expected, "{server}");
        }
        fs::set_permissions(folder.path().join("caller-secret"), PermissionsExt::from_mode(0o644)).unwrap();
        assert!(!way("127.0.0.1:15010"), "anybody's");
    }

    #[test]
    fn a_lifetime_that_no_certificate_can_have_is_an_error() {
        for (written, expected) in [("12h", Some(43_200)), ("1s", Some(1)), ("500ms", None), ("soon", None), ("", None)] {
            assert_eq!(parse_lifetime(written).ok().map(|lifetime| lifetime.as_secs()), expected, "{written}");
        }
    }

    fn args(state: &Path) -> AuthorityArgs {
        AuthorityArgs { ca: None, state: Some(state.to_owned()), ephemeral_root: false }
    }

    #[test]
    fn a_root_that_cannot_be_kept_is_an_error_and_none_in_memory_that_nobody_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let (file, state, resources) = (folder.path().join("file"), folder.path().join("state"), folder.path().join("mesh"));
        fs::write(&file, "").unwrap();
        let open = |args: &AuthorityArgs| AuthoritySource::Args(args, Some(&resources)).open(&MeshConfig::default());
        assert!(open(&args(&file.join("below"))).is_err());
        assert!(open(&args(&state)).unwrap().secret.is_some());
        let mode = fs::metadata(&state).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "made by us, it is nobody else's to look into");
        let ephemeral = open(&AuthorityArgs { ephemeral_root: true, ..args(&folder.path().join("other")) }).unwrap();
        assert!(ephemeral.secret.is_some() && !folder.path().join("other/ca").exists());
    }

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
