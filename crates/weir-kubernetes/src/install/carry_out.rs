//! Installing: objects are applied in their order, and the API server is made to ask the control plane when that is there.

use std::fmt;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::api::{Api, ApiError, Applying, Kind, title, word};
use super::manifest::is_webhook;
use super::plan::{Change, Plan, Step};

/// So often it is looked whether the pods are there.
const LOOK: Duration = Duration::from_millis(500);

/// Why an installation is not complete. What was done before stays, and it can be gone on with.
#[derive(Debug)]
pub enum InstallError {
    /// The API server refuses.
    Api(ApiError),
    /// The control plane does not come up.
    NotReady {
        /// The Deployment.
        what: String,
        /// How long it had.
        after: Duration,
        /// How it stands.
        state: String,
    },
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api(error) => error.fmt(f),
            Self::NotReady { what, after, state } => write!(f, "{what} is not ready after {}s: {state}", after.as_secs()),
        }
    }
}

impl std::error::Error for InstallError {}

impl From<ApiError> for InstallError {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

/// Does what was planned, and says each thing that is done. With a time to wait, no pod is sent to a webhook before somebody answers there.
///
/// # Errors
/// If the API server refuses, or the control plane is not ready in that time.
pub(super) async fn carry_out(api: &Api, plan: &Plan, wait: Option<Duration>, mut said: impl FnMut(&str)) -> Result<(), InstallError> {
    let (last, first): (Vec<&Step>, Vec<&Step>) = plan.steps.iter().partition(|step| is_webhook(&step.object));
    for step in &first {
        apply(api, step, plan.force, &mut said).await?;
    }
    if let Some(wait) = wait {
        for step in first.iter().filter(|step| step.object["kind"] == "Deployment") {
            until_ready(api, &step.object, wait).await?;
            said(&format!("{} is ready", title(&step.object)));
        }
    }
    for step in last {
        apply(api, step, plan.force, &mut said).await?;
    }
    for object in &plan.stale {
        let Some(kind) = Kind::of_object(object) else { continue };
        if api.delete(&kind.path_of(object), object).await? {
            said(&format!("{} is deleted: it is of no use any more", title(object)));
        }
    }
    Ok(())
}

async fn apply(api: &Api, step: &Step, force: bool, said: &mut impl FnMut(&str)) -> Result<(), ApiError> {
    let done = match step.change {
        Change::New => "created",
        Change::Changed(_) => "changed",
        Change::Same | Change::Theirs => return Ok(()),
    };
    let Some(kind) = Kind::of_object(&step.object) else { return Ok(()) };
    api.apply(&kind.path_of(&step.object), &step.object, Applying { dry_run: false, force }).await?;
    said(&format!("{} is {done}", title(&step.object)));
    Ok(())
}

async fn until_ready(api: &Api, deployment: &Value, wait: Duration) -> Result<(), InstallError> {
    let Some(kind) = Kind::of_object(deployment) else { return Ok(()) };
    let path = kind.path_of(deployment);
    let begin = Instant::now();
    loop {
        let state = match api.get(&path).await {
            Ok(live) => match waits_for(&live) {
                None => return Ok(()),
                Some(state) => state,
            },
            Err(error) => error.to_string(),
        };
        if begin.elapsed() >= wait {
            return Err(InstallError::NotReady { what: title(deployment), after: wait, state });
        }
        sleep(LOOK).await;
    }
}

/// What a Deployment still waits for; nothing when its newest version, and no other, runs and serves.
pub(super) fn waits_for(live: &Value) -> Option<String> {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let status = &live["status"];
    if number(&status["observedGeneration"]) < number(&live["metadata"]["generation"]) {
        return Some("no controller has looked at it yet".to_owned());
    }
    let wanted = live["spec"]["replicas"].as_u64().unwrap_or(1);
    let counted = ["updatedReplicas", "availableReplicas", "replicas"].map(|field| number(&status[field]));
    if wanted > 0 && counted == [wanted; 3] {
        return None;
    }
    let [updated, available, all] = counted;
    let mut state =
        format!("of {wanted} pods {updated} are new, and {available} available; {} are left of before", all.saturating_sub(updated));
    // Such as pods that are refused.
    let bad = status["conditions"].as_array().into_iter().flatten().find(|condition| {
        (condition["type"] == "ReplicaFailure" && condition["status"] == "True")
            || (condition["type"] == "Progressing" && condition["status"] == "False")
    });
    if let Some(condition) = bad {
        state = format!("{state}; {}", word(&condition["message"]));
    }
    Some(state)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_deployment_is_ready_when_only_its_newest_version_serves() {
        let live = |observed: u64, counted: [u64; 3]| {
            let [updated, available, all] = counted;
            json!({"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": {
                "observedGeneration": observed, "updatedReplicas": updated, "availableReplicas": available, "replicas": all,
                "conditions": [{"type": "ReplicaFailure", "status": "True", "message": "pods \"x\" is forbidden"}],
            }})
        };
        assert_eq!(waits_for(&live(2, [2, 2, 2])), None);
        assert_eq!(waits_for(&live(1, [2, 2, 2])).unwrap(), "no controller has looked at it yet");
        let wanted = "of 2 pods 1 are new, and 2 available; 2 are left of before; pods \"x\" is forbidden";
        assert_eq!(waits_for(&live(2, [1, 2, 3])).unwrap(), wanted);
        assert!(waits_for(&json!({"metadata": {"generation": 1}, "spec": {"replicas": 2}})).is_some());
    }
}
