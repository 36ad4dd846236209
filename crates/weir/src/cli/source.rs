//! Where a control plane reads the mesh's resources.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::running::duration;

/// A folder, or a cluster.
#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// The folder with the mesh's resources
    #[arg(required_unless_present_any = ["kubeconfig", "in_cluster"], conflicts_with_all = ["kubeconfig", "in_cluster"])]
    pub dir: Option<PathBuf>,
    /// Read the resources of a Kubernetes cluster instead: that of this kubeconfig
    #[arg(long, value_name = "FILE", conflicts_with = "in_cluster")]
    pub kubeconfig: Option<PathBuf>,
    /// Which context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME", requires = "kubeconfig", conflicts_with = "in_cluster")]
    pub context: Option<String>,
    /// Read those of the cluster in which this runs, as a pod with a service account
    #[arg(long)]
    pub in_cluster: bool,
    /// Of a cluster's resources, pass over those that are labelled `istio.io/rev` for another revision than this
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub revision: String,
    /// Where a pilot of a cluster keeps what is its own: the namespace of the Secret `cacerts` or `istio-ca-secret`, which has the root
    #[arg(long, value_name = "NAME", default_value = "istio-system")]
    pub namespace: String,
    /// How long what only one of several control planes of a cluster may do stays with one that is gone without a word
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub lease_duration: Duration,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        source: SourceArgs,
    }

    #[test]
    fn resources_are_in_a_folder_or_in_a_cluster() {
        for (words, is_good) in [
            (&["mesh"][..], true),
            (&["--kubeconfig", "f"], true),
            (&["--kubeconfig", "f", "--context", "c"], true),
            (&["--in-cluster", "--revision", "canary"], true),
            (&[], false),
            (&["mesh", "--kubeconfig", "f"], false),
            (&["mesh", "--in-cluster"], false),
            (&["--kubeconfig", "f", "--in-cluster"], false),
            (&["--in-cluster", "--context", "c"], false),
        ] {
            let parsed = Cli::try_parse_from([&["weir"], words].concat());
            assert_eq!(parsed.is_ok(), is_good, "{words:?}: {parsed:?}");
        }
    }
}
