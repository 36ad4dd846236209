//! The way to an API server: as kubectl finds it, or as a pod does.

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
    /// As kubectl does that is told no file: by those that `$KUBECONFIG` names, else by `~/.kube/config`.
    Usual {
        /// Which of their contexts; none takes the current one.
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
    let mut config = match access {
        Access::Kubeconfig { path, context } => {
            let failed = |error: &dyn fmt::Display| AccessError(format!("the kubeconfig {} cannot be used: {error}", path.display()));
            let kubeconfig = Kubeconfig::read_from(path).map_err(|error| failed(&error))?;
            of_context(kubeconfig, context.clone()).await.map_err(|error| failed(&error))?
        }
        Access::Usual { context } => {
            let failed = |error: &dyn fmt::Display| AccessError(format!("no usual kubeconfig can be used: {error}"));
            let kubeconfig = Kubeconfig::read().map_err(|error| failed(&error))?;
            of_context(kubeconfig, context.clone()).await.map_err(|error| failed(&error))?
        }
        Access::InCluster => Config::incluster()
            .map_err(|error| AccessError(format!("this process does not run in a pod with a service account: {error}")))?,
    };
    config.connect_timeout = Some(CONNECT);
    // A watch has ended by then: who is still silent has died without a word.
    config.read_timeout = Some(Duration::from_secs(u64::from(WATCH)) + SLACK);
    Client::try_from(config).map_err(|error| AccessError(format!("no client for the API server can be made: {error}")))
}

async fn of_context(kubeconfig: Kubeconfig, context: Option<String>) -> Result<Config, KubeconfigError> {
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions { context, ..KubeConfigOptions::default() }).await
}
