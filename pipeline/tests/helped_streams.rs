//! Two hosts that speak TCP to each other while a helper changes what they say.
//!
//! The network between either host and the gateway loses, repeats and reorders; hosts cut their
//! streams anew with each transmission. Whatever happens, each host gets the stream that the helper
//! made, once and in order, and no host is told that something has come that is lost.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use proptest::prelude::*;
use turnpike_conntrack::ids::Direction;
use turnpike_helpers::helper::{Desk, Helper, Progress, Refusal, Transport};
use turnpike_helpers::testing::{TestDesk, behind_nat};
use turnpike_pipeline::helping::talk::{Segment, Step, Talk, Why};

const ACK: u8 = 0x10;
const SYN: u8 = 0x02;
const FIN: u8 = 0x01;
const BOTH: [Direction; 2] = [Direction::Original, Direction::Reply];

/// Reads lines. One that starts with a letter of this list becomes another.
#[derive(Debug)]
struct Lines;

fn changed(line: &[u8]) -> Option<Vec<u8>> {
    match line.first()? {
        b'L' => Some([b"Longer than it was ", line].concat()),
        b'S' => Some(b"S\n".to_vec()),
        b'E' => Some(line.iter().map(u8::to_ascii_uppercase).collect()),
        _ => None,
    }
}

impl Helper for Lines {
    fn read(&mut self, _: Direction, bytes: &[u8], desk: &mut dyn Desk) -> Progress {
        let mut read = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !line.ends_with(b"\n") {
                break;
            }
            if line.starts_with(b"Quit") {
                return Progress::Leave;
            }
            if line.starts_with(b"Never") {
                return Progress::Refuse(Refusal::Malformed);
            }
            if let Some(new) = changed(line) {
                desk.replace(read..read + line.len(), &new);
            }
            read += line.len();
        }
        Progress::Read(read)
    }
}

/// The stream that the helper makes of another.
fn edited(stream: &[u8]) -> Vec<u8> {
    let lines = stream.split_inclusive(|byte| *byte == b'\n');
    lines
        .flat_map(|line| {
            changed(line)
                .filter(|_| line.ends_with(b"\n"))
                .unwrap_or(line.to_vec())
        })
        .collect()
}

/// A host: what it says and what it has heard.
#[derive(Debug)]
struct Host {
    says: Vec<u8>,
    /// Number of its SYN, and what it knows to have come.
    isn: u32,
    acked: usize,
    /// What it has sent at least once, its FIN as the last.
    sent: usize,
    heard: Vec<u8>,
    peer_isn: u32,
    peer_ended: bool,
}

impl Host {
    fn seq(&self, offset: usize) -> u32 {
        self.isn
            .wrapping_add(1)
            .wrapping_add(u32::try_from(offset).unwrap())
    }

    fn ack(&self) -> u32 {
        let heard = u32::try_from(self.heard.len()).unwrap();
        let ended = u32::from(self.peer_ended);
        self.peer_isn
            .wrapping_add(1)
            .wrapping_add(heard)
            .wrapping_add(ended)
    }

    /// Takes a segment in; panics if it is told what cannot be.
    fn take(&mut self, seq: u32, ack: u32, bytes: &[u8], fin: bool) {
        let acked = ack.wrapping_sub(self.isn.wrapping_add(1)) as usize;
        if acked < 1 << 31 {
            assert!(
                acked <= self.sent,
                "{acked} of {} are acknowledged",
                self.sent
            );
            self.acked = self.acked.max(acked);
        }
        let at = seq.wrapping_sub(self.peer_isn.wrapping_add(1)) as usize;
        let have = self.heard.len();
        let end = at.wrapping_add(bytes.len());
        if at > have {
            return;
        }
        if end > have {
            self.heard.extend_from_slice(&bytes[have - at..]);
        }
        if fin && end == self.heard.len() {
            self.peer_ended = true;
        }
    }
}

struct World {
    talk: Talk,
    desk: TestDesk,
    hosts: [Host; 2],
    early: Vec<(Direction, u32, usize, bool)>,
}

