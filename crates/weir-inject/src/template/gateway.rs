//! The template `gateway`: a pod whose only work is the proxy. Nothing is captured, and it may bind ports below 1024 without being root.

use super::proxy::{self, Role};
use super::{Context, Rendered, volumes};

/// What it adds.
pub(super) fn render(context: &Context<'_>) -> Rendered {
    Rendered {
        containers: proxy::containers(context, Role::Router),
        volumes: volumes::volumes().into_iter().map(|(volume, _)| volume).collect(),
        sysctls: vec![("net.ipv4.ip_unprivileged_port_start", "0")],
        ..Rendered::default()
    }
}
