//! The file by which a machine joins a mesh.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, bail};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// What anybody but the owner may do with a file.
const OTHERS: u32 = 0o077;
/// Clocks may differ by so much.
const SKEW: SignedDuration = SignedDuration::from_secs(60);

/// What is in it. Whoever has it is the workload until the token ends.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct JoinFile {
    /// Where the pilot is, `HOST:PORT`.
    pub pilot: String,
    /// What its certificate is for.
    pub server_name: String,
    /// The mesh's authorities, as PEM.
    pub root: String,
    pub token: String,
    /// From when to when the token holds.
    pub issued: Timestamp,
    pub expires: Timestamp,
    pub namespace: String,
    pub service_account: String,
    pub workload: Workload,
    pub labels: BTreeMap<String, String>,
}

/// Which workload it is for.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase", deny_unknown_fields)]
pub(super) enum Workload {
    /// One that is written down.
    #[serde(rename = "WorkloadEntry")]
    Entry { name: String, address: std::net::IpAddr },
    /// One that registers itself in a group.
    #[serde(rename = "WorkloadGroup")]
    Group { name: String },
}

impl JoinFile {
    /// Reads one, which must be nobody else's to read.
    ///
    /// # Errors
    /// If it cannot be used; says why.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let found = fs::metadata(path).with_context(|| format!("{shown} cannot be read"))?;
        if found.mode() & OTHERS != 0 {
            bail!("{shown} holds a token, and others may read it: chmod 600 {shown}");
        }
        let text = fs::read_to_string(path).with_context(|| format!("{shown} cannot be read"))?;
        serde_json::from_str(&text).with_context(|| format!("{shown} is not what `weir workload token` writes"))
    }

    /// Writes it for its owner alone, in place of an earlier one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let failed = || format!("{} cannot be written", path.display());
        let text = serde_json::to_string_pretty(self)? + "\n";
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).with_context(failed)?;
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&beside, path));
        if written.is_err() {
            // No token lies about.
            let _ = fs::remove_file(&beside);
        }
        written.with_context(failed)
    }

    /// Whether the token holds by this machine's clock.
    ///
    /// # Errors
    /// If it does not; says which of the two may be wrong.
    pub fn check_clock(&self, now: Timestamp) -> anyhow::Result<()> {
        let Self { issued, expires, .. } = self;
        if now >= *expires {
            bail!(
                "the token ended at {expires:.0}, and this machine's clock says {now:.0}: write another one with `weir workload token` where the pilot runs, or set the clock"
            );
        }
        if now.saturating_add(SKEW).is_ok_and(|now| now < *issued) {
            bail!("the token was written at {issued:.0}, and this machine's clock says {now:.0}: set the clock");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file() -> JoinFile {
        JoinFile {
            pilot: "pilot.example:15012".to_owned(),
            server_name: "pilot.example".to_owned(),
            root: "root".to_owned(),
            token: "a.b.c".to_owned(),
            issued: "2026-01-01T00:00:00Z".parse().unwrap(),
            expires: "2026-01-01T01:00:00Z".parse().unwrap(),
            namespace: "shop".to_owned(),
            service_account: "cart".to_owned(),
            workload: Workload::Entry { name: "cart".to_owned(), address: [10, 0, 0, 1].into() },
            labels: [("app".to_owned(), "cart".to_owned())].into(),
        }
    }

    #[test]
    fn a_file_is_its_owners_alone_and_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cart.json");
        fs::write(&path, "an earlier one, for everybody").unwrap();
        file().write(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        let read = JoinFile::read(&path).unwrap();
        assert_eq!((read.pilot.as_str(), read.labels.len()), ("pilot.example:15012", 1));
        assert!(matches!(read.workload, Workload::Entry { name, .. } if name == "cart"));
        fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        let refused = JoinFile::read(&path).err().unwrap().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
        fs::write(&path, "{}").unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let refused = JoinFile::read(&path).err().unwrap().to_string();
        assert!(refused.contains("weir workload token"), "{refused}");
    }

    #[test]
    fn a_token_that_has_ended_and_a_clock_that_is_behind_are_told() {
        let at = |time: &str| file().check_clock(time.parse().unwrap()).map_err(|error| error.to_string());
        assert_eq!([at("2026-01-01T00:00:00Z"), at("2025-12-31T23:59:30Z"), at("2026-01-01T00:59:59Z")], [Ok(()), Ok(()), Ok(())]);
        assert!(at("2026-01-01T01:00:00Z").unwrap_err().contains("the token ended at 2026-01-01T01:00:00Z"));
        assert!(at("2025-12-31T23:00:00Z").unwrap_err().contains("set the clock"));
    }
}
