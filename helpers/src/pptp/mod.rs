//! PPTP: calls that two sides agree on over TCP and carry in GRE.
//!
//! Each side gives a call an identifier of its own, and the packets that the other side sends for
//! it carry that. Two clients behind one address choose the same identifiers, so the one that a
//! side names is given another for outside, and put back wherever the other side repeats it. Both
//! directions of the tunnel are announced as soon as both identifiers are known, for as many calls
//! as there are, whoever places them.
//!
//! Promises: nothing is announced but what both sides have agreed on, between the two of them. A
//! request that cannot be given an identifier is refused where its sender is translated, since with
//! its own one it could be taken for somebody else's call. A stream that does not begin with the
//! protocol's greeting is left at the first byte that shows it.
//! RFC 2637 sections 2 and 3.

mod message;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use arrayvec::ArrayVec;
use turnpike_conntrack::expect::{ChildLife, Class, Uses};
use turnpike_conntrack::ids::Direction;

use crate::helper::{
    Call, Desk, Helper, Opener, Ports, Progress, Refusal, Session, Transport, Wanted,
};

use message::{Answer, Head, Kind, Message};

/// The most calls of one connection that are known at a time.
pub const CALLS_MAX: usize = 60;

/// What a connection may have of announcements: two for each call.
const TUNNEL: Class = Class {
    number: 1,
    max_expected: (2 * CALLS_MAX) as u8,
    timeout: Duration::from_secs(120),
};

/// A reader of one control connection.
#[derive(Debug, Clone, Default)]
pub struct Pptp {
    greeted: [bool; 2],
    /// Whether a message was none, so that nobody knows where the next one begins.
    lost: bool,
    calls: ArrayVec<Placed, CALLS_MAX>,
    last_call: u32,
}

/// A call that one side has asked for.
#[derive(Debug, Clone, Copy)]
struct Placed {
    call: Call,
    /// Who asked for it.
    caller: Direction,
    /// What each side calls it, by the direction of its packets.
    ids: [Option<Id>; 2],
    /// Whether a side has said that it is over.
    over: bool,
}

/// An identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Id {
    /// As its owner has it.
    own: u16,
    /// As the other side knows it.
    known: u16,
}

impl Pptp {
    /// A reader of a connection that begins.
    pub fn new() -> Self {
        Self::default()
    }

    /// The call that the sender of `from` calls by this identifier.
    fn by_own(&self, from: Direction, own: u16) -> Option<usize> {
        let side = from.index();
        let is_it = |placed: &Placed| placed.ids[side].is_some_and(|id| id.own == own);
        self.calls.iter().position(is_it)
    }

    /// The call whose other side is known to the sender of `from` by this identifier.
    fn by_peer(&self, from: Direction, known: u16) -> Option<usize> {
        let side = from.flip().index();
        let is_it = |placed: &Placed| placed.ids[side].is_some_and(|id| id.known == known);
        self.calls.iter().position(is_it)
    }

    fn end(&mut self, at: usize, desk: &mut dyn Desk) {
        let placed = self.calls.remove(at);
        desk.withdraw(placed.call);
    }

    /// Somebody asks for a call: the identifier that the other side is to know.
    fn request(&mut self, from: Direction, own: u16, desk: &mut dyn Desk) -> Result<u16, Refusal> {
        let before = self.by_own(from, own);
        let asked_again = before.filter(|at| {
            let placed = &self.calls[*at];
            placed.caller == from && placed.ids[from.flip().index()].is_none() && !placed.over
        });
        let call = match (asked_again, before) {
            (Some(at), _) => self.calls[at].call,
            (None, Some(at)) => {
                self.end(at, desk);
                self.next_call()
            }
            (None, None) => self.next_call(),
        };
        let known = self.room(asked_again.is_some(), desk).and_then(|()| {
            let wanted = wanted(desk.session(), from, own, None, call);
            desk.expect(from, &wanted)
        });
        let known = match known {
            Ok(endpoint) => endpoint.port(),
            Err(refusal) if is_translated(desk.session(), from) => return Err(refusal),
            Err(_) => own,
        };
        let mut ids = [None; 2];
        ids[from.index()] = Some(Id { own, known });
        let placed = Placed {
            call,
            caller: from,
            ids,
            over: false,
        };
        match asked_again {
            Some(at) => self.calls[at] = placed,
            // Without room and without translation nobody needs to remember it.
            None => drop(self.calls.try_push(placed)),
        }
        Ok(known)
    }

    /// Makes room for one more call, if need be in place of one that is over.
    fn room(&mut self, has_place: bool, desk: &mut dyn Desk) -> Result<(), Refusal> {
        if has_place || !self.calls.is_full() {
            return Ok(());
        }
        let over = self.calls.iter().position(|placed| placed.over);
        self.end(over.ok_or(Refusal::Full)?, desk);
        Ok(())
    }

    fn next_call(&mut self) -> Call {
        self.last_call = self.last_call.wrapping_add(1);
        Call(self.last_call)
    }

    /// Somebody takes up a call, or does not: how its identifiers are to reach who asked for it.
    fn reply(
        &mut self,
        from: Direction,
        own: u16,
        peer: u16,
        answer: Answer,
        desk: &mut dyn Desk,
    ) -> Result<(u16, u16), Refusal> {
        let caller = from.flip();
        let Some(at) = self.by_peer(from, peer) else {
            return Ok((own, peer));
        };
        let placed = self.calls[at];
        let Some(asked) = placed.ids[caller.index()].filter(|_| placed.caller == caller) else {
            return Ok((own, peer));
        };
        let known = match (placed.ids[from.index()], answer) {
            (Some(id), _) if id.own == own => id.known,
            (Some(_), _) => own,
            (None, Answer::TakesUp) if placed.over => {
                // It was cleared meanwhile, and will be disconnected by this identifier.
                self.calls[at].ids[from.index()] = Some(Id { own, known: own });
                own
            }
            (None, Answer::TakesUp) => self.take_up(from, own, at, desk)?,
            (None, Answer::Refuses) => own,
        };
        if answer == Answer::Refuses
            && let Some(at) = self.by_peer(from, peer)
        {
            self.end(at, desk);
        }
        Ok((known, asked.own))
    }

