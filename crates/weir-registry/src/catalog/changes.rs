//! What changed between two versions of a catalog.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_api::{ObjectChange, ObjectKey};

use super::{Catalog, TextKey};

/// So many versions a reader may have missed and still be told quickly what changed.
const REMEMBERED: usize = 64;

/// What one version changed.
#[derive(Debug)]
pub(super) struct Step {
    pub version: u64,
    pub objects: Vec<ObjectKey>,
    /// The texts of which something else is said.
    pub texts: Vec<TextKey>,
}

/// What changed between two versions of a catalog.
#[derive(Debug, Clone, Default)]
pub struct CatalogChanges {
    /// The objects, each before and after.
    pub objects: Vec<ObjectChange>,
    /// The texts of which something else is to be said.
    pub texts: BTreeSet<TextKey>,
}

impl Catalog {
    pub(super) fn remember(&mut self, step: Step) {
        self.recent.push_back(Arc::new(step));
        while self.recent.len() > REMEMBERED {
            self.recent.pop_front();
        }
    }

    /// What changed since an earlier version of the catalog, or any other catalog. It costs what changed; only who missed
    /// many versions has all of both compared. What `besides` names is compared too: what is registered is not told otherwise.
    pub fn changes_since(&self, before: &Self, besides: impl IntoIterator<Item = ObjectKey>) -> CatalogChanges {
        let (mut objects, texts) = self.steps_since(before).unwrap_or_else(|| self.all_of_both(before));
        objects.extend(besides);
        let compare = |key: &ObjectKey| ObjectChange::between(before.get(key), self.get(key));
        CatalogChanges { objects: objects.iter().filter_map(compare).collect(), texts }
    }

    /// What the versions in between changed, if all of them are remembered.
    fn steps_since(&self, before: &Self) -> Option<(BTreeSet<ObjectKey>, BTreeSet<TextKey>)> {
        if !Arc::ptr_eq(&self.source, &before.source) || before.version > self.version {
            return None;
        }
        let missed = usize::try_from(self.version - before.version).ok()?;
        let first = self.recent.len().checked_sub(missed)?;
        let steps = || self.recent.iter().skip(first);
        let is_whole = steps().next().is_none_or(|step| step.version == before.version + 1);
        let all = || (steps().flat_map(|step| step.objects.clone()).collect(), steps().flat_map(|step| step.texts.clone()).collect());
        is_whole.then(all)
    }

    fn all_of_both(&self, before: &Self) -> (BTreeSet<ObjectKey>, BTreeSet<TextKey>) {
        let objects = [before, self].into_iter().flat_map(|catalog| catalog.definitions.keys().chain(catalog.registered.keys()));
        let texts = [before, self].into_iter().flat_map(|catalog| catalog.said.keys().map(|(text, ..)| text));
        (objects.cloned().collect(), texts.cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use weir_api::{Object, Source, parse};

    use super::super::{Edit, Text};
    use super::*;

    fn object(name: &str, address: &str) -> Arc<Object> {
        let text =
            format!("apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}}}\nspec: {{address: {address}}}\n");
        parse(&Source::new("x.yaml", text)).objects.remove(0)
    }

    fn put(catalog: &Catalog, path: &str, objects: &[&Arc<Object>]) -> Catalog {
        let mut edit = Edit::of(catalog.clone());
        let text = Text { objects: objects.iter().map(|object| (*object).clone()).collect(), ..Text::default() };
        edit.put(TextKey { input: 0, path: path.into() }, Some(text));
        edit.finish().unwrap()
    }

    fn changed(from: &Catalog, to: &Catalog) -> Vec<String> {
        let changes = to.changes_since(from, []);
        let kind = |change: &ObjectChange| match (&change.old, &change.new) {
            (None, Some(new)) => format!("+{}", new.meta.name),
            (Some(old), None) => format!("-{}", old.meta.name),
            _ => format!("~{}", change.key().unwrap().name),
        };
        changes.objects.iter().map(kind).collect()
    }

    #[test]
    fn a_reader_that_missed_versions_is_told_what_changed_between() {
        let (a, b, c) = (object("a", "10.0.0.1"), object("b", "10.0.0.1"), object("c", "10.0.0.1"));
        let first = put(&Catalog::default(), "1", &[&a, &b]);
        let second = put(&first, "1", &[&a, &object("b", "10.0.0.2")]);
        let third = put(&second, "2", &[&c]);
        assert_eq!(changed(&first, &second), ["~b"]);
        assert_eq!(changed(&first, &third), ["~b", "+c"]);
        assert_eq!(changed(&third, &third), [""; 0]);
        assert_eq!(changed(&third, &first), ["~b", "-c"]);
        assert_eq!(changed(&Catalog::of([c.clone()]), &third), ["+a", "+b"], "another source's");
        let mut late = third.clone();
        for _ in 0..2 * REMEMBERED {
            late = put(&late, "2", &[]);
        }
        assert_eq!(changed(&third, &late), ["-c"]);
    }

    #[test]
    fn what_is_registered_gives_way_to_what_is_written() {
        let (written, registered) = (object("a", "10.0.0.1"), object("a", "10.0.0.9"));
        let with = |catalog: &Catalog| catalog.with_registered([(registered.key(), registered.clone())].into_iter().collect());
        let first = with(&Catalog::default());
        assert!(first.get(&registered.key()).is_some_and(|found| Arc::ptr_eq(found, &registered)) && first.len() == 1);
        let second = put(&first, "1", &[&written]);
        assert!(second.objects().all(|object| Arc::ptr_eq(object, &written)) && second.len() == 1);
        let gone = second.with_registered(rpds::RedBlackTreeMapSync::default());
        assert_eq!(gone.changes_since(&first, [registered.key()]).objects.len(), 1);
    }
}
