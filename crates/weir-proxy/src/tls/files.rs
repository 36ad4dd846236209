//! Files that secrets stand in: looked at from time to time, and read again when they are not what they were.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use weir_config::tls::{CertificateSource, Material, SecretSource};

/// How often they are looked at.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// What tells one content of a file from another; none if it is not there.
type Stamp = Option<(SystemTime, u64)>;

/// The secrets that stand in files, by name.
#[derive(Debug, Default)]
pub(super) struct Files(HashMap<Arc<str>, Watched>);

#[derive(Debug)]
struct Watched {
    source: SecretSource,
    stamps: Vec<Stamp>,
}

impl Files {
    /// Watches those of a secret from now on, if it stands in any.
    pub fn watch(&mut self, name: &str, source: &SecretSource) {
        let stamps = stamps(source);
        if stamps.is_empty() {
            self.0.remove(name);
        } else {
            self.0.insert(name.into(), Watched { source: source.clone(), stamps });
        }
    }

    /// Whether those of a secret are watched.
    pub fn watches(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Watches those of a secret no longer.
    pub fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Watches only those of these secrets.
    pub fn keep(&mut self, is_wanted: impl Fn(&Arc<str>) -> bool) {
        self.0.retain(|name, _| is_wanted(name));
    }

    pub fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The secrets whose files are not what they were when this was asked last.
    pub fn changed(&mut self) -> Vec<(Arc<str>, SecretSource)> {
        let mut changed = vec![];
        for (name, watched) in &mut self.0 {
            let now = stamps(&watched.source);
            if now != watched.stamps {
                watched.stamps = now;
                changed.push((name.clone(), watched.source.clone()));
            }
        }
        changed
    }
}

fn stamps(source: &SecretSource) -> Vec<Stamp> {
    let materials = match source {
        SecretSource::Certificate(CertificateSource { chain, key, staple }) => [Some(chain), Some(key), staple.as_ref()],
        SecretSource::Validation(validation) => [validation.trusted.as_ref(), validation.revoked.as_ref(), None],
    };
    let path = |material: &Material| match material {
        Material::File(path) => Some(path.clone()),
        Material::Inline(_) => None,
    };
    materials.into_iter().flatten().filter_map(path).map(|path| stamp(&path)).collect()
}

fn stamp(path: &str) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
