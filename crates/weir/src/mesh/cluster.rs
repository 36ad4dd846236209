//! A cluster that a command looks at, as far as this program can.

use crate::cli::ClusterArgs;

#[cfg(feature = "kubernetes")]
pub(crate) use with::Cluster;
#[cfg(not(feature = "kubernetes"))]
pub(crate) use without::Cluster;

#[cfg(feature = "kubernetes")]
mod with {
    use serde_json::Value;
    use tokio::runtime::{Builder, Runtime};
    use weir_api::Kind;
    use weir_api::resources::MeshConfig;
    use weir_registry::Catalog;
    use weir_registry::kubernetes::{self, Access, Options, Seen, Which};

    use super::ClusterArgs;
    use crate::print;

    /// A cluster.
    pub(crate) struct Cluster {
        runtime: Runtime,
        cluster: kubernetes::Cluster,
    }

    impl Cluster {
        /// One that is reached as the command line says.
        ///
        /// # Errors
        /// If there is no such kubeconfig or context, or what it names is missing.
        pub fn reach(args: &ClusterArgs) -> anyhow::Result<Self> {
            let access = match (&args.kubeconfig, &args.context) {
                (Some(path), context) => Access::Kubeconfig { path: path.clone(), context: context.clone() },
                (None, context) => Access::Usual { context: context.clone() },
            };
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let cluster = runtime.block_on(kubernetes::Cluster::reach(&access))?;
            Ok(Self { runtime, cluster })
        }

        /// The namespace that is meant where none is named.
        pub fn namespace(&self) -> &str {
            self.cluster.namespace()
        }

        /// The objects of a kind, in a namespace or in all, or that of a name.
        ///
        /// # Errors
        /// If the API server does not answer, refuses, or knows no such kind.
        pub fn objects(&self, kind: Kind, namespace: Option<&str>, name: Option<&str>) -> anyhow::Result<Vec<Value>> {
            Ok(self.runtime.block_on(self.cluster.objects(kind, Which { namespace, name }))?)
        }

        /// The same as the tables that kubectl prints.
        ///
        /// # Errors
        /// As those of [`objects`](Self::objects).
        pub fn tables(&self, kind: Kind, namespace: Option<&str>, name: Option<&str>) -> anyhow::Result<Vec<Value>> {
            Ok(self.runtime.block_on(self.cluster.tables(kind, Which { namespace, name }))?)
        }

        /// What stands at a path of the API; none if nothing does.
        ///
        /// # Errors
        /// If the API server does not answer, or refuses.
        pub fn at(&self, path: &str) -> anyhow::Result<Option<Value>> {
            Ok(self.runtime.block_on(self.cluster.at(path))?)
        }

        /// All that a mesh is made of, as a pilot of this revision sees it. What may not be seen is said.
        ///
        /// # Errors
        /// If the API server does not answer.
        pub fn mesh(&self, revision: &str, config: &MeshConfig) -> anyhow::Result<Catalog> {
            let options = Options { revision: revision.to_owned(), selectors: config.discovery_selectors.clone() };
            Ok(said(self.runtime.block_on(self.cluster.mesh(&options))?))
        }

        /// What people wrote for a mesh, in a namespace or in all. What may not be seen is said.
        ///
        /// # Errors
        /// If the API server does not answer.
        pub fn written(&self, namespace: Option<&str>) -> anyhow::Result<Catalog> {
            Ok(said(self.runtime.block_on(self.cluster.written(namespace))?))
        }
    }

    fn said(seen: Seen) -> Catalog {
        seen.unseen.iter().for_each(|message| print::say(&format!("weir: not seen: {message}")));
        seen.catalog
    }
}

#[cfg(not(feature = "kubernetes"))]
mod without {
    use anyhow::bail;
    use serde_json::Value;
    use weir_api::Kind;
    use weir_api::resources::MeshConfig;
    use weir_registry::Catalog;

    use super::ClusterArgs;

    /// There is none for a program that is built without Kubernetes.
    pub(crate) enum Cluster {}

    impl Cluster {
        /// Says so.
        pub fn reach(_: &ClusterArgs) -> anyhow::Result<Self> {
            bail!("{}", crate::mesh::WITHOUT_KUBERNETES)
        }

        pub fn namespace(&self) -> &str {
            match *self {}
        }

        pub fn objects(&self, _: Kind, _: Option<&str>, _: Option<&str>) -> anyhow::Result<Vec<Value>> {
            match *self {}
        }

        pub fn tables(&self, _: Kind, _: Option<&str>, _: Option<&str>) -> anyhow::Result<Vec<Value>> {
            match *self {}
        }

        pub fn at(&self, _: &str) -> anyhow::Result<Option<Value>> {
            match *self {}
        }

        pub fn mesh(&self, _: &str, _: &MeshConfig) -> anyhow::Result<Catalog> {
            match *self {}
        }

        pub fn written(&self, _: Option<&str>) -> anyhow::Result<Catalog> {
            match *self {}
        }
    }
}
