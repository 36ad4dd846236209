//! A folder whose files change: what is broken in it stays in force as it last was.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use weir_api::{Diagnostic, Object, Parsed, object};

use super::read::{self, Found, ReadFile};
use super::{is_hidden, is_wanted};
use crate::Catalog;
use crate::catalog::{Edit, Text, TextKey, taken_over};

/// Files count after what is said of no single one.
const FILES: usize = 1;
/// So long all that a file held stays when it is emptied: whoever writes it anew may not have come to it, or the disk may be full.
const EMPTIED: Duration = Duration::from_secs(30);

/// A folder as it was last looked at.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    files: BTreeMap<PathBuf, FileState>,
    /// What could not be read, and why; the files in it stay as they were.
    failures: Vec<String>,
    /// Whether any path leads through a link: then what is reached by it may change without an event of its own.
    has_links: bool,
    /// Files that are being written: they stay as they were.
    unfinished: BTreeSet<PathBuf>,
    catalog: Catalog,
}

#[derive(Debug)]
struct FileState {
    stamp: Stamp,
    /// What stands in it; none if it cannot be read.
    text: Option<Arc<weir_api::Source>>,
    /// When it was emptied, if it is not taken for empty yet.
    emptied: Option<Instant>,
}

impl FileState {
    /// Whether there is nothing new to read. One that has stayed empty for long enough is taken for what it is.
    fn is_up_to_date(&self, stamp: Stamp) -> bool {
        self.stamp == stamp && self.emptied.is_none_or(|since| since.elapsed() < EMPTIED)
    }

    /// Whether it still holds just this, and is to.
    fn has(&self, text: &weir_api::Source) -> bool {
        self.emptied.is_none() && self.text.as_ref().is_some_and(|known| known.text == text.text)
    }

