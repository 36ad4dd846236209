//! What can be asked on the command line.

mod analyze;
mod capture;
mod cluster;
mod inject;
#[cfg_attr(not(feature = "kubernetes"), allow(dead_code, reason = "a build without clusters refuses whatever is asked"))]
mod install;
mod pod;
mod remote;
mod running;
mod server;
mod size;
mod source;
mod webhooks;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use weir_registry::files::Input;

pub(crate) use analyze::AnalyzeArgs;
pub(crate) use capture::{CaptureArgs, ToolName};
pub(crate) use cluster::{ClusterArgs, InputArgs, InputPlace, runs_as_plugin};
pub(crate) use inject::{KubeInjectArgs, SidecarArgs};
pub(crate) use install::{CheckArgs, InstallArgs, UninstallArgs};
#[cfg(feature = "kubernetes")]
pub(crate) use install::{ManifestFormat, PlaneArgs, TargetArgs};
pub(crate) use pod::{PodArgs, StatusArgs};
pub(crate) use remote::{JoinArgs, RemoteArgs, TokenArgs, WorkloadCommand, WorkloadKind};
pub(crate) use server::XdsAddress;
use size::parse_size;
pub(crate) use source::SourceArgs;
#[cfg(feature = "kubernetes")]
pub(crate) use webhooks::NativeSidecars;
pub(crate) use webhooks::WebhookArgs;

pub(crate) use running::{
    ClustersArgs, EndpointsArgs, ListenersArgs, ProxyConfig, ProxyConfigArgs, ProxyStatusArgs, RoutesArgs, SecretsArgs, WaitArgs,
};

/// A service mesh's traffic management: Istio's configuration, Envoy's xDS, one binary.
#[derive(Debug, Parser)]
#[command(name = "weir", version, max_term_width = 120)]
pub(crate) struct Cli {
    /// What to log: error, warn, info, debug, trace, or a filter such as weir_proxy=debug
    #[arg(long, global = true, default_value = "info", value_name = "LEVEL")]
    pub log: String,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a sample mesh: applications, sidecars and gateway in one process
    Demo(DemoArgs),
    /// Runs one application of a sample, alone on its machine: `weir demo --namespaces` does so
    #[command(hide = true)]
    DemoApplication(DemoApplicationArgs),
    /// Runs the mesh that a folder describes: control plane and proxies in one process
    Run(RunArgs),
    /// Runs the control plane alone, for proxies that follow it by xDS
    Pilot(PilotArgs),
    /// Runs one proxy, which follows an xDS server
    Proxy(ProxyArgs),
    /// Gives certificates of the mesh to a stock Envoy beside it, and its bootstrap
    #[cfg(unix)]
    Agent(AgentArgs),
    /// Lets workloads of other machines join the mesh
    #[command(subcommand)]
    Workload(WorkloadCommand),
    /// Makes the kernel hand a workload's traffic to its sidecar
    Capture(CaptureArgs),
    /// Gives the pods of a file their sidecars, as the webhook would
    KubeInject(KubeInjectArgs),
    /// Installs the control plane into a Kubernetes cluster, or brings it to what is asked for
    Install(InstallArgs),
    /// The same for a control plane that is there already
    Upgrade(InstallArgs),
    /// Takes a control plane away, with all that it has written
    Uninstall(UninstallArgs),
    /// Says whether a control plane can be installed, whether it is whole, and who follows which
    Check(CheckArgs),
    /// Shows resources as kubectl does
    Get(GetArgs),
    /// Checks each document by itself
    Validate(ValidateArgs),
    /// Says what is wrong with all documents together, by Istio's codes
    ///
    /// Exits 1 if it finds an error or a warning, and 0 if nothing or what is only good to know. The annotation
    /// galley.istio.io/analyze-suppress of an object lists the codes, with commas between them, that are not to be said of it.
    Analyze(AnalyzeArgs),
    /// Says where a request goes, and why
    Explain(ExplainArgs),
    /// Shows the xDS resources that a proxy would get
    Translate(TranslateArgs),
    /// Shows which proxies follow, and which of them have what they were sent
    #[command(visible_alias = "ps")]
    ProxyStatus(ProxyStatusArgs),
    /// Shows what a proxy has, or was sent
    #[command(visible_alias = "pc")]
    ProxyConfig(ProxyConfigArgs),
    /// Waits until all proxies have taken what stands in files
    Wait(WaitArgs),
    /// Writes the completion of commands for a shell
    Completions(CompletionsArgs),
}

