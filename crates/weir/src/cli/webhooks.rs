//! How a cluster's API server asks the pilot about pods and resources.

use std::net::SocketAddr;

use clap::{Args, ValueEnum};

use super::SidecarArgs;

/// The webhooks of a pilot.
#[derive(Debug, Args)]
pub(crate) struct WebhookArgs {
    /// Where to answer the API server's admission webhooks, by HTTPS [default: with --in-cluster 0.0.0.0:15017, else nowhere]
    #[arg(long, value_name = "ADDR", conflicts_with = "dir")]
    pub webhooks: Option<SocketAddr>,
    /// Answer none
    #[arg(long, conflicts_with = "webhooks")]
    pub no_webhooks: bool,
    /// A name or an address by which the API server calls them, besides the Services istiod and weir of the namespace and revision, and the
    /// address of --webhooks; may be repeated. With a root that nobody keeps, or one of its own outside the cluster, a pilot keeps the caBundle
    /// of no others than these and the address
    #[arg(long, value_name = "HOST")]
    pub webhook_host: Vec<String>,
    /// Whether sidecars are init containers that stay: auto says yes if all nodes have Kubernetes 1.33 or later
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    pub native_sidecars: NativeSidecars,
    #[command(flatten)]
    pub sidecar: SidecarArgs,
}

/// Whether sidecars are native.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NativeSidecars {
    Auto,
    True,
    False,
}

// Without a cluster nobody asks.
#[cfg(any(feature = "kubernetes", test))]
impl WebhookArgs {
    /// Where they are answered, of a pilot that runs in the cluster or not.
    pub fn address(&self, in_cluster: bool) -> Option<SocketAddr> {
        const USUAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 15017);
        self.webhooks.or((in_cluster && !self.no_webhooks).then_some(USUAL))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    fn address(words: &[&str]) -> Option<String> {
        let cli = Cli::try_parse_from([&["weir", "pilot"], words].concat()).ok()?;
        let Command::Pilot(args) = cli.command else { return None };
        Some(args.webhooks.address(args.source.in_cluster).map_or("nowhere".to_owned(), |address| address.to_string()))
    }

    #[test]
    fn webhooks_are_answered_in_the_cluster_or_where_somebody_says() {
        for (words, expected) in [
            (&["--kubeconfig", "f"][..], Some("nowhere")),
            (&["--kubeconfig", "f", "--webhooks", "127.0.0.1:1"], Some("127.0.0.1:1")),
            (&["--in-cluster"], Some("0.0.0.0:15017")),
            (&["--in-cluster", "--webhooks", "[::]:15017"], Some("[::]:15017")),
            (&["--in-cluster", "--no-webhooks"], Some("nowhere")),
            (&["--in-cluster", "--no-webhooks", "--webhooks", "127.0.0.1:1"], None),
            (&["mesh"], Some("nowhere")),
            (&["mesh", "--webhooks", "127.0.0.1:1"], None),
        ] {
            assert_eq!(address(words).as_deref(), expected, "{words:?}");
        }
    }
}
