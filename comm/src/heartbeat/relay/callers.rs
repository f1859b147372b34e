//! How many may be connected: a stranger cannot keep the nodes of the job away by calling often.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Callers of one address that have not proved themselves.
const PER_ADDRESS: usize = 8;
/// Callers of all addresses that have not proved themselves.
const UNPROVEN: usize = 64;
/// Connections of one node: one that works, and one that has not noticed yet that it does not.
const PER_NODE: usize = 2;

/// Who is connected.
#[derive(Debug, Default)]
pub(super) struct Callers(Mutex<Connected>);

#[derive(Debug, Default)]
struct Connected {
    unproven: HashMap<IpAddr, usize>,
    nodes: HashMap<usize, usize>,
}

/// The place of one caller, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    callers: Arc<Callers>,
    held: Held,
}

#[derive(Debug, Clone, Copy)]
enum Held {
    Address(IpAddr),
    Node(usize),
}

impl Callers {
    /// A place for a caller from `address` until it has proved itself; `None` if there are too many.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut connected = self.connected();
        if connected.unproven.values().sum::<usize>() >= UNPROVEN {
            return None;
        }
        take(&mut connected.unproven, address, PER_ADDRESS)
            .then(|| Place { callers: self.clone(), held: Held::Address(address) })
    }

    fn connected(&self) -> MutexGuard<'_, Connected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The caller is the relay of `node`; whether there is a place for it.
    pub fn prove(&mut self, node: usize) -> bool {
        let mut connected = self.callers.connected();
        if !take(&mut connected.nodes, node, PER_NODE) {
            return false;
        }
        leave(&mut connected, self.held);
        self.held = Held::Node(node);
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        leave(&mut self.callers.connected(), self.held);
    }
}

fn take<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K, max: usize) -> bool {
    let count = counts.entry(key).or_insert(0);
    let has_room = *count < max;
    *count += usize::from(has_room);
    has_room
}

fn leave(connected: &mut Connected, held: Held) {
    match held {
        Held::Address(address) => give_back(&mut connected.unproven, &address),
        Held::Node(node) => give_back(&mut connected.nodes, &node),
    }
}

fn give_back<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    let Some(count) = counts.get_mut(key) else { return };
    *count = count.saturating_sub(1);
    if *count == 0 {
        counts.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn one_address_cannot_take_all_places() {
        let callers = Arc::new(Callers::default());
        let mut places: Vec<Place> = (0..PER_ADDRESS).map(|_| callers.admit(ip(1)).unwrap()).collect();
        assert!(callers.admit(ip(1)).is_none());
        assert!(callers.admit(ip(2)).is_some());
        places.pop();
        assert!(callers.admit(ip(1)).is_some(), "a place is free again");
    }

    #[test]
    fn all_strangers_together_are_bounded_and_nodes_are_not_strangers() {
        let callers = Arc::new(Callers::default());
        let mut node = callers.admit(ip(200)).unwrap();
        assert!(node.prove(7));
        let strangers: Vec<Place> = (0..=u8::MAX).filter_map(|last| callers.admit(ip(last))).collect();
        assert_eq!(strangers.len(), UNPROVEN);
        drop(strangers);
        let mut places: Vec<Place> = (0..3).map(|_| callers.admit(ip(200)).unwrap()).collect();
        let proven: Vec<bool> = places.iter_mut().map(|place| place.prove(7)).collect();
        assert_eq!(proven, [true, false, false], "the old connection of the node still counts");
        drop((places, node));
        let connected = callers.connected();
        assert!(connected.unproven.is_empty() && connected.nodes.is_empty(), "{connected:?}");
    }
}
