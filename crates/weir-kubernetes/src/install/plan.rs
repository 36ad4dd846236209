//! What installing would change: everything is tried at the API server before anything is written, so that what is another's is known first.

use std::collections::BTreeSet;

use serde_json::Value;
use weir_inject::names::{REVISION, TAG};

use super::api::{Api, ApiError, Applying, Kind, installed, title, word};
use super::check::injectors;
use super::difference::{Difference, differences};
use super::manifest::{INSTANCE, MANAGED_BY, OURS, manifest};
use super::settings::InstallSettings;

/// What installing would do.
#[derive(Debug)]
pub struct Plan {
    /// The objects, in the order in which they are to be made.
    pub steps: Vec<Step>,
    /// Objects of this revision that are of no use any more.
    pub stale: Vec<Value>,
    /// Who else is asked about the pods that would be sent here.
    pub rivals: Vec<String>,
    /// Whether fields of others are taken from them.
    pub force: bool,
}

/// One object of an installation.
#[derive(Debug)]
pub struct Step {
    /// As it is to be applied.
    pub object: Value,
    /// What that would do.
    pub change: Change,
    /// What stands against it; nothing of it is done then.
    pub conflicts: Vec<String>,
}

/// What becomes of an object.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It is not there yet.
    New,
    /// It is there, and differs.
    Changed(Vec<Difference>),
    /// It is there as it should be.
    Same,
    /// It is there, and somebody else's: as a namespace may be, and as nothing else may.
    Theirs,
}

impl Plan {
    /// What stands against it, each with the object.
    pub fn conflicts(&self) -> Vec<String> {
        let of_step = |step: &Step| step.conflicts.iter().map(|why| format!("{}: {why}", title(&step.object))).collect::<Vec<_>>();
        self.steps.iter().flat_map(of_step).chain(self.rivals.iter().cloned()).collect()
    }

    /// Whether nothing would change.
    pub fn is_done(&self) -> bool {
        self.stale.is_empty() && self.steps.iter().all(|step| matches!(step.change, Change::Same | Change::Theirs))
    }
}

/// Selects the objects of one revision.
pub(super) fn selector(namespace: &str, revision: &str) -> String {
    format!("{MANAGED_BY}={OURS},{INSTANCE}={namespace},{REVISION}={revision}")
}

/// Finds out what installing this would change. Tags that mean this revision already go on to do so.
pub(super) async fn plan(api: &Api, settings: &InstallSettings, force: bool) -> Result<Plan, ApiError> {
    let present = present(api, settings).await?;
    let mut settings = settings.clone();
    let known = present.iter().filter_map(|object| object["metadata"]["labels"][TAG].as_str());
    // The label is on the default validator as well, where the revision is the default one by its own name.
    let tags = known.filter(|tag| !settings.tags.iter().any(|given| given == tag) && *tag != settings.revision);
    let tags: BTreeSet<String> = tags.map(str::to_owned).collect();
    settings.tags.extend(tags);
    let objects = manifest(&settings);
    let wanted: BTreeSet<String> = objects.iter().map(title).collect();
    let stale: Vec<Value> = present.into_iter().filter(|object| !wanted.contains(&title(object))).collect();
    let mut injectors = injectors(api).await?;
    injectors.retain(|injector| !wanted.contains(&title(injector)) && !stale.iter().any(|stale| title(stale) == title(injector)));
    let rivals = rivals(&settings, &injectors);
    let mut steps = vec![];
    let mut has_namespace = true;
    for object in objects {
        let step = step(api, object, force, has_namespace).await?;
        has_namespace &= step.object["kind"] != "Namespace" || step.change != Change::New;
        steps.push(step);
    }
    Ok(Plan { steps, stale, rivals, force })
}

/// What else answers to the revision's name, or to one of its tags: a pod would be sent to both, and which of them injects it is chance.
fn rivals(settings: &InstallSettings, others: &[Value]) -> Vec<String> {
    let is_ours = |name: &str| name == settings.revision || settings.tags.iter().any(|tag| tag == name);
    let name = |injector: &Value| {
        let labels = &injector["metadata"]["labels"];
        labels[TAG].as_str().or(labels[REVISION].as_str()).filter(|name| is_ours(name)).map(str::to_owned)
    };
    let rival = |injector: &Value| Some(format!("{}: it answers to {} already", title(injector), name(injector)?));
    others.iter().filter_map(rival).collect()
}

/// The objects of this revision that are there.
async fn present(api: &Api, settings: &InstallSettings) -> Result<Vec<Value>, ApiError> {
    let selector = selector(&settings.namespace, &settings.revision);
    let mut all = vec![];
    for kind in installed() {
        all.extend(api.list(&kind, Some(&settings.namespace), &selector).await?);
    }
    Ok(all)
}

