//! From what a source tells to the mesh: each change of objects, registrations, health and of what holds for the whole mesh becomes one change of the snapshot,
//! and what is to be said of the objects is said by the part that it is about.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use weir_api::{Diagnostic, Kind, Object, ObjectChange};
use weir_model::{MeshSnapshot, Subject};
use weir_registry::{Catalog, CatalogChanges};
use weir_translate::unsupported;

use crate::report::Source;
use crate::shared::Shared;

impl Shared {
    /// Takes in the newest catalog, and what is known of workloads besides.
    pub fn read(&self, written: &Arc<Catalog>) {
        let before = self.catalog.borrow().clone();
        let mesh = self.mesh.borrow().clone();
        let (catalog, changes, next) = {
            let mut workloads = self.workloads();
            let mut catalog = written.with_registered(workloads.entries().clone());
            let mut changes = catalog.changes_since(&before, []);
            let is_group = |change: &ObjectChange| change.sides().any(|object| object.kind == Kind::WorkloadGroup);
            let touched = workloads.update_entries(written, changes.objects.iter().any(is_group));
            if !touched.is_empty() {
                catalog = written.with_registered(workloads.entries().clone());
                changes = catalog.changes_since(&before, touched);
            }
            let flipped = workloads.take_flipped();
            let config = self.config();
            let next = if Arc::ptr_eq(&config, &mesh.config) {
                mesh.update(&changes.objects, Some(&workloads.health), &flipped)
            } else {
                let objects: Vec<Arc<Object>> = catalog.objects().cloned().collect();
                mesh.reconfigured(&objects, Some(&workloads.health), config)
            };
            let next = next.with_keys(&self.keys.borrow());
            workloads.forget_gone(&next, &changes.objects, &flipped);
            (catalog, changes, next)
        };
        self.say(&catalog, &changes, &next);
        // Whoever sees the mesh sees the objects that it is of. Nobody is woken for what changes nothing; but it is kept, because what
        // nobody sees yet (the instances of a service to come) may be seen after the next change.
        let next = Arc::new(next);
        let is_other = self.mesh.send_if_modified(|mesh| {
            self.catalog.send_replace(Arc::new(catalog));
            let is_other = !next.changes.is_empty();
            if is_other {
                self.version.store(next.version, Ordering::Relaxed);
            }
            *mesh = next.clone();
            is_other
        });
        if is_other {
            self.classes.refresh(&next);
        }
    }

    /// Says what is to be said of texts, objects and rules that changed.
    fn say(&self, catalog: &Catalog, changes: &CatalogChanges, mesh: &MeshSnapshot) {
        for text in &changes.texts {
            let source = format!("text {} {}", text.input, text.path.display());
            self.report(&Source::Configuration(source), catalog.diagnostics_of(text).cloned().collect());
        }
        for change in &changes.objects {
            let of = |object: &Option<Arc<Object>>| object.as_ref().map(|object| unsupported::findings(std::slice::from_ref(object)));
            let (old, new) = (of(&change.old).unwrap_or_default(), of(&change.new).unwrap_or_default());
            if let Some(object) = change.sides().next().filter(|_| old != new) {
                self.report(&Source::Configuration(format!("object {}", object.name())), new);
            }
        }
        for subject in &mesh.changes.findings {
            let source = match subject {
                Subject::VirtualService((namespace, name)) => format!("rules of VirtualService {namespace}/{name}"),
                Subject::DestinationRules(namespace, host) => format!("rules of {namespace} for {host}"),
                Subject::PeerAuthentications(namespace) => format!("PeerAuthentications of {namespace}"),
            };
            let findings: Vec<Diagnostic> = mesh.findings_of(subject).to_vec();
            self.report(&Source::Configuration(source), findings);
        }
    }
}
