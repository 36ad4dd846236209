//! The catalog as the API server's news make it. No news ask for anything: what is told is taken in, in its order.
//!
//! A list counts as a whole, when it is complete: until then everything stays as it was. A resource that is broken stays in
//! force as it last was good, as one in a file does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use weir_api::resources::mesh_config::LabelSelector;
use weir_api::resources::meta::Labels;
use weir_api::{Diagnostic, Kind, Parsed, Source, parse, parse_json};

use super::Options;
use super::received::Received;
use super::selection::{Selection, labels, namespace_of};
use super::strip::strip;
use super::text::yaml;
use crate::catalog::{Edit, Text, TextKey, taken_over};
use crate::{Catalog, Written};

/// Names the revision of the control plane that a resource of Istio's is for; without it, it is for all.
const REVISION: &str = "istio.io/rev";

/// What the API server tells of a kind.
#[derive(Debug)]
pub(super) enum News {
    /// A list begins.
    Began,
    /// An object of the list.
    Listed(Received),
    /// The list is complete: what is not on it is gone.
    Complete,
    /// An object came, or changed.
    Applied(Received),
    /// An object went.
    Deleted(Received),
    /// There is no such kind.
    Missing,
}

/// The catalog, and what is known of the lists that it is made of.
pub(super) struct Store {
    catalog: Catalog,
    revision: String,
    /// Which namespaces count, if not all do.
    selection: Option<Selection>,
    /// The labels of all namespaces.
    namespaces: BTreeMap<String, Labels>,
    /// The kinds of which no list has been complete.
    unread: BTreeSet<Kind>,
    /// The objects of each kind, by the names of their texts, whether they count or not.
    known: BTreeMap<Kind, BTreeSet<PathBuf>>,
    /// Lists that are not complete.
    listing: BTreeMap<Kind, Vec<Received>>,
}

impl Store {
    /// One that has read nothing of these kinds.
    pub fn new(kinds: impl IntoIterator<Item = Kind>, options: &Options) -> Self {
        let (known, listing) = (BTreeMap::new(), BTreeMap::new());
        let (revision, selection) = (options.revision.clone(), Selection::new(&options.selectors));
        let (unread, namespaces) = (kinds.into_iter().collect(), BTreeMap::new());
        Self { catalog: Catalog::default(), revision, selection, namespaces, unread, known, listing }
    }

    /// All objects as they are now.
    pub fn catalog(&self) -> Catalog {
        self.catalog.clone()
    }

    /// Whether every list has been read once.
    pub fn is_whole(&self) -> bool {
        self.unread.is_empty()
    }

    /// Whether it keeps the objects of namespaces that do not count.
    pub fn keeps_all(&self) -> bool {
        self.selection.is_some()
    }

    /// Takes in news, as one change. Says whether anything changed, or the catalog became whole by them.
    pub fn take(&mut self, news: impl IntoIterator<Item = (Kind, News)>) -> bool {
        let was_whole = self.is_whole();
        let mut edit = Edit::of(self.catalog.clone());
        for (kind, news) in news {
            self.take_one(kind, news, &mut edit);
        }
        let changed = edit.finish();
        let has_changed = changed.is_some() || was_whole != self.is_whole();
        self.catalog = changed.unwrap_or_else(|| self.catalog.clone());
        has_changed
    }

    /// Other namespaces count from now on: those that one of these selects, or all if there are none. Says whether anything changed.
    pub fn reselect(&mut self, selectors: &[LabelSelector]) -> bool {
        let mut edit = Edit::of(self.catalog.clone());
        let others = match self.selection.take() {
            None => {
                let mut selection = Selection::new(selectors);
                selection.iter_mut().for_each(|selection| drop(selection.reselect(selectors, &self.namespaces)));
                self.selection = selection;
                self.drop_unselected(&mut edit);
                BTreeMap::new()
            }
            Some(selection) if selectors.is_empty() => selection.into_unselected(),
            Some(mut selection) => {
                let others = selection.reselect(selectors, &self.namespaces);
                self.selection = Some(selection);
                others
            }
        };
        for (path, (kind, object)) in others {
            self.put(kind, path, object, &mut edit);
        }
        let changed = edit.finish();
        let has_changed = changed.is_some();
        self.catalog = changed.unwrap_or_else(|| self.catalog.clone());
        has_changed
    }

