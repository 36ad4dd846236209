//! What `weir capture` can be asked for: named as Istio's annotations are, and by the names of istio-iptables as well.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};
use weir_capture::Mode;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("deed").args(["dry_run", "check", "remove"]))]
pub(crate) struct CaptureArgs {
    /// Print the rules, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Say whether the rules are in force, and what is not as it should be; exits 1 if anything is
    #[arg(long)]
    pub check: bool,
    /// End the capture: no rule stays
    #[arg(long)]
    pub remove: bool,
    /// The network namespace: a name as `ip netns` has it, a path, or the number of a process in it [default: the one that this command
    /// runs in]
    #[arg(long, value_name = "NAME|PATH|PID")]
    pub netns: Option<String>,
    /// What sets the rules [default: nft, or iptables where there is no nft]
    #[arg(long, value_enum)]
    pub tool: Option<ToolName>,
    /// An annotation of the workload, such as traffic.sidecar.istio.io/excludeOutboundPorts=3306; may be repeated. Options count more
    #[arg(long = "annotation", value_name = "NAME=VALUE")]
    pub annotations: Vec<String>,
    /// How what is sent to the workload comes to the sidecar: REDIRECT, or TPROXY, by which the workload sees its client's address; the
    /// sidecar then needs CAP_NET_ADMIN, and the same --interception-mode [default: REDIRECT]
    #[arg(short = 'm', long, alias = "istio-inbound-interception-mode", value_name = "MODE")]
    pub interception_mode: Option<Mode>,
    /// With TPROXY, what marks connections in the client's name: 1337 alone, which is what pilots tell proxies
    #[arg(short = 't', long, alias = "istio-inbound-tproxy-mark", value_name = "MARK", default_value = "1337",
          value_parser = clap::value_parser!(u32).range(1337..=1337))]
    pub inbound_tproxy_mark: u32,
    /// With TPROXY, the routing table for answers to them
    #[arg(short = 'r', long, alias = "istio-inbound-tproxy-route-table", value_name = "TABLE", default_value = "133",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub inbound_tproxy_route_table: u32,
    /// Where the sidecar takes what the workload sends
    #[arg(short = 'p', long, alias = "envoy-port", value_name = "PORT", default_value = "15001")]
    pub proxy_port: u16,
    /// Where it takes what is sent to the workload
    #[arg(short = 'z', long, value_name = "PORT", default_value = "15006")]
    pub inbound_capture_port: u16,
    /// Where it takes tunnels, which are never captured
    #[arg(short = 'e', long, value_name = "PORT", default_value = "15008")]
    pub inbound_tunnel_port: u16,
    /// The users that the sidecar runs as, whose traffic is never captured
    #[arg(short = 'u', long, value_name = "UIDS", default_value = "1337")]
    pub proxy_uid: String,
    /// The groups that it runs as, likewise
    #[arg(short = 'g', long, value_name = "GIDS", default_value = "1337")]
    pub proxy_gid: String,
    /// The workload's ports that are captured, * for all [default: *]
    #[arg(short = 'b', long, alias = "istio-inbound-ports", value_name = "PORTS")]
    pub include_inbound_ports: Option<String>,
    /// Those that are not; 15020, 15021 and 15090 never are. On a machine that you reach by ssh: 22
    #[arg(short = 'd', long, alias = "istio-local-exclude-ports", value_name = "PORTS")]
    pub exclude_inbound_ports: Option<String>,
    /// Ports that are captured wherever they are
    #[arg(short = 'q', long, alias = "istio-outbound-ports", value_name = "PORTS")]
    pub include_outbound_ports: Option<String>,
    /// Ports of others that are not captured
    #[arg(short = 'o', long, alias = "istio-local-outbound-ports-exclude", value_name = "PORTS")]
    pub exclude_outbound_ports: Option<String>,
    /// Addresses that are captured, * for all [default: *]
    #[arg(short = 'i', long, alias = "istio-service-cidr", value_name = "RANGES")]
    pub include_outbound_ip_ranges: Option<String>,
    /// Those that are not
    #[arg(short = 'x', long, alias = "istio-service-exclude-cidr", value_name = "RANGES")]
    pub exclude_outbound_ip_ranges: Option<String>,
    /// Interfaces whose traffic is left alone
    #[arg(short = 'c', long, alias = "istio-exclude-interfaces", value_name = "NAMES")]
    pub exclude_interfaces: Option<String>,
    /// Interfaces of virtual machines: what comes by them is what the workload sends
    #[arg(short = 'k', long, aliases = ["kube-virt-interfaces", "kubevirt-interfaces"], value_name = "NAMES")]
    pub reroute_virtual_interfaces: Option<String>,
    /// The groups whose processes are captured, * for everybody's [default: *]
    #[arg(long, alias = "istio-outbound-owner-groups", value_name = "GIDS")]
    pub include_owner_groups: Option<String>,
    /// The groups whose processes are not
    #[arg(long, alias = "istio-outbound-owner-groups-exclude", value_name = "GIDS", conflicts_with = "include_owner_groups")]
    pub exclude_owner_groups: Option<String>,
    /// The sidecar answers questions of DNS to the servers of resolv.conf
    #[arg(long)]
    pub redirect_dns: bool,
    /// It answers those to all servers
    #[arg(long, requires = "redirect_dns")]
    pub capture_all_dns: bool,
    /// Where it answers them
    #[arg(long, value_name = "PORT", default_value = "15053")]
    pub dns_port: u16,
    /// Where the servers stand [default: /etc/resolv.conf, or that of the namespace in /etc/netns]
    #[arg(long, value_name = "FILE")]
    pub resolv_conf: Option<PathBuf>,
    /// Drop packets that belong to no connection, which would reset one
    #[arg(long)]
    pub drop_invalid: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ToolName {
    Nft,
    Iptables,
}
