//! Who is selected by labels, and by whom: the two directions of the same question, each by index.

use std::borrow::Cow;
use std::collections::HashMap;

use weir_api::Document;
use weir_api::resources::meta::Labels;

/// Something that labels select.
#[derive(Clone)]
pub(crate) struct Selected<'i> {
    /// The document.
    pub(crate) document: &'i Document,
    /// The labels by which it is selected.
    pub(crate) labels: Cow<'i, Labels>,
}

impl<'i> Selected<'i> {
    /// A document that is selected by its own labels.
    pub(crate) fn of(document: &'i Document) -> Self {
        Self { document, labels: Cow::Borrowed(&document.meta.labels) }
    }

    /// One that is selected by others.
    pub(crate) fn new(document: &'i Document, labels: Labels) -> Self {
        Self { document, labels: Cow::Owned(labels) }
    }
}

/// Whether labels are selected.
pub(crate) fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// A selector as people write it: `app=reviews,version=v1`.
pub(crate) fn written(selector: &Labels) -> String {
    selector.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

/// Everything that can be selected, by its labels.
#[derive(Default)]
pub(crate) struct Selectable<'i> {
    all: Vec<Selected<'i>>,
    by_namespace: HashMap<&'i str, Vec<usize>>,
    by_label: HashMap<String, HashMap<String, Vec<usize>>>,
}

impl<'i> Selectable<'i> {
    /// Adds one.
    pub(crate) fn add(&mut self, selected: Selected<'i>) {
        let number = self.all.len();
        self.by_namespace.entry(&selected.document.meta.namespace).or_default().push(number);
        for (name, value) in selected.labels.iter() {
            self.by_label.entry(name.clone()).or_default().entry(value.clone()).or_default().push(number);
        }
        self.all.push(selected);
    }

    /// All of a namespace.
    pub(crate) fn of_namespace(&self, namespace: &str) -> impl Iterator<Item = &Selected<'i>> {
        self.by_namespace.get(namespace).into_iter().flatten().filter_map(|number| self.all.get(*number))
    }

    /// What a selector selects, in one namespace or in all. It looks at those only that have its rarest label.
    pub(crate) fn selected<'s>(&'s self, selector: &'s Labels, namespace: Option<&'s str>) -> impl Iterator<Item = &'s Selected<'i>> {
        let with = |(name, value): (&String, &String)| {
            self.by_label.get(name).and_then(|values| values.get(value)).map(Vec::as_slice).unwrap_or_default()
        };
        let rarest = selector.iter().map(with).min_by_key(|numbers| numbers.len());
        let all = if rarest.is_none() { self.all.len() } else { 0 };
        let numbers = rarest.unwrap_or_default().iter().copied().chain(0..all);
        let candidates = numbers.filter_map(|number| self.all.get(number));
        candidates
            .filter(move |one| namespace.is_none_or(|namespace| one.document.meta.namespace == namespace) && selects(selector, &one.labels))
    }

    /// Whether it selects anything.
    pub(crate) fn any(&self, selector: &Labels, namespace: Option<&str>) -> bool {
        self.selected(selector, namespace).next().is_some()
    }
}

/// Those that select something in their own namespace, by one label that it must have.
pub(crate) struct Selectors<'i, T> {
    by_namespace: HashMap<&'i str, ByLabel<'i, T>>,
}

/// By the name of a label, then by its value.
type ByLabel<'i, T> = HashMap<&'i str, HashMap<&'i str, Vec<(&'i Labels, T)>>>;

impl<T> Default for Selectors<'_, T> {
    fn default() -> Self {
        Self { by_namespace: HashMap::new() }
    }
}

impl<'i, T: Copy> Selectors<'i, T> {
    /// Adds one; without labels it selects nothing.
    pub(crate) fn add(&mut self, namespace: &'i str, selector: &'i Labels, one: T) {
        if let Some((name, value)) = selector.first_key_value() {
            let by_label = self.by_namespace.entry(namespace).or_default();
            by_label.entry(name).or_default().entry(value).or_default().push((selector, one));
        }
    }

    /// Those that select these labels in a namespace.
    pub(crate) fn selecting(&self, namespace: &str, labels: &Labels) -> Vec<T> {
        let Some(by_label) = self.by_namespace.get(namespace) else { return vec![] };
        let candidates = labels.iter().filter_map(|(name, value)| by_label.get(name.as_str())?.get(value.as_str())).flatten();
        candidates.filter(|(selector, _)| selects(selector, labels)).map(|(_, one)| *one).collect()
    }
}
