//! How many connections a status port has at once: so many in all, and of one address a few. The kubelet has an address of its own, and
//! whoever holds as many as he can does not keep it out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// So many in all. What comes then is closed.
const MOST: usize = 1024;
/// So many of one address: a kubelet asks for each container and each kind of probe by itself.
const MOST_OF_ONE: usize = 64;

/// Who has connections.
#[derive(Default)]
pub(super) struct Places(Mutex<HashMap<IpAddr, usize>>);

/// A place, until it is dropped.
pub(super) struct Place(Arc<Places>, IpAddr);

impl Places {
    /// A place for a client; none if there is none left for it.
    pub fn take(self: &Arc<Self>, client: IpAddr) -> Option<Place> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.values().sum::<usize>() >= MOST {
            return None;
        }
        let own = taken.entry(client.to_canonical()).or_default();
        if *own >= MOST_OF_ONE {
            return None;
        }
        *own += 1;
        Some(Place(self.clone(), client.to_canonical()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Self(places, client) = self;
        let mut taken = places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(client) {
            *own -= 1;
            if *own == 0 {
                taken.remove(client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_has_a_few_and_all_together_not_more_than_there_are() {
        let places = Arc::new(Places::default());
        let take = |client: u32| places.take(std::net::Ipv4Addr::from(client).into());
        let mut held: Vec<Place> = (0..MOST_OF_ONE).map(|_| take(1).unwrap()).collect();
        assert!(take(1).is_none() && take(2).is_some());
        held.pop();
        assert!(take(1).is_some());
        let all: Vec<Place> = (2..10_000).map_while(take).collect();
        assert_eq!(all.len() + held.len(), MOST);
        drop((all, held));
        assert!(places.0.lock().unwrap().is_empty());
    }
}
