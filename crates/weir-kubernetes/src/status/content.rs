//! What tells whether two control planes have read the same: a digest of the generations of all resources of a scope.
//!
//! Each control plane reads its cluster by itself, and counts its own versions. But those that have read the same resources have the same
//! digest, in whichever order they did.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_registry::{Catalog, Written};

use super::Scope;

/// The digests of what a control plane has read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Digests {
    /// Of resources that are for all revisions.
    pub common: u64,
    /// Of those that are for its own alone.
    pub own: u64,
}

impl Digests {
    /// That of a scope.
    pub fn of(&self, scope: &Scope) -> u64 {
        match scope {
            Scope::Common => self.common,
            Scope::Revision(_) => self.own,
        }
    }

    /// Adds a resource, or takes it away.
    fn toggle(&mut self, is_common: bool, hash: u64) {
        let digest = if is_common { &mut self.common } else { &mut self.own };
        *digest ^= hash;
    }
}

/// What a control plane has read, and its digests.
pub(super) struct Content {
    catalog: Arc<Catalog>,
    hashes: BTreeMap<PathBuf, (bool, u64)>,
    digests: Digests,
}

impl Content {
    /// That of a catalog.
    pub fn of(catalog: &Arc<Catalog>) -> Self {
        let mut content = Self { catalog: catalog.clone(), hashes: BTreeMap::new(), digests: Digests::default() };
        catalog.all_written().for_each(|(path, written)| content.put(path, Some(written)));
        content
    }

    /// Takes in a newer catalog.
    pub fn take(&mut self, catalog: &Arc<Catalog>) {
        let changes = catalog.changes_since(&self.catalog, []);
        self.catalog = catalog.clone();
        let objects = changes.objects.iter().filter_map(|change| change.key()).map(|key| super::place::path_of(&key));
        for path in objects.chain(changes.texts.into_iter().map(|text| text.path)) {
            self.put(&path, catalog.written(&path));
        }
    }

    pub fn digests(&self) -> Digests {
        self.digests
    }

    fn put(&mut self, path: &Path, written: Option<&Arc<Written>>) {
        if let Some((is_common, hash)) = self.hashes.remove(path) {
            self.digests.toggle(is_common, hash);
        }
        if let Some(written) = written {
            let (is_common, hash) = (written.revision.is_none(), hash(path, written));
            self.digests.toggle(is_common, hash);
            self.hashes.insert(path.to_owned(), (is_common, hash));
        }
    }
}

/// The same in every process of one version of the program.
fn hash(path: &Path, written: &Written) -> u64 {
    let mut hasher = DefaultHasher::new();
    (path.to_str(), &written.uid, written.generation).hash(&mut hasher);
    hasher.finish()
}
