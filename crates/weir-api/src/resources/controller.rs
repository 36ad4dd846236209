//! What a Pod belongs to: the Deployment, the CronJob… that people know it by.
//!
//! Facts: `GetDeployMetaFromPod` in pkg/kube/util.go of Istio.

/// The controller of a Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Controller<'m> {
    /// Its kind.
    pub kind: &'m str,
    /// Its kind's version, such as `apps/v1`.
    pub api_version: &'m str,
    /// Its name.
    pub name: &'m str,
}

impl<'m> Controller<'m> {
    /// Who made that: what is behind a ReplicaSet or a Job, as far as its name and the Pod's labels tell.
    #[must_use]
    pub fn seen_through(self, label: impl Fn(&str) -> Option<&'m str>) -> Self {
        let Self { kind, api_version, name } = self;
        let label = |name: &str| label(name).filter(|value| !value.is_empty());
        let without_hash = |hash: &str| name.strip_suffix(label(hash)?)?.strip_suffix('-');
        let (kind, api_version, name) = match kind {
            "ReplicaSet" => match (without_hash("pod-template-hash"), without_hash("rollouts-pod-template-hash")) {
                (Some(name), _) => ("Deployment", api_version, name),
                (None, Some(name)) => ("Rollout", "v1alpha1", name),
                (None, None) => (kind, api_version, name),
            },
            "ReplicationController" => match label("deploymentconfig") {
                Some(name) => ("DeploymentConfig", api_version, name),
                None => (kind, api_version, name),
            },
            "Job" => match of_cron_job(name) {
                Some(name) => ("CronJob", "batch/v1", name),
                None => (kind, api_version, name),
            },
            _ => (kind, api_version, name),
        };
        Self { kind, api_version, name }
    }
}

/// A CronJob's Jobs are called by it and by their minute since 1970, of 8 to 10 digits.
fn of_cron_job(job: &str) -> Option<&str> {
    let (name, minute) = job.rsplit_once('-')?;
    let is_minute = (8..=10).contains(&minute.len()) && minute.bytes().all(|digit| digit.is_ascii_digit());
    (is_minute && !name.is_empty()).then_some(name)
}
