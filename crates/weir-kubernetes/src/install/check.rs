//! Whether a control plane can be installed, whether it is, and who follows it.

use serde::Serialize;
use serde_json::{Value, json};
use weir_inject::names::{REVISION, TAG};

use super::api::{Api, ApiError, Kind, installed, title, word};
use super::carry_out::waits_for;
use super::following::{Following, following};
use super::manifest::{MANAGED_BY, manifest};
use super::settings::InstallSettings;

/// The oldest API server that has all of what is installed, and sidecars that are init containers. Its minor version; the major is 1.
const OLDEST: u64 = 29;
/// What must be allowed to who installs.
const VERBS: [&str; 4] = ["get", "create", "patch", "delete"];
/// Pods that run, or will: those of Jobs that have ended stay, and get no other sidecars.
const RUNNING: &str = "status.phase!=Succeeded,status.phase!=Failed";
/// Groups of kinds that a mesh is configured by, and whose they are.
const DEFINITIONS: [(&str, &str); 3] =
    [("networking.istio.io", "Istio's"), ("security.istio.io", "Istio's"), ("gateway.networking.k8s.io", "the Gateway API's")];

/// How a cluster stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// The version of the API server.
    pub version: String,
    /// The groups of kinds that a mesh is configured by, and whether they are defined.
    pub definitions: Vec<(String, bool)>,
    /// The control planes that are there, istiod's too.
    pub control_planes: Vec<ControlPlane>,
    /// Who follows which.
    pub following: Vec<Following>,
    /// What is to be done something about.
    pub findings: Vec<String>,
}

/// A control plane that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlane {
    /// Its namespace.
    pub namespace: String,
    /// The name of its Deployment.
    pub name: String,
    /// Its revision.
    pub revision: String,
    /// The tags that mean it.
    pub tags: Vec<String>,
    /// Whether it is Weir's, and not istiod.
    pub is_weir: bool,
    /// Who installed it: `weir`, or as it says; else `-`.
    pub managed_by: String,
    /// Its image.
    pub image: String,
    /// How many of its pods serve.
    pub available: u64,
    /// What it waits for, if it is not ready.
    pub waits_for: Option<String>,
}

/// Looks at all of it: for a revision that is there whether it is whole, for another whether it could be.
pub(super) async fn check(api: &Api, settings: &InstallSettings) -> Result<Check, ApiError> {
    let mut findings = vec![];
    let version = version(api, &mut findings).await?;
    let definitions = definitions(api, &mut findings).await?;
    let injectors = injectors(api).await?;
    let control_planes = control_planes(api, &injectors).await?;
    let is_there = |plane: &&ControlPlane| plane.namespace == settings.namespace && plane.name == settings.service();
    match control_planes.iter().find(is_there) {
        Some(plane) if plane.is_weir => whole(api, settings, plane, &mut findings).await?,
        Some(plane) => findings.push(format!(
            "{}/{} is there, and not Weir's: another revision can stand beside it, as in `weir install --revision weir`",
            plane.namespace, plane.name
        )),
        None => rights(api, settings, &mut findings).await?,
    }
    let following = followers(api, &injectors).await?;
    following.iter().for_each(|row| findings.extend(behind(row)));
    Ok(Check { version, definitions, control_planes, following, findings })
}

/// Who follows which control plane.
pub(super) async fn followers(api: &Api, injectors: &[Value]) -> Result<Vec<Following>, ApiError> {
    let namespaces = api.list_metadata(&Kind::new("v1", "Namespace", "namespaces", false), None, "").await?;
    let pods = api.list_metadata(&Kind::new("v1", "Pod", "pods", true), None, RUNNING).await?;
    Ok(following(&namespaces, injectors, &pods))
}

