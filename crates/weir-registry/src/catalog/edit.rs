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
        let written = |text: Option<&Text>| text.and_then(|text| text.written.clone());
        if written(before) != written(now) {
            // The same may be said of another version.
            self.said.insert(key.clone());
        }
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
        let before = std::mem::take(&mut self.before);
        // At a place where one object was a second, another one may be now.
        before.values().for_each(|definitions| self.forget_seconds(definitions));
        let mut changed = vec![];
        for (key, before) in before {
            let now = self.catalog.definitions.get(&key).cloned().unwrap_or_default();
            self.refuse_seconds(&now);
            self.keep(&key, &now);
            self.note_stand_in(&key, &now);
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

    fn forget_seconds(&mut self, definitions: &[Definition]) {
        for (Rank { text, index, .. }, _) in seconds(definitions) {
            self.said.insert(text.clone());
            self.catalog.said.remove_mut(&(text.clone(), true, *index));
        }
    }

    /// Says of each definition but the first that it does not count.
    fn refuse_seconds(&mut self, definitions: &[Definition]) {
        let Some((_, first)) = definitions.first() else { return };
        for (Rank { text, index, .. }, second) in seconds(definitions) {
            self.said.insert(text.clone());
            self.catalog.said.insert_mut((text.clone(), true, *index), duplicate(first, second));
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

    fn note_stand_in(&mut self, key: &ObjectKey, now: &[Definition]) {
        match now.first().filter(|(_, object)| object.stands_in()) {
            Some((_, object)) => self.catalog.stand_ins.insert_mut(key.clone(), object.clone()),
            None => {
                self.catalog.stand_ins.remove_mut(key);
            }
        }
    }
}

/// The definitions, as they are written, of an object that is defined before.
fn seconds(definitions: &[Definition]) -> impl Iterator<Item = &Definition> {
    definitions.iter().skip(1).filter(|(rank, _)| !rank.is_kept)
}

fn duplicate(first: &Object, second: &Object) -> Diagnostic {
    let path = FieldPath::default().key("metadata").key("name");
    let place = first.place(&path).map_or_else(|| "elsewhere".to_owned(), |place| place.to_string());
    let message = format!("{} is defined a second time; the first is at {place}", second.name());
    second.diagnostic(Severity::Error, path, message).with_help("rename one of them, or remove it")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_api::{ObjectChange, Source, parse};

    use super::*;

    const PATHS: [&str; 3] = ["1.yaml", "2.yaml", "3.yaml"];

    /// A text with objects of these names; one whose address is 3 stands in for a policy that is refused.
    fn text(path: &str, names: &[(u8, u8)]) -> Text {
        let document = |(name, address): &(u8, u8)| match address {
            3 => format!(
                "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: n{name}}}\nspec: {{action: NONE}}\n"
            ),
            _ => format!(
                "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: n{name}}}\nspec: {{address: 10.0.0.{address}}}\n"
            ),
        };
        let parsed = parse(&Source::new(path, names.iter().map(document).collect::<String>()));
        let objects = parsed.objects.into_iter().chain(parsed.stand_ins).collect();
        Text { objects, diagnostics: parsed.diagnostics, ..Text::default() }
    }

    fn key(path: &str) -> TextKey {
        TextKey { input: 0, path: path.into() }
    }

    fn anew(texts: &BTreeMap<&str, Text>) -> Catalog {
        let mut edit = Edit::of(Catalog::default());
        texts.iter().for_each(|(path, text)| edit.put(key(path), Some(text.clone())));
        edit.finish().unwrap_or_default()
    }

    fn told(catalog: &Catalog) -> (Vec<*const Object>, Vec<String>, usize) {
        (catalog.objects().map(Arc::as_ptr).collect(), catalog.diagnostics().map(ToString::to_string).collect(), catalog.len())
    }

    proptest! {
        #[test]
        fn a_catalog_that_was_changed_equals_one_that_was_made_anew(
            steps in prop::collection::vec((0..PATHS.len(), prop::option::of(prop::collection::vec((0..4u8, 1..4u8), 0..4))), 1..20)
        ) {
            let (mut texts, mut catalog) = (BTreeMap::new(), Catalog::default());
            for (path, names) in steps {
                let before = catalog.clone();
                let new = names.map(|names| text(PATHS[path], &names));
                let mut edit = Edit::of(catalog.clone());
                edit.put(key(PATHS[path]), new.clone());
                catalog = edit.finish().unwrap_or(catalog);
                match new {
                    Some(text) => drop(texts.insert(PATHS[path], text)),
                    None => drop(texts.remove(PATHS[path])),
                }
                let fresh = anew(&texts);
                prop_assert_eq!(told(&catalog), told(&fresh));
                let stand_ins: BTreeSet<ObjectKey> = catalog.stand_ins().map(|object| object.key()).collect();
                let among_all = catalog.objects().filter(|object| object.stands_in()).map(|object| object.key());
                prop_assert_eq!(stand_ins, among_all.collect::<BTreeSet<_>>());
                // What is told to have changed is what differs.
                let keys = |changes: Vec<ObjectChange>| changes.iter().filter_map(ObjectChange::key).collect::<BTreeSet<_>>();
                prop_assert_eq!(keys(catalog.changes_since(&before, []).objects), keys(fresh.changes_since(&before, []).objects));
            }
        }
    }
}