    /// Announces both directions of a call.
    fn take_up(
        &mut self,
        from: Direction,
        own: u16,
        at: usize,
        desk: &mut dyn Desk,
    ) -> Result<u16, Refusal> {
        let call = self.calls[at].call;
        // What had this identifier before is over, whether that was said or not.
        while let Some(old) = self.by_own(from, own) {
            self.end(old, desk);
        }
        let placed = self.calls.iter().position(|placed| placed.call == call);
        let asked = placed.and_then(|at| self.calls[at].ids[from.flip().index()]);
        let (Some(at), Some(asked)) = (placed, asked) else {
            return Ok(own);
        };
        let wanted_here = wanted(desk.session(), from, own, Some(asked.known), call);
        let made = desk.expect(from, &wanted_here).and_then(|endpoint| {
            let known = endpoint.port();
            let wanted_there = wanted(desk.session(), from.flip(), asked.own, Some(known), call);
            desk.expect(from.flip(), &wanted_there).map(|_| known)
        });
        let session = desk.session();
        let translated = is_translated(session, from) || is_translated(session, from.flip());
        let known = match made {
            Ok(known) => known,
            Err(refusal) if translated => return Err(refusal),
            Err(_) => own,
        };
        self.calls[at].ids[from.index()] = Some(Id { own, known });
        Ok(known)
    }

    /// Somebody speaks of the other side's identifier: what that is to its owner.
    fn carried(&self, from: Direction, peer: u16) -> u16 {
        let id = self.by_peer(from, peer);
        let id = id.and_then(|at| self.calls[at].ids[from.flip().index()]);
        id.map_or(peer, |id| id.own)
    }

    /// Somebody ends a call by its own identifier, or by the other's as some do.
    fn clear(&mut self, from: Direction, id: u16, last: bool, desk: &mut dyn Desk) -> u16 {
        let own = self.by_own(from, id);
        let Some(at) = own.or_else(|| self.by_peer(from, id)) else {
            return id;
        };
        let placed = self.calls[at];
        let as_known = match own {
            Some(_) => placed.ids[from.index()].map(|id| id.known),
            None => placed.ids[from.flip().index()].map(|id| id.own),
        };
        if last {
            self.end(at, desk);
        } else {
            self.calls[at].over = true;
            desk.withdraw(placed.call);
        }
        as_known.unwrap_or(id)
    }

    /// The control connection is to end, and every call with it.
    fn stop(&mut self, last: bool, desk: &mut dyn Desk) {
        for placed in &mut self.calls {
            placed.over = true;
            desk.withdraw(placed.call);
        }
        if last {
            self.calls.clear();
        }
    }

    /// Reads one message, and puts what it names into the receiver's terms.
    fn message(
        &mut self,
        from: Direction,
        message: &Message<'_>,
        desk: &mut dyn Desk,
    ) -> Result<(), Refusal> {
        match message.kind() {
            Some(Kind::Request { own }) => {
                let known = self.request(from, own, desk)?;
                message.set_first(known, desk);
            }
            Some(Kind::Reply { own, peer, answer }) => {
                let (own, peer) = self.reply(from, own, peer, answer, desk)?;
                message.set_first(own, desk);
                message.set_second(peer, desk);
            }
            Some(Kind::About { peer }) => message.set_first(self.carried(from, peer), desk),
            Some(Kind::Clear { id, last }) => {
                message.set_first(self.clear(from, id, last, desk), desk);
            }
            Some(Kind::Stop { last }) => self.stop(last, desk),
            None => {}
        }
        Ok(())
    }
}

impl Helper for Pptp {
    fn read(&mut self, from: Direction, bytes: &[u8], desk: &mut dyn Desk) -> Progress {
        if self.lost {
            return Progress::Leave;
        }
        let mut at = 0;
        loop {
            let greeted = self.greeted[from.index()];
            let rest = bytes.get(at..).unwrap_or_default();
            let message = match Head::read(rest, (!greeted).then_some(from)) {
                Head::Unfinished => return Progress::Read(at),
                Head::Foreign if at == 0 => return Progress::Leave,
                Head::Foreign => {
                    // What was changed so far has to go out as it is now.
                    self.lost = true;
                    return Progress::Read(bytes.len());
                }
                Head::Whole(length) => Message::new(bytes, at..at + length),
            };
            if let Err(refusal) = self.message(from, &message, desk) {
                return Progress::Refuse(refusal);
            }
            self.greeted[from.index()] = true;
            at = message.end();
        }
    }
}

/// Whether the other side knows the sender by another address than its own.
fn is_translated(session: &Session, from: Direction) -> bool {
    session.sender(from).own.ip() != session.receiver(from).peer.ip()
}

fn wanted(
    session: &Session,
    from: Direction,
    own: u16,
    answers_to: Option<u16>,
    call: Call,
) -> Wanted {
    Wanted {
        transport: Transport::Gre,
        listener: SocketAddr::new(session.sender(from).own.ip(), own),
        ports: Ports::One,
        opener: Opener::Receiver,
        answers_to,
        uses: Uses::Once,
        life: ChildLife::Master,
        class: TUNNEL,
        reader: None,
        call,
    }
}
