//! What a pod's annotations ask for. Each is carried out, or reported by name; one whose value cannot be read refuses the pod, as by Istio.
//!
//! Facts: annotation/annotations.gen.go of istio.io/api, pkg/kube/inject/validate.go of Istio.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};
use weir_api::resources::proxy_config::InboundInterceptionMode as Mode;

use crate::kube::Resources;
use crate::lists::{self, Wrong};
use crate::names;
use crate::pod::Pod;
use crate::settings::{DataPlane, Mesh, Settings};

/// The fields of a ProxyConfig that are carried out for one pod.
const OF_ONE_POD: [&str; 6] =
    ["concurrency", "discoveryAddress", "holdApplicationUntilProxyStarts", "interceptionMode", "proxyMetadata", "statusPort"];

/// An annotation whose value cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnotationError {
    /// Which.
    pub annotation: String,
    /// Its value.
    pub value: String,
    /// What would be right.
    pub problem: String,
}

impl fmt::Display for AnnotationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Of a longer value the rest says nothing more.
        const SHOWN: usize = 80;
        let shown: String = self.value.chars().take(SHOWN).collect();
        let more = if shown.len() < self.value.len() { "…" } else { "" };
        write!(f, "annotation {}: the value {shown:?}{more} cannot be read: {}", self.annotation, self.problem)
    }
}

/// What of the workload's traffic is captured, in the words of `weir capture`. What is absent is not said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    pub(crate) include_outbound_ranges: Option<String>,
    pub(crate) exclude_outbound_ranges: Option<String>,
    pub(crate) include_inbound_ports: Option<String>,
    pub(crate) exclude_inbound_ports: Option<String>,
    pub(crate) include_outbound_ports: Option<String>,
    pub(crate) exclude_outbound_ports: Option<String>,
    pub(crate) exclude_interfaces: Option<String>,
    pub(crate) virtual_interfaces: Option<String>,
}

/// When the proxy's readiness is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    pub(crate) initial_delay: u32,
    pub(crate) period: u32,
    pub(crate) failures: u32,
}

/// What is asked for, of the annotations and of what they lie over.
#[derive(Debug, Clone)]
pub struct Wishes {
    pub(crate) mesh: Mesh,
    pub(crate) interception: Mode,
    pub(crate) captured: Captured,
    /// 0 is none: then the proxy is not probed either.
    pub(crate) status_port: u16,
    pub(crate) readiness: Readiness,
    pub(crate) resources: Resources,
    pub(crate) image: Option<String>,
    pub(crate) log_level: String,
    pub(crate) component_log_level: String,
    pub(crate) rewrite_probes: bool,
    pub(crate) native: bool,
    pub(crate) volumes: Map<String, Value>,
    pub(crate) mounts: Map<String, Value>,
    pub(crate) bind_low_ports: bool,
    pub(crate) control_plane: String,
    pub(crate) merge_metrics: bool,
    /// What is not carried out, and what would be right.
    pub(crate) reports: Vec<String>,
}

impl Wishes {
    /// Reads a pod's annotations.
    ///
    /// # Errors
    /// All of those whose values cannot be read.
    pub fn read(pod: Pod<'_>, settings: &Settings) -> Result<Self, Vec<AnnotationError>> {
        let annotations = pod.annotations();
        let mut errors = vec![];
        let mut fail = |name: &str, problem: Wrong| {
            let value = annotations.get(name).cloned().unwrap_or_default();
            errors.push(AnnotationError { annotation: name.to_owned(), value, problem });
        };
        let (mut mesh, mut without_effect) = (settings.mesh.clone(), vec![]);
        if let Some(text) = annotations.get(names::PROXY_CONFIG) {
            match mesh.with_proxy_config(text) {
                Ok((merged, said)) => {
                    mesh = merged;
                    without_effect.extend(said.into_iter().filter(|field| !OF_ONE_POD.contains(&field.as_str())));
                }
                Err(problem) => fail(names::PROXY_CONFIG, problem),
            }
        }
        let mut wishes = Self { native: settings.is_native(pod), ..Self::without_annotations(mesh, settings) };
        for (name, value) in &annotations {
            if let Err(problem) = wishes.take(name, value, settings.data_plane) {
                fail(name, problem);
            }
        }
        wishes.resources = resources(&annotations);
        wishes.reports.extend(without_effect.iter().map(|field| {
            let remedy = "what of it Weir carries out is set for all, by defaultConfig of the mesh's configuration";
            format!("{field} of annotation {} has no effect on one pod alone: {remedy}", names::PROXY_CONFIG)
        }));
        if wishes.asks_to_hold() && wishes.status_port == 0 {
            let remedy = "without a status port nobody tells whether the proxy is ready";
            wishes.reports.push(format!("holdApplicationUntilProxyStarts has no effect: {remedy}"));
        }
        if settings.data_plane == DataPlane::Envoy && wishes.asks_for_dns() {
            let remedy = "nobody answers DNS beside an Envoy: use the data plane weir";
            wishes.reports.push(format!("ISTIO_META_DNS_CAPTURE of proxyMetadata has no effect: {remedy}"));
        }
        if errors.is_empty() { Ok(wishes) } else { Err(errors) }
    }