    /// Takes away what stands in namespaces that do not count.
    fn drop_unselected(&self, edit: &mut Edit) {
        let Some(selection) = &self.selection else { return };
        let all = self.known.values().flatten();
        for path in all.filter(|path| namespace_of(path).is_some_and(|namespace| !selection.counts(namespace))) {
            edit.put(key(path.clone()), None);
        }
    }

    fn take_one(&mut self, kind: Kind, news: News, edit: &mut Edit) {
        match news {
            News::Began => drop(self.listing.insert(kind, vec![])),
            News::Listed(object) => self.listing.entry(kind).or_default().push(object),
            News::Complete => {
                let listed = self.listing.remove(&kind).unwrap_or_default();
                self.replace(kind, listed, edit);
            }
            News::Applied(object) => self.take_object(kind, object, edit),
            News::Deleted(object) => self.forget(kind, path(kind, &object), edit),
            News::Missing => {
                self.listing.remove(&kind);
                self.replace(kind, vec![], edit);
            }
        }
    }

    fn replace(&mut self, kind: Kind, listed: Vec<Received>, edit: &mut Edit) {
        let mut gone = self.known.get(&kind).cloned().unwrap_or_default();
        for object in listed {
            gone.remove(&path(kind, &object));
            self.take_object(kind, object, edit);
        }
        gone.into_iter().for_each(|path| self.forget(kind, path, edit));
        self.unread.remove(&kind);
    }

    fn take_object(&mut self, kind: Kind, object: Received, edit: &mut Edit) {
        let path = path(kind, &object);
        self.known.entry(kind).or_default().insert(path.clone());
        if let Some(selection) = &mut self.selection {
            selection.keep(kind, &path, &object);
        }
        if kind == Kind::Namespace {
            self.select(object.name().1, Some(labels(&object.json)), edit);
        }
        self.put(kind, path, object, edit);
    }

    fn forget(&mut self, kind: Kind, path: PathBuf, edit: &mut Edit) {
        if !self.known.get_mut(&kind).is_some_and(|known| known.remove(&path)) {
            return;
        }
        if let Some(selection) = &mut self.selection {
            selection.forget(&path);
        }
        if let (Kind::Namespace, Some(name)) = (kind, path.file_name().and_then(|name| name.to_str())) {
            self.select(name, None, edit);
        }
        edit.put(key(path), None);
    }

    /// A namespace has other labels, or is gone.
    fn select(&mut self, namespace: &str, labels: Option<Labels>, edit: &mut Edit) {
        let others = self.selection.as_mut().map(|selection| selection.label(namespace, labels.as_ref()));
        match labels {
            Some(labels) => drop(self.namespaces.insert(namespace.to_owned(), labels)),
            None => drop(self.namespaces.remove(namespace)),
        }
        for (path, (kind, object)) in others.unwrap_or_default() {
            self.put(kind, path, object, edit);
        }
    }

    /// Puts an object where it counts, and takes it away where it does not.
    fn put(&mut self, kind: Kind, path: PathBuf, object: Received, edit: &mut Edit) {
        let is_selected = self.selection.as_ref().is_none_or(|selection| selection.counts(object.name().0));
        if !is_selected || !self.is_for_us(kind, &object.json) {
            return edit.put(key(path), None);
        }
        let key = key(path);
        let before = edit.catalog().text(key.input, &key.path).cloned();
        let written = written(kind, &object.json);
        let parsed = read(kind, &key.path, object.json);
        let now = Text { written, ..taken_over(before.as_deref().unwrap_or(&Text::default()), parsed) };
        // Most news of an object are of what is not kept of it.
        if before.is_none_or(|before| !before.is_same(&now)) {
            edit.put(key, Some(now));
        }
    }

