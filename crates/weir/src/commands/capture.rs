//! `weir capture`: the kernel hands a workload's traffic to its sidecar.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use weir_capture::{Capture, Dns, Family, Kernel, ListError, Settings, State, Tool, name_servers, namespace, remove};

use crate::cli::{CaptureArgs, ToolName};
use crate::print;

/// Installs, checks, removes or prints the rules.
///
/// # Errors
/// If they are not understood, or the kernel refuses them.
pub(crate) fn run(args: &CaptureArgs) -> anyhow::Result<ExitCode> {
    let tool = args.tool.map(|tool| match tool {
        ToolName::Nft => Tool::Nft,
        ToolName::Iptables => Tool::Iptables,
    });
    if args.dry_run {
        print::result(&text(&Capture::of(&settings(args)?), tool.unwrap_or(Tool::Nft)));
        return Ok(ExitCode::SUCCESS);
    }
    let place = match &args.netns {
        Some(written) => {
            let path = namespace::path_of(written);
            namespace::enter(&path).with_context(|| format!("the network namespace {} cannot be entered", path.display()))?;
            format!("the network namespace {written}")
        }
        None => "this network namespace".to_owned(),
    };
    if args.remove {
        let was_there = remove()?;
        print::say(&format!("weir: {}", if was_there { "the capture has ended" } else { "nothing was captured" }));
        return Ok(ExitCode::SUCCESS);
    }
    let (settings, kernel) = (settings(args)?, Kernel::by(tool)?);
    let capture = Capture::of(&settings);
    if args.check {
        return Ok(told(&kernel.compare(&capture)?, &place));
    }
    kernel.install(&capture)?;
    let Settings { outbound_port, inbound_port, .. } = settings;
    print::say(&format!("weir: {place} is captured: what it sends goes to port {outbound_port}, what it is sent to {inbound_port}"));
    Ok(ExitCode::SUCCESS)
}

/// Says how the rules are.
fn told(state: &State, place: &str) -> ExitCode {
    match state {
        State::Same => {
            print::say(&format!("weir: {place} is captured as it should be"));
            return ExitCode::SUCCESS;
        }
        State::Absent => print::say(&format!("weir: {place} is not captured")),
        State::Other { missing, unwanted } => {
            print::say(&format!("weir: {place} is captured in another way"));
            missing.iter().for_each(|line| print::say(&format!("  missing:  {line}")));
            unwanted.iter().for_each(|line| print::say(&format!("  too much: {line}")));
        }
    }
    ExitCode::from(1)
}

/// The rules as a tool reads them.
fn text(capture: &Capture, tool: Tool) -> String {
    let routes: String = capture.route_commands().iter().map(|command| format!("# {command}\n")).collect();
    let rules = match tool {
        Tool::Nft => capture.nft(),
        Tool::Iptables => {
            let of = |family| capture.iptables(family, "");
            format!("# for iptables-restore --noflush\n{}# for ip6tables-restore --noflush\n{}", of(Family::V4), of(Family::V6))
        }
    };
    routes + &rules
}

/// What is asked for: first by annotations, then by options.
fn settings(args: &CaptureArgs) -> anyhow::Result<Settings> {
    let mut settings = Settings {
        outbound_port: args.proxy_port,
        inbound_port: args.inbound_capture_port,
        tunnel_port: args.inbound_tunnel_port,
        route_table: args.inbound_tproxy_route_table,
        dns_port: args.dns_port,
        drop_invalid: args.drop_invalid,
        ..Settings::default()
    };
    for written in &args.annotations {
        let Some((name, value)) = written.split_once('=') else { bail!("--annotation {written:?}: write NAME=VALUE") };
        settings.annotate(name.trim(), value.trim()).context("--annotation")?;
    }
    if let Some(mode) = args.interception_mode {
        settings.mode = mode;
    }
    settings.set_proxy_users(&args.proxy_uid).context("--proxy-uid")?;
    settings.set_proxy_groups(&args.proxy_gid).context("--proxy-gid")?;
    if settings.proxy_users.is_empty() && settings.proxy_groups.is_empty() {
        bail!("nobody is the sidecar: what it sends would come back to it for ever; say --proxy-uid or --proxy-gid");
    }
    type Set = fn(&mut Settings, &str) -> Result<(), ListError>;
    let lists: [(&str, &Option<String>, Set); 10] = [
        ("--include-inbound-ports", &args.include_inbound_ports, Settings::include_inbound_ports),
        ("--exclude-inbound-ports", &args.exclude_inbound_ports, Settings::exclude_inbound_ports),
        ("--include-outbound-ports", &args.include_outbound_ports, Settings::include_outbound_ports),
        ("--exclude-outbound-ports", &args.exclude_outbound_ports, Settings::exclude_outbound_ports),
        ("--include-outbound-ip-ranges", &args.include_outbound_ip_ranges, Settings::include_outbound_ranges),
        ("--exclude-outbound-ip-ranges", &args.exclude_outbound_ip_ranges, Settings::exclude_outbound_ranges),
        ("--exclude-interfaces", &args.exclude_interfaces, Settings::exclude_interfaces),
        ("--reroute-virtual-interfaces", &args.reroute_virtual_interfaces, Settings::reroute_virtual_interfaces),
        ("--include-owner-groups", &args.include_owner_groups, Settings::include_owner_groups),
        ("--exclude-owner-groups", &args.exclude_owner_groups, Settings::exclude_owner_groups),
    ];
    for (name, written, set) in lists {
        if let Some(written) = written {
            set(&mut settings, written).context(name)?;
        }
    }
    settings.dns = dns(args)?;
    Ok(settings)
}

