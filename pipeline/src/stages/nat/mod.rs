//! Translation of a new connection: what the nat table decides, made into tuples.
//!
//! Called by the judge, for the first packet of a connection only. Drops where a translation
//! cannot be: `nat-no-address`, `nat-ports-exhausted`.

mod destination;
mod source;

use std::net::IpAddr;

use turnpike_conntrack::tuple::{Address, Port};

use crate::policy::{AddressRange, PortRange, SameBy};
use crate::stages::family::Stack;

pub use destination::{destination, destined, mapping};
pub use source::{Source, Wanted, Wish, as_it_is, source, under, wished};

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

/// The address that `same` gives: decided by the client's, and by the server's if that counts.
fn same<F: Stack>(
    range: AddressRange,
    by: SameBy,
    (client, server): (F::Addr, F::Addr),
) -> Option<F::Addr> {
    let both = match by {
        SameBy::Client => client.to_bits(),
        SameBy::Both => client.to_bits().wrapping_add(server.to_bits()),
    };
    let decider = F::Addr::from_bits(both);
    pick::<F>(range, decider)
}

/// The counterpart of an address in `to`: as far from its start as the address is from that of
/// `from`; without `from`, the address under the prefix that `to` is.
fn counterpart<F: Stack>(
    to: AddressRange,
    from: Option<AddressRange>,
    address: F::Addr,
) -> Option<F::Addr> {
    let bits = |ip| F::Addr::from_ip(ip).map(Address::to_bits);
    let (first, last) = (bits(to.first)?, bits(to.last)?);
    let offset = match from {
        Some(from) => address.to_bits().checked_sub(bits(from.first)?)?,
        None => address.to_bits() & (first ^ last),
    };
    (offset <= last - first).then(|| F::Addr::from_bits(first + offset))
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

    fn range(first: [u8; 4], last: [u8; 4]) -> AddressRange {
        AddressRange {
            first: first.into(),
            last: last.into(),
        }
    }

    #[test]
    fn same_gives_a_client_one_address_for_each_server_or_for_all() {
        let four = range([198, 51, 100, 4], [198, 51, 100, 7]);
        let given = |by, client, server| {
            same::<V4>(four, by, ([10, 0, 0, client], [192, 0, 2, server])).unwrap()
        };
        for client in 0..8 {
            let one = given(SameBy::Client, client, 0);
            assert!((0..8).all(|server| given(SameBy::Client, client, server) == one));
            let each: std::collections::BTreeSet<_> = (0..8)
                .map(|server| given(SameBy::Both, client, server))
                .collect();
            assert_eq!(each.len(), 4, "all addresses are used");
        }
        assert_eq!(given(SameBy::Both, 3, 9), given(SameBy::Both, 3, 9));
    }

    #[test]
    fn a_counterpart_is_as_far_from_the_start_and_never_outside() {
        let to = range([203, 0, 113, 16], [203, 0, 113, 31]);
        let from = range([10, 0, 0, 3], [10, 0, 0, 18]);
        let map = |from, last| counterpart::<V4>(to, from, [10, 0, 0, last]);
        assert_eq!(map(Some(from), 3), Some([203, 0, 113, 16]));
        assert_eq!(map(Some(from), 18), Some([203, 0, 113, 31]));
        assert_eq!(map(Some(from), 19), None);
        assert_eq!(map(Some(from), 2), None);
        assert_eq!(map(None, 0), Some([203, 0, 113, 16]));
        assert_eq!(map(None, 0x35), Some([203, 0, 113, 21]));
        let all = range([0; 4], [255; 4]);
        assert_eq!(counterpart::<V4>(all, None, [9; 4]), Some([9; 4]));
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
