//! The init container that hands the workload's traffic to its sidecar: `weir capture`.

use serde_json::Value;

use super::Context;
use crate::kube::{Capabilities, Container, SecurityContext};
use crate::names::{self, HEALTH_PORT, METRICS_PORT};

/// The user and the group that the sidecar runs as, by which the kernel knows its traffic.
pub(super) const ISTIO_PROXY: i64 = 1337;

/// The container.
pub(super) fn container(context: &Context<'_>) -> Container {
    let root = SecurityContext {
        capabilities: Capabilities { add: vec!["NET_ADMIN", "NET_RAW"], drop: vec!["ALL"] },
        ..SecurityContext::default()
    };
    Container {
        name: names::INIT,
        image: context.wishes.image.clone().filter(|_| !context.is_envoy()).unwrap_or_else(|| context.settings.image.clone()),
        image_pull_policy: context.settings.image_pull_policy.clone(),
        args: args(context),
        resources: context.wishes.resources.clone(),
        security_context: root,
        ..Container::default()
    }
}

fn args(context: &Context<'_>) -> Vec<String> {
    let captured = &context.wishes.captured;
    let mut args = vec!["capture".to_owned()];
    let mut option = |name: &str, value: &str| args.extend([name.to_owned(), value.to_owned()]);
    let config = &context.wishes.mesh.config;
    option("-p", &config.proxy_listen_port.to_string());
    option("-z", &config.proxy_inbound_listen_port.to_string());
    option("-u", &proxy_user(context).to_string());
    option("-m", context.interception());
    option("-i", captured.include_outbound_ranges.as_deref().unwrap_or("*"));
    option("-x", captured.exclude_outbound_ranges.as_deref().unwrap_or_default());
    option("-b", captured.include_inbound_ports.as_deref().unwrap_or("*"));
    option("-d", &excluded(context));
    let said = [
        ("-q", &captured.include_outbound_ports),
        ("-o", &captured.exclude_outbound_ports),
        ("-k", &captured.virtual_interfaces),
        ("-c", &captured.exclude_interfaces),
    ];
    for (name, value) in said {
        if let Some(value) = value {
            option(name, value);
        }
    }
    if context.captures_dns() {
        args.push("--redirect-dns".to_owned());
    }
    args
}

/// The sidecar's own ports, and those that the pod leaves out.
fn excluded(context: &Context<'_>) -> String {
    let mut ports = vec![METRICS_PORT.to_string(), HEALTH_PORT.to_string()];
    let said = context.wishes.captured.exclude_inbound_ports.as_deref().unwrap_or_default();
    ports.extend(said.split(',').filter(|port| !port.is_empty()).map(str::to_owned));
    let status = context.wishes.status_port.to_string();
    if status != "0" && !ports.contains(&status) {
        ports.push(status);
    }
    ports.join(",")
}

/// The user whose traffic is the sidecar's own: the one that the pod's own container `istio-proxy` runs as, but never root, which others
/// may be as well. A sidecar that is root is known by its group.
fn proxy_user(context: &Context<'_>) -> i64 {
    if context.is_transparent() {
        return ISTIO_PROXY;
    }
    let all = ["containers", "initContainers"].into_iter().flat_map(|field| context.pod.containers(field));
    let own = all.into_iter().find(|container| container["name"] == names::PROXY);
    let user = own.and_then(|container| Value::as_i64(&container["securityContext"]["runAsUser"]));
    user.filter(|user| *user > 0).unwrap_or(ISTIO_PROXY)
}
