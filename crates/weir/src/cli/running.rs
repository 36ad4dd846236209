//! What can be asked of a mesh that runs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use weir_registry::files::Input;

use super::{DEFAULT_ADMIN, Output};

/// Whom to ask, and how to print.
#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    /// Where a mesh, a pilot or a proxy answers
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADMIN)]
    pub admin: SocketAddr,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct ProxyStatusArgs {
    /// Compare what this proxy was sent with what it has; NAME.NAMESPACE, NAME, or its id
    pub proxy: Option<String>,
    /// Where that proxy answers, if not where the pilot does
    #[arg(long, value_name = "ADDR", requires = "proxy")]
    pub proxy_admin: Option<SocketAddr>,
    #[command(flatten)]
    pub ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ProxyConfigArgs {
    #[command(subcommand)]
    pub what: ProxyConfig,
}

/// Which proxy, where.
#[derive(Debug, Args)]
pub(crate) struct OfProxyArgs {
    /// NAME.NAMESPACE, NAME, or the id of a proxy [default: the only one]
    pub proxy: Option<String>,
    #[command(flatten)]
    pub ask: AskArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProxyConfig {
    /// Where requests can go
    #[command(visible_aliases = ["cluster", "c"])]
    Clusters(ClustersArgs),
    /// Where requests come in
    #[command(visible_aliases = ["listener", "l"])]
    Listeners(ListenersArgs),
    /// Which cluster a request goes to
    #[command(visible_aliases = ["route", "r"])]
    Routes(RoutesArgs),
    /// The instances of clusters
    #[command(visible_aliases = ["endpoint", "ep"])]
    Endpoints(EndpointsArgs),
    /// Certificates and keys, by name only
    #[command(visible_aliases = ["secret", "s"])]
    Secrets(SecretsArgs),
    /// All of it
    #[command(visible_alias = "a")]
    All(AllArgs),
}

impl ProxyConfig {
    pub fn of(&self) -> &OfProxyArgs {
        match self {
            Self::Clusters(args) => &args.of,
            Self::Listeners(args) => &args.of,
            Self::Routes(args) => &args.of,
            Self::Endpoints(args) => &args.of,
            Self::Secrets(args) => &args.of,
            Self::All(args) => &args.of,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ClustersArgs {
    #[command(flatten)]
    pub of: OfProxyArgs,
    /// Only of services whose host name contains this
    #[arg(long, value_name = "HOST")]
    pub fqdn: Option<String>,
    /// Only of this port
    #[arg(long)]
    pub port: Option<u16>,
    /// Only of this subset
    #[arg(long)]
    pub subset: Option<String>,
    /// Only of this direction: inbound or outbound
    #[arg(long)]
    pub direction: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ListenersArgs {
    #[command(flatten)]
    pub of: OfProxyArgs,
    /// Only at this address
    #[arg(long)]
    pub address: Option<String>,
    /// Only at this port
    #[arg(long)]
    pub port: Option<u16>,
    /// Only with this in their name
    #[arg(long)]
    pub name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RoutesArgs {
    #[command(flatten)]
    pub of: OfProxyArgs,
    /// Only this route configuration
    #[arg(long)]
    pub name: Option<String>,
    /// Only virtual hosts with this in one of their domains
    #[arg(long, value_name = "HOST")]
    pub fqdn: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct EndpointsArgs {
    #[command(flatten)]
    pub of: OfProxyArgs,
    /// Only with this address
    #[arg(long)]
    pub address: Option<String>,
    /// Only with this port
    #[arg(long)]
    pub port: Option<u16>,
    /// Only of this cluster
    #[arg(long)]
    pub cluster: Option<String>,
    /// Only of this health, such as HEALTHY
    #[arg(long)]
    pub status: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SecretsArgs {
    #[command(flatten)]
    pub of: OfProxyArgs,
    /// Only with this in their name
    #[arg(long)]
    pub name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AllArgs {
    #[command(flatten)]
    pub of: OfProxyArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// What to wait for
    #[arg(long = "for", value_name = "WHAT", value_parser = ["applied", "ready"])]
    pub what: String,
    /// What is to be applied: a file, a folder, or - for standard input; may be repeated
    #[arg(short = 'f', long = "filename", value_name = "PATH", required_if_eq("what", "applied"))]
    pub files: Vec<PathBuf>,
    /// Where the proxy of a pod says whether it is ready, for which is waited
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15021")]
    pub health: SocketAddr,
    /// How long to wait, such as 30s or 2m
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
    /// Where the mesh or its pilot answers
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADMIN)]
    pub admin: SocketAddr,
}

impl WaitArgs {
    /// What is read.
    pub fn inputs(&self) -> Vec<Input> {
        self.files.iter().map(|path| Input::from(path.as_path())).collect()
    }

    /// The files, for people.
    pub fn names(&self) -> String {
        self.files.iter().map(|path: &PathBuf| path.display().to_string()).collect::<Vec<_>>().join(", ")
    }
}

/// A length of time as people write it: `500ms`, `30s`, `2m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("{unit:?} is no unit of time: write ms, s, m or h")),
    };
    let seconds = number.parse::<f64>().map_err(|_| "write a number and a unit, such as 30s".to_owned())? * factor;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read() {
        let read: Vec<_> = ["500ms", "30s", "1.5m", "7"].map(|text| duration(text).unwrap().as_millis()).into();
        assert_eq!(read, [500, 30_000, 90_000, 7_000]);
        assert!(["", "s", "3d", "x"].iter().all(|text| duration(text).is_err()));
    }
}