/// Which questions of DNS the sidecar gets.
fn dns(args: &CaptureArgs) -> anyhow::Result<Option<Dns>> {
    if !args.redirect_dns {
        return Ok(None);
    }
    let path = match args.resolv_conf.clone().or_else(|| resolv_conf(args.netns.as_deref())) {
        Some(path) => path,
        None if args.capture_all_dns => return Ok(Some(Dns::All)),
        None => bail!("which servers are asked in that network namespace is not known: say --resolv-conf, or --capture-all-dns"),
    };
    let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let servers = name_servers(&text);
    if args.capture_all_dns {
        if let Some(stub) = servers.iter().find(|server| server.is_loopback()) {
            let why = "what it asks others would be captured too, and come back to it for ever";
            bail!("--capture-all-dns: {} names {stub}, a server on this machine: {why}; leave that option out", path.display());
        }
        return Ok(Some(Dns::All));
    }
    if servers.is_empty() {
        bail!("{} names no server: say --capture-all-dns to capture questions to all", path.display());
    }
    Ok(Some(Dns::Servers(servers.into_iter().collect())))
}

/// Where a namespace's servers stand: one that has a name may have a file of its own, see ip-netns(8), and a process the one that it sees.
/// Of a namespace that is known by its path alone, nobody knows.
fn resolv_conf(netns: Option<&str>) -> Option<PathBuf> {
    let usual = PathBuf::from("/etc/resolv.conf");
    match netns {
        None => Some(usual),
        Some(path) if path.contains('/') => None,
        Some(process) if process.bytes().all(|byte| byte.is_ascii_digit()) => Some(format!("/proc/{process}/root/etc/resolv.conf").into()),
        Some(name) => {
            let own = PathBuf::from(format!("/etc/netns/{name}/resolv.conf"));
            Some(if own.exists() { own } else { usual })
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn asked(arguments: &[&str]) -> anyhow::Result<Settings> {
        let parsed = Cli::try_parse_from(["weir", "capture"].iter().chain(arguments))?;
        let Command::Capture(args) = parsed.command else { bail!("another command") };
        settings(&args)
    }

    #[test]
    fn the_init_containers_own_arguments_are_understood() {
        let istio =
            ["-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020"];
        assert_eq!(asked(&istio).unwrap(), asked(&[]).unwrap());
        let named = asked(&["--istio-service-cidr", "10.0.0.0/8", "--istio-local-exclude-ports", "22", "--kube-virt-interfaces", "tap0"]);
        let own = asked(&["--include-outbound-ip-ranges", "10.0.0.0/8", "--exclude-inbound-ports", "22", "-k", "tap0"]);
        assert_eq!(named.unwrap(), own.unwrap());
    }

    #[test]
    fn what_keeps_the_clients_address_needs_a_route_that_a_dry_run_tells_of() {
        let settings = asked(&["-m", "TPROXY", "-t", "1337", "-r", "9"]).unwrap();
        let text = text(&Capture::of(&settings), Tool::Nft);
        let commands = "# ip -4 route replace local default dev lo table 9\n# ip -4 rule add priority 13337 fwmark 1337 lookup 9\n";
        assert!(text.starts_with(commands) && text.contains("tproxy to :15006"), "{text}");
        assert!(asked(&["-m", "TPROXY", "-t", "7"]).is_err(), "no pilot would tell proxies so");
        let mode = asked(&["-m", "tproxy"]).unwrap_err().to_string();
        assert!(mode.contains("\"tproxy\" is no way of capture: REDIRECT or TPROXY is"), "{mode}");
    }

    #[test]
    fn options_count_more_than_annotations() {
        let annotation = "--annotation=traffic.sidecar.istio.io/includeInboundPorts=80";
        assert_eq!(asked(&[annotation]).unwrap(), asked(&["-b", "80"]).unwrap());
        assert_eq!(asked(&[annotation, "-b", "*"]).unwrap(), asked(&[]).unwrap());
    }

    #[test]
    fn the_servers_are_those_of_the_namespace_that_is_captured() {
        for (netns, expected) in [
            (None, Some("/etc/resolv.conf")),
            (Some("42"), Some("/proc/42/root/etc/resolv.conf")),
            (Some("weir-test-that-is-nowhere"), Some("/etc/resolv.conf")),
            (Some("/proc/42/ns/net"), None),
        ] {
            assert_eq!(resolv_conf(netns).as_deref(), expected.map(std::path::Path::new), "{netns:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        let stub = folder.path().join("resolv.conf");
        fs::write(&stub, "nameserver 127.0.0.53\n").unwrap();
        let at = format!("--resolv-conf={}", stub.display());
        assert!(asked(&["--redirect-dns", &at]).is_ok());
        let error = asked(&["--redirect-dns", "--capture-all-dns", &at]).unwrap_err().to_string();
        assert!(error.contains("127.0.0.53"), "{error}");
        assert!(asked(&["--redirect-dns", "--netns", "/proc/42/ns/net"]).is_err());
    }

    #[test]
    fn what_cannot_be_carried_out_is_an_error_that_names_it() {
        for (arguments, expected) in [
            (["-x", "*"], "--exclude-outbound-ip-ranges: `*` would be all: name those that are meant"),
            (["-u", "envoy"], "--proxy-uid: \"envoy\" is no number of a user or a group"),
            (["--annotation", "a"], "--annotation \"a\": write NAME=VALUE"),
        ] {
            assert_eq!(format!("{:#}", asked(&arguments).unwrap_err()), expected);
        }
        let nobody = asked(&["-u", "", "-g", ""]).unwrap_err().to_string();
        assert!(nobody.starts_with("nobody is the sidecar"), "{nobody}");
        assert!(asked(&["--capture-all-dns"]).is_err() && asked(&["--check", "--remove"]).is_err());
    }
}
