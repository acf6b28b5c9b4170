//! Fragments become packets again, within bounds.
//!
//! Promises: what is held is bounded in packets, pieces and bytes, and for half a minute (IPv6: a
//! minute). A piece that overlaps another, or contradicts the end, ends the whole packet and keeps
//! its later pieces out (RFC 5722); an exact repetition only ends itself. Where there is no room,
//! the packet that has waited longest makes some: packets that will be whole are so quickly.
//!
//! A reassembled IPv4 packet has no "don't fragment" bit, and a reassembled IPv6 packet keeps its
//! fragment header as that of an atomic fragment (RFC 6946): both can be cut again on their way
//! out.

use std::collections::BTreeMap;
use std::time::Duration;

use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tuple::Proto;

use super::bytes::{array_at, put_u16};
use super::fragment::seal_ipv4;
use super::headers::IPV6_LEN;
use super::ipv6::{FRAGMENT_LEN, walk};
use super::parse::{Fragment, Net, Parsed, VlanId};
use super::verify::for_range;
use crate::buffer::Buffer;
use crate::drops::DropReason;
use crate::ids::PortId;

/// The most packets in pieces at one time.
pub const FRAGMENT_QUEUES_MAX: usize = 1024;
/// The most bytes held in pieces at one time.
pub const FRAGMENT_BYTES_MAX: usize = 4 << 20;
/// The most pieces of one packet: 65,535 bytes over links of 576.
pub const FRAGMENT_PIECES_MAX: usize = 128;
/// How long an IPv4 packet may take to arrive.
pub const FRAGMENT_TIMEOUT_V4: Duration = Duration::from_secs(30);
/// How long an IPv6 packet may take to arrive (RFC 8200 section 4.5).
pub const FRAGMENT_TIMEOUT_V6: Duration = Duration::from_secs(60);

/// A piece counts as at least this many bytes: the buffer behind it is no smaller.
const PIECE_BYTES_MIN: usize = 2048;

/// How much may be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Packets in pieces.
    pub queues: usize,
    /// Bytes in all pieces, each counted as at least 2,048.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queues: FRAGMENT_QUEUES_MAX,
            bytes: FRAGMENT_BYTES_MAX,
        }
    }
}

/// A piece that is no longer held.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended<B> {
    /// Its frame.
    pub buf: B,
    /// What became of it.
    pub end: PieceEnd,
}

/// What became of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PieceEnd {
    /// It is part of a reassembled packet.
    Reassembled,
    /// It was dropped.
    Dropped(DropReason),
}

/// The packets that are still in pieces.
#[derive(Debug)]
pub struct Reassembler<B> {
    limits: Limits,
    queues: BTreeMap<Key, Queue<B>>,
    /// The queues by deadline; the number keeps deadlines apart.
    by_deadline: BTreeMap<(Tick, u64), Key>,
    next_serial: u64,
    bytes: usize,
    held: usize,
}

/// Where a fragment came in: pieces of two links are never one packet.
type Link = (PortId, Option<VlanId>);

/// What makes fragments pieces of one packet. IPv6 leaves the protocol out (RFC 8200).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    V4(Link, [u8; 4], [u8; 4], u32, Proto),
    V6(Link, [u8; 16], [u8; 16], u32),
}

#[derive(Debug)]
struct Queue<B> {
    deadline: (Tick, u64),
    /// In the order of their offsets, never overlapping.
    pieces: Vec<Piece<B>>,
    /// Length of the whole data, once the last piece is here.
    total: Option<usize>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Its pieces contradicted each other; what still comes is dropped.
    Spoilt,
}

#[derive(Debug)]
struct Piece<B> {
    buf: B,
    fragment: Fragment,
    /// Offset of its IP header in the frame.
    l3: usize,
    /// Offset of its data in the frame.
    data_at: usize,
    /// Length of its data.
    len: usize,
}

impl<B> Piece<B> {
    fn start(&self) -> usize {
        usize::from(self.fragment.offset())
    }

    fn end(&self) -> usize {
        self.start() + self.len
    }
}

/// What a piece did to its queue.
enum Added {
    Waiting,
    Whole,
}

/// Why a piece did not go into its queue.
enum Refused {
    /// It says what another has said.
    Repeated,
    /// The packet ends here.
    Spoils(DropReason),
}

