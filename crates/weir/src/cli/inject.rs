//! How `weir kube-inject` is asked: as istioctl's.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use weir_inject::{DataPlane, Mesh, Settings};

#[derive(Debug, Args)]
pub(crate) struct KubeInjectArgs {
    /// The file with the objects, or - for standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub file: PathBuf,
    /// Write to this file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The mesh's configuration: a MeshConfig, or Istio's ConfigMap
    #[arg(long, alias = "meshConfigFile", value_name = "FILE")]
    pub mesh_config: Option<PathBuf>,
    /// The control plane's revision, whose Service the proxies follow
    #[arg(short, long, default_value = "default")]
    pub revision: String,
    /// The namespace that the control plane runs in
    #[arg(short, long, alias = "istioNamespace", default_value = "istio-system", value_name = "NAMESPACE")]
    pub istio_namespace: String,
    #[command(flatten)]
    pub sidecar: SidecarArgs,
    /// Make the sidecar an init container that stays, as Kubernetes has them since 1.29
    #[arg(long)]
    pub native_sidecars: bool,
}

/// What is injected.
#[derive(Debug, Args)]
pub(crate) struct SidecarArgs {
    /// The image whose entrypoint is weir, for sidecars [default: weir, of this version]
    #[arg(long)]
    pub image: Option<String>,
    /// What runs as the sidecar
    #[arg(long, value_enum, default_value = "weir")]
    pub data_plane: DataPlaneName,
    /// The image of Envoy, if that is the data plane
    #[arg(long, value_name = "IMAGE")]
    pub envoy_image: Option<String>,
}

impl SidecarArgs {
    /// How a control plane's pods are injected.
    pub fn settings(&self, revision: &str, namespace: &str, mesh: Mesh) -> Settings {
        let usual = Settings::default();
        Settings {
            revision: revision.to_owned(),
            own_namespace: namespace.to_owned(),
            data_plane: if self.data_plane == DataPlaneName::Envoy { DataPlane::Envoy } else { DataPlane::Weir },
            image: self.image.clone().unwrap_or_else(|| usual.image.clone()),
            envoy_image: self.envoy_image.clone().unwrap_or_else(|| usual.envoy_image.clone()),
            mesh,
            ..usual
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DataPlaneName {
    Weir,
    Envoy,
}
