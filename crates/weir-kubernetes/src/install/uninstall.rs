//! Taking a control plane away: what it was installed of, what it wrote itself, and its namespace if that was made for it; nothing else.
//!
//! What makes the API server ask the control plane goes first, so that no pod is refused for want of an answer. What it wrote goes when it
//! runs no longer, since it would write it again. Pods go on with the sidecars that they have.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};
use weir_inject::names::{REVISION, TAG};

use super::api::{Api, ApiError, Kind, installed, title, word};
use super::carry_out::InstallError;
use super::manifest::{MANAGED_BY, OURS, manifest};
use super::plan::selector;
use super::settings::InstallSettings;

/// The mesh's root, as the control plane gives it to every namespace.
const ROOT: &str = "istio-ca-root-cert";
/// The Secret of the root that it has made.
const OWN_ROOT: &str = "istio-ca-secret";
/// The Leases of who leads begin so,
const LEASE: &str = "weir-leader";
/// and those in which control planes tell each other of their proxies.
const PILOTS: &str = "weir-pilot-";
/// So often it is looked whether the control plane still runs.
const LOOK: Duration = Duration::from_millis(500);

/// What is taken away, and what is not.
#[derive(Debug)]
pub struct Removal {
    namespace: String,
    revision: String,
    /// No other control plane of Weir is in the cluster.
    is_last: bool,
    /// The objects of the installation, in the order in which they go.
    pub objects: Vec<Value>,
    /// What the control plane has written, in any namespace.
    pub written: Vec<Value>,
    /// The namespace, if it was made for the control plane and nobody else's is in it.
    pub own_namespace: Option<Value>,
    /// The tags that nobody answers any more.
    pub tags: Vec<String>,
    /// What stays, and why.
    pub left: Vec<String>,
}

impl Removal {
    /// Whether there is nothing to take away.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.written.is_empty() && self.own_namespace.is_none()
    }
}

/// What the control plane writes, besides what is installed.
fn writes() -> [Kind; 3] {
    [
        Kind::new("coordination.k8s.io/v1", "Lease", "leases", true),
        Kind::new("v1", "Secret", "secrets", true),
        Kind::new("v1", "ConfigMap", "configmaps", true),
    ]
}

/// Finds out what there is of a revision.
pub(super) async fn removal(api: &Api, namespace: &str, revision: &str) -> Result<Removal, ApiError> {
    let mut objects = vec![];
    for kind in installed() {
        objects.extend(api.list(&kind, Some(namespace), &selector(namespace, revision)).await?);
    }
    let others = others(api, &objects).await?;
    let known = others.iter().filter(|other| other["metadata"]["labels"][MANAGED_BY] == OURS);
    let mut left: Vec<String> = known.map(|other| format!("{} stays: it is another control plane's of Weir", title(other))).collect();
    left.extend(foreign(api, namespace, revision).await?);
    let is_last = others.is_empty();
    let (written, kept) = written(api, namespace, revision, is_last).await?;
    left.extend(kept);
    let (namespace, revision) = (namespace.to_owned(), revision.to_owned());
    let mut removal = Removal { namespace, revision, is_last, objects, written, own_namespace: None, tags: vec![], left };
    removal.own_namespace = namespace_of(api, &mut removal).await?;
    let tags = removal.objects.iter().filter(|object| object["kind"] == "MutatingWebhookConfiguration");
    removal.tags = tags.filter_map(|object| Some(object["metadata"]["labels"][TAG].as_str()?.to_owned())).collect();
    Ok(removal)
}

fn is_among(object: &Value, all: &[Value]) -> bool {
    all.iter().any(|one| one["metadata"]["uid"] == object["metadata"]["uid"])
}

/// The control planes of Weir that stay, whoever has installed them.
async fn others(api: &Api, objects: &[Value]) -> Result<Vec<Value>, ApiError> {
    let mut all = api.list(&Kind::new("apps/v1", "Deployment", "deployments", true), None, "app.kubernetes.io/name=weir").await?;
    all.retain(|deployment| !is_among(deployment, objects));
    Ok(all)
}