    fn without_annotations(mesh: Mesh, settings: &Settings) -> Self {
        let config = &mesh.config.default_config;
        let control_plane = match mesh.written("discoveryAddress") {
            Some(_) => config.discovery_address.clone(),
            None => settings.control_plane(),
        };
        Self {
            interception: config.interception_mode,
            captured: Captured::default(),
            status_port: u16::try_from(config.status_port).unwrap_or(names::STATUS_PORT),
            readiness: Readiness { initial_delay: 0, period: 15, failures: 4 },
            resources: Resources::default(),
            image: None,
            log_level: "warning".to_owned(),
            component_log_level: "misc:error".to_owned(),
            rewrite_probes: settings.rewrite_probes,
            native: settings.native_sidecars,
            volumes: Map::new(),
            mounts: Map::new(),
            bind_low_ports: false,
            control_plane,
            merge_metrics: mesh.config.enable_prometheus_merge.unwrap_or(true),
            reports: vec![],
            mesh,
        }
    }

    /// Whether applications are to wait until the sidecar is ready.
    pub(crate) fn asks_to_hold(&self) -> bool {
        self.mesh.config.default_config.hold_application_until_proxy_starts.unwrap_or(false)
    }

    /// Whether the workload's questions of DNS are to be captured.
    pub(crate) fn asks_for_dns(&self) -> bool {
        self.mesh.metadata("ISTIO_META_DNS_CAPTURE") == Some("true")
    }

    /// Takes over what an annotation says.
    fn take(&mut self, name: &str, value: &str, data_plane: DataPlane) -> Result<(), Wrong> {
        if let Some(name) = name.strip_prefix("traffic.sidecar.istio.io/") {
            return self.capture(name, value);
        }
        match name {
            "sidecar.istio.io/interceptionMode" => self.interception = mode(value)?,
            "istio.io/reroute-virtual-interfaces" => self.captured.virtual_interfaces = Some(lists::interfaces(value)?),
            "status.sidecar.istio.io/port" => {
                self.status_port = lists::port(value).map_err(|_| "write a port, or 0 for none".to_owned())?
            }
            "readiness.status.sidecar.istio.io/initialDelaySeconds" => self.readiness.initial_delay = seconds(value, 0)?,
            "readiness.status.sidecar.istio.io/periodSeconds" => self.readiness.period = seconds(value, 1)?,
            "readiness.status.sidecar.istio.io/failureThreshold" => self.readiness.failures = seconds(value, 1)?,
            "sidecar.istio.io/proxyCPU"
            | "sidecar.istio.io/proxyMemory"
            | "sidecar.istio.io/proxyCPULimit"
            | "sidecar.istio.io/proxyMemoryLimit" => drop(lists::quantity(value)?),
            "sidecar.istio.io/proxyImage" => self.image = Some(image(value)?),
            "sidecar.istio.io/logLevel" => self.log_level = log_level(value)?,
            "sidecar.istio.io/componentLogLevel" if data_plane == DataPlane::Envoy => self.component_log_level = components(value)?,
            "sidecar.istio.io/rewriteAppHTTPProbers" => self.rewrite_probes = lists::boolean(value)?,
            "sidecar.istio.io/nativeSidecar" => self.native = lists::boolean(value)?,
            "sidecar.istio.io/userVolume" => self.volumes = object(value)?,
            "sidecar.istio.io/userVolumeMount" => self.mounts = object(value)?,
            "sidecar.istio.io/capNetBindService" => self.bind_low_ports = lists::boolean(value)?,
            "sidecar.istio.io/discoveryAddress" => self.control_plane = address(value)?,
            "prometheus.istio.io/merge-metrics" => self.merge_metrics = lists::boolean(value)?,
            _ => self.report(name),
        }
        Ok(())
    }

    fn capture(&mut self, name: &str, value: &str) -> Result<(), Wrong> {
        let captured = &mut self.captured;
        let (field, read) = match name {
            "includeOutboundIPRanges" => (&mut captured.include_outbound_ranges, lists::ranges(value, true)),
            "excludeOutboundIPRanges" => (&mut captured.exclude_outbound_ranges, lists::ranges(value, false)),
            "includeInboundPorts" => (&mut captured.include_inbound_ports, lists::ports(value, true)),
            "excludeInboundPorts" => (&mut captured.exclude_inbound_ports, lists::ports(value, false)),
            "includeOutboundPorts" => (&mut captured.include_outbound_ports, lists::ports(value, false)),
            "excludeOutboundPorts" => (&mut captured.exclude_outbound_ports, lists::ports(value, false)),
            "excludeInterfaces" => (&mut captured.exclude_interfaces, lists::interfaces(value)),
            // The later name of the same counts more.
            "kubevirtInterfaces" if captured.virtual_interfaces.is_some() => return lists::interfaces(value).map(drop),
            "kubevirtInterfaces" => (&mut captured.virtual_interfaces, lists::interfaces(value)),
            _ => {
                self.report(&format!("traffic.sidecar.istio.io/{name}"));
                return Ok(());
            }
        };
        *field = Some(read?);
        Ok(())
    }