    /// Since when it is empty, if it is the file that held something before: one that took its place was whole when it did.
    fn emptied(&self, stamp: Stamp, text: &str) -> Option<Instant> {
        let is_emptied = self.stamp.number == stamp.number && text.trim().is_empty();
        is_emptied.then(|| self.emptied.unwrap_or_else(Instant::now)).filter(|since| since.elapsed() < EMPTIED)
    }
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
        let (files, failures, unfinished) = (BTreeMap::new(), vec![], BTreeSet::new());
        Self { root: root.into(), files, failures, has_links: false, unfinished, catalog: Catalog::default() }
    }

    /// Its path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All objects as they are now.
    pub fn catalog(&self) -> Catalog {
        self.catalog.clone()
    }

    /// Just these files are being written, and stay as they were until they are not.
    pub(super) fn leave_alone(&mut self, unfinished: BTreeSet<PathBuf>) {
        self.unfinished = unfinished;
    }

    /// Looks at all of it again, and reads what changed. Says whether anything did.
    pub fn refresh(&mut self) -> bool {
        let Found { files, mut unreadable, has_links } = read::files(&self.root);
        self.has_links = has_links;
        let mut edit = Edit::of(self.catalog.clone());
        let known: HashSet<&PathBuf> = files.iter().collect();
        let is_gone = |path: &&PathBuf| !known.contains(path) && !unreadable.iter().any(|(folder, _)| path.starts_with(folder));
        let gone: Vec<PathBuf> = self.files.keys().filter(is_gone).cloned().collect();
        for path in gone.into_iter().chain(files) {
            if let Err(error) = self.refresh_file(&path, &mut edit) {
                unreadable.push((path, error));
            }
        }
        self.say_unreadable(&unreadable, &mut edit);
        self.finish(edit)
    }

    fn say_unreadable(&mut self, unreadable: &[(PathBuf, io::Error)], edit: &mut Edit) {
        let failures: Vec<String> = unreadable.iter().map(|(path, error)| format!("{} cannot be read: {error}", path.display())).collect();
        if failures != self.failures {
            let mut diagnostics: Vec<Diagnostic> = failures.iter().map(Diagnostic::error).collect();
            // What was never read may be what keeps somebody out.
            let is_known = |path: &Path| self.files.range(path.to_owned()..).next().is_some_and(|(known, _)| known.starts_with(path));
            let unknown = unreadable.iter().map(|(path, _)| path.as_path()).filter(|path| !is_known(path));
            let objects: Vec<Arc<Object>> = unknown.filter_map(|path| object::of_unknown(&path.display().to_string())).collect();
            diagnostics.extend(objects.iter().map(|object| closed(&object.source.path)));
            edit.put(TextKey { input: 0, path: PathBuf::new() }, Some(Text { objects, diagnostics, ..Text::default() }));
            self.failures = failures;
        }
    }

    /// Looks again at these paths, where something happened. Says whether anything changed.
    pub fn refresh_at(&mut self, paths: &BTreeSet<PathBuf>) -> bool {
        if self.has_links || paths.iter().any(|path| !self.is_plain(path)) {
            return self.refresh();
        }
        let mut edit = Edit::of(self.catalog.clone());
        let mut is_whole = true;
        for path in paths.iter().filter(|path| is_wanted(path)) {
            is_whole &= self.is_below_hidden(path) || self.refresh_file(path, &mut edit).is_ok();
        }
        let has_changed = self.finish(edit);
        // What cannot be looked at is said with all that cannot be.
        if is_whole { has_changed } else { self.refresh() || has_changed }
    }

    /// Whether it is, or was, a file, so that nothing but itself can have changed with it. What is in hidden folders counts by
    /// links only.
    fn is_plain(&self, path: &Path) -> bool {
        if !path.starts_with(&self.root) {
            return false;
        }
        match path.symlink_metadata() {
            _ if self.is_below_hidden(path) => true,
            Ok(metadata) => metadata.is_file(),
            // It may have been a folder.
            Err(_) => self.files.range(path.to_owned()..).take(2).all(|(known, _)| known == path || !known.starts_with(path)),
        }
    }

    fn is_below_hidden(&self, path: &Path) -> bool {
        let above = path.strip_prefix(&self.root).ok().and_then(Path::parent);
        above.is_some_and(|above| above.iter().any(is_hidden))
    }

    fn finish(&mut self, edit: Edit) -> bool {
        let changed = edit.finish();
        let has_changed = changed.is_some();
        self.catalog = changed.unwrap_or_else(|| self.catalog.clone());
        has_changed
    }

    /// Reads a file if it is another one than before. An error means that it could not be looked at, and stays as it was.
    fn refresh_file(&mut self, path: &Path, edit: &mut Edit) -> io::Result<()> {
        let key = TextKey { input: FILES, path: path.to_owned() };
        let metadata = match path.metadata() {
            Ok(metadata) if metadata.is_file() => metadata,
            Err(error) if !read::is_gone(&error) => return Err(error),
            // A file that has just gone is gone at the next look as well.
            _ => {
                self.files.remove(path);
                edit.put(key, None);
                return Ok(());
            }
        };
        let stamp = Stamp::of(&metadata);
        let known = self.files.get(path);
        if self.unfinished.contains(path) || known.is_some_and(|known| known.is_up_to_date(stamp)) {
            return Ok(());
        }
        let before = edit.catalog().text(FILES, path).cloned().unwrap_or_default();
        let text = match read::text(path) {
            Err(error) if read::is_gone(&error) => {
                self.files.remove(path);
                edit.put(key, None);
                return Ok(());
            }
            Err(error) if read::may_pass(&error) && before.has_objects() => return Err(error),
            text => text,
        };
        let is_settled = !text.as_ref().is_err_and(read::may_pass);
        let emptied = match (&text, known) {
            (Ok(text), Some(known)) if before.has_objects() => known.emptied(stamp, &text.text),
            _ => None,
        };
        let (text, now) = match text {
            Ok(text) if emptied.is_some() => (Some(text), as_before(&before, path)),
            // It was only touched.
            Ok(text) if known.is_some_and(|known| known.has(&text)) => (known.and_then(|known| known.text.clone()), Text::clone(&before)),
            text => {
                let ReadFile { text, mut parsed } = read::parsed(path, text);
                if text.is_none() {
                    close(path, &before, &mut parsed);
                }
                (text, taken_over(&before, parsed))
            }
        };
        if is_settled {
            self.files.insert(path.to_owned(), FileState { stamp, text, emptied });
        } else {
            // It is read again at the next look.
            self.files.remove(path);
        }
        edit.put(key, Some(Text { changed: Some(stamp.changed), ..now }));
        Ok(())
    }
}

