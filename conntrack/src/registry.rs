//! Which port spaces the connections of one table hold ports of.
//!
//! An entry keeps a small number instead of a pointer; here is what it stands for. An address stays
//! alive as long as a connection uses one of its ports, even when no rule names it any longer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::ids::WorkerId;
use crate::nat::NAT_ADDRESSES_MAX;
use crate::ports::{AddressPorts, PortSpace};
use crate::tuple::Port;

/// Addresses that connections can hold ports of at a time: those of the present program and as many
/// of earlier ones.
const HELD_MAX: usize = 2 * NAT_ADDRESSES_MAX;

#[derive(Debug)]
struct Held {
    ports: Arc<AddressPorts>,
    connections: u32,
}

/// One table's registry.
#[derive(Debug)]
pub(crate) struct Registry {
    worker: WorkerId,
    held: Vec<Option<Held>>,
    free: Vec<u16>,
}

impl Registry {
    pub(crate) fn new(worker: WorkerId) -> Self {
        let places = u16::try_from(HELD_MAX).unwrap_or(u16::MAX);
        Self {
            worker,
            held: std::iter::repeat_with(|| None).take(HELD_MAX).collect(),
            free: (0..places).rev().collect(),
        }
    }

    /// Notes one more connection that holds a port of `ports`; gives back `ports` if there is
    /// no room for another address.
    pub(crate) fn hold(&mut self, ports: Arc<AddressPorts>) -> Result<u16, Arc<AddressPorts>> {
        let mark = ports.registered.get(usize::from(self.worker.0));
        let known = mark
            .map_or(0, |mark| mark.load(Ordering::Relaxed))
            .wrapping_sub(1);
        if let Ok(known) = u16::try_from(known)
            && let Some(Some(held)) = self.held.get_mut(usize::from(known))
            && Arc::ptr_eq(&held.ports, &ports)
        {
            held.connections += 1;
            return Ok(known);
        }
        let Some(place) = self.free.pop() else {
            return Err(ports);
        };
        if let Some(mark) = mark {
            mark.store(u32::from(place) + 1, Ordering::Relaxed);
        }
        self.held[usize::from(place)] = Some(Held {
            ports,
            connections: 1,
        });
        Ok(place)
    }

    /// Gives back one port of the address at `place`.
    pub(crate) fn release(&mut self, place: u16, space: PortSpace, port: Port) {
        let Some(slot) = self.held.get_mut(usize::from(place)) else {
            return;
        };
        let Some(held) = slot else {
            return;
        };
        held.ports.release(space, port);
        held.connections -= 1;
        if held.connections == 0 {
            *slot = None;
            self.free.push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Sharing;

    #[test]
    fn an_address_lives_until_its_last_connection_ends() {
        let mut registry = Registry::new(WorkerId(3));
        let ports = Arc::new(AddressPorts::default());
        let weak = Arc::downgrade(&ports);
        let mut places = Vec::new();
        for port in [5, 6] {
            let claim = ports
                .claim(PortSpace::Tcp, port, 1, Sharing::Shared)
                .unwrap();
            let (ports, _, _) = claim.keep().unwrap();
            places.push(registry.hold(ports).unwrap());
        }
        drop(ports);
        assert_eq!(places[0], places[1]);
        registry.release(places[0], PortSpace::Tcp, Port(5));
        assert_eq!(weak.upgrade().map(|p| p.in_use(PortSpace::Tcp)), Some(1));
        registry.release(places[1], PortSpace::Tcp, Port(6));
        assert!(weak.upgrade().is_none());
    }

    #[test]
    fn more_addresses_than_there_are_places_are_refused() {
        let mut registry = Registry::new(WorkerId(0));
        let first = Arc::new(AddressPorts::default());
        assert_eq!(registry.hold(Arc::clone(&first)).ok(), Some(0));
        for _ in 1..HELD_MAX {
            assert!(registry.hold(Arc::new(AddressPorts::default())).is_ok());
        }
        assert!(registry.hold(Arc::new(AddressPorts::default())).is_err());
        assert_eq!(registry.hold(first).ok(), Some(0));
    }
}
