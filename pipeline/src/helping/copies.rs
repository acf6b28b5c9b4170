//! A worker's copies of the fix-ups of its connections.

use hashbrown::HashMap;
use turnpike_conntrack::ids::FlowId;
use turnpike_conntrack::tracker::Conntrack;
use turnpike_conntrack::tuple::{Family, V4};

use super::shift::Shifts;

/// Fix-ups by connection. An entry says whether it has one; what is left of connections that have
/// ended is swept, or taken over by the next in their place.
#[derive(Debug, Default)]
pub struct Copies {
    of: HashMap<(u8, FlowId), Shifts>,
}

impl Copies {
    /// The fix-up of a connection that has one.
    pub fn of<F: Family>(&self, id: FlowId) -> Option<&Shifts> {
        self.of.get(&(F::VERSION, id))
    }

    /// Keeps a connection's fix-up as it is from now on.
    pub fn set<F: Family>(&mut self, id: FlowId, shifts: Shifts) {
        self.of.insert((F::VERSION, id), shifts);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.of.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Forgets those whose connection has ended.
    pub fn sweep(&mut self, conntrack: &Conntrack) {
        self.of.retain(|(version, id), _| {
            if *version == V4::VERSION {
                conntrack.v4.attention(*id).is_shifted()
            } else {
                conntrack.v6.attention(*id).is_shifted()
            }
        });
    }
}