/// For which shell: `source <(weir completions bash)`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Where a running mesh answers questions.
pub(crate) const DEFAULT_ADMIN: &str = "127.0.0.1:15000";
/// The same.
pub(crate) const USUAL_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15000);
/// Where the pilot serves xDS.
pub(crate) const DEFAULT_XDS: &str = "127.0.0.1:15010";

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Which sample
    #[arg(value_enum, default_value = "bookinfo")]
    pub sample: SampleName,
    /// Give each application of bookinfo a network namespace with a sidecar of its own, to which the kernel hands its traffic; as root
    #[arg(long)]
    pub namespaces: bool,
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// An application of a sample, as a process of its own.
#[derive(Debug, Args)]
pub(crate) struct DemoApplicationArgs {
    /// Which, such as reviews-v1
    pub name: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum SampleName {
    Bookinfo,
    Httpbin,
    TcpEcho,
}

/// What a process with proxies in it is told.
#[derive(Debug, Args)]
pub(crate) struct ProcessArgs {
    /// Where to answer questions about what the proxies do
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADMIN)]
    pub admin: SocketAddr,
    /// How many threads move traffic [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
    /// How many connections of clients there may be, more are closed at once [default: three quarters of the open files that
    /// the system allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_connections: Option<u64>,
    /// How much memory the process may take, such as 512MiB: from 90% of it on idle connections end, from 95% on new connections
    /// and requests are refused [default: no bound]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_memory: Option<u64>,
    /// Let probes of WorkloadGroups run commands (exec): who writes the configuration may then run programs as this user
    #[arg(long)]
    pub allow_exec_probes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The folder with the mesh's resources
    pub dir: PathBuf,
    /// The mesh's configuration: a MeshConfig, or Istio's ConfigMap
    #[arg(long, value_name = "FILE")]
    pub mesh_config: Option<PathBuf>,
    /// Where to serve xDS to other proxies, IP:PORT or unix:PATH; may be repeated [default: 127.0.0.1:15010, if it is free]
    #[arg(long, value_name = "ADDR")]
    pub xds: Vec<XdsAddress>,
    /// Give certificates over Unix sockets only, not to this user's processes that come by an address either
    #[arg(long)]
    pub secrets_only_at_sockets: bool,
    /// Let proxies of other machines follow too, in plain text: whoever can reach an address of --xds reads the mesh
    #[arg(long)]
    pub plaintext_xds: bool,
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// A gateway's labels, such as istio=ingressgateway,app=istio-ingressgateway; may be repeated
    #[arg(long, value_name = "LABELS")]
    pub gateway: Vec<String>,
    #[command(flatten)]
    pub authority: AuthorityArgs,
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// Who certifies the workloads of a mesh.
#[derive(Debug, Args)]
pub(crate) struct AuthorityArgs {
    /// The mesh's certificate authority: a folder with ca-cert.pem, ca-key.pem, cert-chain.pem, root-cert.pem [default: a root of
    /// its own, made at the first start; of a cluster, that of the Secret `cacerts` or `istio-ca-secret`]
    #[arg(long, value_name = "DIR")]
    pub ca: Option<PathBuf>,
    /// Where that root is kept, and the secret by which proxies of other processes show that they are of this user [default:
    /// $XDG_STATE_HOME/weir]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Take a root that nobody keeps: the next start makes another, and nobody trusts what this one signed
    #[arg(long, conflicts_with = "ca")]
    pub ephemeral_root: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PilotArgs {
    #[command(flatten)]
    pub source: SourceArgs,
    /// The mesh's configuration: a MeshConfig, or Istio's ConfigMap [default: of a cluster, its ConfigMap istio or istio-REVISION, which
    /// is followed]
    #[arg(long, value_name = "FILE")]
    pub mesh_config: Option<PathBuf>,
    /// Where to serve xDS, IP:PORT or unix:PATH; may be repeated
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_XDS)]
    pub xds: Vec<XdsAddress>,
    /// Give certificates over Unix sockets only, not to this user's processes that come by an address either
    #[arg(long)]
    pub secrets_only_at_sockets: bool,
    /// Let proxies of other machines follow too, in plain text: whoever can reach an address of --xds reads the mesh
    #[arg(long)]
    pub plaintext_xds: bool,
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// Where to answer questions about the mesh and the proxies that follow: those of the tools go to 127.0.0.1:15000 [default:
    /// nowhere]
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<SocketAddr>,
    /// When told to end, have the proxies leave one after the other within so many seconds, for other pilots that serve them [default: 5
    /// on a cluster, where there is nobody else 0]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(0..=3600))]
    pub leave_within: Option<u16>,
    #[command(flatten)]
    pub webhooks: WebhookArgs,
    #[command(flatten)]
    pub authority: AuthorityArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ProxyArgs {
    /// The xDS server, host:port or unix:PATH
    #[arg(long, value_name = "ADDR", required_unless_present = "config")]
    pub xds: Option<String>,
    /// What the proxy is for
    #[arg(long = "type", value_enum, required_unless_present_any = ["config", "id"])]
    pub kind: Option<ProxyType>,
    /// Its id, sidecar|router~IP~NAME.NAMESPACE~NAMESPACE.svc.DOMAIN, or only NAME.NAMESPACE
    #[arg(long, required_unless_present = "config")]
    pub id: Option<String>,
    /// Its labels, name=value with commas between them
    #[arg(long, default_value = "")]
    pub labels: String,
    /// Where it runs, region/zone/subzone
    #[arg(long, default_value = "")]
    pub locality: String,
    /// The addresses of its workload, if the id does not name them all: with one of IPv6, that is served as well
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    pub address: Vec<std::net::IpAddr>,
    /// The folder where a pilot of this machine keeps its secret: without it, a proxy gets no certificate [default:
    /// $XDG_STATE_HOME/weir]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// How long its certificates last, such as 12h [default: as the pilot has it]
    #[arg(long, value_name = "DURATION")]
    pub lifetime: Option<String>,
    /// How its workload's traffic comes to it: `weir capture` redirects it, or the workload calls its listeners
    #[arg(long, value_enum, ignore_case = true, default_value = "NONE", value_name = "MODE")]
    pub interception_mode: InterceptionMode,
    /// Where to answer the workload's questions of DNS, such as 127.0.0.1:15053: names of the mesh, and all others as before; may be
    /// repeated
    #[arg(long, value_name = "ADDR")]
    pub dns: Vec<SocketAddr>,
    /// Where the DNS servers stand that are asked for all others
    #[arg(long, value_name = "FILE", default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    /// Register its workload as an instance of this WorkloadGroup of its namespace
    #[arg(long, value_name = "NAME")]
    pub workload_group: Option<String>,
    #[command(flatten)]
    pub pod: PodArgs,
    /// An Envoy bootstrap (YAML or JSON) that names the node and the ADS server
    #[arg(short = 'c', long = "config-path", value_name = "FILE", conflicts_with_all = ["xds", "kind", "id", "lifetime"], id = "config")]
    pub config: Option<PathBuf>,
    /// Speak the state-of-the-world variant of the protocol, not the delta variant
    #[arg(long)]
    pub state_of_the_world: bool,
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// What stands beside an Envoy.
#[cfg(unix)]
#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    /// The pilot: on this machine IP:PORT or unix:PATH, with --token-file HOST:PORT
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_XDS)]
    pub xds: String,
    /// Envoy's id, sidecar|router~IP~NAME.NAMESPACE~NAMESPACE.svc.DOMAIN
    #[arg(long)]
    pub id: String,
    /// The addresses of its workload, if the id does not name them all: with one of IPv6, that is served as well
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    pub address: Vec<std::net::IpAddr>,
    /// Its labels, name=value with commas between them
    #[arg(long, default_value = "")]
    pub labels: String,
    /// Where it runs, region/zone/subzone
    #[arg(long, default_value = "")]
    pub locality: String,
    /// How its workload's traffic comes to it: `weir capture` redirects it, or the workload calls its listeners
    #[arg(long, value_enum, ignore_case = true, default_value = "NONE", value_name = "MODE")]
    pub interception_mode: InterceptionMode,
    /// Where Envoy gets its certificates: a socket that only its owner may open
    #[arg(long, value_name = "PATH")]
    pub socket: PathBuf,
    /// The folder where the pilot keeps its secret [default: $XDG_STATE_HOME/weir]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// How long certificates last, such as 12h [default: as the pilot has it]
    #[arg(long, value_name = "DURATION")]
    pub lifetime: Option<String>,
    /// Where to answer the workload's questions of DNS beside Envoy, such as 127.0.0.1:15053: names of the mesh, and all others as
    /// before; may be repeated
    #[arg(long, value_name = "ADDR")]
    pub dns: Vec<SocketAddr>,
    /// Where the DNS servers stand that are asked for all others
    #[arg(long, value_name = "FILE", default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    #[command(flatten)]
    pub envoy: EnvoyArgs,
    #[command(flatten)]
    pub pod: PodArgs,
}

