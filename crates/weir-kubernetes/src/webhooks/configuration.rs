//! A webhook configuration of the API server's as far as it concerns who answers it, and the change of it that is needed.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde_json::{Map, Value, json};
use weir_api::resources::mesh_config::LabelSelector as Selector;

/// What the API server does with what a webhook does not answer, in its words.
const FAIL: &str = "Fail";

/// A configuration.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Configuration {
    /// The version that it was read in.
    version: String,
    pub hooks: Vec<Hook>,
}

/// A webhook of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Hook {
    name: String,
    /// Whom the API server takes who answers for: the name that must be in the certificate.
    pub host: String,
    pub bundle: Option<ByteString>,
    /// Whether what it does not answer is refused.
    pub fails: bool,
    /// Which objects it is asked about.
    pub objects: Selector,
}

/// A change of a webhook.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Change {
    pub bundle: Option<String>,
    /// From now on what it does not answer is refused.
    pub fail: bool,
}

impl Configuration {
    pub fn mutating(read: &MutatingWebhookConfiguration) -> Self {
        let hooks = read.webhooks.iter().flatten();
        let hook = |hook: &k8s_openapi::api::admissionregistration::v1::MutatingWebhook| {
            Hook::of(&hook.name, &hook.client_config, hook.failure_policy.as_deref(), hook.object_selector.as_ref())
        };
        Self::of(&read.metadata, hooks.map(hook).collect())
    }

    pub fn validating(read: &ValidatingWebhookConfiguration) -> Self {
        let hooks = read.webhooks.iter().flatten();
        let hook = |hook: &k8s_openapi::api::admissionregistration::v1::ValidatingWebhook| {
            Hook::of(&hook.name, &hook.client_config, hook.failure_policy.as_deref(), hook.object_selector.as_ref())
        };
        Self::of(&read.metadata, hooks.map(hook).collect())
    }

    fn of(metadata: &ObjectMeta, hooks: Vec<Hook>) -> Self {
        Self { version: metadata.resource_version.clone().unwrap_or_default(), hooks }
    }

    /// The change of some webhooks, as a strategic merge patch: by their names, and of the version that was read, so that nobody's else is undone.
    pub fn patch<'h>(&self, changes: impl IntoIterator<Item = (&'h Hook, Change)>) -> Option<Value> {
        let hook = |(hook, change): (&Hook, Change)| {
            let mut fields = Map::new();
            fields.insert("name".to_owned(), json!(hook.name));
            if let Some(bundle) = change.bundle {
                fields.insert("clientConfig".to_owned(), json!({"caBundle": ByteString(bundle.into_bytes())}));
            }
            if change.fail {
                fields.insert("failurePolicy".to_owned(), json!(FAIL));
            }
            (fields.len() > 1).then_some(Value::Object(fields))
        };
        let hooks: Vec<Value> = changes.into_iter().filter_map(hook).collect();
        (!hooks.is_empty()).then(|| json!({"metadata": {"resourceVersion": self.version}, "webhooks": hooks}))
    }
}

impl Hook {
    fn of(name: &str, client: &WebhookClientConfig, failure_policy: Option<&str>, objects: Option<&LabelSelector>) -> Self {
        let service = client.service.as_ref().map(|service| format!("{}.{}.svc", service.name, service.namespace));
        let url = || client.url.as_deref()?.parse::<http::Uri>().ok()?.host().map(str::to_owned);
        // Absent selects all, as an empty one does.
        let objects = objects.and_then(|selector| serde_json::from_value(json!(selector)).ok()).unwrap_or_default();
        Self {
            name: name.to_owned(),
            host: service.or_else(url).unwrap_or_default(),
            bundle: client.ca_bundle.clone(),
            // The API server writes what it takes where nothing is said.
            fails: failure_policy.is_none_or(|policy| policy == FAIL),
            objects,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(hooks: Value) -> Configuration {
        let object = json!({"metadata": {"name": "a", "resourceVersion": "7"}, "webhooks": hooks});
        Configuration::validating(&serde_json::from_value(object).unwrap())
    }

    fn hook(name: &str, client: Value) -> Value {
        json!({"name": name, "clientConfig": client, "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore"})
    }

    #[test]
    fn a_webhook_is_known_by_whom_it_calls() {
        let configuration = read(json!([
            hook("service", json!({"service": {"name": "istiod", "namespace": "istio-system"}})),
            hook("url", json!({"url": "https://[::1]:15017/validate", "caBundle": "QQ=="})),
            hook("nothing", json!({})),
        ]));
        let hosts: Vec<&str> = configuration.hooks.iter().map(|hook| hook.host.as_str()).collect();
        assert_eq!(hosts, ["istiod.istio-system.svc", "[::1]", ""]);
        assert_eq!(configuration.hooks[1].bundle, Some(ByteString(b"A".to_vec())));
        assert!(configuration.hooks.iter().all(|hook| !hook.fails));
    }

    #[test]
    fn only_what_differs_is_changed() {
        let configuration = read(json!([hook("a", json!({})), hook("b", json!({})), hook("c", json!({}))]));
        let [a, b, c] = configuration.hooks.as_slice() else { panic!("three") };
        let changes =
            [(a, Change { bundle: Some("A".to_owned()), fail: true }), (b, Change::default()), (c, Change { bundle: None, fail: true })];
        let expected = json!({"metadata": {"resourceVersion": "7"}, "webhooks": [
            {"name": "a", "clientConfig": {"caBundle": "QQ=="}, "failurePolicy": "Fail"}, {"name": "c", "failurePolicy": "Fail"}]});
        assert_eq!(configuration.patch(changes), Some(expected));
        assert_eq!(configuration.patch([(b, Change::default())]), None);
    }
}
