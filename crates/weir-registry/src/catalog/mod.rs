//! All objects of a mesh at one moment.

mod changes;
mod edit;
mod last_good;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rpds::RedBlackTreeMapSync as Tree;
use weir_api::{Diagnostic, Object, ObjectKey, ObjectName};

pub use changes::CatalogChanges;
use changes::Step;
pub(crate) use edit::Edit;
pub(crate) use last_good::taken_over;

/// Which text objects were read from. Texts count in the order of these.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TextKey {
    /// Where the input stands that it belongs to.
    pub input: usize,
    /// Its path; empty for what is said of no single text.
    pub path: PathBuf,
}

/// What a text holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Text {
    /// The objects as they are written.
    pub objects: Vec<Arc<Object>>,
    /// Objects of earlier versions that are broken now.
    pub kept: Vec<Arc<Object>>,
    /// What is to be said of it.
    pub diagnostics: Vec<Diagnostic>,
    /// When it was last changed.
    pub changed: Option<SystemTime>,
    /// Which version of an object it is, where an API server counts them.
    pub written: Option<Arc<Written>>,
}

/// Which version of an object an API server has, whether that is in force or broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The group and version of its kind that the API server has.
    pub api_version: String,
    /// Tells the object from others that had its name before.
    pub uid: String,
    /// How often its content has changed.
    pub generation: i64,
    /// The revision of the control plane that it is for, if not for all.
    pub revision: Option<String>,
}

impl Text {
    /// Whether any object is in force by it.
    pub fn has_objects(&self) -> bool {
        !self.objects.is_empty() || !self.kept.is_empty()
    }

    /// Whether it holds the very same objects, and as much is to be said of it.
    #[cfg(feature = "kubernetes")]
    pub fn is_same(&self, other: &Self) -> bool {
        let are_same = |a: &[Arc<Object>], b: &[Arc<Object>]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b));
        are_same(&self.objects, &other.objects)
            && are_same(&self.kept, &other.kept)
            && self.diagnostics == other.diagnostics
            && self.written == other.written
    }
}

/// Which of several definitions of an object counts: the first. One that is written goes before one that is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_kept: bool,
    text: TextKey,
    index: usize,
}

/// An object as a text defines it.
type Definition = (Rank, Arc<Object>);

/// Where something stands that is to be said: what of a text itself is said goes before what is said of it beside others.
type Saying = (TextKey, bool, usize);

/// All objects of a mesh at one moment, and what is to be said of them. Versions of a catalog share what they have in
/// common: a copy costs nothing, and a change what it changes.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Counts the versions of a source's catalog.
    version: u64,
    /// Tells the catalogs of one source from those of others.
    source: Arc<()>,
    texts: Tree<TextKey, Arc<Text>>,
    definitions: Tree<ObjectKey, Arc<[Definition]>>,
    kept: Tree<ObjectKey, Arc<Object>>,
    /// The objects that count and stand in for others, so that nobody looks for them among all.
    stand_ins: Tree<ObjectKey, Arc<Object>>,
    said: Tree<Saying, Diagnostic>,
    times: Tree<String, SystemTime>,
    /// Objects that stand in no text; one that is written somewhere counts as it is written.
    registered: Tree<ObjectKey, Arc<Object>>,
    /// What the last versions changed.
    recent: VecDeque<Arc<Step>>,
}

impl Catalog {
    /// A catalog of these objects, of which nothing is to be said unless two are of one name.
    pub fn of(objects: impl IntoIterator<Item = Arc<Object>>) -> Self {
        let mut edit = Edit::of(Self::default());
        let text = Text { objects: objects.into_iter().collect(), ..Text::default() };
        edit.put(TextKey { input: 0, path: PathBuf::new() }, Some(text));
        edit.finish().unwrap_or_default()
    }

    /// The next version of the catalog, in which just these objects stand under a path: for sources that keep no files.
    #[must_use]
    pub fn with(&self, path: impl Into<PathBuf>, objects: Vec<Arc<Object>>) -> Self {
        let mut edit = Edit::of(self.clone());
        edit.put(TextKey { input: 0, path: path.into() }, Some(Text { objects, ..Text::default() }));
        edit.finish().unwrap_or_else(|| self.clone())
    }

    /// The object of a key, as it counts.
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<Object>> {
        let defined = self.definitions.get(key).and_then(|definitions| definitions.first());
        defined.map(|(_, object)| object).or_else(|| self.registered.get(key))
    }

    /// The objects, in the order in which they stand in the texts; then those that are kept, then those that stand in no text.
    /// Each kind, namespace and name once.
    pub fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        let counts = |object: &&Arc<Object>| self.get(&object.key()).is_some_and(|first| Arc::ptr_eq(first, object));
        let written = self.texts.values().flat_map(|text| &text.objects);
        written.filter(counts).chain(self.kept.values()).chain(self.registered().map(|(_, object)| object))
    }

    fn registered(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<Object>)> {
        self.registered.iter().filter(|(key, _)| !self.definitions.contains_key(*key))
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.definitions.size() + self.registered().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is to be said: an error names a document that is not among the objects, at least not as it is written.
    pub fn diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        self.said.values()
    }

    /// What is to be said of one text.
    pub fn diagnostics_of(&self, text: &TextKey) -> impl Iterator<Item = &Diagnostic> + use<'_> {
        let range = (text.clone(), false, 0)..=(text.clone(), true, usize::MAX);
        self.said.range(range).map(|(_, diagnostic)| diagnostic)
    }

    /// Which version of an object its API server has, by the path of its text: `VirtualService/shop/reviews`. None of what has no API
    /// server, or is not a resource of Istio's.
    pub fn written(&self, path: &Path) -> Option<&Arc<Written>> {
        self.text(0, path)?.written.as_ref()
    }

    /// The same of all, by those paths.
    pub fn all_written(&self) -> impl Iterator<Item = (&Path, &Arc<Written>)> {
        self.texts.iter().filter_map(|(key, text)| Some((key.path.as_path(), text.written.as_ref()?)))
    }

    /// The objects that are broken where they are written, and stay in force as they last were.
    pub fn kept(&self) -> impl Iterator<Item = ObjectName> {
        self.kept.values().map(|object| object.name())
    }

    /// The objects that stand in for such as are refused ([`Object::stands_in`]).
    pub fn stand_ins(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.stand_ins.values()
    }

    /// When the text of an object was last changed, by the text's path.
    pub fn changed(&self, path: &str) -> Option<SystemTime> {
        self.times.get(path).copied()
    }

    /// The same catalog with these objects besides, which stand in no text.
    pub fn with_registered(&self, registered: Tree<ObjectKey, Arc<Object>>) -> Self {
        Self { registered, ..self.clone() }
    }

    pub(crate) fn text(&self, input: usize, path: &Path) -> Option<&Arc<Text>> {
        self.texts.get(&TextKey { input, path: path.to_owned() })
    }
}
