//! The last packets that one thread dropped, written by that thread and read by anybody.
//!
//! Memory is taken once; noting a drop takes a fixed number of plain stores, and waits for nobody.
//! Each place has a sequence number, odd while it is written: a reader that meets one that is odd,
//! or another one behind the words than before them, has come too late and leaves it out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use turnpike_conntrack::entry::NONE;
use turnpike_conntrack::ids::{ConnState, Generation};
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tuple::Proto;

use crate::drops::DropReason;
use crate::ids::IfaceId;
use crate::packet::parse::{Parsed, inspect};

/// How many drops are kept.
pub const RECENT_MAX: usize = 1_024;

/// A packet that was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// When.
    pub at: Tick,
    /// Why.
    pub reason: DropReason,
    /// The program that judged it.
    pub generation: Generation,
    /// The rule that decided, by the number that it keeps over reloads.
    pub rule: Option<u32>,
    /// Where it came in, in the numbers of that program.
    pub in_interface: Option<IfaceId>,
    /// The state of its connection, if it came that far.
    pub state: Option<ConnState>,
    /// What it was; `None` if its headers could not be read.
    pub packet: Option<Headers>,
}

/// What is remembered of a packet's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Protocol.
    pub proto: Proto,
    /// Source and destination port, if it has ports.
    pub ports: Option<(u16, u16)>,
    /// The length of the IP packet.
    pub len: u32,
}

impl Headers {
    /// Those of a frame that has been parsed.
    pub fn of(head: &[u8], parsed: &Parsed) -> Option<Self> {
        Some(Self {
            src: parsed.src_ip(head)?,
            dst: parsed.dst_ip(head)?,
            proto: parsed.proto,
            ports: parsed.ports().map(|(src, dst)| (src.0, dst.0)),
            len: parsed.ip_len,
        })
    }

    /// Those of a frame.
    pub fn read(head: &[u8], frame_len: usize) -> Option<Self> {
        Self::of(head, &inspect(head, frame_len).ok()?)
    }
}

/// How many words a place has beside its sequence number.
const WORDS: usize = 8;

#[derive(Debug, Default)]
#[repr(align(8))]
struct Place {
    sequence: AtomicU64,
    words: [AtomicU64; WORDS],
}

/// The last [`RECENT_MAX`] drops of one thread.
#[derive(Debug)]
pub struct Recent {
    places: Box<[Place]>,
    noted: AtomicU64,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            places: (0..RECENT_MAX).map(|_| Place::default()).collect(),
            noted: AtomicU64::new(0),
        }
    }
}

impl Recent {
    /// Notes a drop in the place of the oldest; only the owning thread may call this.
    pub fn note(&self, dropped: &Dropped) {
        let number = self.noted.load(Ordering::Relaxed);
        let Some(place) = self.place(number) else {
            return;
        };
        place.sequence.store(writing(number), Ordering::Relaxed);
        // No word may be seen before the number that says that they change.
        fence(Ordering::Release);
        for (word, value) in place.words.iter().zip(encode(dropped)) {
            word.store(value, Ordering::Relaxed);
        }
        place.sequence.store(written(number), Ordering::Release);
        self.noted.store(number.wrapping_add(1), Ordering::Release);
    }

    /// How many drops have been noted since the start; the next one gets this number.
    pub fn noted(&self) -> u64 {
        self.noted.load(Ordering::Acquire)
    }

    /// The drops that are still there, oldest first, each with its number.
    pub fn read(&self) -> impl Iterator<Item = (u64, Dropped)> {
        let noted = self.noted();
        let first = noted.saturating_sub(RECENT_MAX as u64);
        (first..noted).filter_map(|number| Some((number, self.find(number)?)))
    }

    fn find(&self, number: u64) -> Option<Dropped> {
        let place = self.place(number)?;
        if place.sequence.load(Ordering::Acquire) != written(number) {
            return None;
        }
        let words = std::array::from_fn(|at| match place.words.get(at) {
            Some(word) => word.load(Ordering::Relaxed),
            None => 0,
        });
        // Whoever has seen a word of a later drop sees that drop's number now.
        fence(Ordering::Acquire);
        let whole = place.sequence.load(Ordering::Relaxed) == written(number);
        whole.then(|| decode(words)).flatten()
    }

    fn place(&self, number: u64) -> Option<&Place> {
        self.places.get(usize::try_from(number).ok()? % RECENT_MAX)
    }
}

const fn writing(number: u64) -> u64 {
    number.wrapping_mul(2).wrapping_add(1)
}

const fn written(number: u64) -> u64 {
    number.wrapping_mul(2).wrapping_add(2)
}

/// What stands for no interface.
const NO_INTERFACE: u16 = u16::MAX;
/// What stands for no state, and for no headers.
const NOTHING: u8 = u8::MAX;

fn encode(dropped: &Dropped) -> [u64; WORDS] {
    let Dropped {
        at,
        reason,
        generation,
        rule,
        in_interface,
        state,
        packet,
    } = dropped;
    let state = state.map_or(NOTHING, |state| state as u8);
    let interface = in_interface.map_or(NO_INTERFACE, |iface| iface.0);
    let [high, low] = interface.to_be_bytes();
    let (version, proto) = packet.map_or((NOTHING, 0), |packet| {
        let version = if packet.src.is_ipv4() { 4 } else { 6 };
        (version, packet.proto.0)
    });
    let has_ports = packet.is_some_and(|packet| packet.ports.is_some());
    let kinds = [
        *reason as u8,
        state,
        high,
        low,
        version,
        proto,
        u8::from(has_ports),
        0,
    ];
    let (ports, len) = packet.map_or(((0, 0), 0), |packet| {
        (packet.ports.unwrap_or_default(), packet.len)
    });
    let (from, to) = packet.map_or((0, 0), |packet| (bits(packet.src), bits(packet.dst)));
    let ends = u64::from(ports.0) << 48 | u64::from(ports.1) << 32 | u64::from(len);
    [
        at.as_micros(),
        u64::from(generation.0) << 32 | u64::from(rule.unwrap_or(NONE)),
        u64::from_be_bytes(kinds),
        ends,
        high_half(from),
        low_half(from),
        high_half(to),
        low_half(to),
    ]
}

