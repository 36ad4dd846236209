//! What each control plane tells the others: how many proxies follow it, and how many of these have all that it has read. It stands in a
//! Lease of its own, which is renewed for as long as the control plane lives.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::ObjectMeta;
use serde_json::{Value, json};

use super::content::Digests;

/// Marks these Leases, with the revision of the control plane.
pub(super) const LABEL: &str = "weir.dev/pilot-of-revision";
const ANNOTATION: &str = "weir.dev/proxies";
/// How long the word of a control plane counts that has not renewed its Lease.
pub(super) const SECONDS: i32 = 15;

/// What one tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// How many proxies follow it.
    pub proxies: usize,
    /// How many of them have all that it has read.
    pub having: usize,
    /// What it has read.
    pub digests: Digests,
}

impl Told {
    /// Whether all proxies have all that was read.
    pub fn is_settled(&self) -> bool {
        self.having == self.proxies
    }

    /// The Lease that says so.
    pub fn lease(&self, name: &str, revision: &str, now: jiff::Timestamp) -> Lease {
        let Digests { common, own } = self.digests;
        let said =
            json!({"proxies": self.proxies, "having": self.having, "common": format!("{common:016x}"), "own": format!("{own:016x}")});
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some([(LABEL.to_owned(), revision.to_owned())].into()),
            annotations: Some([(ANNOTATION.to_owned(), said.to_string())].into()),
            ..ObjectMeta::default()
        };
        let spec = LeaseSpec {
            holder_identity: Some(name.to_owned()),
            lease_duration_seconds: Some(SECONDS),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        };
        Lease { metadata, spec: Some(spec) }
    }

    /// What a Lease says; none if that is nothing of ours.
    pub fn read(lease: &Lease) -> Option<Self> {
        let said: Value = serde_json::from_str(lease.metadata.annotations.as_ref()?.get(ANNOTATION)?).ok()?;
        let count = |field: &str| usize::try_from(said[field].as_u64()?).ok();
        let digest = |field: &str| u64::from_str_radix(said[field].as_str()?, 16).ok();
        let (proxies, having) = (count("proxies")?, count("having")?);
        let digests = Digests { common: digest("common")?, own: digest("own")? };
        // Whoever counts more than it has is not to be believed.
        (having <= proxies).then_some(Self { proxies, having, digests })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read() {
        let told = Told { proxies: 3, having: 2, digests: Digests { common: u64::MAX, own: 7 } };
        let mut lease = told.lease("p", "default", jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(Told::read(&lease), Some(told));
        for wrong in ["", "{}", "[]", r#"{"proxies": 1, "having": 2, "common": "0", "own": "0"}"#, r#"{"proxies": -1, "having": 0}"#] {
            lease.metadata.annotations.as_mut().unwrap().insert(ANNOTATION.to_owned(), wrong.to_owned());
            assert_eq!(Told::read(&lease), None, "{wrong}");
        }
        assert_eq!(Told::read(&Lease::default()), None);
    }
}
