//! The way to an API server: as kubectl finds it, or as a pod does.

use std::env;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::watch::WATCH;

/// An API server that does not take a connection for so long is tried again.
const CONNECT: Duration = Duration::from_secs(5);
/// A watch to which nothing happens has ended so long after its time, if the server is there at all.
const SLACK: Duration = Duration::from_secs(15);

/// Kubernetes tells its pods by this where the API server is.
const IN_POD: &str = "KUBERNETES_SERVICE_HOST";

/// Where an API server is, and who asks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// As a kubeconfig says.
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Which of its contexts; none takes the one that it names as current.
        context: Option<String>,
    },
    /// As kubectl does without being told: as the files of `$KUBECONFIG` say together, else `~/.kube/config`, else as a pod's service account.
    Usual {
        /// Which context; none takes the current one.
        context: Option<String>,
    },
    /// As the service account of the pod that this process runs in.
    InCluster,
}

/// Why there is no way to an API server.
#[derive(Debug)]
pub struct AccessError(String);

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AccessError {}

/// A client of that API server. It need not be there yet.
///
/// # Errors
/// If the kubeconfig cannot be read, has no such context, or what it names is missing; outside of a pod, there is no service account.
pub async fn connect(access: &Access) -> Result<Client, AccessError> {
    Ok(reach(access).await?.0)
}

/// The same, with the place where the API server is.
pub(super) async fn reach(access: &Access) -> Result<(Client, String), AccessError> {
    let mut config = config(access).await?;
    let server = config.cluster_url.to_string();
    config.connect_timeout = Some(CONNECT);
    // A watch has ended by then: who is still silent has died without a word.
    config.read_timeout = Some(Duration::from_secs(u64::from(WATCH)) + SLACK);
    let client = Client::try_from(config).map_err(|error| AccessError(format!("no client for the API server can be made: {error}")))?;
    Ok((client, server))
}

async fn config(access: &Access) -> Result<Config, AccessError> {
    match access {
        Access::Kubeconfig { path, context } => {
            let name = format!("the kubeconfig {}", path.display());
            of_kubeconfig(Kubeconfig::read_from(path), context.as_ref(), &name).await
        }
        Access::Usual { context: None } if has_no_kubeconfig() && env::var_os(IN_POD).is_some() => in_cluster(),
        Access::Usual { context } => {
            of_kubeconfig(Kubeconfig::read(), context.as_ref(), "the kubeconfig ($KUBECONFIG, else ~/.kube/config)").await
        }
        Access::InCluster => in_cluster(),
    }
}

async fn of_kubeconfig(read: Result<Kubeconfig, KubeconfigError>, context: Option<&String>, name: &str) -> Result<Config, AccessError> {
    let failed = |error: KubeconfigError| AccessError(format!("{name} cannot be used: {error}"));
    let options = KubeConfigOptions { context: context.cloned(), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(read.map_err(failed)?, &options).await.map_err(failed)
}

fn in_cluster() -> Result<Config, AccessError> {
    Config::incluster().map_err(|error| AccessError(format!("this process does not run in a pod with a service account: {error}")))
}

/// Whether neither the environment nor the user's folder has one.
fn has_no_kubeconfig() -> bool {
    let own = env::home_dir().map(|home| home.join(".kube/config"));
    env::var_os("KUBECONFIG").is_none_or(|files| files.is_empty()) && own.is_none_or(|path| !path.exists())
}
