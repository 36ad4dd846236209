//! Who certifies a pilot's proxies, and by whose word it knows them: where its resources are a cluster's, that one's API server is asked.

use std::path::PathBuf;

use weir_api::resources::MeshConfig;
use weir_pilot::{Followed, Pilot, Secret};

use super::authority::{AuthoritySource, Opened};
use super::{Configured, Source};
use crate::cli::PilotArgs;

/// The authority of a pilot that runs, and by what processes of this user show who they are.
pub(crate) struct Trust {
    pub authority: Followed,
    pub secret: Option<Secret>,
    /// The folder of what is kept, if there is one.
    pub state: Option<PathBuf>,
}

impl Trust {
    /// Opens the authority that the command line names; where it names none, a cluster's is in its Secrets.
    ///
    /// # Errors
    /// If it cannot be read, or its root is lost.
    pub async fn open(args: &PilotArgs, source: &Source, mesh: &MeshConfig) -> anyhow::Result<Self> {
        if let Some(trust) = Self::of_cluster(args, source, mesh).await? {
            return Ok(trust);
        }
        let Opened { authority, secret, state } = AuthoritySource::Args(&args.authority, args.source.dir.as_deref()).open(mesh)?;
        Ok(Self { authority: authority.follow(), secret, state })
    }
}

#[cfg(feature = "kubernetes")]
mod cluster {
    use weir_kubernetes::identity::{Distribution, KeyReviews, TokenReviews, root};

    use super::*;
    use crate::mesh::authority::usual_secret;

    impl Trust {
        pub(super) async fn of_cluster(args: &PilotArgs, source: &Source, mesh: &MeshConfig) -> anyhow::Result<Option<Self>> {
            let (authority, namespace) = (&args.authority, &args.source.namespace);
            let is_named = authority.ca.is_some() || authority.state.is_some() || authority.ephemeral_root;
            let Some(client) = source.client().filter(|_| !is_named) else { return Ok(None) };
            let authority = root::open(client, namespace, &mesh.trust_domain).await?.follow();
            // Nobody else is in a pod.
            let secret = if args.source.in_cluster { None } else { usual_secret() };
            Ok(Some(Self { authority, secret, state: None }))
        }

        /// Asks the cluster, if there is one, whose tokens are and who may have keys, and tells its namespaces the roots.
        pub fn join(&self, args: &PilotArgs, source: &Source, configured: &Configured, pilot: &Pilot) {
            let Some(client) = source.client() else { return };
            pilot.review_tokens(TokenReviews::new(client));
            pilot.guard_keys(std::sync::Arc::new(KeyReviews::new(client)));
            let distribution = Distribution::new(client, configured.newest(), &self.authority, !args.authority.ephemeral_root);
            tokio::spawn(distribution.run());
        }
    }
}

#[cfg(not(feature = "kubernetes"))]
impl Trust {
    async fn of_cluster(_: &PilotArgs, _: &Source, _: &MeshConfig) -> anyhow::Result<Option<Self>> {
        Ok(None)
    }

    /// There is no cluster to ask.
    pub fn join(&self, _: &PilotArgs, _: &Source, _: &Configured, _: &Pilot) {}
}
