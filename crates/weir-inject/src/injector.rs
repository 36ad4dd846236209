//! What the operator of a cluster says of injection: Istio's ConfigMap `istio-sidecar-injector`, with its keys `config` and `values`.
//!
//! Facts: `Config` in pkg/kube/inject/inject.go of Istio, templates/istiod-injector-configmap.yaml of charts/istio-control/istio-discovery.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use weir_api::resources::mesh_config::LabelSelector;

use crate::decision::Policy;
use crate::settings::Settings;
use crate::template::Template;

/// Templates of Istio's charts, which are in every such ConfigMap, and nobody's own.
const OF_ISTIO: [&str; 8] =
    ["sidecar", "gateway", "grpc-simple", "grpc-agent", "waypoint", "kube-gateway", "agentgateway", "agentgateway-waypoint"];

/// The key `config`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    policy: Option<String>,
    always_inject_selector: Option<Vec<LabelSelector>>,
    never_inject_selector: Option<Vec<LabelSelector>>,
    injected_annotations: Option<BTreeMap<String, String>>,
    default_templates: Option<Vec<String>>,
    aliases: Option<BTreeMap<String, Vec<String>>>,
    templates: Option<BTreeMap<String, IgnoredAny>>,
}

/// The key `values`, as far as it is carried out.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Values {
    global: Global,
    sidecar_injector_webhook: Injector,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Global {
    image_pull_policy: Option<String>,
    image_pull_secrets: Option<Vec<String>>,
    network: Option<String>,
    multi_cluster: MultiCluster,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct MultiCluster {
    cluster_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Injector {
    // No name that follows a rule.
    #[serde(rename = "rewriteAppHTTPProbe")]
    rewrite_probes: Option<bool>,
}

impl Settings {
    /// The same as an operator says, by the texts of both keys; and what of that has no effect.
    ///
    /// # Errors
    /// What of it cannot be read, or would refuse every pod.
    pub fn with_injector(&self, config: Option<&str>, values: Option<&str>) -> Result<(Self, Vec<String>), String> {
        let (config, values): (Config, Values) = (read("config", config)?, read("values", values)?);
        let disabled = match config.policy.as_deref() {
            None | Some("" | "enabled") => false,
            Some("disabled") => true,
            Some(other) => return Err(format!("config: policy: {other:?} is neither enabled nor disabled")),
        };
        let (never, always) = (config.never_inject_selector, config.always_inject_selector);
        let mut settings = Self {
            policy: Policy { disabled, never: never.unwrap_or_default(), always: always.unwrap_or_default() },
            annotations: config.injected_annotations.unwrap_or_default(),
            aliases: config.aliases.unwrap_or_default(),
            ..self.clone()
        };
        if let Some(templates) = config.default_templates.filter(|templates| !templates.is_empty()) {
            settings.default_templates = templates;
            Template::usual(&settings).map_err(|reason| format!("config: defaultTemplates: {reason}"))?;
        }
        let said = |value: Option<String>| value.filter(|value| !value.is_empty());
        settings.image_pull_policy = said(values.global.image_pull_policy).or(settings.image_pull_policy);
        settings.image_pull_secrets = values.global.image_pull_secrets.unwrap_or(settings.image_pull_secrets);
        settings.network = said(values.global.network).unwrap_or(settings.network);
        settings.cluster = said(values.global.multi_cluster.cluster_name).unwrap_or(settings.cluster);
        settings.rewrite_probes = values.sidecar_injector_webhook.rewrite_probes.unwrap_or(settings.rewrite_probes);
        let own = config.templates.unwrap_or_default().into_keys().filter(|name| !OF_ISTIO.contains(&name.as_str()));
        Ok((settings, own.map(|name| format!("config: templates: {name} has no effect: Weir's are sidecar and gateway")).collect()))
    }
}

fn read<T: DeserializeOwned + Default>(key: &str, text: Option<&str>) -> Result<T, String> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else { return Ok(T::default()) };
    serde_saphyr::from_str(text).map_err(|error| format!("{key}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_says_whom_and_how() {
        let config = "
policy: disabled
alwaysInjectSelector: [{matchLabels: {a: b}}]
neverInjectSelector:
injectedAnnotations: {x/y: '1'}
defaultTemplates: [all]
aliases: {all: [sidecar, gateway]}
template: \"{{ whatever }}\"
templates: {sidecar: \"{{ a }}\", waypoint: '', mine: ''}
";
        let values = r#"{"global": {"imagePullPolicy": "Always", "imagePullSecrets": ["s"], "network": "n", "multiCluster": {"clusterName": "c"},
            "proxy": {"image": "x"}}, "sidecarInjectorWebhook": {"rewriteAppHTTPProbe": false}}"#;
        let (settings, notes) = Settings::default().with_injector(Some(config), Some(values)).unwrap();
        assert!(settings.policy.disabled && settings.policy.never.is_empty() && settings.policy.always.len() == 1);
        assert_eq!((settings.annotations["x/y"].as_str(), settings.default_templates.as_slice()), ("1", &["all".to_owned()][..]));
        assert_eq!(
            (settings.image_pull_policy.as_deref(), settings.image_pull_secrets.as_slice()),
            (Some("Always"), &["s".to_owned()][..])
        );
        assert_eq!((settings.network.as_str(), settings.cluster.as_str(), settings.rewrite_probes), ("n", "c", false));
        assert_eq!(notes, ["config: templates: mine has no effect: Weir's are sidecar and gateway"]);
    }

    #[test]
    fn what_is_not_said_stays() {
        let before = Settings { network: "n".to_owned(), ..Settings::default() };
        for (config, values) in
            [(None, None), (Some(""), Some("{}")), (Some("policy: enabled\ndefaultTemplates: []"), Some("global: {network: ''}"))]
        {
            let (settings, notes) = before.with_injector(config, values).unwrap();
            assert_eq!((settings.network.as_str(), settings.default_templates.as_slice()), ("n", &["sidecar".to_owned()][..]));
            assert!(!settings.policy.disabled && settings.rewrite_probes && notes.is_empty());
        }
    }

    #[test]
    fn what_would_refuse_every_pod_is_refused_itself() {
        for (config, expected) in [
            ("policy: maybe", "config: policy: \"maybe\" is neither enabled nor disabled"),
            ("defaultTemplates: [mine]", "config: defaultTemplates: annotation inject.istio.io/templates: there is no template \"mine\""),
            ("policy: [", "config: "),
            ("neverInjectSelector: 7", "config: "),
        ] {
            let refused = Settings::default().with_injector(Some(config), None).unwrap_err();
            assert!(refused.starts_with(expected), "{config}: {refused}");
        }
        assert!(Settings::default().with_injector(None, Some("[]")).unwrap_err().starts_with("values: "));
    }
}