/// Objects that have the names of this revision's, and are not installed by us.
async fn foreign(api: &Api, namespace: &str, revision: &str) -> Result<Vec<String>, ApiError> {
    let settings = InstallSettings { namespace: namespace.to_owned(), revision: revision.to_owned(), ..InstallSettings::default() };
    let mut found = vec![];
    for object in manifest(&settings).iter().filter(|object| object["kind"] != "Namespace") {
        let Some(kind) = Kind::of_object(object) else { continue };
        let Some(live) = api.find(&kind.path_of(object)).await? else { continue };
        let owner = word(&live["metadata"]["labels"][MANAGED_BY]);
        if owner != OURS {
            let owner = if owner.is_empty() { "it is not Weir's".to_owned() } else { format!("it is managed by {owner}") };
            found.push(format!("{} stays: {owner}", title(object)));
        }
    }
    Ok(found)
}

/// What the control plane has written: that of its revision, and if it is the last one also what all revisions share. With what of that
/// stays, and why.
async fn written(api: &Api, namespace: &str, revision: &str, is_last: bool) -> Result<(Vec<Value>, Vec<String>), ApiError> {
    let [leases, secrets, maps] = writes();
    let mut all = api.list(&leases, Some(namespace), "").await?;
    let own = format!("{LEASE}-{revision}");
    all.retain(|lease| match word(&lease["metadata"]["name"]) {
        name if is_last => name.starts_with(LEASE) || name.starts_with(PILOTS),
        name => name == own,
    });
    let mut left = vec![];
    if is_last {
        let secret = api.find(&format!("{}/{OWN_ROOT}", secrets.path(Some(namespace)))).await?;
        let told = api.named(&maps, ROOT).await?;
        let (root, kept) = root(namespace, secret, told, signer(api, namespace).await?.as_ref());
        all.extend(root);
        left = kept;
    }
    Ok((all, left))
}

/// A control plane in the namespace that is not Weir's: it signs with the root that is there.
async fn signer(api: &Api, namespace: &str) -> Result<Option<Value>, ApiError> {
    let all = api.list(&Kind::new("apps/v1", "Deployment", "deployments", true), Some(namespace), "app=istiod").await?;
    Ok(all.into_iter().find(|deployment| deployment["metadata"]["labels"]["app.kubernetes.io/name"] != OURS))
}

/// What goes of the mesh's root, its Secret and the ConfigMaps that tell of it; and what stays, and why.
fn root(namespace: &str, secret: Option<Value>, told: Vec<Value>, signer: Option<&Value>) -> (Vec<Value>, Vec<String>) {
    let secret = secret.filter(is_ours_alone);
    let (goes, stays): (Vec<Value>, Vec<Value>) = told.into_iter().partition(is_ours_alone);
    if let Some(signer) = signer {
        let signer = title(signer);
        let secret = secret.map(|secret| format!("{} stays: {signer}, which is not Weir's, signs with that root", title(&secret)));
        let told = (!goes.is_empty()).then(|| format!("ConfigMaps {ROOT} stay: they tell of the root that {signer} signs with"));
        return (vec![], secret.into_iter().chain(told).collect());
    }
    let of_own = |map: &&Value| map["metadata"]["namespace"] == namespace;
    match (secret, stays.iter().find(of_own)) {
        // A control plane that finds the one without the other takes the root for lost, and does not start.
        (Some(secret), Some(map)) => {
            (goes, vec![format!("{} stays: {}, in which are others' fields, tells of it", title(&secret), title(map))])
        }
        (secret, _) => (secret.into_iter().chain(goes).collect(), vec![]),
    }
}

/// Whether nobody else has written any of an object's fields: what istiod has written too is its own.
fn is_ours_alone(object: &Value) -> bool {
    let mut managers = object["metadata"]["managedFields"].as_array().into_iter().flatten().peekable();
    managers.peek().is_some() && managers.all(|entry| word(&entry["manager"]).split('-').next() == Some(OURS))
}

