//! The names of Services' ports, by which their protocols are told.

use weir_api::resources::kubernetes::{Service, ServicePort};
use weir_api::{Document, FieldPath};
use weir_model::service::select_protocol;

use super::codes::{EXTERNAL_NAME_PORT, PORT_NAME};
use super::finding::{Report, path};
use super::in_mesh::is_of_control_plane;
use super::index::Index;

/// The label of what a controller of gateways made, and its values.
const MANAGED: (&str, [&str; 3]) =
    ("gateway.istio.io/managed", ["istio.io-gateway-controller", "istio.io-mesh-controller", "istio.io-eastwest-controller"]);

/// Looks at all Services.
pub(super) fn check(index: &Index<'_>, report: &mut Report) {
    for (document, service) in index.services() {
        let labels = &document.meta.labels;
        let is_managed = labels.get(MANAGED.0).is_some_and(|by| MANAGED.1.contains(&by.as_str()));
        if !is_of_control_plane(labels) && !is_managed {
            check_ports(document, service, report);
        }
    }
}

fn check_ports(document: &Document, service: &Service, report: &mut Report) {
    for (number, port) in service.spec.ports.iter().enumerate() {
        let at = path("spec.ports").index(number);
        let is_external = service.spec.is_external_name();
        if is_external && (port.name == "tcp" || !tells_protocol(port)) {
            let message =
                format!("the port {} is not told to speak HTTP or TLS, and connections to an ExternalName go astray so", port.port);
            report.say_help(EXTERNAL_NAME_PORT, document, field(&at, port), message, HELP.to_owned());
        } else if !tells_protocol(port) {
            let message = format!("the name {:?} of port {} tells no protocol: proxies look at the first bytes", port.name, port.port);
            report.say_help(PORT_NAME, document, field(&at, port), message, HELP.to_owned());
        }
    }
}

const HELP: &str = "begin the name with the protocol and a dash, such as `http-web`, or set `appProtocol`";

fn field(at: &FieldPath, port: &ServicePort) -> FieldPath {
    if port.name.is_empty() { at.key("port") } else { at.key("name") }
}

fn tells_protocol(port: &ServicePort) -> bool {
    let number = u16::try_from(port.port).unwrap_or_default();
    select_protocol(&port.name, port.app_protocol.as_deref(), number, &port.protocol).is_some()
}
