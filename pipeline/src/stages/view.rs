//! A packet as the rules see it: which addresses are translated already, and which are not yet.
//!
//! A packet comes in with one tuple and leaves with another. Destination translation happens
//! before routing and source translation after the filter, so the filter sees the source as it
//! came in and the destination as it leaves, in either direction of a connection.

use turnpike_conntrack::ids::Direction;
use turnpike_conntrack::tuple::{Family, Tuple, TuplePair};

/// Both faces of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View<F: Family> {
    /// As it came in.
    pub incoming: Tuple<F>,
    /// As it leaves, as far as that is decided.
    pub outgoing: Tuple<F>,
}

impl<F: Family> View<F> {
    /// A packet that is not translated.
    pub fn plain(tuple: Tuple<F>) -> Self {
        Self {
            incoming: tuple,
            outgoing: tuple,
        }
    }

    /// A packet of a connection.
    pub fn of_flow(pair: &TuplePair<F>, direction: Direction) -> Self {
        Self {
            incoming: *pair.incoming(direction),
            outgoing: pair.outgoing(direction),
        }
    }

    /// An ICMP error that travels in `direction` of a connection: whichever end the connection
    /// translates in that direction is translated in the error too, whoever sent it, so that the
    /// side it goes to sees no address that it does not know (RFC 5508 REQ-4 and REQ-5).
    pub fn of_error(error: Tuple<F>, pair: &TuplePair<F>, direction: Direction) -> Self {
        let flow = Self::of_flow(pair, direction);
        let mut outgoing = error;
        if flow.incoming.src != flow.outgoing.src {
            outgoing.src = flow.outgoing.src;
        }
        if flow.incoming.dst != flow.outgoing.dst {
            outgoing.dst = flow.outgoing.dst;
        }
        Self {
            incoming: error,
            outgoing,
        }
    }

    /// The tuple that the filter sees: source before, destination after translation.
    pub fn at_filter(&self) -> Tuple<F> {
        Tuple {
            src: self.incoming.src,
            src_port: self.incoming.src_port,
            dst: self.outgoing.dst,
            dst_port: self.outgoing.dst_port,
            proto: self.incoming.proto,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnpike_conntrack::tuple::{Port, Proto, V4};

    const INSIDE: [u8; 4] = [10, 0, 0, 2];
    const GATEWAY: [u8; 4] = [203, 0, 113, 2];
    const SERVER: [u8; 4] = [198, 51, 100, 7];
    const ROUTER: [u8; 4] = [192, 0, 2, 1];

    fn tuple(src: [u8; 4], dst: [u8; 4], src_port: u16, dst_port: u16) -> Tuple<V4> {
        let (src_port, dst_port) = (Port(src_port), Port(dst_port));
        Tuple {
            src,
            dst,
            src_port,
            dst_port,
            proto: Proto::UDP,
        }
    }

    fn masqueraded() -> TuplePair<V4> {
        TuplePair {
            original: tuple(INSIDE, SERVER, 4000, 53),
            reply: tuple(SERVER, GATEWAY, 53, 4001),
        }
    }

    #[test]
    fn the_filter_sees_the_inside_host_in_both_directions() {
        let out = View::of_flow(&masqueraded(), Direction::Original).at_filter();
        assert_eq!((out.src, out.dst), (INSIDE, SERVER));
        let back = View::of_flow(&masqueraded(), Direction::Reply).at_filter();
        assert_eq!(
            (back.src, back.dst, back.dst_port),
            (SERVER, INSIDE, Port(4000))
        );
    }

    #[test]
    fn an_error_from_a_router_on_the_way_keeps_its_sender_and_reaches_the_inside_host() {
        let error = tuple(ROUTER, GATEWAY, 0, 0);
        let view = View::of_error(error, &masqueraded(), Direction::Reply);
        assert_eq!((view.outgoing.src, view.outgoing.dst), (ROUTER, INSIDE));
    }

    #[test]
    fn an_error_of_the_inside_host_leaves_under_the_gateways_address() {
        let error = tuple(INSIDE, SERVER, 0, 0);
        let view = View::of_error(error, &masqueraded(), Direction::Original);
        assert_eq!((view.outgoing.src, view.outgoing.dst), (GATEWAY, SERVER));
    }
}