impl World {
    fn new(says: [&[u8]; 2], isn: [u32; 2]) -> Self {
        let host = |n: usize| Host {
            says: says[n].to_vec(),
            isn: isn[n],
            acked: 0,
            sent: 0,
            heard: Vec::new(),
            peer_isn: isn[1 - n],
            peer_ended: false,
        };
        let mut world = Self {
            talk: Talk::new(Box::new(Lines)),
            desk: TestDesk::new(behind_nat(Transport::Tcp, 40_000, 21)),
            hosts: [host(0), host(1)],
            early: Vec::new(),
        };
        for from in BOTH {
            let syn = Segment {
                seq: isn[from.index()],
                ack: (from == Direction::Reply).then(|| isn[0].wrapping_add(1)),
                flags: SYN,
                payload: b"",
            };
            let reaction = world.talk.segment(from, &syn, &mut world.desk);
            assert_eq!(reaction.step, Step::Pass(isn[from.index()]));
        }
        world
    }

    /// A host sends `[at, at + len)` of its stream, its FIN too if that is the end; what comes out
    /// of the gateway arrives if `arrives`, and so does what comes back to the sender.
    fn send(&mut self, from: Direction, at: usize, len: usize, arrives: bool) {
        let host = &self.hosts[from.index()];
        let end = (at + len).min(host.says.len());
        let fin = at + len > host.says.len();
        let bytes = host.says[at..end].to_vec();
        let seq = host.seq(at);
        let sent = end + usize::from(fin);
        let host = &mut self.hosts[from.index()];
        host.sent = host.sent.max(sent);
        self.segment(from, seq, &bytes, fin, arrives);
        let due: Vec<_> = self
            .early
            .extract_if(.., |early| self.talk.is_due(early.0, early.1))
            .collect();
        for (from, seq, len, fin) in due {
            let at = seq.wrapping_sub(self.hosts[from.index()].seq(0)) as usize;
            let bytes = self.hosts[from.index()].says[at..at + len].to_vec();
            self.segment(from, seq, &bytes, fin, arrives);
        }
    }

    fn segment(&mut self, from: Direction, seq: u32, bytes: &[u8], fin: bool, arrives: bool) {
        // What a host acknowledges is in the numbers that it gets; its worker carries it back.
        let shifts = self.talk.shifts();
        let ack = shifts.0[from.flip().index()].back(self.hosts[from.index()].ack());
        let segment = Segment {
            seq,
            ack: Some(ack),
            flags: ACK | if fin { FIN } else { 0 },
            payload: bytes,
        };
        let reaction = self.talk.segment(from, &segment, &mut self.desk);
        let raised = self.talk.raised(from, ack);
        for (direction, piece) in reaction.flushed {
            let ack = self.hosts[direction.index()].ack();
            let ack = self.talk.shifts().0[direction.flip().index()].back(ack);
            let ack = self.talk.raised(direction, ack);
            if arrives {
                self.hosts[direction.flip().index()].take(piece.seq, ack, &piece.bytes, false);
            }
        }
        let receiver = &mut self.hosts[from.flip().index()];
        match reaction.step {
            Step::Pass(seq) if arrives => receiver.take(seq, raised, bytes, fin),
            Step::Send(piece) if arrives => receiver.take(piece.seq, raised, &piece.bytes, fin),
            Step::Pass(_) | Step::Send(_) | Step::Taken | Step::Drop(Why::Backlog) => {}
            Step::Drop(Why::Refused(_)) => {}
            Step::Early => self.early.push((from, seq, bytes.len(), fin)),
        }
        if reaction.acknowledge {
            let (seq, ack) = (self.talk.answer(from), self.talk.next(from));
            let ack = ack.wrapping_add(u32::from(fin && bytes.is_empty()));
            if arrives {
                self.hosts[from.index()].take(seq, ack, b"", false);
            }
        }
    }

    /// A host says what it has heard.
    fn acknowledge(&mut self, from: Direction) {
        let host = &self.hosts[from.index()];
        let seq = host.seq(host.sent);
        self.segment(from, seq, b"", false, true);
    }

