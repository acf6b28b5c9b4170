//! The TCP state machine as a table: state × direction × kind of segment.
//!
//! It follows a connection from the middle, so it is more forgiving than an endpoint: a segment
//! seen here may never arrive, and one that arrives may never have been seen. Sequence numbers are
//! not its business, see `tcp_window.rs`.

use crate::ids::Direction;
use crate::segment::{ACK, FIN, RST, SYN, URG};

/// Where a TCP connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum TcpState {
    /// The opener's SYN was seen.
    SynSent = 0,
    /// Both sides have sent SYN without ACK: simultaneous open.
    SynSent2 = 1,
    /// SYN and SYN-ACK were seen.
    SynReceived = 2,
    /// The handshake is complete.
    Established = 3,
    /// One side has sent FIN.
    FinWait = 4,
    /// That FIN is acknowledged; the other side may go on sending.
    CloseWait = 5,
    /// Both sides have sent FIN.
    LastAck = 6,
    /// Both FINs are acknowledged.
    TimeWait = 7,
    /// Ended by a reset.
    Close = 8,
}

impl TcpState {
    pub(crate) const ALL: [Self; 9] = [
        Self::SynSent,
        Self::SynSent2,
        Self::SynReceived,
        Self::Established,
        Self::FinWait,
        Self::CloseWait,
        Self::LastAck,
        Self::TimeWait,
        Self::Close,
    ];

    /// The state that an entry keeps as `number`.
    pub(crate) fn from_number(number: u8) -> Self {
        Self::ALL
            .get(usize::from(number))
            .copied()
            .unwrap_or(Self::Close)
    }

    /// RouterOS's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::SynSent => "syn-sent",
            Self::SynSent2 => "syn-sent2",
            Self::SynReceived => "syn-received",
            Self::Established => "established",
            Self::FinWait => "fin-wait",
            Self::CloseWait => "close-wait",
            Self::LastAck => "last-ack",
            Self::TimeWait => "time-wait",
            Self::Close => "close",
        }
    }
}

/// What a segment is to the state machine: by its most significant flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Syn = 0,
    SynAck = 1,
    Fin = 2,
    Ack = 3,
    Rst = 4,
}

impl Kind {
    /// The kind of a segment with these flags; `None` for a combination that no stack sends.
    /// PSH, ECE and CWR may stand with anything, URG with SYN or ACK, FIN only with ACK.
    pub(crate) fn of(flags: u8) -> Option<Self> {
        match flags & (FIN | SYN | RST | ACK | URG) {
            f if f & !URG == SYN => Some(Self::Syn),
            f if f == SYN | ACK => Some(Self::SynAck),
            f if f & !URG == FIN | ACK => Some(Self::Fin),
            f if f & !URG == ACK => Some(Self::Ack),
            f if f & !ACK == RST => Some(Self::Rst),
            _ => None,
        }
    }
}

/// What the table says about a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    /// If it fits the window, the connection is in this state afterwards.
    Go(TcpState),
    /// It passes and changes nothing: it is out of step, and the endpoints will sort it out.
    Ignore,
    /// It belongs to no connection in this state.
    Invalid,
    /// It opens a new connection in the place of this one.
    Reopen,
}

/// What the table says about a segment of `kind` in `direction` in `state`.
pub(crate) const fn transition(state: TcpState, direction: Direction, kind: Kind) -> To {
    TABLE[direction.index()][state as usize][kind as usize]
}

const IG: To = To::Ignore;
const IV: To = To::Invalid;
const RE: To = To::Reopen;
const SS: To = To::Go(TcpState::SynSent);
const S2: To = To::Go(TcpState::SynSent2);
const SR: To = To::Go(TcpState::SynReceived);
const ES: To = To::Go(TcpState::Established);
const FW: To = To::Go(TcpState::FinWait);
const CW: To = To::Go(TcpState::CloseWait);
const LA: To = To::Go(TcpState::LastAck);
const TW: To = To::Go(TcpState::TimeWait);
const CL: To = To::Go(TcpState::Close);