/// How a stock Envoy is started.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct EnvoyArgs {
    /// Write Envoy's bootstrap to this file
    #[arg(long, value_name = "FILE")]
    pub bootstrap: Option<PathBuf>,
    /// Where Envoy's own admin interface is to be [default: a free port of 127.0.0.1; with --status-port 127.0.0.1:15000]
    #[arg(long, value_name = "ADDR", requires = "bootstrap")]
    pub envoy_admin: Option<SocketAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProxyType {
    Sidecar,
    Router,
}

/// How the traffic of a workload comes to its sidecar, in Istio's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InterceptionMode {
    #[value(name = "NONE")]
    None,
    #[value(name = "REDIRECT")]
    Redirect,
    #[value(name = "TPROXY")]
    Tproxy,
}

impl From<InterceptionMode> for weir_model::Interception {
    fn from(mode: InterceptionMode) -> Self {
        match mode {
            InterceptionMode::None => Self::None,
            InterceptionMode::Redirect => Self::Redirect,
            InterceptionMode::Tproxy => Self::Tproxy,
        }
    }
}

/// Which texts a tool reads.
#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// A file, a folder, or - for standard input; may be repeated
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true)]
    pub files: Vec<PathBuf>,
}

impl FileArgs {
    pub fn inputs(&self) -> Vec<Input> {
        self.files.iter().map(|path| Input::from(path.as_path())).collect()
    }
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// A kind, by its name, plural or short name: virtualservices, vs, dr, gw, se, …; KIND/NAME names one resource, too
    pub kind: String,
    /// The name of one resource
    pub name: Option<String>,
    /// The namespace [default: default; of a cluster, that of the kubeconfig's context]
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// All namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: ListOutput,
    /// Read this file or folder, and ask no running mesh; may be repeated
    #[arg(short = 'f', long = "filename", value_name = "PATH")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Where the running mesh answers [default: 127.0.0.1:15000]
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["kubernetes", "kubeconfig", "context"])]
    pub admin: Option<SocketAddr>,
}

