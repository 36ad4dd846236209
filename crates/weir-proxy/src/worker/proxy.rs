//! A proxy, a gateway or one workload's sidecar, as one worker hosts it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::world::{ProxySnapshot, ProxyState};
use crate::exchange::recorder::{Recorder, Sinks};
use crate::http::router::routes::RouteSlots;
use crate::listener::{Listeners, Surroundings};
use crate::stats::requests::SeriesRegistry;
use crate::upstream::clusters::{Clusters, Shared};

/// A proxy, for one worker.
pub struct ProxyRuntime {
    clusters: Rc<Clusters>,
    routes: Rc<RouteSlots>,
    listeners: Rc<Listeners>,
    applied: Arc<ProxySnapshot>,
}

impl ProxyRuntime {
    /// A proxy without a configuration yet.
    pub fn new(state: &ProxyState, shared: Rc<Shared>, registry: Arc<SeriesRegistry>, sinks: Rc<Sinks>) -> Self {
        let (clusters, routes) = (Clusters::new(shared), Rc::<RouteSlots>::default());
        let introduction = state.introduction.as_ref().and_then(|shared| shared.copy());
        let recorder = Recorder::new(state.identity.clone(), introduction, registry, sinks);
        let around = Surroundings { clusters: clusters.clone(), routes: routes.clone(), recorder, drain_duration: state.drain_duration };
        Self { clusters, routes, listeners: Listeners::new(around), applied: Arc::default() }
    }

    /// Follows a change of the configuration: clusters first, then what leads to them.
    pub fn follow(&mut self, config: &Arc<ProxySnapshot>) {
        if Arc::ptr_eq(&self.applied, config) {
            return;
        }
        let previous = std::mem::replace(&mut self.applied, config.clone());
        // A part that is the same object has not changed.
        let changed = !Arc::ptr_eq(&previous.clusters, &config.clusters) && self.clusters.follow(&config.clusters);
        if changed || !Arc::ptr_eq(&previous.routes, &config.routes) {
            self.routes.follow(&config.routes, &previous.routes, changed, &self.clusters);
        }
        if !Arc::ptr_eq(&previous.listeners, &config.listeners) {
            self.listeners.follow(&config.listeners);
        }
    }

    /// Stops accepting, and lets what is under way come to its end.
    pub fn drain(&self) {
        self.listeners.drain();
    }

    /// Ends connections of clients on which nothing happened for too long.
    pub fn sweep_clients(&self, now: Instant) {
        self.listeners.sweep(now);
    }

    /// How often that is to be done.
    pub fn pace(&self) -> Duration {
        self.listeners.pace()
    }

    /// Closes connections to instances that nobody used for too long.
    pub fn sweep_instances(&self, now: Instant) {
        self.clusters.sweep(now);
    }
}