    /// Everything still to be said is said in order, and nothing is lost any more.
    fn finish(&mut self) {
        for _ in 0..4_000 {
            for from in BOTH {
                let (acked, whole) = {
                    let host = &self.hosts[from.index()];
                    (host.acked, host.says.len() + 1)
                };
                if acked < whole {
                    self.send(from, acked.min(whole - 1), 200, true);
                }
                self.acknowledge(from.flip());
                if let Some(piece) = self.talk.owned(from) {
                    // What the gateway alone has it sends again.
                    let ack = self.hosts[from.index()].ack();
                    let ack = self.talk.shifts().0[from.flip().index()].back(ack);
                    let ack = self.talk.raised(from, ack);
                    let receiver = &mut self.hosts[from.flip().index()];
                    receiver.take(piece.seq, ack, &piece.bytes, false);
                    self.acknowledge(from.flip());
                }
            }
            if self
                .hosts
                .iter()
                .all(|h| h.acked > h.says.len() && h.peer_ended)
            {
                return;
            }
        }
        panic!(
            "they do not come to an end: {:?} {:?}",
            self.hosts, self.talk
        );
    }
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let word = proptest::sample::select(vec!["L", "S", "E", "plain", "x"]);
    (word, 0..60_usize).prop_map(|(word, len)| {
        let mut line = word.as_bytes().to_vec();
        line.extend((0..len).map(|n| b'a' + u8::try_from(n % 26).unwrap()));
        line.push(b'\n');
        line
    })
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let lines = proptest::collection::vec(line(), 0..12).prop_map(|lines| lines.concat());
    let tail = proptest::sample::select(vec![&b""[..], b"L unfinished", b"e"]);
    (lines, tail).prop_map(|(lines, tail)| [&lines[..], tail].concat())
}

/// Which side does what: a piece from where it is acknowledged, so far on, of this length, lost or
/// not; or it says what it has heard.
type Move = (bool, usize, usize, bool, bool);

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = (
        any::<bool>(),
        0..80_usize,
        1..90_usize,
        any::<bool>(),
        any::<bool>(),
    );
    proptest::collection::vec(one, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 2_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_is_lost_repeated_or_cut_anew_both_sides_get_the_edited_streams(
        says in (stream(), stream()),
        isn in (any::<u32>(), any::<u32>()),
        moves in moves(),
    ) {
        let mut world = World::new([&says.0, &says.1], [isn.0, isn.1]);
        for (side, ahead, len, arrives, speaks) in moves {
            let from = BOTH[usize::from(side)];
            let host = &world.hosts[from.index()];
            let end = host.says.len();
            let at = (host.acked + ahead).min(end);
            let room = host.acked + 100;
            if speaks && at < room {
                world.send(from, at, len.min(room - at), arrives);
            } else if arrives {
                world.acknowledge(from);
            }
        }
        world.finish();
        prop_assert_eq!(&world.hosts[1].heard, &edited(&says.0));
        prop_assert_eq!(&world.hosts[0].heard, &edited(&says.1));
    }

    #[test]
    fn a_helper_that_leaves_in_the_middle_changes_nothing_from_then_on(
        before in stream(),
        after in stream(),
        other in stream(),
        moves in moves(),
    ) {
        let before = [&before[..], if before.ends_with(b"\n") { b"" } else { b"\n" }].concat();
        let says = [&before[..], b"Quit\n", &after].concat();
        let mut world = World::new([&says, &other], [77, u32::MAX - 9]);
        for (side, ahead, len, arrives, speaks) in moves {
            let from = BOTH[usize::from(side)];
            let host = &world.hosts[from.index()];
            let at = (host.acked + ahead).min(host.says.len());
            if speaks {
                world.send(from, at, len, arrives);
            } else {
                world.acknowledge(from);
            }
        }
        world.finish();
        let heard = &world.hosts[1].heard;
        // What stands before `Quit` in the same reading is left as it is, too.
        prop_assert!(heard.ends_with(&[b"Quit\n", &after[..]].concat()));
        prop_assert!(!world.talk.is_read());
        prop_assert!(world.talk.is_released());
    }
}

#[test]
fn a_client_that_waits_for_each_byte_to_be_acknowledged_gets_its_line_through() {
    let line = b"L port\n";
    let mut world = World::new([line, b""], [5, 9]);
    for at in 0..line.len() {
        assert_eq!(world.hosts[0].acked, at, "before byte {at}");
        world.send(Direction::Original, at, 1, true);
        if at + 1 < line.len() {
            assert!(world.hosts[1].heard.is_empty(), "nothing of it goes out");
        }
    }
    assert_eq!(world.hosts[1].heard, edited(line));
    world.acknowledge(Direction::Reply);
    assert_eq!(world.hosts[0].acked, line.len());
}

#[test]
fn what_is_refused_does_not_arrive_and_can_be_said_again() {
    let mut world = World::new([b"Never\n", b""], [5, 9]);
    for _ in 0..3 {
        world.send(Direction::Original, 0, 6, true);
    }
    assert_eq!((world.hosts[0].acked, world.hosts[1].heard.len()), (0, 0));
}
