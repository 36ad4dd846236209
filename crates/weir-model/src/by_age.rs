//! Lists of rare kinds, from the oldest object to the youngest. A change makes a new list, of which what did not change is
//! the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_api::{Object, ObjectChange};

use crate::changes::Name;
use crate::rule::Age;

/// Takes in what became of objects. `read` reads one of the list's kind, `object_of` says what object an item was read from.
/// Returns the names of those that changed.
pub(crate) fn update<T: Clone>(
    list: &mut Arc<[T]>,
    objects: &[ObjectChange],
    read: impl Fn(&Arc<Object>) -> Option<T>,
    object_of: impl Fn(&T) -> &Arc<Object>,
) -> BTreeSet<Name> {
    let mut names = BTreeSet::new();
    let mut gone = vec![];
    let mut new = vec![];
    for change in objects {
        let (before, after) = (change.old.as_ref().filter(|old| read(old).is_some()), change.new.as_ref().and_then(&read));
        if let Some(object) = before.or(change.new.as_ref().filter(|_| after.is_some())) {
            names.insert((object.meta.namespace.clone(), object.meta.name.clone()));
        }
        gone.extend(before.map(|object| Age::of(object)));
        new.extend(after);
    }
    if !names.is_empty() {
        let mut items: BTreeMap<Age, T> = list.iter().map(|item| (Age::of(object_of(item)), item.clone())).collect();
        gone.iter().for_each(|age| drop(items.remove(age)));
        items.extend(new.into_iter().map(|item| (Age::of(object_of(&item)), item)));
        *list = items.into_values().collect();
    }
    names
}