/// The namespace, if it goes as well; else why it stays is added.
async fn namespace_of(api: &Api, removal: &mut Removal) -> Result<Option<Value>, ApiError> {
    let path = Kind::new("v1", "Namespace", "namespaces", false).path(None);
    let Some(mut live) = api.find(&format!("{path}/{}", removal.namespace)).await? else { return Ok(None) };
    (live["apiVersion"], live["kind"]) = ("v1".into(), "Namespace".into());
    if word(&live["metadata"]["labels"][MANAGED_BY]) != OURS {
        removal.left.push(format!("{} stays: it was not made for Weir", title(&live)));
        return Ok(None);
    }
    let reason = stay(&live, &strangers(api, removal).await?);
    let goes = reason.is_none();
    removal.left.extend(reason);
    Ok(goes.then_some(live))
}

/// What is in the namespace that does not go by itself: neither ours, nor what the cluster puts into every namespace, nor what has an owner.
async fn strangers(api: &Api, removal: &Removal) -> Result<Vec<String>, ApiError> {
    let mut found = vec![];
    let (kinds, unseen) = kinds_in_namespaces(api).await?;
    found.extend(unseen);
    for kind in kinds {
        let objects = match api.list_metadata(&kind, Some(&removal.namespace), "").await {
            Ok(objects) => objects,
            Err(error) => {
                found.push(unseen_part(&kind.version, &error));
                continue;
            }
        };
        for object in objects {
            let name = word(&object["metadata"]["name"]);
            let is_of_cluster = matches!((kind.kind.as_str(), name), ("ServiceAccount", "default") | ("ConfigMap", "kube-root-ca.crt"));
            let has_owner = object["metadata"]["ownerReferences"].is_array();
            if !is_of_cluster && !has_owner && !is_among(&object, &removal.objects) && !is_among(&object, &removal.written) {
                found.push(title(&object));
            }
        }
    }
    Ok(found)
}

/// Stands for what cannot be seen: an API that somebody else serves may be away, and what it holds in a namespace would go with that.
fn unseen_part(version: &str, error: &ApiError) -> String {
    format!("perhaps something of {version} ({error})")
}

/// The versions of a group, the preferred one first. Not every kind is in that.
fn versions(group: &Value) -> impl Iterator<Item = &str> {
    let preferred = word(&group["preferredVersion"]["groupVersion"]);
    let all = group["versions"].as_array().into_iter().flatten().map(|version| word(&version["groupVersion"]));
    std::iter::once(preferred).chain(all.filter(move |version| *version != preferred))
}

/// All kinds of objects that can be in a namespace, and what stands for those that cannot be seen.
async fn kinds_in_namespaces(api: &Api) -> Result<(Vec<Kind>, Vec<String>), ApiError> {
    let groups = api.get("/apis").await?;
    let (mut kinds, mut unseen): (Vec<Kind>, _) = (vec![], vec![]);
    for version in std::iter::once("v1").chain(groups["groups"].as_array().into_iter().flatten().flat_map(versions)) {
        let root = if version == "v1" { "/api" } else { "/apis" };
        let listed = match api.get(&format!("{root}/{version}")).await {
            Ok(listed) => listed,
            Err(error) => {
                unseen.push(unseen_part(version, &error));
                continue;
            }
        };
        for resource in listed["resources"].as_array().into_iter().flatten() {
            let (name, kind) = (word(&resource["name"]), word(&resource["kind"]));
            let can_be_listed = resource["verbs"].as_array().is_some_and(|verbs| verbs.iter().any(|verb| verb == "list"));
            // They come and go with Services and with whatever happens; or they are counted, and no objects.
            let passes = matches!(kind, "Endpoints" | "Event" | "PodMetrics");
            let kind = Kind::new(version, kind, name, true);
            let is_known = kinds.iter().any(|known| known.group() == kind.group() && known.plural == kind.plural);
            if resource["namespaced"] == true && can_be_listed && !passes && !is_known {
                kinds.push(kind);
            }
        }
    }
    Ok((kinds, unseen))
}

