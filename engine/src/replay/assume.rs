//! Neighbours that are assumed: the slow path's questions are answered before they leave.
//!
//! The worker gives every neighbour the made-up address by itself. The slow path does not know
//! about that: it asks for those that do not fit the worker's table, and checks on stations that
//! asked for the gateway. Here its question is turned round into the answer that a station with
//! the made-up address would give. The books stay right: one packet made (the question) and one
//! consumed (the answer).

use turnpike_conntrack::ids::WorkerId;
use turnpike_pipeline::buffer::{Buffer, HeapBuffer};
use turnpike_pipeline::ids::IfaceId;
use turnpike_pipeline::outbox::{FromSlowPath, Punt, PuntKind};
use turnpike_pipeline::packet::arp::{self, ArpKind, Station};
use turnpike_pipeline::packet::nd::{self, Nd, Station6};
use turnpike_pipeline::packet::parse::inspect;

use crate::pcap::MADE_UP_MAC;

/// What becomes of a message of the slow path where neighbours are assumed.
#[derive(Debug)]
pub enum Assumed {
    /// It goes to the worker.
    Pass(FromSlowPath<HeapBuffer>),
    /// It was a question; this is the answer, for the slow path.
    Answered(Punt<HeapBuffer>),
    /// It was news of a neighbour, of which nothing is wanted.
    Dropped,
}

/// Looks at a message on its way to the worker.
pub fn assume(message: FromSlowPath<HeapBuffer>, worker: WorkerId) -> Assumed {
    match message {
        FromSlowPath::Neighbour(_) => Assumed::Dropped,
        FromSlowPath::Forward(interface, _, buf) => {
            Assumed::Pass(FromSlowPath::Forward(interface, MADE_UP_MAC, buf))
        }
        FromSlowPath::Send(interface, buf) => match answer(interface, &buf) {
            Some((kind, frame)) => {
                let buf = HeapBuffer::new(frame, 0);
                Assumed::Answered(Punt::new(buf, worker, kind))
            }
            None => Assumed::Pass(FromSlowPath::Send(interface, buf)),
        },
        message @ (FromSlowPath::Whole(..)
        | FromSlowPath::Examined(_)
        | FromSlowPath::Output(_)
        | FromSlowPath::Notice(_)
        | FromSlowPath::Copy(_)
        | FromSlowPath::Read(..)
        | FromSlowPath::Control(..)) => Assumed::Pass(message),
    }
}

/// The answer to a question for a neighbour's address, `None` if the frame asks nothing.
fn answer(interface: IfaceId, buf: &HeapBuffer) -> Option<(PuntKind, Vec<u8>)> {
    let parsed = inspect(buf.head(), buf.frame_len()).ok()?;
    let mut frame = Vec::new();
    if let Some(question) = arp::read(buf.head(), &parsed) {
        if question.kind != ArpKind::Request || question.target.ip == question.sender.ip {
            return None;
        }
        let station = Station {
            mac: MADE_UP_MAC,
            ip: question.target.ip,
        };
        arp::reply(&mut frame, station, question.sender);
        return Some((PuntKind::Arp(interface), frame));
    }
    match nd::read(buf, &parsed)? {
        Nd::Solicitation(question) => {
            let station = Station6 {
                mac: MADE_UP_MAC,
                ip: question.target,
            };
            let asker = question.link.unwrap_or(parsed.link.src);
            nd::advertise(&mut frame, station, &question, asker);
            Some((PuntKind::Discovery(interface), frame))
        }
        Nd::Advertisement(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnpike_pipeline::ids::Mac;
    use turnpike_pipeline::packet::nd::SolicitTo;

    const OURS: Mac = Mac([2; 6]);
    const WAN: IfaceId = IfaceId(1);

    fn sent(frame: Vec<u8>) -> Assumed {
        assume(
            FromSlowPath::Send(WAN, HeapBuffer::new(frame, 0)),
            WorkerId(0),
        )
    }

    #[test]
    fn an_arp_question_is_answered_with_the_made_up_address() {
        let mut frame = Vec::new();
        let asker = Station {
            mac: OURS,
            ip: [10, 0, 0, 1],
        };
        arp::request(&mut frame, asker, Mac::BROADCAST, [10, 0, 0, 9]);
        let Assumed::Answered(Punt { buf, kind, .. }) = sent(frame) else {
            panic!("not answered")
        };
        assert_eq!(kind, PuntKind::Arp(WAN));
        let parsed = inspect(buf.head(), buf.frame_len()).unwrap();
        let heard = arp::read(buf.head(), &parsed).unwrap();
        assert_eq!(heard.kind, ArpKind::Reply);
        assert_eq!(
            heard.sender,
            Station {
                mac: MADE_UP_MAC,
                ip: [10, 0, 0, 9]
            }
        );
        assert_eq!(heard.target, asker);
    }

    #[test]
    fn a_solicitation_is_answered_with_the_made_up_address() {
        let mut frame = Vec::new();
        let asker = Station6 {
            mac: OURS,
            ip: [0x20; 16],
        };
        nd::solicit(&mut frame, asker, [0x21; 16], SolicitTo::Group);
        let Assumed::Answered(Punt { buf, kind, .. }) = sent(frame) else {
            panic!("not answered")
        };
        assert_eq!(kind, PuntKind::Discovery(WAN));
        let parsed = inspect(buf.head(), buf.frame_len()).unwrap();
        let Some(Nd::Advertisement(heard)) = nd::read(&buf, &parsed) else {
            panic!("no answer")
        };
        assert_eq!((heard.target, heard.link), ([0x21; 16], Some(MADE_UP_MAC)));
    }

    #[test]
    fn what_asks_nothing_is_sent() {
        let mut reply = Vec::new();
        let (own, other) = (
            Station {
                mac: OURS,
                ip: [1; 4],
            },
            Station {
                mac: OURS,
                ip: [2; 4],
            },
        );
        arp::reply(&mut reply, own, other);
        assert!(matches!(
            sent(reply),
            Assumed::Pass(FromSlowPath::Send(WAN, _))
        ));
        let mut announcement = Vec::new();
        arp::announce(&mut announcement, own);
        assert!(matches!(sent(announcement), Assumed::Pass(_)));
        assert!(matches!(sent(vec![0; 20]), Assumed::Pass(_)));
    }

    #[test]
    fn a_forwarded_packet_goes_to_the_made_up_address_whatever_was_learned() {
        let message = FromSlowPath::Forward(WAN, OURS, HeapBuffer::new(Vec::new(), 3));
        let passed = assume(message, WorkerId(0));
        assert!(matches!(
            passed,
            Assumed::Pass(FromSlowPath::Forward(WAN, MADE_UP_MAC, _))
        ));
    }
}
