//! The objects of a mesh, from a folder or from a cluster.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;
use weir_api::resources::MeshConfig;
use weir_registry::{Catalog, files};

use crate::cli::SourceArgs;

/// Objects that are followed, until this is dropped.
pub(crate) enum Source {
    /// Those of a folder.
    Files(files::Watched),
    /// Those of a cluster.
    #[cfg(feature = "kubernetes")]
    Cluster(weir_registry::kubernetes::Client, weir_registry::kubernetes::Watched),
}

impl Source {
    /// Follows the objects that the command line says. Those of a cluster are all there when this is done.
    ///
    /// # Errors
    /// If the folder cannot be read, or nothing says how to reach the cluster.
    pub async fn open(args: &SourceArgs, mesh: &MeshConfig) -> anyhow::Result<Self> {
        match &args.dir {
            Some(dir) => Self::of_folder(dir),
            None => of_cluster(args, mesh).await,
        }
    }

    fn of_folder(dir: &Path) -> anyhow::Result<Self> {
        files::watch(dir).map(Self::Files).with_context(|| format!("the folder {} cannot be read", dir.display()))
    }

    /// The newest catalog.
    pub fn catalog(&self) -> watch::Receiver<Arc<Catalog>> {
        match self {
            Self::Files(watched) => watched.catalog.clone(),
            #[cfg(feature = "kubernetes")]
            Self::Cluster(_, watched) => watched.catalog.clone(),
        }
    }

    /// Who asks the API server, if the objects are a cluster's.
    #[cfg(feature = "kubernetes")]
    pub fn client(&self) -> Option<&weir_registry::kubernetes::Client> {
        match self {
            Self::Files(_) => None,
            Self::Cluster(client, _) => Some(client),
        }
    }

    /// Lets only the namespaces count from now on that this configuration selects.
    #[cfg(feature = "kubernetes")]
    pub fn select(&self, mesh: &MeshConfig) {
        match self {
            Self::Files(_) => {}
            Self::Cluster(_, watched) => watched.select(mesh.discovery_selectors.clone()),
        }
    }
}

/// The way to the cluster that the command line says.
#[cfg(feature = "kubernetes")]
pub(super) fn access(args: &SourceArgs) -> weir_registry::kubernetes::Access {
    use weir_registry::kubernetes::Access;

    match &args.kubeconfig {
        Some(path) => Access::Kubeconfig { path: path.clone(), context: args.context.clone() },
        None => Access::InCluster,
    }
}

#[cfg(feature = "kubernetes")]
async fn of_cluster(args: &SourceArgs, mesh: &MeshConfig) -> anyhow::Result<Source> {
    use weir_registry::kubernetes::{Options, connect, watch};

    let client = connect(&access(args)).await?;
    let options = Options { revision: args.revision.clone(), selectors: mesh.discovery_selectors.clone() };
    let watched = watch(&client, &options).await;
    Ok(Source::Cluster(client, watched))
}

/// What is said where a cluster is asked for, and this program knows none.
#[cfg(not(feature = "kubernetes"))]
pub(crate) const WITHOUT_KUBERNETES: &str =
    "this weir is built without Kubernetes: build it with `cargo build -p weir --features kubernetes`";

#[cfg(not(feature = "kubernetes"))]
async fn of_cluster(_: &SourceArgs, _: &MeshConfig) -> anyhow::Result<Source> {
    anyhow::bail!("{WITHOUT_KUBERNETES}")
}
