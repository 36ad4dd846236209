//! The API server, by the paths of its API: objects of any kind, as JSON.

use http::{Method, Request};
use kube::core::Status;
use kube::{Client, Error};
use serde_json::{Value, json};

/// Who owns the fields that are applied here.
pub const MANAGER: &str = "weir";
/// Objects as they are.
const JSON: &str = "application/json";
/// Of objects their metadata alone.
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
/// So many objects are asked for at once.
const PAGE: usize = 500;

/// A kind of objects: its version, its name, its name in paths, and whether its objects are in namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kind {
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub namespaced: bool,
}

/// The kinds that are installed, in the order in which they are taken away: first what makes the API server ask the control plane, then
/// the control plane, and its rights last.
const INSTALLED: [(&str, &str, &str, bool); 13] = [
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", false),
    ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", false),
    ("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true),
    ("apps/v1", "Deployment", "deployments", true),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", true),
    ("v1", "Service", "services", true),
    ("v1", "ConfigMap", "configmaps", true),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", true),
    ("rbac.authorization.k8s.io/v1", "Role", "roles", true),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", false),
    ("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", false),
    ("v1", "ServiceAccount", "serviceaccounts", true),
    ("v1", "Namespace", "namespaces", false),
];

/// The kinds that are installed, but for the namespace.
pub(super) fn installed() -> impl Iterator<Item = Kind> {
    INSTALLED.iter().map(Kind::of).filter(|kind| kind.kind != "Namespace")
}

impl Kind {
    fn of(&(version, kind, plural, namespaced): &(&str, &str, &str, bool)) -> Self {
        Self { version: version.to_owned(), kind: kind.to_owned(), plural: plural.to_owned(), namespaced }
    }

    /// One of those that are not installed.
    pub fn new(version: &str, kind: &str, plural: &str, namespaced: bool) -> Self {
        Self::of(&(version, kind, plural, namespaced))
    }

    /// The kind of an object that is installed.
    pub fn of_object(object: &Value) -> Option<Self> {
        INSTALLED.iter().find(|(version, kind, _, _)| object["apiVersion"] == *version && object["kind"] == *kind).map(Self::of)
    }

    /// The group of the API; empty for the core.
    pub fn group(&self) -> &str {
        self.version.split_once('/').map_or("", |(group, _)| group)
    }

    /// Where all of them are, or those of a namespace.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.group().is_empty() { "/api" } else { "/apis" };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}/{}/namespaces/{namespace}/{}", self.version, self.plural),
            None => format!("{root}/{}/{}", self.version, self.plural),
        }
    }

    /// Where one of them is.
    pub fn path_of(&self, object: &Value) -> String {
        format!("{}/{}", self.path(object["metadata"]["namespace"].as_str()), word(&object["metadata"]["name"]))
    }
}

/// What an object is called: `Deployment istio-system/istiod`.
pub fn title(object: &Value) -> String {
    let metadata = &object["metadata"];
    let namespace = metadata["namespace"].as_str().map(|namespace| format!("{namespace}/")).unwrap_or_default();
    format!("{} {namespace}{}", word(&object["kind"]), word(&metadata["name"]))
}

/// A text that stands in an object; empty if there is none.
pub(super) fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Why the API server did not do what it was asked for.
#[derive(Debug)]
pub struct ApiError {
    /// What it was asked for.
    asked: String,
    error: Error,
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.status() {
            Some(status) => write!(f, "{}: {}", self.asked, status.message),
            None => write!(f, "{}: {}", self.asked, self.error),
        }
    }
}

impl std::error::Error for ApiError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl ApiError {
    /// Its answer, if it gave one.
    pub(super) fn status(&self) -> Option<&Status> {
        match &self.error {
            Error::Api(status) => Some(status),
            _ => None,
        }
    }

    fn is(&self, code: u16) -> bool {
        self.status().is_some_and(|status| status.code == code)
    }
}

/// How something is applied.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Applying {
    /// Nothing is changed: it is only looked at what would be.
    pub dry_run: bool,
    /// Fields that others own are taken from them.
    pub force: bool,
}

/// Asks an API server.
#[derive(Clone)]
pub(super) struct Api(pub Client);

impl Api {
    async fn ask(&self, method: Method, path: &str, accepted: &str, body: Option<(&str, &Value)>) -> Result<Value, ApiError> {
        let failed = |error: Error| ApiError { asked: format!("{method} {path}"), error };
        let mut request = Request::builder().method(method.clone()).uri(path).header("accept", accepted);
        if let Some((kind, _)) = body {
            request = request.header("content-type", kind);
        }
        let bytes = body.map(|(_, body)| body.to_string().into_bytes()).unwrap_or_default();
        let request = request.body(bytes).map_err(|error| failed(Error::HttpError(error)))?;
        self.0.request(request).await.map_err(failed)
    }