/// Takes it away, and says each thing that is.
///
/// # Errors
/// If the API server refuses, or the control plane still runs after this time.
pub(super) async fn remove(api: &Api, removal: &Removal, wait: Duration, mut said: impl FnMut(&str)) -> Result<(), InstallError> {
    for object in &removal.objects {
        delete(api, object, &mut said).await?;
        if object["kind"] == "Deployment" {
            until_gone(api, removal, wait).await?;
        }
    }
    // Until it had ended it could write more.
    let (written, kept) = written(api, &removal.namespace, &removal.revision, removal.is_last).await?;
    for object in &written {
        delete(api, object, &mut said).await?;
    }
    // Such as of an istiod that has come meanwhile; what was known before was said.
    kept.iter().filter(|line| !removal.left.contains(line)).for_each(|line| said(line));
    if let Some(namespace) = &removal.own_namespace {
        // It was looked some time ago, and all that is in it would go with it.
        match stay(namespace, &strangers(api, removal).await?) {
            Some(reason) => said(&reason),
            None => delete(api, namespace, &mut said).await?,
        }
    }
    Ok(())
}

/// Why a namespace stays in which is something else; none if nothing is.
fn stay(namespace: &Value, inside: &[String]) -> Option<String> {
    let first = inside.first()?;
    let more = if inside.len() > 1 { format!(", and {} more", inside.len() - 1) } else { String::new() };
    Some(format!("{} stays: in it is {first}{more}", title(namespace)))
}

async fn delete(api: &Api, object: &Value, said: &mut impl FnMut(&str)) -> Result<(), ApiError> {
    let (version, kind) = (word(&object["apiVersion"]), word(&object["kind"]));
    let known = Kind::of_object(object).or_else(|| writes().into_iter().find(|known| known.version == version && known.kind == kind));
    let Some(kind) = known else { return Ok(()) };
    if api.delete(&kind.path_of(object), object).await? {
        said(&format!("{} is deleted", title(object)));
    }
    Ok(())
}

