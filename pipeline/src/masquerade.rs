//! Masqueraded connections end when the gateway loses the address that they go out with.
//!
//! A packet finds its connection lapsed before it is judged, so after a reload none leaves with an
//! address that is no more; it opens a connection anew, by the rules of now. Connections that send
//! nothing are found by a sweep in bounded pieces, and give their ports back. What src-nat has
//! translated to an address that a rule names stays: a live translation never changes.

use arrayvec::ArrayVec;
use turnpike_conntrack::entry::Flags;
use turnpike_conntrack::events::Cause;
use turnpike_conntrack::ids::FlowId;
use turnpike_conntrack::table::Table;
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tuple::{Address, Family};

use crate::fib::NextHop;
use crate::program::Program;

/// Places of a table that one turn of the sweep looks at.
const SWEEP_BUDGET: usize = 256;

/// Whether a connection with these flags, whose reply goes to `address`, has lost that address.
pub fn has_lapsed<A: Address>(program: &Program, flags: Flags, address: A) -> bool {
    flags.contains(Flags::MASQUERADED) && !is_own(program, address)
}

fn is_own<A: Address>(program: &Program, address: A) -> bool {
    program.fib.lookup(address.to_ip()) == Some(NextHop::Local)
}

/// Whether an interface had an address before that none has now.
pub fn addresses_went(before: &Program, now: &Program) -> bool {
    let mut interfaces = before.interfaces.iter();
    interfaces.any(|(_, iface)| {
        let mut addresses = iface.addresses.iter();
        addresses.any(|net| now.fib.lookup(net.addr()) != Some(NextHop::Local))
    })
}

/// Where a sweep through one table goes on; finished to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sweep(Option<u32>);

impl Sweep {
    /// A sweep through a whole table.
    pub const fn whole() -> Self {
        Self(Some(0))
    }

    /// Ends lapsed connections in the next piece of the table, if there is one.
    pub fn go_on<F: Family>(&mut self, table: &mut Table<F>, program: &Program, now: Tick) {
        let Some(cursor) = self.0 else {
            return;
        };
        let mut lapsed = ArrayVec::<FlowId, SWEEP_BUDGET>::new();
        self.0 = table.walk(cursor, SWEEP_BUDGET, now, |connection| {
            if has_lapsed(program, connection.flags, connection.pair.reply.dst) {
                // A piece has as many places as the vector.
                let _room = lapsed.try_push(connection.id);
            }
        });
        for id in lapsed {
            table.end(id, Cause::AddressGone);
        }
    }
}
