//! The proxy's containers: `weir proxy`, or a stock Envoy with `weir agent` beside it.

use super::capture::ISTIO_PROXY;
use super::{Context, environment, volumes};
use crate::kube::{Capabilities, Container, Exec, Handler, HttpGet, Lifecycle, Port, Probe, Resources, SecurityContext};
use crate::names::{self, HEALTH_PORT, METRICS_PORT};

/// So often a sidecar that starts is asked, once a second, until the pod is given up.
const STARTUP_FAILURES: u32 = 600;
/// What an agent needs, which moves no traffic.
const AGENT_MEMORY: &str = "64Mi";

/// What a proxy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Sidecar,
    Router,
}

/// The containers, the proxy first: one, or with Envoy two.
pub(super) fn containers(context: &Context<'_>, role: Role) -> Vec<Container> {
    let restart_policy = (role == Role::Sidecar && context.wishes.native).then_some("Always");
    let base = Container {
        image_pull_policy: context.settings.image_pull_policy.clone(),
        restart_policy,
        env: environment::variables(context),
        resources: context.wishes.resources.clone(),
        security_context: security(context, role),
        volume_mounts: volumes::mounts(),
        ..Container::default()
    };
    let image = |usual: &str| context.wishes.image.clone().unwrap_or_else(|| usual.to_owned());
    let mut proxy = Container {
        name: names::PROXY,
        ports: vec![Port { container_port: METRICS_PORT, protocol: "TCP", name: "http-envoy-prom" }],
        startup_probe: startup(context, role),
        readiness_probe: readiness(context),
        ..base.clone()
    };
    if !context.is_envoy() {
        proxy.image = image(&context.settings.image);
        proxy.args = weir_proxy(context, role);
        proxy.lifecycle = hold(context, role);
        return vec![proxy];
    }
    proxy.image = image(&context.settings.envoy_image);
    proxy.command = envoy(context);
    let agent = Container {
        name: names::AGENT,
        image: context.settings.image.clone(),
        args: weir_agent(context, role),
        resources: agent_resources(),
        lifecycle: hold(context, role),
        ..base
    };
    vec![proxy, agent]
}

/// The arguments of `weir proxy`.
fn weir_proxy(context: &Context<'_>, role: Role) -> Vec<String> {
    let mut args = vec!["proxy".to_owned(), format!("--log={}", own_level(&context.wishes.log_level))];
    args.extend(introduction(context, role));
    let concurrency = context.wishes.mesh.config.default_config.concurrency;
    match concurrency {
        // All cores, which is what it takes when nothing is said.
        Some(0) => {}
        Some(workers) => args.push(format!("--workers={workers}")),
        None => args.push("--workers=$(ISTIO_CPU_LIMIT)".to_owned()),
    }
    args.push("--max-memory=$(GOMEMLIMIT)".to_owned());
    if role == Role::Sidecar && context.captures_dns() {
        args.push("--dns=127.0.0.1:15053".to_owned());
    }
    args
}

/// The arguments of `weir agent`.
fn weir_agent(context: &Context<'_>, role: Role) -> Vec<String> {
    let mut args = vec!["agent".to_owned(), format!("--log={}", own_level(&context.wishes.log_level))];
    args.extend(introduction(context, role));
    args.push(format!("--socket={}/secrets.sock", volumes::SCRATCH));
    args.push(format!("--bootstrap={}/envoy.json", volumes::SCRATCH));
    args
}

/// Who the proxy is, and whom it follows: the same for both.
fn introduction(context: &Context<'_>, role: Role) -> Vec<String> {
    let kind = if role == Role::Sidecar { "sidecar" } else { "router" };
    let labels: Vec<String> = context.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut args = vec![
        format!("--xds={}", context.wishes.control_plane),
        format!("--token-file={}", volumes::TOKEN),
        format!("--root-cert={}", volumes::ROOT),
        format!("--id={kind}~$(INSTANCE_IP)~$(POD_NAME).$(POD_NAMESPACE)~$(POD_NAMESPACE).svc.cluster.local"),
        "--address=$(INSTANCE_IPS)".to_owned(),
        format!("--labels={}", labels.join(",")),
    ];
    if role == Role::Sidecar {
        args.push(format!("--interception-mode={}", context.interception()));
    }
    if context.wishes.status_port != 0 {
        args.push(format!("--status-port={}", context.wishes.status_port));
    }
    args
}

/// Envoy starts when its bootstrap is there; its image has a shell, and no `weir`.
fn envoy(context: &Context<'_>) -> Vec<String> {
    let bootstrap = format!("{}/envoy.json", volumes::SCRATCH);
    let level = &context.wishes.log_level;
    let concurrency = match context.wishes.mesh.config.default_config.concurrency {
        Some(0) => String::new(),
        Some(workers) => format!(" --concurrency {workers}"),
        None => " --concurrency \"$ISTIO_CPU_LIMIT\"".to_owned(),
    };
    let components = &context.wishes.component_log_level;
    let script = format!(
        "until test -s {bootstrap}; do sleep 0.1; done; exec envoy -c {bootstrap} --log-level {level} --component-log-level {components}{concurrency}"
    );
    vec!["/bin/sh".to_owned(), "-c".to_owned(), script]
}

/// The level of ours that is Envoy's.
fn own_level(level: &str) -> &str {
    match level {
        "warning" => "warn",
        "critical" => "error",
        other => other,
    }
}

/// The next container starts when the proxy is ready.
fn hold(context: &Context<'_>, role: Role) -> Option<Lifecycle> {
    let command = vec!["weir", "wait", "--for", "ready"];
    (role == Role::Sidecar && context.holds()).then_some(Lifecycle { post_start: Handler { exec: Exec { command } } })
}

fn startup(context: &Context<'_>, role: Role) -> Option<Probe> {
    let probe = Probe { initial_delay_seconds: 0, period_seconds: 1, failure_threshold: STARTUP_FAILURES, ..probe() };
    (role == Role::Sidecar && context.wishes.status_port != 0).then_some(probe)
}

fn readiness(context: &Context<'_>) -> Option<Probe> {
    let said = context.wishes.readiness;
    let probe =
        Probe { initial_delay_seconds: said.initial_delay, period_seconds: said.period, failure_threshold: said.failures, ..probe() };
    (context.wishes.status_port != 0).then_some(probe)
}

fn probe() -> Probe {
    Probe {
        http_get: HttpGet { path: "/healthz/ready", port: HEALTH_PORT },
        initial_delay_seconds: 0,
        period_seconds: 1,
        timeout_seconds: 3,
        failure_threshold: 1,
    }
}

fn security(context: &Context<'_>, role: Role) -> SecurityContext {
    let transparent = role == Role::Sidecar && context.is_transparent();
    let mut add = vec![];
    if transparent {
        add.push("NET_ADMIN");
    }
    if context.wishes.bind_low_ports {
        add.push("NET_BIND_SERVICE");
    }
    let root = !add.is_empty();
    SecurityContext {
        capabilities: Capabilities { add, drop: vec!["ALL"] },
        read_only_root_filesystem: true,
        run_as_group: ISTIO_PROXY,
        run_as_non_root: !root,
        run_as_user: if root { 0 } else { ISTIO_PROXY },
        ..SecurityContext::default()
    }
}

fn agent_resources() -> Resources {
    let amounts = |cpu: &str| [("cpu", cpu.to_owned()), ("memory", AGENT_MEMORY.to_owned())].into();
    Resources { requests: amounts("10m"), limits: amounts("1") }
}
