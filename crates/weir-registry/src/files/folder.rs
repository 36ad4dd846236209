//! A folder whose files change: what is broken in it stays in force as it last was.

use std::collections::{BTreeMap, HashSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use weir_api::{Diagnostic, Kind, Object, ObjectName, Severity};

use super::read::{self, Found, Shared};
use crate::Catalog;
use crate::catalog::Collector;

/// A folder as it was last looked at.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    files: BTreeMap<PathBuf, FileState>,
    /// What could not be read, and why; the files in it stay as they were.
    failures: Vec<String>,
}

#[derive(Debug)]
struct FileState {
    stamp: Stamp,
    parsed: Shared,
    /// Objects of earlier versions whose text is broken now.
    kept: Vec<Arc<Object>>,
}

/// Tells versions of a file apart without reading it. An editor that renames a new file over the old one changes the
/// number of the file, one that writes in place its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    number: u64,
    length: u64,
    changed: SystemTime,
    changed_nanos: i64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            number: metadata.ino(),
            length: metadata.len(),
            changed: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            changed_nanos: metadata.ctime_nsec(),
        }
    }
}

impl Folder {
    /// A folder that has not been looked at yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), files: BTreeMap::new(), failures: vec![] }
    }

    /// Its path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Looks again, and reads what changed. Says whether anything did.
    pub fn refresh(&mut self) -> bool {
        let Found { files, unreadable } = read::files(&self.root);
        let failures: Vec<String> = unreadable.iter().map(|(path, error)| format!("{} cannot be read: {error}", path.display())).collect();
        let mut changed = failures != self.failures;
        self.failures = failures;
        let known: HashSet<&PathBuf> = files.iter().collect();
        let before = self.files.len();
        self.files.retain(|path, _| known.contains(path) || unreadable.iter().any(|(folder, _)| path.starts_with(folder)));
        changed |= self.files.len() != before;
        for path in files {
            changed |= self.refresh_file(path);
        }
        self.forget_what_moved();
        changed
    }

    /// What stands in some file now is kept nowhere else: it would come back, older, when that file breaks.
    fn forget_what_moved(&mut self) {
        if self.files.values().all(|file| file.kept.is_empty()) {
            return;
        }
        let present = self.files.values().flat_map(|file| &file.parsed.objects);
        let present: HashSet<ObjectName> = present.map(|object| object.name()).collect();
        for file in self.files.values_mut() {
            file.kept.retain(|object| !present.contains(&object.name()));
        }
    }

    fn refresh_file(&mut self, path: PathBuf) -> bool {
        // A file that has just gone is gone at the next look as well.
        let Ok(metadata) = path.metadata() else { return self.files.remove(&path).is_some() };
        let stamp = Stamp::of(&metadata);
        let before = self.files.get(&path);
        if before.is_some_and(|before| before.stamp == stamp) {
            return false;
        }
        let parsed = Arc::new(read::file(&path));
        let kept = before.map(|before| kept(before, &parsed)).unwrap_or_default();
        self.files.insert(path, FileState { stamp, parsed, kept });
        true
    }

    /// All objects as they are now.
    pub fn catalog(&self) -> Catalog {
        let mut collector = Collector::default();
        let failures: Vec<Diagnostic> = self.failures.iter().map(Diagnostic::error).collect();
        collector.add(&[], &failures);
        for (path, file) in &self.files {
            collector.add(&file.parsed.objects, &file.parsed.diagnostics);
            collector.changed(path.display().to_string(), file.stamp.changed);
        }
        for file in self.files.values() {
            file.kept.iter().for_each(|object| collector.keep(object));
        }
        collector.finish()
    }
}

/// The objects of a file's last version that its new version still means to hold: those that it refuses by name, or,
/// where something is so broken that it has no name, all that are missing.
fn kept(before: &FileState, now: &Shared) -> Vec<Arc<Object>> {
    let errors = || now.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    // A kind that does not exist, or no name, may be any of them.
    let is_nameless = |name: &ObjectName| name.name.is_empty() || !Kind::is_name(&name.kind);
    let has_nameless = errors().any(|error| error.object.as_ref().is_none_or(is_nameless));
    let refused: HashSet<&ObjectName> = errors().filter_map(|error| error.object.as_ref()).collect();
    let present: HashSet<ObjectName> = now.objects.iter().map(|object| object.name()).collect();
    let last = before.parsed.objects.iter().chain(&before.kept);
    let stays = |object: &&Arc<Object>| {
        let name = object.name();
        !present.contains(&name) && (has_nameless || refused.contains(&name))
    };
    last.filter(stays).cloned().collect()
}
