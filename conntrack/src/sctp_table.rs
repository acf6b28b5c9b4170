//! The SCTP state machine as a table: state × direction × kind of chunk.
//!
//! It follows an association by the packets of one path (RFC 9260, 4). Verification tags are not
//! its business, see `sctp.rs`. Other paths of the same association are connections of their own:
//! they open with a HEARTBEAT.

use crate::ids::Direction;
use crate::segment::Chunk;

/// Where an SCTP association is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum SctpState {
    /// It was aborted or has shut down.
    Closed = 0,
    /// The opener's INIT was seen.
    CookieWait = 1,
    /// COOKIE-ECHO was seen.
    CookieEchoed = 2,
    /// COOKIE-ACK was seen, or a HEARTBEAT was answered.
    Established = 3,
    /// The opener has sent SHUTDOWN.
    ShutdownSent = 4,
    /// The responder has sent SHUTDOWN.
    ShutdownRecd = 5,
    /// SHUTDOWN-ACK was seen.
    ShutdownAckSent = 6,
    /// A HEARTBEAT opened the path.
    HeartbeatSent = 7,
}

impl SctpState {
    pub(crate) const ALL: [Self; 8] = [
        Self::Closed,
        Self::CookieWait,
        Self::CookieEchoed,
        Self::Established,
        Self::ShutdownSent,
        Self::ShutdownRecd,
        Self::ShutdownAckSent,
        Self::HeartbeatSent,
    ];

    /// The state that an entry keeps as `number`.
    pub(crate) fn from_number(number: u8) -> Self {
        Self::ALL
            .get(usize::from(number))
            .copied()
            .unwrap_or(Self::Closed)
    }

    /// Linux's name, with the dashes of RouterOS.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::CookieWait => "cookie-wait",
            Self::CookieEchoed => "cookie-echoed",
            Self::Established => "established",
            Self::ShutdownSent => "shutdown-sent",
            Self::ShutdownRecd => "shutdown-recd",
            Self::ShutdownAckSent => "shutdown-ack-sent",
            Self::HeartbeatSent => "heartbeat-sent",
        }
    }
}

/// What the table says about a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    /// The association is in this state afterwards.
    Go(SctpState),
    /// It passes and changes nothing: the endpoints will sort it out.
    Ignore,
    /// It belongs to no association in this state.
    Invalid,
    /// It opens a new association in the place of this one.
    Reopen,
}

/// What the table says about `chunk` in `direction` in `state`.
pub(crate) const fn transition(state: SctpState, direction: Direction, chunk: Chunk) -> To {
    TABLE[direction.index()][state as usize][chunk as usize]
}

const IG: To = To::Ignore;
const IV: To = To::Invalid;
const RE: To = To::Reopen;
const CL: To = To::Go(SctpState::Closed);
const CW: To = To::Go(SctpState::CookieWait);
const CE: To = To::Go(SctpState::CookieEchoed);
const ES: To = To::Go(SctpState::Established);
const SS: To = To::Go(SctpState::ShutdownSent);
const SR: To = To::Go(SctpState::ShutdownRecd);
const SA: To = To::Go(SctpState::ShutdownAckSent);
const HS: To = To::Go(SctpState::HeartbeatSent);

#[rustfmt::skip]
const TABLE: [[[To; 12]; 8]; 2] = [
    // From the opener.
    [
        // Init InAck Echo EAck Shut ShAck ShCmp Abort Error Beat BeatAck Data
        // closed: an INIT starts anew, and the rules judge it; the rest was still in flight.
        [ RE, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL ],
        // cookie-wait: an INIT again is a retransmission. INIT-ACK comes from the opener if both
        // sides have sent INIT (5.2.1). Nothing else may be sent before the cookie.
        [ CW, CW, CE, IV, IV, IV, IV, CL, IV, IV, IV, IV ],
        // cookie-echoed: data may travel with the cookie; COOKIE-ACK after a collision.
        [ IG, IG, CE, ES, IG, IG, IG, CL, CE, CE, CE, CE ],
        // established: an INIT may come from an opener that has restarted (5.2.2), or from anybody:
        // the responder decides. The COOKIE-ECHO that follows brings the new tags into force.
        [ IG, IG, ES, ES, SS, IG, IG, CL, ES, ES, ES, ES ],
        // shutdown-sent: what was outstanding is still sent again and acknowledged. SHUTDOWN-ACK
        // comes from the opener if both sides have sent SHUTDOWN.
        [ IG, IG, IG, IG, SS, SA, IG, CL, SS, SS, SS, SS ],
        // shutdown-recd
        [ IG, IG, IG, IG, SR, SA, IG, CL, SR, SR, SR, SR ],
        // shutdown-ack-sent: an INIT now is answered with another SHUTDOWN-ACK (9.2).
        [ IG, IG, IG, IG, SA, SA, CL, CL, SA, SA, SA, SA ],
        // heartbeat-sent: an INIT is a new association. SHUTDOWN-ACK may have no association left
        // (8.4). Data is not held back, but does not keep the path alive either.
        [ RE, IV, IV, IV, IV, SA, IV, CL, IV, HS, HS, IG ],
    ],
    // From the responder.
    [
        // closed: it opens from its side; a new association like any other.
        [ RE, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL ],
        // cookie-wait: INIT and COOKIE-ECHO come from the responder if both sides have opened. An
        // ERROR goes with the answer to an INIT it did not understand in full.
        [ CW, CW, CE, IV, IV, IV, IV, CL, IG, IV, IV, IV ],
        // cookie-echoed: an ERROR here says that the cookie is stale (5.2.6). Data may overtake
        // COOKIE-ACK.
        [ IG, IG, CE, ES, IG, IG, IG, CL, CL, CE, CE, CE ],
        // established
        [ IG, IG, ES, ES, SR, IG, IG, CL, ES, ES, ES, ES ],
        // shutdown-sent
        [ IG, IG, IG, IG, SS, SA, IG, CL, SS, SS, SS, SS ],
        // shutdown-recd
        [ IG, IG, IG, IG, SR, SA, IG, CL, SR, SR, SR, SR ],
        // shutdown-ack-sent
        [ IG, IG, IG, IG, SA, SA, CL, CL, SA, SA, SA, SA ],
        // heartbeat-sent: heartbeats may cross; only the answer shows that the path works.
        [ RE, IV, IV, IV, IV, IV, IV, CL, IV, HS, ES, IV ],
    ],
];

