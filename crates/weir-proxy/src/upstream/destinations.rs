//! Instances of clusters of original destinations: whoever a client wanted to reach is one, as long as it is in use
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/original_dst>).

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_config::workload::Workload;

use super::host::{HostRuntime, Ways};
use crate::cluster::host::Host;

/// The instances that one worker knows, by their addresses.
#[derive(Default)]
pub(super) struct Destinations(RefCell<HashMap<SocketAddr, Rc<HostRuntime>>>);

impl Destinations {
    /// The instance at an address. `ways` are for its connections, if it is new.
    pub(super) fn get(&self, address: SocketAddr, ways: impl FnOnce() -> Ways) -> Rc<HostRuntime> {
        let new = || {
            let host = Host::new(address, None, Workload::default(), Instant::now());
            HostRuntime::of_destination(Arc::new(host), ways())
        };
        self.0.borrow_mut().entry(address).or_insert_with(new).clone()
    }

    /// Whether there are none.
    pub(super) fn are_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Does something with each of them.
    pub(super) fn for_each(&self, act: impl FnMut(&Rc<HostRuntime>)) {
        self.0.borrow().values().for_each(act);
    }

    /// Closes connections that nobody used for too long, and forgets instances that nobody needs.
    pub(super) fn sweep(&self, limit: Option<Duration>, now: Instant) {
        self.0.borrow_mut().retain(|_, runtime| {
            runtime.sweep(limit, now);
            runtime.is_in_use() || Rc::strong_count(runtime) > 1
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_known_as_long_as_it_is_in_use() {
        let (known, address) = (Destinations::default(), SocketAddr::from(([10, 0, 0, 1], 80)));
        let first = known.get(address, Ways::default);
        let busy = first.busy(None);
        assert!(Rc::ptr_eq(&first, &known.get(address, Ways::default)));
        drop(first);
        known.sweep(None, Instant::now());
        assert_eq!(known.get(address, Ways::default).host.load(), 1);
        drop(busy);
        known.sweep(None, Instant::now());
        assert!(known.0.borrow().is_empty());
    }
}
