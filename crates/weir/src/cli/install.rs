//! How a control plane is installed into a cluster.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::Output;
use super::running::duration;

/// Which cluster.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// The kubeconfig [default: as kubectl has it, $KUBECONFIG or ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Which of its contexts [default: its current one]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// Which control plane.
#[derive(Debug, Args)]
pub(crate) struct PlaneArgs {
    /// Its namespace
    #[arg(short, long, alias = "istio-namespace", default_value = "istio-system")]
    pub namespace: String,
    /// Its revision: several stand side by side [default: default, or as the values say]
    #[arg(short, long, value_name = "NAME")]
    pub revision: Option<String>,
}

/// What is installed, and how.
#[derive(Debug, Args)]
pub(crate) struct InstallArgs {
    #[command(flatten)]
    pub cluster: TargetArgs,
    #[command(flatten)]
    pub plane: PlaneArgs,
    /// All settings, as the values of the Helm chart; what else is said here is said over them. - is standard input
    #[arg(short = 'f', long = "values", value_name = "FILE")]
    pub values: Option<PathBuf>,
    /// The image in which weir is the entrypoint [default: weir, of this version]
    #[arg(long)]
    pub image: Option<String>,
    /// A tag that means this revision from now on, whichever it meant before; may be repeated
    #[arg(long, value_name = "NAME")]
    pub tag: Vec<String>,
    /// So many pods, whatever the load [default: two to five, as the load asks for]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub replicas: Option<u32>,
    /// The mesh's configuration: a MeshConfig, or Istio's ConfigMap
    #[arg(long, value_name = "FILE")]
    pub mesh_config: Option<PathBuf>,
    /// Tell the mesh's configuration in plain text, too, to whoever can reach port 15010. Certificates are told by TLS alone
    #[arg(long)]
    pub plaintext_xds: bool,
    /// Change nothing, and show what would be changed
    #[arg(long, conflicts_with = "output")]
    pub dry_run: bool,
    /// Ask no cluster, and print the objects, for `kubectl apply -f -`
    #[arg(short, long, value_enum)]
    pub output: Option<ManifestFormat>,
    /// Take objects and fields from whoever owns them
    #[arg(long)]
    pub force_conflicts: bool,
    /// Do not wait until the control plane is ready: pods that are to have sidecars are refused until it is
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait for it at most
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct UninstallArgs {
    #[command(flatten)]
    pub cluster: TargetArgs,
    #[command(flatten)]
    pub plane: PlaneArgs,
    /// Change nothing, and show what would be deleted
    #[arg(long)]
    pub dry_run: bool,
    /// How long the control plane may take to end
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub cluster: TargetArgs,
    #[command(flatten)]
    pub plane: PlaneArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
}

/// How objects are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ManifestFormat {
    Yaml,
    Json,
}
