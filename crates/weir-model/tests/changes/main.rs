//! A change equals a rebuild: after any sequence of changes, a snapshot is what a fresh start would make of the same
//! objects; what did not change is the same by pointer, and what did is listed.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod pool;
mod same;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use weir_api::resources::MeshConfig;
use weir_api::{Object, ObjectChange, ObjectKey};
use weir_model::{DEFAULT_DOMAIN, MeshSnapshot, WorkloadHealth, WorkloadKey};

/// So many steps make a sequence, on the average.
const STEPS: usize = 100;
/// So many sequences, unless `WEIR_SEQUENCES` says otherwise.
const SEQUENCES: u32 = 100;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Edit {
    /// An object of the pool takes the place of the one of its key, or goes if it is there already.
    Object(usize),
    /// The object of this one's key goes, whichever version of it is there.
    Gone(usize),
    /// A workload's health is told.
    Health(WorkloadKey, bool),
}

fn edit() -> impl Strategy<Value = Edit> {
    let workload = (prop::sample::select(pool::NAMESPACES), prop::sample::select(pool::WORKLOADS));
    let key = workload.prop_map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
    prop_oneof![
        8 => any::<prop::sample::Index>().prop_map(|index| Edit::Object(index.index(pool::objects().len()))),
        2 => any::<prop::sample::Index>().prop_map(|index| Edit::Gone(index.index(pool::objects().len()))),
        1 => (key, any::<bool>()).prop_map(|(key, healthy)| Edit::Health(key, healthy)),
    ]
}

fn sequence() -> impl Strategy<Value = Vec<Vec<Edit>>> {
    prop::collection::vec(prop::collection::vec(edit(), 1..4), 1..2 * STEPS)
}

/// What a source has, and the mesh that was updated all along.
struct Driven {
    objects: BTreeMap<ObjectKey, Arc<Object>>,
    health: WorkloadHealth,
    mesh: MeshSnapshot,
}

impl Driven {
    fn new() -> Self {
        let health = HashMap::new();
        let driven =
            Self { objects: BTreeMap::new(), mesh: MeshSnapshot::with_health(&[], Some(&health), config(), DEFAULT_DOMAIN), health };
        // Its scopes have been asked for, as those of every later one.
        same::as_rebuilt(&driven.mesh, &driven.rebuilt());
        driven
    }

    fn apply(&mut self, edits: &[Edit]) -> MeshSnapshot {
        let mut before: BTreeMap<ObjectKey, Option<Arc<Object>>> = BTreeMap::new();
        let mut flipped = vec![];
        for edit in edits {
            match edit {
                Edit::Health(key, healthy) => {
                    self.health.insert(key.clone(), *healthy);
                    flipped.push(key.clone());
                }
                Edit::Object(index) | Edit::Gone(index) => {
                    let object = &pool::objects()[*index];
                    let known = self.objects.get(&object.key()).cloned();
                    before.entry(object.key()).or_insert_with(|| known.clone());
                    let goes = matches!(edit, Edit::Gone(_)) || known.is_some_and(|known| Arc::ptr_eq(&known, object));
                    match goes {
                        true => self.objects.remove(&object.key()),
                        false => self.objects.insert(object.key(), object.clone()),
                    };
                }
            }
        }
        let changes: Vec<ObjectChange> =
            before.iter().filter_map(|(key, old)| ObjectChange::between(old.as_ref(), self.objects.get(key))).collect();
        let next = self.mesh.update(&changes, Some(&self.health), &flipped);
        std::mem::replace(&mut self.mesh, next)
    }

    fn rebuilt(&self) -> MeshSnapshot {
        let objects: Vec<Arc<Object>> = self.objects.values().rev().cloned().collect();
        MeshSnapshot::with_health(&objects, Some(&self.health), config(), DEFAULT_DOMAIN)
    }
}

fn config() -> Arc<MeshConfig> {
    Arc::new(MeshConfig::default())
}

fn sequences() -> u32 {
    std::env::var("WEIR_SEQUENCES").ok().and_then(|count| count.parse().ok()).unwrap_or(SEQUENCES)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: sequences(),
        // A sequence that failed once is driven again each time.
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/changes/seeds.txt"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_snapshot_that_was_updated_equals_one_that_was_read_anew(steps in sequence()) {
        let mut driven = Driven::new();
        for edits in &steps {
            let before = driven.apply(edits);
            same::as_rebuilt(&driven.mesh, &driven.rebuilt());
            same::as_listed(&before, &driven.mesh);
        }
    }
}

/// The pool would prove nothing if what depends on each other never met.
#[test]
fn the_pool_makes_meshes_with_all_that_depends_on_each_other() {
    let mut driven = Driven::new();
    let mut seen = [false; 6];
    let mut random = 1_u64;
    for _ in 0..3000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        driven.apply(&[Edit::Object((random >> 33) as usize % pool::objects().len())]);
        let mesh = &driven.mesh;
        let now = [
            mesh.services.all().any(|service| !service.aliases.is_empty()),
            mesh.virtual_services.all().any(|rule| rule.http.iter().any(|rule| rule.origin.object.meta.name.starts_with('d'))),
            mesh.virtual_services.findings().next().is_some(),
            mesh.destination_rules.findings().next().is_some(),
            mesh.workloads.iter().any(|workload| !workload.ready),
            mesh.services.all().any(|service| mesh.services.endpoints(service).iter().any(|at| at.workload == "p1")),
        ];
        seen.iter_mut().zip(now).for_each(|(seen, now)| *seen |= now);
    }
    assert_eq!(seen, [true; 6]);
    same::as_rebuilt(&driven.mesh, &driven.rebuilt());
}