/// How lists of resources are printed, in kubectl's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListOutput {
    Table,
    /// A table with columns of less importance
    Wide,
    /// Kind and name, a line each
    Name,
    Json,
    Yaml,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Table,
    Json,
    Yaml,
}

#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    #[command(flatten)]
    pub input: InputArgs,
    /// Of a cluster, only what stands in this namespace [default: that of the kubeconfig's context]
    #[arg(short, long, conflicts_with = "files")]
    pub namespace: Option<String>,
    /// What stands in all namespaces of a cluster
    #[arg(short = 'A', long, conflicts_with = "files")]
    pub all_namespaces: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct TranslateArgs {
    #[command(flatten)]
    pub input: InputArgs,
    /// Of a cluster's resources, pass over those that are labelled `istio.io/rev` for another revision than this
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub revision: String,
    /// The mesh's configuration: a MeshConfig, or Istio's ConfigMap
    #[arg(long, value_name = "FILE")]
    pub mesh_config: Option<PathBuf>,
    /// The proxy, as JSON: {"type": "sidecar"|"router", "namespace", "labels", "addresses", "locality"}
    #[arg(long, value_name = "FILE")]
    pub proxy: PathBuf,
    /// It is a sidecar that answers DNS: services without an address have those that they are given
    #[arg(long)]
    pub dns: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value = "json")]
    pub output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub input: InputArgs,
    /// Of a cluster's resources, pass over those that are labelled `istio.io/rev` for another revision than this
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub revision: String,
    /// The request is sent by this workload: pod/NAME, deploy/NAME, sts/, ds/, rs/, job/, svc/ or sa/NAME stands for one of its pods, we/NAME
    /// for a WorkloadEntry
    #[arg(long, value_name = "KIND/NAME", conflicts_with_all = ["proxy", "gateway"])]
    pub from: Option<String>,
    /// The mesh's configuration: a MeshConfig, or Istio's ConfigMap
    #[arg(long, value_name = "FILE")]
    pub mesh_config: Option<PathBuf>,
    /// The proxy that gets the request, as JSON: {"type": "sidecar"|"router", "namespace", "labels", "addresses", "locality"}
    #[arg(long, value_name = "FILE")]
    pub proxy: Option<PathBuf>,
    /// A gateway with these labels gets it, such as istio=ingressgateway [default: a sidecar]
    #[arg(long, value_name = "LABELS", conflicts_with = "proxy")]
    pub gateway: Option<String>,
    /// The namespace of the sidecar, or of the gateway [default: default, or that of the kubeconfig's context; for a gateway istio-system]
    #[arg(short, long, conflicts_with = "proxy")]
    pub namespace: Option<String>,
    /// The sidecar answers DNS: services without an address have those that they are given
    #[arg(long, conflicts_with = "gateway")]
    pub dns: bool,
    /// Many calls, one JSON object a line; each is answered with one JSON object a line
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "method", "headers", "source", "principal"])]
    pub calls: Option<PathBuf>,
    /// The request's method
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    pub method: Option<String>,
    /// A header of the request, 'name: value'; may be repeated
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub headers: Vec<String>,
    /// The client's address
    #[arg(long, value_name = "ADDRESS")]
    pub source: Option<std::net::IpAddr>,
    /// Who the client is by its certificate, such as cluster.local/ns/default/sa/default
    #[arg(long, value_name = "PRINCIPAL")]
    pub principal: Option<String>,
    /// The request, such as http://reviews:9080/reviews/0; tcp://HOST:PORT is a connection
    #[arg(required_unless_present = "calls")]
    pub url: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
}