    /// Whether a resource is for control planes of this revision.
    fn is_for_us(&self, kind: Kind, json: &Value) -> bool {
        let revision = json.pointer("/metadata/labels").and_then(|labels| labels.get(REVISION)).and_then(Value::as_str);
        !is_of_istio(kind) || revision.is_none_or(|revision| revision == self.revision)
    }
}

/// Which version of a resource of Istio's this is: others have no status that anybody would write.
fn written(kind: Kind, json: &Value) -> Option<Arc<Written>> {
    let metadata = json.get("metadata").filter(|_| is_of_istio(kind))?;
    let word = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    Some(Arc::new(Written {
        api_version: word(json.get("apiVersion"))
            .unwrap_or_else(|| format!("{}/{}", kind.group(), kind.versions().first().copied().unwrap_or_default())),
        uid: word(metadata.get("uid"))?,
        generation: metadata.get("generation")?.as_i64()?,
        revision: word(metadata.get("labels").and_then(|labels| labels.get(REVISION))),
    }))
}

fn is_of_istio(kind: Kind) -> bool {
    kind.group().ends_with(".istio.io")
}

/// The name of an object's text: `VirtualService/default/reviews`, `Node/one`.
fn path(kind: Kind, object: &Received) -> PathBuf {
    let (namespace, name) = object.name();
    // A name that is none leaves a path that is none, too; that is refused when it is read.
    [kind.name(), namespace, name].into_iter().filter(|part| !part.is_empty()).map(|part| part.trim_start_matches('/')).collect()
}

/// Reads an object as those of the catalog are read, with its place in the same text; it need not be in the cluster.
pub fn read_object(kind: Kind, object: Value) -> Parsed {
    let word = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().trim_matches('/').to_owned();
    let parts = [kind.name().to_owned(), word("/metadata/namespace"), word("/metadata/name")];
    let path: PathBuf = parts.iter().filter(|part| !part.is_empty()).collect();
    read(kind, &path, strip(kind, object))
}

fn key(path: PathBuf) -> TextKey {
    TextKey { input: 0, path }
}

/// The catalog of these objects, whichever revision they are for.
pub(super) fn all_of(objects: impl Iterator<Item = (Kind, Received)>) -> Catalog {
    let mut edit = Edit::of(Catalog::default());
    for (kind, object) in objects {
        let key = key(path(kind, &object));
        let parsed = read(kind, &key.path, object.json);
        edit.put(key, Some(taken_over(&Text::default(), parsed)));
    }
    edit.finish().unwrap_or_default()
}

/// Says of an object what it is: the items of a list do not repeat it.
pub(super) fn add_type(kind: Kind, object: &mut Value) {
    let Value::Object(object) = object else { return };
    let group = if kind.group().is_empty() { String::new() } else { format!("{}/", kind.group()) };
    let version = json!(format!("{group}{}", kind.versions().first().copied().unwrap_or_default()));
    object.entry("apiVersion").or_insert(version);
    object.entry("kind").or_insert_with(|| json!(kind.name()));
}

fn read(kind: Kind, path: &Path, mut json: Value) -> Parsed {
    if json.get("metadata").is_none_or(|metadata| !metadata.is_object()) {
        // Nobody could be told which object it is.
        let message = format!("the API server sent {} without metadata", path.display());
        return Parsed { diagnostics: vec![Diagnostic::error(message)], ..Parsed::default() };
    }
    add_type(kind, &mut json);
    let name = path.display().to_string();
    match is_written_by_people(kind) {
        true => parse(&Source::new(name, yaml(&json))),
        false => parse_json(&Source::new(name, ""), json),
    }
}

/// Whether messages about a resource show its place in a text. What controllers write has none: there is too much of it, and a
/// Secret's content stands in no text.
pub(super) fn is_written_by_people(kind: Kind) -> bool {
    matches!(kind, Kind::Service | Kind::Ingress) || is_of_istio(kind)
}

#[cfg(test)]
mod tests;