async fn step(api: &Api, mut object: Value, force: bool, has_namespace: bool) -> Result<Step, ApiError> {
    let Some(kind) = Kind::of_object(&object).filter(|kind| has_namespace || !kind.namespaced) else {
        // What is to be in a namespace that is not there is not there either, and cannot be tried.
        return Ok(Step { object, change: Change::New, conflicts: vec![] });
    };
    let path = kind.path_of(&object);
    let live = api.find(&path).await?;
    let mut conflicts = vec![];
    if let Some(live) = &live {
        let owner = word(&live["metadata"]["labels"][MANAGED_BY]);
        if owner != OURS && kind.kind == "Namespace" {
            return Ok(Step { object, change: Change::Theirs, conflicts });
        }
        if owner != OURS && !force {
            let owner = if owner.is_empty() { "nothing says whose it is".to_owned() } else { format!("it is managed by {owner}") };
            conflicts.push(format!("it is there, and not installed by Weir: {owner}"));
            return Ok(Step { object, change: Change::Theirs, conflicts });
        }
        keep_failure_policy(live, &mut object);
    }
    let tried = match api.apply(&path, &object, Applying { dry_run: true, force }).await {
        Err(error) => match owners(&error) {
            Some(owners) => {
                conflicts.extend(owners);
                api.apply(&path, &object, Applying { dry_run: true, force: true }).await?
            }
            None => return Err(error),
        },
        Ok(tried) => tried,
    };
    let change = live.map_or(Change::New, |live| match differences(&live, &tried) {
        none if none.is_empty() => Change::Same,
        some => Change::Changed(some),
    });
    Ok(Step { object, change, conflicts })
}

/// Whether a webhook that does not answer refuses everything is the control plane's to say, once it has seen it work: what it said stays.
fn keep_failure_policy(live: &Value, object: &mut Value) {
    let Some(hooks) = object.get_mut("webhooks").and_then(Value::as_array_mut) else { return };
    for hook in hooks {
        let same = live["webhooks"].as_array().into_iter().flatten().find(|known| known["name"] == hook["name"]);
        if let Some(policy) = same.map(|known| &known["failurePolicy"]).filter(|policy| policy.is_string()) {
            hook["failurePolicy"] = policy.clone();
        }
    }
}

/// Which fields are whose, if that is why something was refused.
fn owners(error: &ApiError) -> Option<Vec<String>> {
    let causes = &error.status()?.details.as_ref()?.causes;
    let of_fields = causes.iter().filter(|cause| cause.reason == "FieldManagerConflict");
    // The message is: conflict with "kubectl-edit" using apps/v1.
    let owners: Vec<String> = of_fields.map(|cause| format!("{}: {}", cause.field.trim_start_matches('.'), cause.message)).collect();
    (!owners.is_empty()).then_some(owners)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nobody_else_answers_to_a_name_that_is_to_be_ours() {
        let injector = |name: &str, labels: Value| json!({"kind": "M", "metadata": {"name": name, "labels": labels}});
        let others = [
            injector("istio-sidecar-injector", json!({"istio.io/rev": "default"})),
            injector("tag", json!({"istio.io/rev": "default", "istio.io/tag": "prod"})),
            injector("somebody", json!({})),
        ];
        let found = |revision: &str, tags: &[&str]| {
            let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
            rivals(&InstallSettings { revision: revision.to_owned(), tags, ..InstallSettings::default() }, &others)
        };
        assert_eq!(found("canary", &["test"]), Vec::<String>::new());
        assert_eq!(found("canary", &["default"]), ["M istio-sidecar-injector: it answers to default already"]);
        assert_eq!(found("default", &[]), ["M istio-sidecar-injector: it answers to default already"]);
        assert_eq!(found("prod", &[]), ["M tag: it answers to prod already"]);
    }

    #[test]
    fn what_the_control_plane_has_said_of_a_webhook_stays() {
        let hooks = |policies: [(&str, &str); 2]| {
            let hook = |(name, policy): (&str, &str)| json!({"name": name, "failurePolicy": policy});
            json!({"webhooks": policies.map(hook)})
        };
        let mut object = hooks([("a", "Ignore"), ("b", "Ignore")]);
        keep_failure_policy(&hooks([("c", "Ignore"), ("a", "Fail")]), &mut object);
        assert_eq!(object, hooks([("a", "Fail"), ("b", "Ignore")]));
        let mut none = json!({"data": {}});
        keep_failure_policy(&hooks([("a", "Fail"), ("b", "Fail")]), &mut none);
        assert_eq!(none, json!({"data": {}}));
    }
}