impl<B: Buffer> Reassembler<B> {
    /// Nothing held yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            queues: BTreeMap::new(),
            by_deadline: BTreeMap::new(),
            next_serial: 0,
            bytes: 0,
            held: 0,
        }
    }

    /// How many pieces are held.
    pub const fn held(&self) -> usize {
        self.held
    }

    /// Takes a fragment received on a port; returns the frame of the whole packet if that was the
    /// last one missing.
    ///
    /// Every buffer taken comes out again through `ended`, now or later. A packet that is no
    /// fragment ends as [`DropReason::FragmentInvalid`].
    pub fn insert(
        &mut self,
        buf: B,
        (port, parsed): (PortId, &Parsed),
        now: Tick,
        ended: &mut Vec<Ended<B>>,
    ) -> Option<Vec<u8>> {
        let Some((key, l3, data_at, len)) = locate(buf.head(), port, parsed) else {
            ended.push(dropped(buf, DropReason::FragmentInvalid));
            return None;
        };
        self.make_room(key, cost(&buf), ended);
        let serial = self.next_serial;
        let queue = self.queues.entry(key).or_insert_with(|| {
            let deadline = (now.after(timeout(parsed.net)), serial);
            self.by_deadline.insert(deadline, key);
            self.next_serial += 1;
            Queue {
                deadline,
                pieces: Vec::new(),
                total: None,
                state: State::Open,
            }
        });
        let piece = Piece {
            buf,
            fragment: parsed.fragment,
            l3,
            data_at,
            len,
        };
        let bytes = cost(&piece.buf);
        match queue.add(piece) {
            Ok(added) => {
                self.bytes += bytes;
                self.held += 1;
                match added {
                    Added::Waiting => None,
                    Added::Whole => self.finish(key, ended),
                }
            }
            Err((piece, Refused::Repeated)) => {
                ended.push(dropped(piece.buf, DropReason::FragmentInvalid));
                None
            }
            Err((piece, Refused::Spoils(reason))) => {
                queue.state = State::Spoilt;
                let pieces = std::mem::take(&mut queue.pieces);
                ended.push(dropped(piece.buf, reason));
                self.release(pieces, PieceEnd::Dropped(reason), ended);
                None
            }
        }
    }

    /// Drops what has waited too long. The sender of a first fragment may be told (RFC 792).
    pub fn expire(&mut self, now: Tick, ended: &mut Vec<Ended<B>>) {
        while let Some(((deadline, _), key)) = self.by_deadline.first_key_value() {
            if *deadline > now {
                return;
            }
            let key = *key;
            self.remove(key, PieceEnd::Dropped(DropReason::FragmentTimeout), ended);
        }
    }

    /// Drops everything, for `reason`.
    pub fn clear(&mut self, reason: DropReason, ended: &mut Vec<Ended<B>>) {
        while let Some((key, _)) = self.queues.first_key_value() {
            let key = *key;
            self.remove(key, PieceEnd::Dropped(reason), ended);
        }
    }

    fn make_room(&mut self, key: Key, cost: usize, ended: &mut Vec<Ended<B>>) {
        let end = PieceEnd::Dropped(DropReason::FragmentMemory);
        while self.bytes + cost > self.limits.bytes
            || (self.queues.len() >= self.limits.queues && !self.queues.contains_key(&key))
        {
            let Some((_, oldest)) = self.by_deadline.first_key_value() else {
                return;
            };
            let oldest = *oldest;
            self.remove(oldest, end, ended);
        }
    }

    fn finish(&mut self, key: Key, ended: &mut Vec<Ended<B>>) -> Option<Vec<u8>> {
        let whole = self.queues.get(&key).and_then(assemble);
        let end = match whole {
            Some(_) => PieceEnd::Reassembled,
            None => PieceEnd::Dropped(DropReason::FragmentInvalid),
        };
        self.remove(key, end, ended);
        whole
    }

    fn remove(&mut self, key: Key, end: PieceEnd, ended: &mut Vec<Ended<B>>) {
        if let Some(queue) = self.queues.remove(&key) {
            self.by_deadline.remove(&queue.deadline);
            self.release(queue.pieces, end, ended);
        }
    }

    fn release(&mut self, pieces: Vec<Piece<B>>, end: PieceEnd, ended: &mut Vec<Ended<B>>) {
        for piece in pieces {
            self.bytes -= cost(&piece.buf);
            self.held -= 1;
            ended.push(Ended {
                buf: piece.buf,
                end,
            });
        }
    }
}