    /// What is there.
    ///
    /// # Errors
    /// If nothing is, or it is not shown.
    pub async fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.ask(Method::GET, path, JSON, None).await
    }

    /// What is there, if something is.
    ///
    /// # Errors
    /// If it is not shown.
    pub async fn find(&self, path: &str) -> Result<Option<Value>, ApiError> {
        match self.get(path).await {
            Err(error) if error.is(404) => Ok(None),
            other => other.map(Some),
        }
    }

    /// All objects, of a namespace or of all, that these labels select; none where the API server has not that kind.
    ///
    /// # Errors
    /// If they are not shown.
    pub async fn list(&self, kind: &Kind, namespace: Option<&str>, selector: &str) -> Result<Vec<Value>, ApiError> {
        self.pages(kind, &kind.path(namespace), &format!("labelSelector={selector}"), JSON).await
    }

    /// Those of this name, in all namespaces.
    ///
    /// # Errors
    /// If they are not shown.
    pub async fn named(&self, kind: &Kind, name: &str) -> Result<Vec<Value>, ApiError> {
        self.pages(kind, &kind.path(None), &format!("fieldSelector=metadata.name={name}"), JSON).await
    }

    /// The metadata of all objects of a kind, of a namespace or of all, whose fields are such.
    ///
    /// # Errors
    /// If they are not shown.
    pub async fn list_metadata(&self, kind: &Kind, namespace: Option<&str>, fields: &str) -> Result<Vec<Value>, ApiError> {
        self.pages(kind, &kind.path(namespace), &format!("fieldSelector={fields}"), METADATA).await
    }

    async fn pages(&self, kind: &Kind, path: &str, selector: &str, accepted: &str) -> Result<Vec<Value>, ApiError> {
        let (mut all, mut next) = (vec![], String::new());
        loop {
            let asked = format!("{path}?limit={PAGE}&{selector}&continue={next}");
            let mut page = match self.ask(Method::GET, &asked, accepted, None).await {
                Err(error) if error.is(404) => return Ok(all),
                other => other?,
            };
            if let Value::Array(items) = page["items"].take() {
                // Those of a list do not say what they are.
                let typed = |mut item: Value| {
                    item["apiVersion"] = kind.version.clone().into();
                    item["kind"] = kind.kind.clone().into();
                    item
                };
                all.extend(items.into_iter().map(typed));
            }
            next = word(&page["metadata"]["continue"]).to_owned();
            if next.is_empty() {
                return Ok(all);
            }
        }
    }

    /// Applies an object; what becomes of it.
    ///
    /// # Errors
    /// If the API server refuses, or some fields are others'.
    pub async fn apply(&self, path: &str, object: &Value, how: Applying) -> Result<Value, ApiError> {
        let dry_run = if how.dry_run { "&dryRun=All" } else { "" };
        let path = format!("{path}?fieldManager={MANAGER}&fieldValidation=Strict&force={}{dry_run}", how.force);
        // JSON is YAML.
        self.ask(Method::PATCH, &path, JSON, Some(("application/apply-patch+yaml", object))).await
    }

    /// Makes an object that asks something; the answer is in it.
    ///
    /// # Errors
    /// If the API server refuses.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value, ApiError> {
        self.ask(Method::POST, path, JSON, Some(("application/json", object))).await
    }

    /// Deletes just this object, and not another that has come into its place; whether it was there. What it owns goes after it.
    ///
    /// # Errors
    /// If the API server refuses.
    pub async fn delete(&self, path: &str, object: &Value) -> Result<bool, ApiError> {
        let options = json!({"propagationPolicy": "Background", "preconditions": {"uid": object["metadata"]["uid"]}});
        match self.ask(Method::DELETE, path, JSON, Some(("application/json", &options))).await {
            Err(error) if error.is(404) => Ok(false),
            other => other.map(|_| true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::{InstallSettings, manifest};

    #[test]
    fn the_path_of_every_installed_object_is_known() {
        for object in manifest(&InstallSettings::default()) {
            assert!(Kind::of_object(&object).is_some(), "{object}");
        }
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "istiod", "namespace": "mesh"}});
        assert_eq!(Kind::of_object(&deployment).unwrap().path_of(&deployment), "/apis/apps/v1/namespaces/mesh/deployments/istiod");
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r"}});
        assert_eq!(Kind::of_object(&role).unwrap().path_of(&role), "/apis/rbac.authorization.k8s.io/v1/clusterroles/r");
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mesh"}});
        assert_eq!(Kind::of_object(&namespace).unwrap().path_of(&namespace), "/api/v1/namespaces/mesh");
    }
}