#[cfg(test)]
mod tests {
    use super::*;

    /// INIT, INIT-ACK, COOKIE-ECHO, COOKIE-ACK, SHUTDOWN, SHUTDOWN-ACK, SHUTDOWN-COMPLETE, ABORT,
    /// ERROR, HEARTBEAT, HEARTBEAT-ACK, others: from the opener in the first line of a state, from
    /// the responder in the second. `=` is the state itself, `-` ignored, `x` invalid, `o` reopen.
    const GRID: &str = "
        closed            > o = =             = = = = = = = = =
                          < o = =             = = = = = = = = =
        cookie-wait       > = = cookie-echoed x x x x closed x x x x
                          < = = cookie-echoed x x x x closed - x x x
        cookie-echoed     > - - = established - - - closed = = = =
                          < - - = established - - - closed closed = = =
        established       > - - = = shutdown-sent - - closed = = = =
                          < - - = = shutdown-recd - - closed = = = =
        shutdown-sent     > - - - - = shutdown-ack-sent - closed = = = =
                          < - - - - = shutdown-ack-sent - closed = = = =
        shutdown-recd     > - - - - = shutdown-ack-sent - closed = = = =
                          < - - - - = shutdown-ack-sent - closed = = = =
        shutdown-ack-sent > - - - - = = closed closed = = = =
                          < - - - - = = closed closed = = = =
        heartbeat-sent    > o x x x x shutdown-ack-sent x closed x = = -
                          < o x x x x x                 x closed x = established x
    ";
    const COLUMNS: [Chunk; 12] = [
        Chunk::Init,
        Chunk::InitAck,
        Chunk::CookieEcho,
        Chunk::CookieAck,
        Chunk::Shutdown,
        Chunk::ShutdownAck,
        Chunk::ShutdownComplete,
        Chunk::Abort,
        Chunk::Error,
        Chunk::Heartbeat,
        Chunk::HeartbeatAck,
        Chunk::Data,
    ];

    #[test]
    fn the_table_says_what_the_grid_says() {
        let mut cells = GRID.split_whitespace().filter(|c| !matches!(*c, "<" | ">"));
        for state in SctpState::ALL {
            assert_eq!(cells.next(), Some(state.name()));
            for direction in [Direction::Original, Direction::Reply] {
                for chunk in COLUMNS {
                    let name = match transition(state, direction, chunk) {
                        To::Go(to) if to == state => "=",
                        To::Go(to) => to.name(),
                        To::Ignore => "-",
                        To::Invalid => "x",
                        To::Reopen => "o",
                    };
                    assert_eq!(
                        Some(name),
                        cells.next(),
                        "{state:?} {direction:?} {chunk:?}"
                    );
                }
            }
        }
        assert_eq!(cells.next(), None);
    }

    #[test]
    fn an_abort_ends_every_association_and_nothing_leaves_closed_but_a_new_one() {
        for direction in [Direction::Original, Direction::Reply] {
            for state in SctpState::ALL {
                assert_eq!(transition(state, direction, Chunk::Abort), CL);
            }
            for chunk in Chunk::ALL {
                let expected = if chunk == Chunk::Init { RE } else { CL };
                assert_eq!(transition(SctpState::Closed, direction, chunk), expected);
            }
        }
    }

    #[test]
    fn a_state_is_kept_as_a_number() {
        for state in SctpState::ALL {
            assert_eq!(SctpState::from_number(state as u8), state);
        }
    }
}
