//! One change of a catalog: some of its texts are other ones now. It costs what stands in these.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_api::{Diagnostic, FieldPath, Object, ObjectKey, Severity};

use super::changes::Step;
use super::{Catalog, Definition, Rank, Text, TextKey};

/// A change that is being made.
pub(crate) struct Edit {
    catalog: Catalog,
    /// How the objects were defined that are defined otherwise now.
    before: BTreeMap<ObjectKey, Arc<[Definition]>>,
    /// The texts of which something else is to be said.
    said: BTreeSet<TextKey>,
    has_changed: bool,
}

fn definitions<'t>(key: &TextKey, text: &'t Text) -> impl Iterator<Item = Definition> + use<'t> {
    let ranked = |is_kept: bool, objects: &'t [Arc<Object>]| {
        let text = key.clone();
        objects.iter().enumerate().map(move |(index, object)| (Rank { is_kept, text: text.clone(), index }, object.clone()))
    };
    ranked(false, &text.objects).chain(ranked(true, &text.kept))
}

impl Edit {
    /// A change of this catalog.
    pub fn of(catalog: Catalog) -> Self {
        Self { catalog, before: BTreeMap::new(), said: BTreeSet::new(), has_changed: false }
    }

    /// The catalog as far as it is changed.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Puts a text in the place of the one of its key, or takes that away.
    pub fn put(&mut self, key: TextKey, text: Option<Text>) {
        let before = self.catalog.texts.get(&key).cloned();
        if before.is_none() && text.is_none() {
            return;
        }
        self.has_changed = true;
        for (rank, object) in before.iter().flat_map(|before| definitions(&key, before)) {
            self.define(object.key(), |all| all.retain(|(known, _)| *known != rank));
        }
        for (rank, object) in text.iter().flat_map(|text| definitions(&key, text)) {
            self.define(object.key(), |all| all.push((rank, object)));
        }
        self.say(&key, before.as_deref(), text.as_ref());
        let path = key.path.display().to_string();
        match text.as_ref().and_then(|text| text.changed) {
            Some(time) => self.catalog.times.insert_mut(path, time),
            None => {
                self.catalog.times.remove_mut(&path);
            }
        }
        match text {
            Some(text) => self.catalog.texts.insert_mut(key, Arc::new(text)),
            None => {
                self.catalog.texts.remove_mut(&key);
            }
        }
    }

    fn define(&mut self, key: ObjectKey, change: impl FnOnce(&mut Vec<Definition>)) {
        let known = self.catalog.definitions.get(&key).cloned().unwrap_or_default();
        let mut all = known.to_vec();
        change(&mut all);
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        match all.is_empty() {
            true => drop(self.catalog.definitions.remove_mut(&key)),
            false => self.catalog.definitions.insert_mut(key.clone(), all.into()),
        }
        self.before.entry(key).or_insert(known);
    }

    fn say(&mut self, key: &TextKey, before: Option<&Text>, now: Option<&Text>) {
        let said = |text: Option<&Text>| text.map(|text| text.diagnostics.clone()).unwrap_or_default();
        let (before, now) = (said(before), said(now));
        if before == now {
            return;
        }
        self.said.insert(key.clone());
        for index in now.len()..before.len() {
            self.catalog.said.remove_mut(&(key.clone(), false, index));
        }
        for (index, diagnostic) in now.into_iter().enumerate() {
            self.catalog.said.insert_mut((key.clone(), false, index), diagnostic);
        }
    }

    /// The changed catalog; none if nothing changed.
    pub fn finish(mut self) -> Option<Catalog> {
        if !self.has_changed {
            return None;
        }
        self.forget_what_moved();
        let mut changed = vec![];
        for (key, before) in std::mem::take(&mut self.before) {
            let now = self.catalog.definitions.get(&key).cloned().unwrap_or_default();
            self.refuse_seconds(&before, &now);
            self.keep(&key, &now);
            let (before, now) = (before.first().map(|(_, object)| object), now.first().map(|(_, object)| object));
            if before.map(Arc::as_ptr) != now.map(Arc::as_ptr) {
                changed.push(key);
            }
        }
        self.catalog.version += 1;
        let step = Step { version: self.catalog.version, objects: changed, texts: self.said.into_iter().collect() };
        self.catalog.remember(step);
        Some(self.catalog)
    }

    /// What stands in some text now is kept nowhere else: it would come back, older, when that text breaks.
    fn forget_what_moved(&mut self) {
        let mut obsolete: BTreeMap<TextKey, Vec<ObjectKey>> = BTreeMap::new();
        for key in self.before.keys() {
            let Some(definitions) = self.catalog.definitions.get(key) else { continue };
            if definitions.first().is_some_and(|(rank, _)| !rank.is_kept) {
                let kept = definitions.iter().filter(|(rank, _)| rank.is_kept);
                kept.for_each(|(rank, _)| obsolete.entry(rank.text.clone()).or_default().push(key.clone()));
            }
        }
        for (key, gone) in obsolete {
            if let Some(text) = self.catalog.texts.get(&key) {
                let mut text = Text::clone(text);
                text.kept.retain(|object| !gone.contains(&object.key()));
                self.put(key, Some(text));
            }
        }
    }

    /// Says of each definition but the first that it does not count.
    fn refuse_seconds(&mut self, before: &[Definition], now: &[Definition]) {
        let seconds = |all: &[Definition]| all.iter().skip(1).filter(|(rank, _)| !rank.is_kept).cloned().collect::<Vec<_>>();
        for (Rank { text, index, .. }, _) in seconds(before) {
            self.said.insert(text.clone());
            self.catalog.said.remove_mut(&(text, true, index));
        }
        let Some((_, first)) = now.first() else { return };
        for (Rank { text, index, .. }, second) in seconds(now) {
            self.said.insert(text.clone());
            self.catalog.said.insert_mut((text, true, index), duplicate(first, &second));
        }
    }

    fn keep(&mut self, key: &ObjectKey, now: &[Definition]) {
        match now.first().filter(|(rank, _)| rank.is_kept) {
            Some((_, object)) => self.catalog.kept.insert_mut(key.clone(), object.clone()),
            None => {
                self.catalog.kept.remove_mut(key);
            }
        }
    }
}

fn duplicate(first: &Object, second: &Object) -> Diagnostic {
    let path = FieldPath::default().key("metadata").key("name");
    let place = first.place(&path).map_or_else(|| "elsewhere".to_owned(), |place| place.to_string());
    let message = format!("{} is defined a second time; the first is at {place}", second.name());
    second.diagnostic(Severity::Error, path, message).with_help("rename one of them, or remove it")
}
