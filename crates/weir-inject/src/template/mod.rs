//! What is injected: the templates `sidecar` and `gateway`, made of what a pod asks for.
//!
//! Facts: charts/istio-control/istio-discovery/files/injection-template.yaml and gateway-injection-template.yaml of Istio. Where Istio's
//! runs `pilot-agent`, ours runs `weir`.

mod capture;
mod environment;
mod gateway;
mod proxy;
mod sidecar;
pub(crate) mod volumes;

use std::collections::BTreeMap;

use weir_api::resources::proxy_config::InboundInterceptionMode as Mode;

use crate::annotations::Wishes;
use crate::kube::{Container, Volume};
use crate::names;
use crate::pod::Pod;
use crate::settings::{DataPlane, Settings};
use crate::workload::Workload;

/// All that a template is made of.
pub(crate) struct Context<'c> {
    pub pod: Pod<'c>,
    /// Its labels, those that injection adds among them.
    pub labels: &'c BTreeMap<String, String>,
    pub workload: &'c Workload,
    pub wishes: &'c Wishes,
    pub settings: &'c Settings,
}

/// What a template adds to a pod.
#[derive(Debug, Default)]
pub(crate) struct Rendered {
    pub init_containers: Vec<Container>,
    pub containers: Vec<Container>,
    pub volumes: Vec<Volume>,
    /// Settings of the kernel in the pod's namespaces.
    pub sysctls: Vec<(&'static str, &'static str)>,
}

/// A template of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Template {
    Sidecar,
    Gateway,
}

impl Template {
    /// The templates that a pod names, or else the usual ones.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn of(pod: Pod<'_>, settings: &Settings) -> Result<Vec<Self>, String> {
        let named: Option<Vec<String>> =
            pod.annotation(names::TEMPLATES).map(|text| text.split(',').map(|name| name.trim().to_owned()).collect());
        Self::named(named.unwrap_or_else(|| settings.default_templates.clone()), settings)
    }

    /// The templates of pods that name none.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn usual(settings: &Settings) -> Result<Vec<Self>, String> {
        Self::named(settings.default_templates.clone(), settings)
    }

    fn named(names: Vec<String>, settings: &Settings) -> Result<Vec<Self>, String> {
        let all = names.into_iter().flat_map(|name| settings.aliases.get(&name).cloned().unwrap_or_else(|| vec![name]));
        let template = |name: String| match name.as_str() {
            "sidecar" => Ok(Self::Sidecar),
            "gateway" => Ok(Self::Gateway),
            _ => Err(format!("annotation {}: there is no template {name:?}: write sidecar or gateway", names::TEMPLATES)),
        };
        all.map(template).collect()
    }

    /// What it adds.
    pub fn render(self, context: &Context<'_>) -> Rendered {
        match self {
            Self::Sidecar => sidecar::render(context),
            Self::Gateway => gateway::render(context),
        }
    }
}

impl Context<'_> {
    /// Istio's word for how traffic comes to the sidecar.
    fn interception(&self) -> &'static str {
        match self.wishes.interception {
            Mode::Redirect => "REDIRECT",
            Mode::Tproxy => "TPROXY",
            Mode::None => "NONE",
        }
    }

    fn is_transparent(&self) -> bool {
        self.wishes.interception == Mode::Tproxy
    }

    /// Whether the sidecar answers the workload's questions of DNS; beside an Envoy nobody does.
    fn captures_dns(&self) -> bool {
        !self.is_envoy() && self.wishes.asks_for_dns()
    }

    /// Whether applications wait for the sidecar by a hook: a native one needs none.
    fn holds(&self) -> bool {
        !self.wishes.native && holds_application(self.wishes)
    }

    fn is_envoy(&self) -> bool {
        self.settings.data_plane == DataPlane::Envoy
    }

    /// The containers whose traffic it is.
    fn applications(&self) -> Vec<&str> {
        let names = self.pod.containers("containers").iter().filter_map(|container| container["name"].as_str());
        names.filter(|name| *name != names::PROXY).collect()
    }
}

/// Whether applications wait until the sidecar is ready. Where nobody is asked about that they would wait for ever.
pub(crate) fn holds_application(wishes: &Wishes) -> bool {
    wishes.asks_to_hold() && wishes.status_port != 0
}
