//! Translation of a new connection: what the nat table decides, made into tuples.
//!
//! Called by the judge, for the first packet of a connection only. Drops where a translation
//! cannot be: `nat-no-address`, `nat-ports-exhausted`.

mod destination;
mod source;

use std::net::IpAddr;

use turnpike_conntrack::tuple::{Address, Port};

use crate::ids::IfaceId;
use crate::policy::{AddressRange, PortRange};
use crate::stages::family::Stack;
use crate::worker::Core;

pub use destination::{destination, mapping};
pub use source::{Source, as_it_is, source, under};

/// The gateway's address on an interface, as it speaks to `towards`.
fn own_address<W>(core: &Core<W>, interface: IfaceId, towards: IpAddr) -> Option<IpAddr> {
    core.program.interfaces.source_address(interface, towards)
}

/// The range that holds one address only.
const fn single(address: IpAddr) -> AddressRange {
    AddressRange {
        first: address,
        last: address,
    }
}

/// One address of the range, always the same for one client.
fn pick<F: Stack>(range: AddressRange, client: F::Addr) -> Option<F::Addr> {
    let first = F::Addr::from_ip(range.first)?.to_bits();
    let last = F::Addr::from_ip(range.last)?.to_bits();
    let offset = match (last - first).checked_add(1) {
        Some(count) => client.to_bits() % count,
        None => client.to_bits(),
    };
    Some(F::Addr::from_bits(first + offset))
}

/// The wanted port if the range has it, else one of the range that follows from it.
fn pick_port(range: PortRange, wanted: Port) -> Port {
    if (range.first..=range.last).contains(&wanted.0) {
        return wanted;
    }
    let count = u32::from(range.last - range.first) + 1;
    let offset = u16::try_from(u32::from(wanted.0) % count).unwrap_or(0);
    Port(range.first + offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnpike_conntrack::tuple::V4;

    #[test]
    fn a_client_always_gets_the_same_address_of_a_range_and_all_are_used() {
        let range = AddressRange {
            first: [10, 0, 0, 1].into(),
            last: [10, 0, 0, 4].into(),
        };
        let picked: Vec<_> = (0..8).map(|n| pick::<V4>(range, [192, 0, 2, n])).collect();
        assert_eq!(picked[..4], picked[4..]);
        let distinct: std::collections::BTreeSet<_> = picked.into_iter().flatten().collect();
        assert_eq!(distinct.len(), 4);
    }

    #[test]
    fn a_port_inside_the_range_is_kept_and_others_are_folded_into_it() {
        let range = PortRange {
            first: 8000,
            last: 8003,
        };
        assert_eq!(pick_port(range, Port(8002)), Port(8002));
        assert!((8000..=8003).contains(&pick_port(range, Port(81)).0));
        assert_eq!(
            pick_port(
                PortRange {
                    first: 8080,
                    last: 8080
                },
                Port(80)
            ),
            Port(8080)
        );
    }
}
