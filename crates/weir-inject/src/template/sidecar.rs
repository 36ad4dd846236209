//! The template `sidecar`: a proxy beside an application, to which the kernel hands the traffic.

use weir_api::resources::proxy_config::InboundInterceptionMode as Mode;

use super::proxy::{self, Role};
use super::{Context, Rendered, capture, volumes};

/// What it adds.
pub(super) fn render(context: &Context<'_>) -> Rendered {
    let mut rendered = Rendered { volumes: volumes::volumes().into_iter().map(|(volume, _)| volume).collect(), ..Rendered::default() };
    if context.wishes.interception != Mode::None {
        rendered.init_containers.push(capture::container(context));
    }
    let containers = proxy::containers(context, Role::Sidecar);
    if context.wishes.native {
        rendered.init_containers.extend(containers);
    } else {
        rendered.containers = containers;
    }
    rendered
}
