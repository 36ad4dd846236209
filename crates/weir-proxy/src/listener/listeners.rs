//! All listeners of one proxy, on one worker.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::active::{self, ActiveListener};
use super::{OpenListener, SWEEP, Surroundings};

/// The listeners of one proxy.
pub struct Listeners {
    pub(super) around: Surroundings,
    by_name: RefCell<HashMap<Arc<str>, Rc<ActiveListener>>>,
    by_address: RefCell<HashMap<SocketAddr, Rc<ActiveListener>>>,
}

impl Listeners {
    /// None yet.
    pub fn new(around: Surroundings) -> Rc<Self> {
        Rc::new(Self { around, by_name: RefCell::default(), by_address: RefCell::default() })
    }

    /// Follows a change. Connections of listeners that are gone finish what they are doing.
    pub fn follow(self: &Rc<Self>, wanted: &[OpenListener]) {
        let by_name: HashMap<&Arc<str>, &OpenListener> = wanted.iter().map(|open| (&open.listener.name, open)).collect();
        let gone: Vec<Rc<ActiveListener>> = {
            let mut listeners = self.by_name.borrow_mut();
            let is_gone = |name: &Arc<str>, active: &Rc<ActiveListener>| by_name.get(name).is_none_or(|open| !active.serves(open));
            listeners.extract_if(|name, active| is_gone(name, active)).map(|(_, active)| active).collect()
        };
        gone.iter().for_each(|listener| listener.close());
        for open in wanted {
            let known = self.by_name.borrow().get(&open.listener.name).cloned();
            match known {
                Some(active) => active.follow(&self.around, open),
                None => {
                    if let Some(active) = active::open(self, open) {
                        self.by_name.borrow_mut().insert(open.listener.name.clone(), active);
                    }
                }
            }
        }
        let listeners = self.by_name.borrow();
        // Should two be at one address, all workers take the same one.
        let mut in_order: Vec<(&Arc<str>, &Rc<ActiveListener>)> = listeners.iter().collect();
        in_order.sort_by(|(one, _), (other, _)| other.cmp(one));
        let places = in_order.into_iter().flat_map(|(_, active)| active.addresses().into_iter().map(|address| (address, active.clone())));
        *self.by_address.borrow_mut() = places.collect();
    }

    /// The listener for an address to which a connection was going.
    pub(super) fn for_address(&self, destination: SocketAddr) -> Option<Rc<ActiveListener>> {
        of_address(&self.by_address.borrow(), destination).cloned()
    }

    /// Stops accepting, and lets what is under way come to its end.
    pub fn drain(&self) {
        self.by_name.borrow_mut().drain().for_each(|(_, listener)| listener.close());
        self.by_address.borrow_mut().clear();
    }

    /// Closes connections on which nothing happened for too long.
    pub fn sweep(&self, now: Instant) {
        self.by_name.borrow().values().for_each(|listener| listener.sweep(now));
    }

    /// How often that is to be done.
    pub fn pace(&self) -> Duration {
        self.by_name.borrow().values().filter_map(|listener| listener.pace()).min().unwrap_or(SWEEP)
    }
}

/// What is at an address, or at all addresses of its port.
fn of_address<T>(known: &HashMap<SocketAddr, T>, address: SocketAddr) -> Option<&T> {
    let port = address.port();
    let at = |wildcard: SocketAddr| known.get(&wildcard);
    let any4 = || at((Ipv4Addr::UNSPECIFIED, port).into()).filter(|_| address.is_ipv4());
    known.get(&address).or_else(any4).or_else(|| at((Ipv6Addr::UNSPECIFIED, port).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_for_the_very_address_comes_before_one_for_all_addresses() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let known = ["10.0.0.1:80", "0.0.0.0:80", "[::]:80", "[::]:90"].map(|text| (address(text), text)).into_iter().collect();
        let cases = [
            ("10.0.0.1:80", Some("10.0.0.1:80")),
            ("10.0.0.2:80", Some("0.0.0.0:80")),
            ("[fd00::1]:80", Some("[::]:80")),
            ("10.0.0.2:90", Some("[::]:90")),
            ("10.0.0.1:81", None),
        ];
        for (destination, wanted) in cases {
            assert_eq!(of_address(&known, address(destination)).copied(), wanted, "{destination}");
        }
    }
}
