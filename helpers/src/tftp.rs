//! TFTP: the answer to a request comes from another port of the server (RFC 1350, section 4).
//!
//! Nothing is changed: the client is reached where it has asked from.

use std::time::Duration;

use turnpike_conntrack::expect::{ChildLife, Class, Uses};
use turnpike_conntrack::ids::Direction;

use crate::helper::{Call, Desk, Helper, Opener, Ports, Progress, Refusal, Transport, Wanted};

/// How long an answer is waited for; a client asks again each few seconds.
const ANSWER: Class = Class {
    number: 1,
    max_expected: 1,
    timeout: Duration::from_secs(30),
};

/// Reads one client's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tftp;

impl Helper for Tftp {
    fn read(&mut self, from: Direction, bytes: &[u8], desk: &mut dyn Desk) -> Progress {
        if from == Direction::Reply || !is_request(bytes) {
            return Progress::Read(bytes.len());
        }
        let wanted = Wanted {
            transport: Transport::Udp,
            listener: desk.session().client.own,
            ports: Ports::One,
            opener: Opener::Receiver,
            answers_to: None,
            uses: Uses::Once,
            life: ChildLife::Own,
            class: ANSWER,
            reader: None,
            call: Call::default(),
        };
        match desk.expect(from, &wanted) {
            // A client on a port of services is on its own, as it is without us.
            Ok(_) | Err(Refusal::LowPort | Refusal::ForeignAddress | Refusal::Malformed) => {
                Progress::Read(bytes.len())
            }
            Err(refusal @ (Refusal::NoPort | Refusal::Full | Refusal::Ended)) => {
                Progress::Refuse(refusal)
            }
        }
    }
}

/// A request to read or to write: the name of a file and that of a mode, each ended by a zero.
fn is_request(bytes: &[u8]) -> bool {
    let Some((&[0, 1 | 2], rest)) = bytes.split_first_chunk::<2>() else {
        return false;
    };
    let mut texts = rest.split(|byte| *byte == 0);
    let mut text = || texts.next().is_some_and(|text| !text.is_empty());
    text() && text() && texts.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Dialogue, behind_nat};
    use proptest::prelude::*;

    fn talk() -> Dialogue<Tftp> {
        Dialogue::new(Tftp, behind_nat(Transport::Udp, 40_000, 69))
    }

    #[test]
    fn a_request_announces_the_answer_from_any_port_of_the_server() {
        for request in [
            &b"\0\x01file\0octet\0"[..],
            b"\0\x02file\0netascii\0blksize\x001428\0",
        ] {
            let mut talk = talk();
            assert_eq!(talk.say(Direction::Original, request).unwrap(), request);
            let [announced] = &talk.desk.announced[..] else {
                panic!("one is announced")
            };
            let client = talk.desk.session().client.own;
            assert_eq!(announced.wanted.listener, client);
            assert_eq!(announced.wanted.opener, Opener::Receiver);
        }
    }

    #[test]
    fn nothing_else_announces_anything() {
        let mut talk = talk();
        for other in [
            &b"\0\x03\0\x01data"[..],
            b"\0\x01file\0octet",
            b"\0\x01\0octet\0",
            b"",
            b"\0",
        ] {
            talk.say(Direction::Original, other).unwrap();
        }
        talk.say(Direction::Reply, b"\0\x01file\0octet\0").unwrap();
        assert!(talk.desk.announced.is_empty());
    }

    #[test]
    fn without_a_place_the_request_is_held_back() {
        let mut talk = talk();
        talk.desk.refuse = Some(Refusal::Full);
        let request = b"\0\x01file\0octet\0";
        assert_eq!(talk.say(Direction::Original, request), Err(Refusal::Full));
    }

    proptest! {
        #[test]
        fn any_datagram_passes_unchanged(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert_eq!(talk().say(Direction::Original, &bytes).unwrap(), bytes);
        }
    }
}
