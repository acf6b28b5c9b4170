//! The DCCP state machine as a table: state × direction × type of packet (RFC 4340, 8).
//!
//! The opener is the client for the whole life of a connection. Sequence numbers are not looked
//! at: a type that fits the state is enough.

use crate::ids::Direction;
use crate::segment::DccpType;

/// Where a DCCP connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum DccpState {
    /// The client's Request was seen.
    Request = 0,
    /// The server's Response was seen.
    Respond = 1,
    /// The client has acknowledged it; the server does not know yet.
    Partopen = 2,
    /// Both sides know.
    Open = 3,
    /// The server has asked the client to close.
    Closereq = 4,
    /// One side has sent Close.
    Closing = 5,
    /// Ended by a Reset, which every connection is.
    Timewait = 6,
}

impl DccpState {
    pub(crate) const ALL: [Self; 7] = [
        Self::Request,
        Self::Respond,
        Self::Partopen,
        Self::Open,
        Self::Closereq,
        Self::Closing,
        Self::Timewait,
    ];

    /// The state that an entry keeps as `number`.
    pub(crate) fn from_number(number: u8) -> Self {
        Self::ALL
            .get(usize::from(number))
            .copied()
            .unwrap_or(Self::Timewait)
    }

    /// Linux's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Respond => "respond",
            Self::Partopen => "partopen",
            Self::Open => "open",
            Self::Closereq => "closereq",
            Self::Closing => "closing",
            Self::Timewait => "timewait",
        }
    }
}

/// What the table says about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    /// The connection is in this state afterwards.
    Go(DccpState),
    /// It passes and changes nothing: it is out of step, and the endpoints will sort it out.
    Ignore,
    /// It belongs to no connection in this state.
    Invalid,
    /// It opens a new connection in the place of this one.
    Reopen,
}

/// What the table says about a packet of `kind` in `direction` in `state`.
pub(crate) const fn transition(state: DccpState, direction: Direction, kind: DccpType) -> To {
    TABLE[direction.index()][state as usize][kind as usize]
}

const IG: To = To::Ignore;
const IV: To = To::Invalid;
const RE: To = To::Reopen;
const RQ: To = To::Go(DccpState::Request);
const RS: To = To::Go(DccpState::Respond);
const PO: To = To::Go(DccpState::Partopen);
const OP: To = To::Go(DccpState::Open);
const CR: To = To::Go(DccpState::Closereq);
const CG: To = To::Go(DccpState::Closing);
const TW: To = To::Go(DccpState::Timewait);

#[rustfmt::skip]
const TABLE: [[[To; 10]; 7]; 2] = [
    // From the client.
    [
        // Reques Respon Data Ack DataAck CloseReq Close Reset Sync SyncAck
        // request: a Request again is a retransmission; there is nothing to acknowledge yet.
        [ RQ, IV, IV, IV, IV, IV, IV, TW, IV, IV ],
        // respond: the Response may be lost behind the gateway, and the Request comes again.
        [ IG, IV, IV, PO, PO, IV, CG, TW, IV, IV ],
        // partopen: every packet of the client acknowledges until the server has answered (8.1.5),
        // so that it sends no plain Data.
        [ IG, IV, IV, PO, PO, IV, CG, TW, PO, PO ],
        // open: a Request is old, or the client has crashed: the server answers it with Sync.
        [ IG, IV, OP, OP, OP, IV, CG, TW, OP, OP ],
        // closereq: the client may have sent before it heard of it.
        [ IG, IV, CR, CR, CR, IV, CG, TW, CR, CR ],
        // closing
        [ IG, IV, CG, CG, CG, IV, CG, TW, CG, CG ],
        // timewait: a Request starts anew, and the rules judge it.
        [ RE, IV, IG, IG, IG, IV, IG, TW, IG, IG ],
    ],
    // From the server.
    [
        // request
        [ IV, RS, IV, IV, IV, IV, IV, TW, IV, IV ],
        // respond: the server is silent until the client has acknowledged.
        [ IV, RS, IV, IV, IV, IV, IV, TW, IV, IV ],
        // partopen: any packet but Response shows that the server knows. A Sync may answer
        // something old.
        [ IV, IG, OP, OP, OP, CR, CG, TW, PO, PO ],
        // open
        [ IV, IG, OP, OP, OP, CR, CG, TW, OP, OP ],
        // closereq: only the client closes now.
        [ IV, IG, CR, CR, CR, CR, IV, TW, CR, CR ],
        // closing: both sides may have asked.
        [ IV, IG, CG, CG, CG, CG, CG, TW, CG, CG ],
        // timewait: the server opens from its side; a new connection like any other.
        [ RE, IG, IG, IG, IG, IG, IG, TW, IG, IG ],
    ],
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Request, Response, Data, Ack, DataAck, CloseReq, Close, Reset, Sync, SyncAck: from the
    /// client in the first line of a state, from the server in the second. `-` is ignored, `x`
    /// invalid.
    const GRID: &str = "
        request  > request x x x x x x timewait x x
                 < x respond x x x x x timewait x x
        respond  > - x x partopen partopen x closing timewait x x
                 < x respond x x x x x timewait x x
        partopen > - x x partopen partopen x closing timewait partopen partopen
                 < x - open open open closereq closing timewait partopen partopen
        open     > - x open open open x closing timewait open open
                 < x - open open open closereq closing timewait open open
        closereq > - x closereq closereq closereq x closing timewait closereq closereq
                 < x - closereq closereq closereq closereq x timewait closereq closereq
        closing  > - x closing closing closing x closing timewait closing closing
                 < x - closing closing closing closing closing timewait closing closing
        timewait > reopen x - - - x - timewait - -
                 < reopen - - - - - - timewait - -
    ";

    #[test]
    fn the_table_says_what_the_grid_says() {
        let mut cells = GRID.split_whitespace().filter(|c| !matches!(*c, "<" | ">"));
        for state in DccpState::ALL {
            assert_eq!(cells.next(), Some(state.name()));
            for direction in [Direction::Original, Direction::Reply] {
                for kind in DccpType::ALL {
                    let name = match transition(state, direction, kind) {
                        To::Go(to) => to.name(),
                        To::Ignore => "-",
                        To::Invalid => "x",
                        To::Reopen => "reopen",
                    };
                    let expected = cells.next();
                    assert_eq!(Some(name), expected, "{state:?} {direction:?} {kind:?}");
                }
            }
        }
        assert_eq!(cells.next(), None);
    }

    #[test]
    fn a_state_is_kept_as_a_number() {
        for state in DccpState::ALL {
            assert_eq!(DccpState::from_number(state as u8), state);
        }
    }
}