fn decode(words: [u64; WORDS]) -> Option<Dropped> {
    let [
        at,
        judged,
        kinds,
        ends,
        from_high,
        from_low,
        to_high,
        to_low,
    ] = words;
    let [reason, state, high, low, version, proto, has_ports, _] = kinds.to_be_bytes();
    let interface = u16::from_be_bytes([high, low]);
    let rule = low_word(judged);
    let (src_port, dst_port) = (ends >> 48, ends >> 32 & 0xffff);
    let ports = (u16::try_from(src_port).ok()?, u16::try_from(dst_port).ok()?);
    let packet = (version != NOTHING).then(|| Headers {
        src: address(version, from_high, from_low),
        dst: address(version, to_high, to_low),
        proto: Proto(proto),
        ports: (has_ports != 0).then_some(ports),
        len: low_word(ends),
    });
    Some(Dropped {
        at: Tick::from_micros(at),
        reason: *DropReason::ALL.get(usize::from(reason))?,
        generation: Generation(low_word(judged >> 32)),
        rule: (rule != NONE).then_some(rule),
        in_interface: (interface != NO_INTERFACE).then_some(IfaceId(interface)),
        state: ConnState::ALL.get(usize::from(state)).copied(),
        packet,
    })
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn address(version: u8, high: u64, low: u64) -> IpAddr {
    if version == 4 {
        Ipv4Addr::from_bits(low_word(low)).into()
    } else {
        Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).into()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the half that is meant")]
const fn low_word(word: u64) -> u32 {
    word as u32
}

#[expect(clippy::cast_possible_truncation, reason = "the half that is meant")]
const fn low_half(bits: u128) -> u64 {
    bits as u64
}

const fn high_half(bits: u128) -> u64 {
    low_half(bits >> 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    fn dropped(n: u32) -> Dropped {
        Dropped {
            at: Tick::from_micros(u64::from(n)),
            reason: DropReason::FilterRule,
            generation: Generation(n),
            rule: Some(n),
            in_interface: Some(IfaceId(3)),
            state: Some(ConnState::Invalid),
            packet: Some(Headers {
                src: Ipv6Addr::from_bits(u128::from(n) << 64 | u128::from(n)).into(),
                dst: Ipv6Addr::from_bits(u128::from(n)).into(),
                proto: Proto::UDP,
                ports: Some((40_000, 53)),
                len: n,
            }),
        }
    }

    #[test]
    fn what_is_noted_is_read_as_it_was_whatever_it_lacks() {
        let whole = dropped(7);
        let ipv4 = whole.packet.map(|headers| Headers {
            src: [10, 0, 0, 2].into(),
            dst: [255, 255, 255, 255].into(),
            ports: None,
            ..headers
        });
        let bare = Dropped {
            reason: DropReason::EthernetTruncated,
            rule: None,
            in_interface: None,
            state: None,
            packet: None,
            ..whole
        };
        let all = [
            whole,
            Dropped {
                packet: ipv4,
                ..whole
            },
            bare,
        ];
        let recent = Recent::default();
        all.iter().for_each(|dropped| recent.note(dropped));
        let read: Vec<(u64, Dropped)> = recent.read().collect();
        assert_eq!(read, [(0, all[0]), (1, all[1]), (2, all[2])]);
    }

    #[test]
    fn every_reason_and_state_is_read_as_it_was() {
        let recent = Recent::default();
        for reason in DropReason::ALL {
            for state in ConnState::ALL {
                let one = Dropped {
                    reason: *reason,
                    state: Some(state),
                    ..dropped(1)
                };
                recent.note(&one);
                assert_eq!(recent.read().last().map(|(_, read)| read), Some(one));
            }
        }
    }

    #[test]
    fn the_oldest_give_way_and_keep_their_numbers() {
        let recent = Recent::default();
        (0..2_500).for_each(|n| recent.note(&dropped(n)));
        let numbers: Vec<u64> = recent.read().map(|(number, _)| number).collect();
        assert_eq!(numbers.len(), RECENT_MAX);
        assert_eq!((numbers[0], recent.noted()), (2_500 - 1_024, 2_500));
        assert!(
            recent
                .read()
                .all(|(number, read)| u64::from(read.generation.0) == number)
        );
    }

    #[test]
    fn a_reader_beside_the_writer_sees_whole_drops_only() {
        const ENOUGH: u64 = 100_000;
        let recent = Recent::default();
        let stop = AtomicBool::new(false);
        let seen = AtomicU64::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    for (number, read) in recent.read() {
                        assert_eq!(Some(read), u32::try_from(number).ok().map(dropped));
                        seen.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            for n in 0..50_000_000 {
                recent.note(&dropped(n));
                if seen.load(Ordering::Relaxed) > ENOUGH {
                    break;
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(seen.load(Ordering::Relaxed) > ENOUGH);
    }
}
