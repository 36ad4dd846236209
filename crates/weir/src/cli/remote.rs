//! How workloads of other machines come into a mesh.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{EnvoyArgs, FileArgs, InterceptionMode, ProcessArgs, StatusArgs};

/// How proxies of other machines reach the pilot.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RemoteArgs {
    /// Where to serve xDS and certificates to proxies of other machines, by TLS, such as 0.0.0.0:15012; may be repeated [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    pub tls_xds: Vec<SocketAddr>,
    /// A name or an address by which they call this pilot, besides the address that they come to; may be repeated
    #[arg(long, value_name = "NAME", requires = "tls_xds")]
    pub tls_name: Vec<String>,
}

/// What can be done for a workload on another machine.
#[derive(Debug, Subcommand)]
pub(crate) enum WorkloadCommand {
    /// Writes the file by which a machine joins the mesh; it holds a token, and is its owner's alone
    Token(TokenArgs),
    /// Joins a mesh by such a file: starts the sidecar of this machine's workload, or the gateway that it is
    Join(JoinArgs),
}

/// On the pilot's machine.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// The WorkloadEntry that stands for the workload, or the WorkloadGroup in which it registers itself
    pub name: String,
    /// Its namespace
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// Which of the two it is, if there are both of this name
    #[arg(long, value_enum, ignore_case = true)]
    pub kind: Option<WorkloadKind>,
    #[command(flatten)]
    pub files: FileArgs,
    /// The mesh's configuration: a MeshConfig, or Istio's ConfigMap
    #[arg(long, value_name = "FILE")]
    pub mesh_config: Option<PathBuf>,
    /// Where the machine reaches the pilot, HOST:PORT: an address of its --tls-xds [default port: 15012]
    #[arg(long, value_name = "HOST[:PORT]")]
    pub pilot: String,
    /// What the pilot's certificate is for [default: the host of --pilot]
    #[arg(long, value_name = "NAME")]
    pub tls_name: Option<String>,
    /// How long the token holds, such as 30m; 24h at most
    #[arg(long, alias = "tokenDuration", default_value = "1h", value_name = "DURATION")]
    pub duration: String,
    /// The mesh's certificate authority, where the pilot has been given one
    #[arg(long, value_name = "DIR")]
    pub ca: Option<PathBuf>,
    /// The folder where the pilot keeps its root and the key of its tokens [default: $XDG_STATE_HOME/weir]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// The file to write [default: NAME.join.json]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WorkloadKind {
    #[value(name = "WorkloadEntry")]
    Entry,
    #[value(name = "WorkloadGroup")]
    Group,
}

/// On the workload's machine.
#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// What `weir workload token` has written
    pub file: PathBuf,
    /// The workload's address, where it registers itself [default: the one that the pilot is reached from]
    #[arg(long, value_name = "IP")]
    pub address: Option<IpAddr>,
    /// How the workload's traffic comes to the sidecar: `weir capture` redirects it, or the workload calls its listeners
    #[arg(long, value_enum, ignore_case = true, default_value = "NONE", value_name = "MODE")]
    pub interception_mode: InterceptionMode,
    /// Where it runs, region/zone/subzone
    #[arg(long, default_value = "")]
    pub locality: String,
    /// Where to answer the workload's questions of DNS, such as 127.0.0.1:15053; may be repeated
    #[arg(long, value_name = "ADDR")]
    pub dns: Vec<SocketAddr>,
    /// Where the DNS servers stand that are asked for all other names
    #[arg(long, value_name = "FILE", default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    /// How long certificates last, such as 12h [default: as the pilot has it]
    #[arg(long, value_name = "DURATION")]
    pub lifetime: Option<String>,
    /// Stands beside a stock Envoy instead of being the proxy: where Envoy gets its certificates, a socket that only its owner may open
    #[arg(long, value_name = "PATH", requires = "bootstrap")]
    pub socket: Option<PathBuf>,
    #[command(flatten)]
    pub envoy: EnvoyArgs,
    #[command(flatten)]
    pub status: StatusArgs,
    #[command(flatten)]
    pub process: ProcessArgs,
}