impl<B> Queue<B> {
    fn add(&mut self, piece: Piece<B>) -> Result<Added, (Piece<B>, Refused)> {
        let spoils = |piece, reason| Err((piece, Refused::Spoils(reason)));
        if self.state == State::Spoilt {
            return Err((piece, Refused::Repeated));
        }
        let place = self.pieces.partition_point(|p| p.start() < piece.start());
        let (before, behind) = self.pieces.split_at(place);
        let repeated = behind
            .first()
            .is_some_and(|p| (p.fragment, p.len) == (piece.fragment, piece.len));
        if repeated {
            return Err((piece, Refused::Repeated));
        }
        let overlaps = before.last().is_some_and(|p| p.end() > piece.start())
            || behind.first().is_some_and(|p| p.start() < piece.end());
        let is_last = matches!(piece.fragment, Fragment::Last { .. });
        let reaches = before
            .last()
            .map_or(0, Piece::end)
            .max(behind.last().map_or(0, Piece::end));
        let contradicts_end = match self.total {
            Some(total) => is_last || piece.end() > total,
            None => is_last && reaches > piece.end(),
        };
        let ragged = !is_last && !piece.len.is_multiple_of(8);
        if overlaps || contradicts_end || ragged || piece.len == 0 {
            return spoils(piece, DropReason::FragmentInvalid);
        }
        if self.pieces.len() >= FRAGMENT_PIECES_MAX {
            return spoils(piece, DropReason::FragmentMemory);
        }
        if is_last {
            self.total = Some(piece.end());
        }
        self.pieces.insert(place, piece);
        // Pieces do not overlap: they cover the data when their lengths add up to it.
        let covered: usize = self.pieces.iter().map(|p| p.len).sum();
        Ok(if self.total == Some(covered) {
            Added::Whole
        } else {
            Added::Waiting
        })
    }
}

const fn timeout(net: Net) -> Duration {
    match net {
        Net::V6 => FRAGMENT_TIMEOUT_V6,
        Net::V4 | Net::Arp => FRAGMENT_TIMEOUT_V4,
    }
}

fn cost<B: Buffer>(buf: &B) -> usize {
    buf.frame_len().max(PIECE_BYTES_MIN)
}

const fn dropped<B>(buf: B, reason: DropReason) -> Ended<B> {
    Ended {
        buf,
        end: PieceEnd::Dropped(reason),
    }
}

/// The packet a fragment belongs to, the offsets of its IP header and its data, and the data's
/// length.
fn locate(head: &[u8], port: PortId, parsed: &Parsed) -> Option<(Key, usize, usize, usize)> {
    let l3 = usize::from(parsed.l3);
    let id = match parsed.fragment {
        Fragment::Whole => return None,
        Fragment::First { id } | Fragment::Middle { id, .. } | Fragment::Last { id, .. } => id,
    };
    let link = (port, parsed.link.vlan);
    let (key, data_at) = match parsed.net {
        Net::Arp => return None,
        Net::V4 => {
            let (src, dst) = (array_at(head, l3 + 12)?, array_at(head, l3 + 16)?);
            (
                Key::V4(link, src, dst, id, parsed.proto),
                usize::from(parsed.l4),
            )
        }
        Net::V6 => {
            let (src, dst) = (array_at(head, l3 + 8)?, array_at(head, l3 + 24)?);
            let header_at = walk(head.get(l3..)?).ok()?.fragment_at?;
            (Key::V6(link, src, dst, id), l3 + header_at + FRAGMENT_LEN)
        }
    };
    let len = (l3 + parsed.ip_len as usize).checked_sub(data_at)?;
    Some((key, l3, data_at, len))
}

/// The frame of the whole packet: the headers of its first piece, then everybody's data.
fn assemble<B: Buffer>(queue: &Queue<B>) -> Option<Vec<u8>> {
    let first = queue.pieces.first()?;
    let (l3, data_at) = (first.l3, first.data_at);
    let mut frame = Vec::with_capacity(data_at + queue.total?);
    frame.extend_from_slice(first.buf.head().get(..data_at)?);
    for piece in &queue.pieces {
        for_range(&piece.buf, piece.data_at, piece.len, |bytes| {
            frame.extend_from_slice(bytes);
        });
    }
    match first.buf.head().get(l3)? >> 4 {
        4 => {
            put_u16(
                &mut frame,
                l3 + 2,
                u16::try_from(data_at - l3 + queue.total?).ok()?,
            );
            put_u16(&mut frame, l3 + 6, 0);
            seal_ipv4(&mut frame, l3, data_at);
        }
        _ => {
            let payload = data_at - l3 - IPV6_LEN + queue.total?;
            put_u16(&mut frame, l3 + 4, u16::try_from(payload).ok()?);
            put_u16(&mut frame, data_at - FRAGMENT_LEN + 2, 0);
        }
    }
    Some(frame)
}