    /// Says what is not carried out. What is not Istio's, or not about injection, is nobody's business here.
    fn report(&mut self, name: &str) {
        let remedy = match name {
            "sidecar.istio.io/inject" | "sidecar.istio.io/status" => return,
            "sidecar.istio.io/agentLogLevel" => "one level is for all of it: set sidecar.istio.io/logLevel",
            "sidecar.istio.io/componentLogLevel" => "Weir's proxy has no components of Envoy: set sidecar.istio.io/logLevel",
            "sidecar.istio.io/proxyImageType" => "the image has one type: name another by sidecar.istio.io/proxyImage",
            "sidecar.istio.io/bootstrapOverride" => "Weir makes the bootstrap: use an EnvoyFilter",
            "sidecar.istio.io/extraStatTags" => "statistics have their usual labels",
            _ if name.starts_with("sidecar.istio.io/stats") => "all statistics are told",
            _ if name.starts_with("sidecar.istio.io/")
                || name.starts_with("traffic.sidecar.istio.io/")
                || name.starts_with("status.sidecar.istio.io/")
                || name.starts_with("readiness.status.sidecar.istio.io/") =>
            {
                "nobody knows it: look how it is spelled"
            }
            _ => return,
        };
        self.reports.push(format!("annotation {name} has no effect: {remedy}"));
    }
}

fn mode(value: &str) -> Result<Mode, Wrong> {
    match value {
        "REDIRECT" => Ok(Mode::Redirect),
        "TPROXY" => Ok(Mode::Tproxy),
        "NONE" => Ok(Mode::None),
        _ => Err("write REDIRECT, TPROXY or NONE".to_owned()),
    }
}

/// A number of seconds, or of times, as the kubelet takes it.
fn seconds(value: &str, least: u32) -> Result<u32, Wrong> {
    let most = i32::MAX.unsigned_abs();
    lists::number(value, most).ok().filter(|number| *number >= least).ok_or_else(|| format!("write a whole number from {least} to {most}"))
}

/// The levels of Envoy; each has one of ours.
fn log_level(value: &str) -> Result<String, Wrong> {
    let levels = ["trace", "debug", "info", "warning", "error", "critical", "off"];
    match value {
        "warn" => Ok("warning".to_owned()),
        _ if levels.contains(&value) => Ok(value.to_owned()),
        _ => Err(format!("write one of {}", levels.join(", "))),
    }
}

/// Envoy's components and their levels: this ends in a command line.
fn components(value: &str) -> Result<String, Wrong> {
    let good = |pair: &str| {
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        pair.split_once(':').is_some_and(|(name, level)| is_name(name) && log_level(level).is_ok())
    };
    match value.split(',').all(good) {
        true => Ok(value.to_owned()),
        false => Err("write COMPONENT:LEVEL, with commas between several".to_owned()),
    }
}

fn image(value: &str) -> Result<String, Wrong> {
    match !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(value.to_owned()),
        false => Err("write the name of an image".to_owned()),
    }
}

/// A host and a port.
fn address(value: &str) -> Result<String, Wrong> {
    let is_host = |host: &str| !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.[]:".contains(&byte));
    match value.rsplit_once(':') {
        Some((host, port)) if is_host(host) && lists::port(port).is_ok_and(|port| port != 0) => Ok(value.to_owned()),
        _ => Err("write HOST:PORT".to_owned()),
    }
}

fn object(value: &str) -> Result<Map<String, Value>, Wrong> {
    let read: Result<Map<String, Value>, _> = serde_json::from_str(value);
    let found = read.map_err(|error| format!("write a JSON object of objects, by the volume's name ({error})"))?;
    match found.values().all(Value::is_object) {
        true => Ok(found),
        false => Err("write a JSON object of objects, by the volume's name".to_owned()),
    }
}

/// What the sidecar gets: any of the four annotations replaces all defaults, as by Istio.
fn resources(annotations: &BTreeMap<String, String>) -> Resources {
    let said = |name: &str| annotations.get(&format!("sidecar.istio.io/{name}")).cloned();
    let some = |pairs: [(&'static str, Option<String>); 2]| pairs.into_iter().filter_map(|(name, amount)| Some((name, amount?))).collect();
    let requests: BTreeMap<_, _> = some([("cpu", said("proxyCPU")), ("memory", said("proxyMemory"))]);
    let limits: BTreeMap<_, _> = some([("cpu", said("proxyCPULimit")), ("memory", said("proxyMemoryLimit"))]);
    if !requests.is_empty() || !limits.is_empty() {
        return Resources { requests, limits };
    }
    let amounts = |cpu: &str, memory: &str| [("cpu", cpu.to_owned()), ("memory", memory.to_owned())].into();
    Resources { requests: amounts("100m", "128Mi"), limits: amounts("2", "1Gi") }
}
