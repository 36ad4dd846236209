//! What holds for the whole mesh: from a file, or from the cluster where the mesh's objects are, where it is followed.

use std::path::Path;
use std::sync::Arc;

use weir_api::resources::MeshConfig;
use weir_pilot::Pilot;

use super::{Source, mesh_config};
use crate::cli::SourceArgs;

/// What holds for the whole mesh, now and later.
pub(crate) struct Configured {
    /// At first.
    pub now: Arc<MeshConfig>,
    #[cfg(feature = "kubernetes")]
    later: Option<weir_kubernetes::mesh_config::MeshConfigs>,
}

impl Configured {
    /// As the file says; without one, as the cluster does, if there is a cluster. That is asked for as long as it does not answer.
    ///
    /// # Errors
    /// If the file cannot be read or is wrong, or there is no way to the cluster.
    pub async fn by(source: &SourceArgs, file: Option<&Path>) -> anyhow::Result<Self> {
        #[cfg(feature = "kubernetes")]
        if file.is_none() && source.dir.is_none() {
            return Self::by_cluster(source).await;
        }
        #[cfg(not(feature = "kubernetes"))]
        let _ = source;
        Ok(Self {
            now: mesh_config(file)?,
            #[cfg(feature = "kubernetes")]
            later: None,
        })
    }

    #[cfg(feature = "kubernetes")]
    async fn by_cluster(source: &SourceArgs) -> anyhow::Result<Self> {
        let client = weir_registry::kubernetes::connect(&super::source::access(source)).await?;
        let say = Box::new(crate::print::diagnostic);
        let later = weir_kubernetes::mesh_config::follow(client, &source.namespace, &source.revision, say).await;
        let now = later.newest.borrow().clone();
        Ok(Self { now, later: Some(later) })
    }

    /// The newest, for as long as somebody follows it.
    #[cfg(feature = "kubernetes")]
    pub fn newest(&self) -> tokio::sync::watch::Receiver<Arc<MeshConfig>> {
        match &self.later {
            Some(later) => later.newest.clone(),
            None => tokio::sync::watch::channel(self.now.clone()).1,
        }
    }

    /// Lets a pilot and its source have what changes of it. Does not end.
    pub async fn follow(self, pilot: &Pilot, source: &Source) {
        #[cfg(feature = "kubernetes")]
        if let Some(mut later) = self.later {
            // What changed since it was read counts, too.
            later.newest.mark_changed();
            while later.newest.changed().await.is_ok() {
                let config = later.newest.borrow_and_update().clone();
                if !Arc::ptr_eq(&config, &self.now) {
                    source.select(&config);
                    pilot.configure(config);
                }
            }
        }
        #[cfg(not(feature = "kubernetes"))]
        let _ = (pilot, source);
        std::future::pending().await
    }
}
