//! The proof that the API server asks us about resources, and heeds what it is answered: one is made, on trial, that is always refused.
//!
//! The refusal has a word in it that nobody else knows. Istio's control plane, which may be beside us, refuses such a resource too.

use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Error};
use serde_json::json;
use weir_api::Kind;
use weir_api::resources::mesh_config::LabelSelector;
use weir_api::resources::meta::Labels;
use weir_inject::names::REVISION;

use super::validation::ALWAYS_REJECT;

/// Who makes it.
pub(super) struct Prover {
    pub client: Client,
    pub revision: String,
    /// Where it would be.
    pub namespace: String,
}

impl Prover {
    /// Whether resources that a webhook selects come here.
    ///
    /// # Errors
    /// Why that is not known.
    pub async fn prove(&self, selector: &LabelSelector) -> Result<(), String> {
        let own = Labels::from([(REVISION.to_owned(), self.revision.clone())]);
        let Some(labels) = [own, Labels::new()].into_iter().find(|labels| selector.matches(labels)) else {
            return Err(format!("it selects neither resources of revision {} nor those of none", self.revision));
        };
        let word = format!("{:032x}", fastrand::u128(..));
        for version in Kind::Gateway.versions() {
            match self.make(version, &labels, &word).await {
                Err(Error::Api(status)) if status.message.contains(&word) => return Ok(()),
                // The kind is not there in this version.
                Err(Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(format!("a resource on trial was not refused by it, but: {error}")),
                Ok(_) => return Err("a resource on trial was not refused".to_owned()),
            }
        }
        Err(format!("no resource can be made on trial: there is no kind Gateway, or no namespace {}", self.namespace))
    }

    /// Makes a Gateway on trial: a good one, but for the annotation.
    async fn make(&self, version: &str, labels: &Labels, word: &str) -> Result<DynamicObject, Error> {
        let kind = Kind::Gateway;
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(kind.group(), version, kind.name()), kind.plural());
        let mut gateway = DynamicObject::new("", &resource).data(json!({"spec": {
            "selector": {"weir.dev/trial": "true"},
            "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["trial.invalid"]}],
        }}));
        gateway.metadata.name = None;
        gateway.metadata.generate_name = Some("weir-trial-".to_owned());
        gateway.metadata.labels = Some(labels.clone());
        gateway.metadata.annotations = Some([(ALWAYS_REJECT.to_owned(), word.to_owned())].into());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        api.create(&PostParams { dry_run: true, ..PostParams::default() }, &gateway).await
    }
}
