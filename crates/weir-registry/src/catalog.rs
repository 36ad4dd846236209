//! All objects of a mesh at one moment.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use weir_api::{Diagnostic, Object, ObjectName};

/// All objects of a mesh at one moment, and what is to be said of them.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// The objects, in the order in which they were read; each kind, namespace and name once.
    pub objects: Vec<Arc<Object>>,
    /// What is to be said: an error names a document that is not among the objects, at least not as it is written.
    pub diagnostics: Vec<Diagnostic>,
    /// The objects that are broken where they are written, and stay in force as they last were.
    pub kept: Vec<ObjectName>,
    /// When the text of an object was last changed, by the text's path.
    pub changed: HashMap<String, SystemTime>,
}

/// Collects objects, and refuses the second of a name.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    catalog: Catalog,
    known: HashMap<ObjectName, Arc<Object>>,
}

impl Collector {
    /// Adds objects as they are written.
    pub fn add(&mut self, objects: &[Arc<Object>], diagnostics: &[Diagnostic]) {
        self.catalog.diagnostics.extend_from_slice(diagnostics);
        for object in objects {
            match self.known.get(&object.name()) {
                Some(first) => self.catalog.diagnostics.push(duplicate(first, object)),
                None => {
                    self.known.insert(object.name(), object.clone());
                    self.catalog.objects.push(object.clone());
                }
            }
        }
    }

    /// Adds an object as it was before its text was broken, unless it is written elsewhere by now.
    pub fn keep(&mut self, object: &Arc<Object>) {
        let name = object.name();
        if self.known.insert(name.clone(), object.clone()).is_none() {
            self.catalog.objects.push(object.clone());
            self.catalog.kept.push(name);
        }
    }

    pub fn changed(&mut self, path: String, time: SystemTime) {
        self.catalog.changed.insert(path, time);
    }

    pub fn finish(self) -> Catalog {
        self.catalog
    }
}

fn duplicate(first: &Object, second: &Object) -> Diagnostic {
    let path = weir_api::FieldPath::default().key("metadata").key("name");
    let place = first.place(&path).map_or_else(|| "elsewhere".to_owned(), |place| place.to_string());
    let message = format!("{} is defined a second time; the first is at {place}", second.name());
    second.diagnostic(weir_api::Severity::Error, path, message).with_help("rename one of them, or remove it")
}
