//! What a proxy is told that runs in a pod of Kubernetes: `weir kube-inject` writes it.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Default, Args)]
pub(crate) struct PodArgs {
    /// Follow the pilot by TLS, and show it the token in this file until there is a certificate of the mesh
    #[arg(long, value_name = "FILE", requires = "root_cert", requires = "xds", conflicts_with = "state")]
    pub token_file: Option<PathBuf>,
    /// The mesh's authorities, by which the pilot is known there
    #[arg(long, value_name = "FILE", requires = "token_file")]
    pub root_cert: Option<PathBuf>,
    #[command(flatten)]
    pub status: StatusArgs,
}

#[derive(Debug, Default, Args)]
pub(crate) struct StatusArgs {
    /// Answer the kubelet and Prometheus at this port of all addresses: readiness, metrics, and the application's probes that
    /// ISTIO_KUBE_APP_PROBERS names
    #[arg(long, value_name = "PORT")]
    pub status_port: Option<u16>,
    /// Besides, the port for readiness alone
    #[arg(long, value_name = "PORT", default_value = "15021", requires = "status_port")]
    pub health_port: u16,
    /// And the one for the proxy's own metrics
    #[arg(long, value_name = "PORT", default_value = "15090", requires = "status_port")]
    pub metrics_port: u16,
}
