//! Istio's annotations of a workload that say what of its traffic is captured.

use crate::lists::ListError;
use crate::settings::{Settings, UnknownMode};

/// Why an annotation cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnotationError {
    /// It is none that says what is captured.
    #[error("{0} says nothing of capture")]
    Unknown(String),
    /// Its value is not understood.
    #[error("{0}: {1}")]
    Value(String, ListError),
    /// It asks for a way of capture that there is not.
    #[error("{0}: {1}")]
    Mode(String, UnknownMode),
}

impl Settings {
    /// Takes over what an annotation says.
    ///
    /// # Errors
    /// If it is none of those, or its value is not understood.
    pub fn annotate(&mut self, name: &str, value: &str) -> Result<(), AnnotationError> {
        let read = match name {
            "traffic.sidecar.istio.io/includeInboundPorts" => self.include_inbound_ports(value),
            "traffic.sidecar.istio.io/excludeInboundPorts" => self.exclude_inbound_ports(value),
            "traffic.sidecar.istio.io/includeOutboundPorts" => self.include_outbound_ports(value),
            "traffic.sidecar.istio.io/excludeOutboundPorts" => self.exclude_outbound_ports(value),
            "traffic.sidecar.istio.io/includeOutboundIPRanges" => self.include_outbound_ranges(value),
            "traffic.sidecar.istio.io/excludeOutboundIPRanges" => self.exclude_outbound_ranges(value),
            "traffic.sidecar.istio.io/excludeInterfaces" => self.exclude_interfaces(value),
            "traffic.sidecar.istio.io/kubevirtInterfaces" | "istio.io/reroute-virtual-interfaces" => self.reroute_virtual_interfaces(value),
            // `0` says that there is no such port.
            "status.sidecar.istio.io/port" if value == "0" => Ok(()),
            "status.sidecar.istio.io/port" => self.exclude_inbound_ports(value),
            "sidecar.istio.io/interceptionMode" => {
                self.mode = value.parse().map_err(|error| AnnotationError::Mode(name.to_owned(), error))?;
                Ok(())
            }
            _ => return Err(AnnotationError::Unknown(name.to_owned())),
        };
        read.map_err(|error| AnnotationError::Value(name.to_owned(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lists::Selection;
    use crate::settings::Mode;

    #[test]
    fn annotations_say_what_is_captured() {
        let mut settings = Settings::default();
        for (name, value) in [
            ("traffic.sidecar.istio.io/includeInboundPorts", "8080"),
            ("traffic.sidecar.istio.io/excludeInboundPorts", "22"),
            ("status.sidecar.istio.io/port", "15999"),
            ("traffic.sidecar.istio.io/excludeOutboundPorts", "3306,5432"),
            ("traffic.sidecar.istio.io/includeOutboundIPRanges", "10.0.0.0/8"),
            ("istio.io/reroute-virtual-interfaces", "tap0"),
            ("sidecar.istio.io/interceptionMode", "TPROXY"),
        ] {
            settings.annotate(name, value).unwrap();
        }
        assert_eq!(settings.inbound_ports, Selection::Only([8080].into()));
        assert_eq!(settings.excluded_inbound_ports, [22, 15020, 15021, 15090, 15999].into());
        assert_eq!(settings.excluded_outbound_ports, [3306, 5432].into());
        assert_eq!(settings.outbound_ranges, Selection::Only(["10.0.0.0/8".parse().unwrap()].into()));
        assert_eq!(settings.mode, Mode::Transparent);
        assert_eq!(settings.virtual_interfaces, ["tap0".parse().unwrap()].into());
    }

    #[test]
    fn an_annotation_that_is_not_understood_is_an_error() {
        for (name, value, expected) in [
            ("sidecar.istio.io/inject", "true", "sidecar.istio.io/inject says nothing of capture"),
            (
                "traffic.sidecar.istio.io/excludeOutboundIPRanges",
                "*",
                "traffic.sidecar.istio.io/excludeOutboundIPRanges: `*` would be all: name those that are meant",
            ),
            (
                "sidecar.istio.io/interceptionMode",
                "NONE",
                "sidecar.istio.io/interceptionMode: \"NONE\" is no way of capture: REDIRECT or TPROXY is",
            ),
        ] {
            assert_eq!(Settings::default().annotate(name, value).unwrap_err().to_string(), expected);
        }
    }
}
