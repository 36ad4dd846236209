//! Whether the value of an annotation makes sense.
//!
//! Facts: `AnnotationValidation` in pkg/kube/inject of Istio; Kubernetes' quantities.

use std::net::IpAddr;

use weir_api::resources::proxy_config::ProxyConfig;
use weir_api::syntax::de::{self, Unknown};
use weir_api::syntax::yaml;
use weir_api::{FieldPath, Source};

/// The kernel takes no longer names of interfaces.
const LONGEST_INTERFACE: usize = 15;

/// Checks the value of an annotation of a pod.
///
/// # Errors
/// Says what it is not.
pub(super) fn check(annotation: &str, value: &str) -> Result<(), String> {
    let name = annotation.rsplit('/').next().unwrap_or_default();
    match annotation {
        "sidecar.istio.io/interceptionMode" => interception(value),
        "status.sidecar.istio.io/port" => port(value),
        "readiness.status.sidecar.istio.io/initialDelaySeconds"
        | "readiness.status.sidecar.istio.io/periodSeconds"
        | "readiness.status.sidecar.istio.io/failureThreshold" => {
            value.parse::<u32>().map(drop).map_err(|_| format!("`{value}` is not a whole number from 0 on"))
        }
        "traffic.sidecar.istio.io/includeOutboundIPRanges" if value == "*" => Ok(()),
        "traffic.sidecar.istio.io/includeOutboundIPRanges" | "traffic.sidecar.istio.io/excludeOutboundIPRanges" => each(value, network),
        "traffic.sidecar.istio.io/includeInboundPorts" if value == "*" => Ok(()),
        "traffic.sidecar.istio.io/includeInboundPorts"
        | "traffic.sidecar.istio.io/excludeInboundPorts"
        | "traffic.sidecar.istio.io/excludeOutboundPorts" => each(value, port),
        "traffic.sidecar.istio.io/excludeInterfaces"
        | "traffic.sidecar.istio.io/kubevirtInterfaces"
        | "istio.io/reroute-virtual-interfaces" => each(value, interface),
        "prometheus.istio.io/merge-metrics" => boolean(value),
        "proxy.istio.io/config" => proxy_config(value),
        _ if name.starts_with("proxyCPU") || name.starts_with("proxyMemory") => quantity(value),
        _ => Ok(()),
    }
}

/// Checks each of a list with commas between them; an empty text is an empty list.
fn each(list: &str, one: impl Fn(&str) -> Result<(), String>) -> Result<(), String> {
    list.split(',').filter(|_| !list.trim().is_empty()).try_for_each(one)
}

fn interception(value: &str) -> Result<(), String> {
    let known = ["REDIRECT", "TPROXY", "NONE"].contains(&value);
    known.then_some(()).ok_or_else(|| format!("`{value}` is neither REDIRECT nor TPROXY nor NONE"))
}

fn port(value: &str) -> Result<(), String> {
    value.trim().parse::<u16>().map(drop).map_err(|_| format!("`{value}` is not the number of a port"))
}

fn network(value: &str) -> Result<(), String> {
    let is_one = value.split_once('/').is_some_and(|(address, length)| {
        let most = address.parse::<IpAddr>().map(|address| if address.is_ipv4() { 32 } else { 128 });
        most.is_ok_and(|most| length.parse::<u8>().is_ok_and(|length| length <= most))
    });
    is_one.then_some(()).ok_or_else(|| format!("`{value}` is not a network such as 10.0.0.0/8"))
}

fn interface(value: &str) -> Result<(), String> {
    let value = value.trim();
    let is_one = (1..=LONGEST_INTERFACE).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    is_one.then_some(()).ok_or_else(|| format!("`{value}` is not the name of an interface"))
}

fn boolean(value: &str) -> Result<(), String> {
    let known = ["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"].contains(&value);
    known.then_some(()).ok_or_else(|| format!("`{value}` is neither true nor false"))
}

fn proxy_config(value: &str) -> Result<(), String> {
    for document in yaml::documents(&Source::new("proxy.istio.io/config", value)) {
        let node = document.map_err(|error| error.message)?;
        let (_, errors) = de::read::<ProxyConfig>(&node, &FieldPath::default(), Unknown::Refuse);
        if let Some(error) = errors.first() {
            return Err(error.to_string());
        }
    }
    Ok(())
}

/// A number with a suffix, such as `100m`, `1.5Gi` or `2e3`.
fn quantity(value: &str) -> Result<(), String> {
    const SUFFIXES: &[&str] = &["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let unsigned = value.strip_prefix(['+', '-']).unwrap_or(value);
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let is_number = number.bytes().any(|byte| byte.is_ascii_digit()) && number.bytes().filter(|byte| *byte == b'.').count() <= 1;
    let is_exponent = suffix.strip_prefix(['e', 'E']).is_some_and(|exponent| exponent.parse::<i32>().is_ok());
    let is_one = is_number && (is_exponent || SUFFIXES.contains(&suffix));
    is_one.then_some(()).ok_or_else(|| format!("`{}` is not a quantity such as 100m or 1Gi", value.escape_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_by_their_kind() {
        for (annotation, good, bad) in [
            ("sidecar.istio.io/interceptionMode", "TPROXY", "tproxy"),
            ("status.sidecar.istio.io/port", "15020", "70000"),
            ("readiness.status.sidecar.istio.io/periodSeconds", "10", "-1"),
            ("traffic.sidecar.istio.io/includeOutboundIPRanges", "*", "10.0.0.0"),
            ("traffic.sidecar.istio.io/excludeOutboundIPRanges", "10.0.0.0/8,fd00::/8", "10.0.0.0/33"),
            ("traffic.sidecar.istio.io/excludeInboundPorts", "", "80,x"),
            ("traffic.sidecar.istio.io/includeInboundPorts", "*", "*,80"),
            ("traffic.sidecar.istio.io/excludeInterfaces", "eth0,eth1", "a/b"),
            ("prometheus.istio.io/merge-metrics", "False", "no"),
            ("proxy.istio.io/config", "{concurrency: 2}", "concurency: 2"),
            ("sidecar.istio.io/proxyCPU", "100m", "100 m"),
            ("sidecar.istio.io/proxyMemoryLimit", "1.5Gi", "Gi"),
            ("sidecar.istio.io/proxyCPULimit", "2e3", "1.2.3"),
        ] {
            assert_eq!(check(annotation, good), Ok(()), "{annotation}");
            assert!(check(annotation, bad).is_err(), "{annotation} {bad}");
        }
    }
}