/// Waits until no pod of the control plane runs.
async fn until_gone(api: &Api, removal: &Removal, wait: Duration) -> Result<(), InstallError> {
    let pods = Kind::new("v1", "Pod", "pods", true);
    let ours = format!("app.kubernetes.io/name={OURS},{REVISION}={}", removal.revision);
    let begin = Instant::now();
    loop {
        let left = api.list(&pods, Some(&removal.namespace), &ours).await?;
        let Some(first) = left.first() else { return Ok(()) };
        if begin.elapsed() >= wait {
            let state = format!("it still runs, {} of {}", title(first), left.len());
            return Err(InstallError::NotReady { what: format!("the end of {}", removal.revision), after: wait, state });
        }
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: &str, namespace: &str, name: &str, managers: &[&str]) -> Value {
        let fields: Vec<Value> = managers.iter().map(|manager| json!({"manager": manager})).collect();
        json!({"kind": kind, "metadata": {"namespace": namespace, "name": name, "managedFields": fields}})
    }

    fn map(namespace: &str, managers: &[&str]) -> Value {
        object("ConfigMap", namespace, ROOT, managers)
    }

    fn titles(objects: &[Value]) -> Vec<String> {
        objects.iter().map(title).collect()
    }

    #[test]
    fn the_root_stays_that_an_istiod_signs_with() {
        let secret = || Some(object("Secret", "mesh", OWN_ROOT, &["weir-pilot"]));
        let told = || vec![map("mesh", &["weir-pilot"]), map("shop", &["weir"]), map("theirs", &["istiod"])];
        let (goes, left) = root("mesh", secret(), told(), None);
        assert_eq!(
            titles(&goes),
            ["Secret mesh/istio-ca-secret", "ConfigMap mesh/istio-ca-root-cert", "ConfigMap shop/istio-ca-root-cert"]
        );
        assert_eq!(left, [""; 0]);
        let (goes, left) = root("mesh", secret(), told(), Some(&object("Deployment", "mesh", "istiod", &[])));
        assert_eq!((goes.len(), left.len()), (0, 2));
        assert!(left[0].starts_with("Secret mesh/istio-ca-secret stays: Deployment mesh/istiod, which is not Weir's"), "{}", left[0]);
        assert!(left[1].starts_with("ConfigMaps istio-ca-root-cert stay"), "{}", left[1]);
    }

    #[test]
    fn the_secret_stays_with_the_map_that_tells_of_it() {
        let secret = Some(object("Secret", "mesh", OWN_ROOT, &["weir-pilot"]));
        let (goes, left) = root("mesh", secret, vec![map("mesh", &["weir-pilot", "kubectl"]), map("shop", &["weir-pilot"])], None);
        assert_eq!(titles(&goes), ["ConfigMap shop/istio-ca-root-cert"]);
        assert!(left[0].starts_with("Secret mesh/istio-ca-secret stays: ConfigMap mesh/istio-ca-root-cert, in which"), "{left:?}");
    }

    #[tokio::test]
    async fn only_a_control_plane_that_is_not_ours_signs_besides() {
        let server = crate::fake::ApiServer::default();
        let api = Api(server.client());
        let path = "/apis/apps/v1/namespaces/mesh/deployments";
        for (name, of, found) in [("istiod-a", "weir", None), ("istiod", "istiod", Some("Deployment mesh/istiod"))] {
            let labels = json!({"app": "istiod", "app.kubernetes.io/name": of});
            server.put(&format!("{path}/{name}"), json!({"metadata": {"name": name, "namespace": "mesh", "labels": labels}}));
            assert_eq!(signer(&api, "mesh").await.unwrap().as_ref().map(title).as_deref(), found);
        }
    }

    #[tokio::test]
    async fn a_namespace_stays_in_which_is_a_kind_that_is_in_no_preferred_version() {
        let server = crate::fake::ApiServer::default();
        let version = |version: &str| json!({"groupVersion": format!("networking.istio.io/{version}"), "version": version});
        let group = json!({"preferredVersion": version("v1"), "versions": [version("v1alpha3"), version("v1")]});
        server.put("/apis", json!({"groups": [group]}));
        let kind = |kind: &str, plural: &str| json!({"kind": kind, "name": plural, "namespaced": true, "verbs": ["get", "list"]});
        let (rule, filter) = (kind("VirtualService", "virtualservices"), kind("EnvoyFilter", "envoyfilters"));
        server.put("/api/v1", json!({"resources": [kind("Lease", "leases/status")]}));
        server.put("/apis/networking.istio.io/v1", json!({"resources": [rule.clone()]}));
        server.put("/apis/networking.istio.io/v1alpha3", json!({"resources": [rule, filter]}));
        let put = |version: &str, plural: &str, name: &str| {
            let path = format!("/apis/networking.istio.io/{version}/namespaces/mesh/{plural}/{name}");
            server.put(&path, json!({"metadata": {"name": name, "namespace": "mesh", "uid": name}}));
        };
        put("v1", "virtualservices", "rule");
        put("v1alpha3", "virtualservices", "rule");
        put("v1alpha3", "envoyfilters", "filter");
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mesh"}});
        server.put("/api/v1/namespaces/mesh", namespace.clone());
        let removal = Removal {
            namespace: "mesh".to_owned(),
            revision: "default".to_owned(),
            is_last: false,
            objects: vec![],
            written: vec![],
            own_namespace: Some(namespace),
            tags: vec![],
            left: vec![],
        };
        let api = Api(server.client());
        assert_eq!(strangers(&api, &removal).await.unwrap(), ["VirtualService mesh/rule", "EnvoyFilter mesh/filter"]);
        // It came when it had been looked.
        let mut said = vec![];
        remove(&api, &removal, Duration::ZERO, |line| said.push(line.to_owned())).await.unwrap();
        assert_eq!(said, ["Namespace mesh stays: in it is VirtualService mesh/rule, and 1 more"]);
        assert!(server.get("/api/v1/namespaces/mesh").is_some());
    }
}