/// Closes what a file may be meant to close: of one that is not UTF-8, what of it is tells that; one that was never read may be meant to
/// close anything.
fn close(path: &Path, before: &Text, parsed: &mut Parsed) {
    let name = path.display().to_string();
    match read::as_far_as_it_is_text(path) {
        Some(text) => parsed.stand_ins.extend(object::of_broken_text(&text)),
        None if before.has_objects() => {}
        None => parsed.stand_ins.extend(object::of_unknown(&name)),
    }
    if !parsed.stand_ins.is_empty() {
        parsed.diagnostics.push(closed(&name));
    }
}

/// What is said of that.
fn closed(path: &str) -> Diagnostic {
    let message =
        format!("{path} cannot be read, and may hold policies that never were: until it can, nobody is let in whom they might keep out");
    Diagnostic::warning(message).with_help("make it readable, or delete it")
}

/// What a file holds that was emptied not long ago: all that it held before.
fn as_before(before: &Text, path: &Path) -> Text {
    let message = format!("{} is empty: what it held stays in force for {} seconds", path.display(), EMPTIED.as_secs());
    let said = Diagnostic::warning(message).with_help("delete the file if all of it is meant to go");
    let kept = before.objects.iter().chain(&before.kept).cloned().collect();
    Text { objects: vec![], kept, diagnostics: vec![said], changed: None, written: None }
}

#[cfg(test)]
mod tests {
    use weir_api::Spec;
    use weir_api::resources::peer_authentication::{MutualTlsMode, PolicyRead};

    use super::*;

    #[test]
    fn a_refused_policy_is_strict_unless_its_last_version_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        let write = |mode: &str| {
            let text = format!(
                "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: a}}\nspec: {{mtls: {{mode: {mode}}}}}\n"
            );
            std::fs::write(&path, text).unwrap();
        };
        let mut folder = Folder::new(dir.path());
        let mut modes = vec![];
        for mode in ["MUTUAL", "MUTUELL", "PERMISSIVE", "STRIKT"] {
            write(mode);
            folder.refresh();
            let catalog = folder.catalog();
            let of = |object: &Arc<Object>| match &object.spec {
                Spec::PeerAuthentication(policy) => (policy.mtls.clone().unwrap().mode, policy.read),
                _ => unreachable!(),
            };
            modes.push(catalog.objects().map(of).collect::<Vec<_>>());
        }
        let strict = vec![(MutualTlsMode::Strict, PolicyRead::Selector)];
        let permissive = vec![(MutualTlsMode::Permissive, PolicyRead::Whole)];
        assert_eq!(modes, [strict.clone(), strict, permissive.clone(), permissive]);
    }

    #[test]
    fn a_file_that_stays_empty_is_taken_for_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        let text = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: a}\nspec: {address: 10.0.0.1}\n";
        std::fs::write(&path, text).unwrap();
        let mut folder = Folder::new(dir.path());
        assert!(folder.refresh());
        std::fs::write(&path, "").unwrap();
        assert!(folder.refresh() && folder.catalog().len() == 1 && !folder.refresh());
        for file in folder.files.values_mut() {
            file.emptied = file.emptied.and_then(|since| since.checked_sub(EMPTIED));
        }
        assert!(folder.refresh() && folder.catalog().is_empty() && folder.catalog().diagnostics().next().is_none());
    }
}
