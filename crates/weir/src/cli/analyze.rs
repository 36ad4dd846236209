//! How `weir analyze` is asked.

use std::path::PathBuf;

use clap::Args;

use super::{FileArgs, Output};

#[derive(Debug, Args)]
pub(crate) struct AnalyzeArgs {
    #[command(flatten)]
    pub files: FileArgs,
    /// The mesh's configuration: a MeshConfig, or Istio's ConfigMap
    #[arg(long, alias = "meshConfigFile", value_name = "FILE")]
    pub mesh_config: Option<PathBuf>,
    /// The networks of a mesh of several clusters: a MeshNetworks
    #[arg(long, value_name = "FILE")]
    pub mesh_networks: Option<PathBuf>,
    /// Tell annotations of features in their first phase as well
    #[arg(long)]
    pub alpha_annotations: bool,
    /// The documents are all of a cluster: the standard gateway is there only if they say so
    #[arg(long)]
    pub no_standard_gateway: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
}