#[rustfmt::skip]
const TABLE: [[[To; 5]; 9]; 2] = [
    // From the opener.
    [
        // Syn SynAck Fin Ack Rst
        // syn-sent: a second SYN is a retransmission. An ACK before the answer was seen
        // acknowledges something of another connection.
        [ SS, IV, IV, IV, CL ],
        // syn-sent2: in a simultaneous open each side answers the other's SYN with SYN-ACK.
        [ S2, SR, IV, IV, CL ],
        // syn-received: a SYN here may be new or old: the responder knows, so let it decide. A
        // SYN-ACK is the second half of a simultaneous open. A FIN without data is legal.
        [ IG, SR, FW, ES, CL ],
        // established: a SYN may come from an opener that crashed; the responder answers with a
        // challenge ACK, which the opener resets.
        [ IG, IV, FW, ES, CL ],
        // fin-wait: a second FIN is taken for the other side's; a retransmission only makes the
        // state run ahead, and timeouts are all that depends on it.
        [ IG, IV, LA, CW, CL ],
        // close-wait: half closed; data may still flow the other way.
        [ IG, IV, LA, CW, CL ],
        // last-ack
        [ IG, IV, LA, TW, CL ],
        // time-wait: a SYN starts anew (RFC 9293, 3.10.7.4); the rules judge it as such.
        [ RE, IV, TW, TW, CL ],
        // close: segments still in flight when the reset passed them.
        [ RE, IV, CL, CL, CL ],
    ],
    // From the responder.
    [
        // syn-sent: SYN without ACK is a simultaneous open. An ACK is the challenge of a responder
        // that still has an older connection (RFC 5961).
        [ S2, SR, IV, IG, CL ],
        // syn-sent2
        [ S2, SR, IV, IG, CL ],
        // syn-received: another SYN-ACK is a retransmission; its window is known already.
        [ IV, IG, FW, SR, CL ],
        // established: a SYN-ACK may answer a SYN that was ignored above, see `tcp.rs`.
        [ IV, IG, FW, ES, CL ],
        // fin-wait
        [ IV, IG, LA, CW, CL ],
        // close-wait
        [ IV, IG, LA, CW, CL ],
        // last-ack
        [ IV, IG, LA, TW, CL ],
        // time-wait: the responder opens from its side; a new connection like any other.
        [ RE, IG, TW, TW, CL ],
        // close
        [ RE, IG, CL, CL, CL ],
    ],
];

#[cfg(test)]
mod tests {
    use super::*;

    /// SYN, SYN-ACK, FIN, ACK, RST: from the opener in the first line of a state, from the
    /// responder in the second.
    const GRID: &str = "
        syn-sent     > syn-sent     invalid      invalid      invalid      close
                     < syn-sent2    syn-received invalid      ignore       close
        syn-sent2    > syn-sent2    syn-received invalid      invalid      close
                     < syn-sent2    syn-received invalid      ignore       close
        syn-received > ignore       syn-received fin-wait     established  close
                     < invalid      ignore       fin-wait     syn-received close
        established  > ignore       invalid      fin-wait     established  close
                     < invalid      ignore       fin-wait     established  close
        fin-wait     > ignore       invalid      last-ack     close-wait   close
                     < invalid      ignore       last-ack     close-wait   close
        close-wait   > ignore       invalid      last-ack     close-wait   close
                     < invalid      ignore       last-ack     close-wait   close
        last-ack     > ignore       invalid      last-ack     time-wait    close
                     < invalid      ignore       last-ack     time-wait    close
        time-wait    > reopen       invalid      time-wait    time-wait    close
                     < reopen       ignore       time-wait    time-wait    close
        close        > reopen       invalid      close        close        close
                     < reopen       ignore       close        close        close
    ";
    const KINDS: [Kind; 5] = [Kind::Syn, Kind::SynAck, Kind::Fin, Kind::Ack, Kind::Rst];

    #[test]
    fn the_table_says_what_the_grid_says() {
        let mut cells = GRID.split_whitespace().filter(|c| !matches!(*c, "<" | ">"));
        for state in TcpState::ALL {
            assert_eq!(cells.next(), Some(state.name()));
            for direction in [Direction::Original, Direction::Reply] {
                for kind in KINDS {
                    let name = match transition(state, direction, kind) {
                        To::Go(to) => to.name(),
                        To::Ignore => "ignore",
                        To::Invalid => "invalid",
                        To::Reopen => "reopen",
                    };
                    let expected = cells.next();
                    assert_eq!(Some(name), expected, "{state:?} {direction:?} {kind:?}");
                }
            }
        }
    }

    #[test]
    fn only_flag_combinations_that_stacks_send_have_a_kind() {
        for flags in 0..=255u8 {
            let core = flags & (FIN | SYN | RST | ACK | URG);
            let expected = if core == SYN || core == SYN | URG {
                Some(Kind::Syn)
            } else if core == SYN | ACK {
                Some(Kind::SynAck)
            } else if core == RST || core == RST | ACK {
                Some(Kind::Rst)
            } else if core == FIN | ACK || core == FIN | ACK | URG {
                Some(Kind::Fin)
            } else if core == ACK || core == ACK | URG {
                Some(Kind::Ack)
            } else {
                None
            };
            assert_eq!(Kind::of(flags), expected, "{flags:#04x}");
        }
    }

    #[test]
    fn a_state_is_kept_as_a_number() {
        for state in TcpState::ALL {
            assert_eq!(TcpState::from_number(state as u8), state);
        }
    }
}