/// What sends pods to control planes, ours and others'.
pub(super) async fn injectors(api: &Api) -> Result<Vec<Value>, ApiError> {
    let version = "admissionregistration.k8s.io/v1";
    api.list(&Kind::new(version, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", false), None, "").await
}

async fn version(api: &Api, findings: &mut Vec<String>) -> Result<String, ApiError> {
    let version = api.get("/version").await?;
    let (git, minor) = (word(&version["gitVersion"]), word(&version["minor"]));
    let minor: Option<u64> = minor.trim_end_matches(|letter: char| !letter.is_ascii_digit()).parse().ok();
    if version["major"] == "1" && minor.is_some_and(|minor| minor < OLDEST) {
        findings.push(format!("the API server is of version {git}: Weir needs 1.{OLDEST} or a newer one"));
    }
    Ok(git.to_owned())
}

async fn definitions(api: &Api, findings: &mut Vec<String>) -> Result<Vec<(String, bool)>, ApiError> {
    let mut all = vec![];
    for (group, whose) in DEFINITIONS {
        let is_there = api.find(&format!("/apis/{group}")).await?.is_some();
        // A mesh does without the Gateway API.
        if !is_there && whose == "Istio's" {
            findings.push(format!("the kinds of {group} are not defined: apply {whose} CustomResourceDefinitions"));
        }
        all.push((group.to_owned(), is_there));
    }
    Ok(all)
}

/// Control planes of ours and of Istio's.
async fn control_planes(api: &Api, injectors: &[Value]) -> Result<Vec<ControlPlane>, ApiError> {
    let deployments = api.list(&Kind::new("apps/v1", "Deployment", "deployments", true), None, "app=istiod").await?;
    let text = |value: &Value, absent: &str| value.as_str().unwrap_or(absent).to_owned();
    let plane = |deployment: &Value| {
        let (metadata, labels) = (&deployment["metadata"], &deployment["metadata"]["labels"]);
        let revision = text(&labels[REVISION], "default");
        let of_revision = |injector: &&Value| injector["metadata"]["labels"][REVISION] == revision.as_str();
        let tags = injectors.iter().filter(of_revision).filter_map(|injector| injector["metadata"]["labels"][TAG].as_str());
        ControlPlane {
            namespace: text(&metadata["namespace"], ""),
            name: text(&metadata["name"], ""),
            tags: tags.map(str::to_owned).collect(),
            is_weir: labels["app.kubernetes.io/name"] == "weir",
            managed_by: text(&labels[MANAGED_BY], "-"),
            image: text(&deployment["spec"]["template"]["spec"]["containers"][0]["image"], "-"),
            available: deployment["status"]["availableReplicas"].as_u64().unwrap_or(0),
            waits_for: waits_for(deployment),
            revision,
        }
    };
    Ok(deployments.iter().map(plane).collect())
}

/// Whether nothing of an installation is missing.
async fn whole(api: &Api, settings: &InstallSettings, plane: &ControlPlane, findings: &mut Vec<String>) -> Result<(), ApiError> {
    if let Some(state) = &plane.waits_for {
        findings.push(format!("Deployment {}/{} is not ready: {state}", plane.namespace, plane.name));
    }
    let mut settings = settings.clone();
    settings.tags.extend(plane.tags.iter().cloned());
    // Whether there is to be an autoscaler is not known here.
    settings.autoscale.enabled = false;
    for object in manifest(&settings) {
        let Some(kind) = Kind::of_object(&object) else { continue };
        if api.find(&kind.path_of(&object)).await?.is_none() {
            findings.push(format!("{} is missing: install again, as that was done", title(&object)));
        }
    }
    Ok(())
}

/// Whether who asks may install.
async fn rights(api: &Api, settings: &InstallSettings, findings: &mut Vec<String>) -> Result<(), ApiError> {
    for kind in installed() {
        let mut refused = vec![];
        for verb in VERBS {
            let mut about = json!({"group": kind.group(), "resource": kind.plural, "verb": verb});
            if kind.namespaced {
                about["namespace"] = settings.namespace.clone().into();
            }
            let question = json!({
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": about},
            });
            let answer = api.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &question).await?;
            if answer["status"]["allowed"] != true {
                refused.push(verb);
            }
        }
        if !refused.is_empty() {
            findings.push(format!("you may not {} {}, which installing takes", refused.join(", "), kind.plural));
        }
    }
    Ok(())
}

/// What is to be done in a namespace whose pods have not what it asks for.
fn behind(row: &Following) -> Vec<String> {
    let asks = row.asks.as_deref().unwrap_or_default();
    let mut found = vec![];
    if row.revision.is_none() && asks.starts_with(REVISION) {
        found.push(format!("namespace {} asks for {asks}, which no control plane answers to: its pods get no sidecars", row.namespace));
    }
    for (revision, pods) in row.behind() {
        let namespace = &row.namespace;
        found.push(format!(
            "namespace {namespace} asks for {asks}, and {} still follow revision {revision}: kubectl -n {namespace} rollout restart deployment",
            named(pods)
        ));
    }
    found
}

/// Pods by their names, of many only the first.
fn named(pods: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = pods.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match pods.len().saturating_sub(SHOWN) {
        0 => format!("pods {shown}"),
        more => format!("pods {shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pods_that_have_ended_are_not_left_behind() {
        let server = crate::fake::ApiServer::default();
        let labels = json!({"istio.io/rev": "new"});
        server.put("/api/v1/namespaces/shop", json!({"metadata": {"name": "shop", "labels": labels}}));
        for (name, phase) in [("runs", "Running"), ("waits", "Pending"), ("job", "Succeeded"), ("crashed", "Failed")] {
            let annotations = json!({"istio.io/rev": "old"});
            let metadata = json!({"name": name, "namespace": "shop", "annotations": annotations});
            server.put(&format!("/api/v1/namespaces/shop/pods/{name}"), json!({"metadata": metadata, "status": {"phase": phase}}));
        }
        let found = followers(&Api(server.client()), &[]).await.unwrap();
        let all = format!("{found:?}");
        assert!(all.contains("\"runs\"") && all.contains("\"waits\""), "{all}");
        assert!(!all.contains("\"job\"") && !all.contains("\"crashed\""), "{all}");
    }
}
