//! TLS ClientHellos that come in more than one segment.
//!
//! A segment that holds a server name from the first byte of its ClientHello to the last byte of
//! the name needs nothing here. Of a longer one what was read is kept per flow, and each next
//! segment goes on where the last one stopped. A place is kept for a while after the name was
//! complete: a rule that drops the packet which completes it has to see its repetition too.
//!
//! Promises: a fixed number of places, found by a keyed hash, the one that has waited longest
//! makes room; asking about one packet several times gives one answer. Segments that overtake
//! others are not put in order: what they bring is read when it is sent again, or never.

use std::net::IpAddr;
use std::time::Duration;

use turnpike_conntrack::hash::HashKey;
use turnpike_conntrack::time::Tick;
use turnpike_helpers::tls::{ClientHello, Progress};

use crate::buffer::Buffer;
use crate::packet::parse::Parsed;

/// The most unfinished ClientHellos per worker.
pub const HELLOS_MAX: usize = LINES * LINE;
/// How long the next segment of one may take, and how long a finished one is known.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

const LINES: usize = 64;
const LINE: usize = 4;

/// What was read of ClientHellos, by flow.
#[derive(Debug)]
pub struct Hellos {
    key: HashKey,
    lines: Box<[[Option<Place>; LINE]]>,
    /// A name that lay in one segment.
    whole: ClientHello,
}

/// A flow as its packets show it when they come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flow {
    ends: [(IpAddr, u16); 2],
}

#[derive(Debug)]
struct Place {
    flow: Flow,
    /// The sequence number of the first byte.
    start: u32,
    /// That of the byte which is read next, or was when the name was complete.
    next: u32,
    hello: ClientHello,
    progress: Progress,
    until: Tick,
}

impl Hellos {
    /// No ClientHello yet.
    pub fn new(key: HashKey) -> Self {
        Self {
            key,
            lines: (0..LINES).map(|_| [const { None }; LINE]).collect(),
            whole: ClientHello::default(),
        }
    }

    /// The server name whose last byte this packet has, in lower case.
    pub fn name<B: Buffer>(&mut self, buf: &B, parsed: &Parsed, now: Tick) -> Option<&[u8]> {
        let tcp = parsed.tcp()?;
        let len = parsed.payload_len();
        if len == 0 {
            return None;
        }
        let head = buf.head();
        let flow = Flow {
            ends: [
                (parsed.src_ip(head)?, tcp.src.0),
                (parsed.dst_ip(head)?, tcp.dst.0),
            ],
        };
        let line = flow.line(&self.key);
        let line = self.lines.get_mut(line)?;
        let known = line.iter_mut().position(|place| {
            place
                .as_ref()
                .is_some_and(|place| place.flow == flow && place.until > now)
        });
        if let Some(at) = known
            && let Some(place) = line.get_mut(at)?
        {
            match place.go_on(buf, parsed, (tcp.seq, len), now) {
                Met::Name => return Some(line.get(at)?.as_ref()?.hello.name()),
                Met::Nothing => return None,
                Met::Another => {}
            }
        }
        let mut hello = ClientHello::default();
        let (progress, taken) = read(&mut hello, buf, usize::from(parsed.payload));
        match progress {
            Progress::Nameless => return None,
            Progress::Named => {
                self.whole = hello;
                return Some(self.whole.name());
            }
            Progress::Unfinished => {}
        }
        let place = known.unwrap_or_else(|| oldest(line));
        *line.get_mut(place)? = Some(Place {
            flow,
            start: tcp.seq,
            next: tcp.seq.wrapping_add(taken),
            hello,
            progress,
            until: now.after(HELLO_TIMEOUT),
        });
        None
    }
}

impl Flow {
    fn line(&self, key: &HashKey) -> usize {
        let bits = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => (0, u64::from(ip.to_bits())),
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, g, h] = ip.segments().map(u64::from);
                (
                    a << 48 | b << 32 | c << 16 | d,
                    e << 48 | f << 32 | g << 16 | h,
                )
            }
        };
        let hash = self.ends.iter().fold(0, |hash, (ip, port)| {
            let (high, low) = bits(*ip);
            key.words(key.words(hash, high), low ^ u64::from(*port) << 48)
        });
        usize::try_from(hash % LINES as u64).unwrap_or(0)
    }
}

/// What a segment of a known flow is.
enum Met {
    /// It has the last byte of the name.
    Name,
    /// It goes on without completing anything, or is old, or ahead of what is awaited.
    Nothing,
    /// It is not of this ClientHello.
    Another,
}

impl Place {
    /// Reads what is new in a segment with `len` bytes from `seq` on.
    fn go_on<B: Buffer>(
        &mut self,
        buf: &B,
        parsed: &Parsed,
        (seq, len): (u32, u32),
        now: Tick,
    ) -> Met {
        let read_already = self.next.wrapping_sub(seq);
        let begun = self.next.wrapping_sub(self.start);
        if seq != self.start && begins_hello(buf, parsed) && read_already != 0 {
            return Met::Another;
        }
        if read_already > begun {
            // Ahead of what is awaited, or from before the first byte.
            return Met::Nothing;
        }
        match self.progress {
            Progress::Named if read_already <= len && read_already != 0 => return Met::Name,
            Progress::Named | Progress::Nameless => return Met::Nothing,
            Progress::Unfinished if read_already >= len => return Met::Nothing,
            Progress::Unfinished => {}
        }
        let fresh = usize::try_from(read_already).unwrap_or(usize::MAX);
        let (progress, taken) = read(&mut self.hello, buf, usize::from(parsed.payload) + fresh);
        self.progress = progress;
        self.next = self.next.wrapping_add(taken);
        self.until = now.after(HELLO_TIMEOUT);
        match progress {
            Progress::Named => Met::Name,
            Progress::Unfinished | Progress::Nameless => Met::Nothing,
        }
    }
}

/// Whether a segment looks like the first one of a ClientHello.
fn begins_hello<B: Buffer>(buf: &B, parsed: &Parsed) -> bool {
    let payload = buf.head().get(usize::from(parsed.payload)..);
    matches!(payload, Some([22, 3, _, _, _, 1, ..]))
}

/// Reads a frame's bytes from `skip` on; how many were taken.
fn read<B: Buffer>(hello: &mut ClientHello, buf: &B, mut skip: usize) -> (Progress, u32) {
    let mut progress = Progress::Unfinished;
    let mut taken = 0;
    buf.for_each_segment(|bytes| {
        let before = skip.min(bytes.len());
        skip -= before;
        if progress == Progress::Unfinished {
            let (now, took) = hello.read(bytes.get(before..).unwrap_or_default());
            progress = now;
            taken += took;
        }
    });
    (progress, u32::try_from(taken).unwrap_or(u32::MAX))
}

/// An empty place of a line, or the one that has waited longest.
fn oldest(line: &[Option<Place>; LINE]) -> usize {
    let waited = |place: &Option<Place>| place.as_ref().map(|place| place.until);
    let places = line.iter().enumerate();
    places
        .min_by_key(|(_, place)| waited(place))
        .map_or(0, |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::HeapBuffer;
    use crate::packet::craft::{Craft, TcpSpec};
    use crate::packet::parse::parse;
    use proptest::prelude::*;

    const NAME: &[u8] = b"www.example.org";

    fn hellos() -> Hellos {
        Hellos::new(HashKey([1, 2, 3, 4]))
    }

    /// A ClientHello for [`NAME`], and where the name ends.
    fn hello() -> (Vec<u8>, usize) {
        let length = |len: usize| u16::try_from(len).unwrap().to_be_bytes();
        let name = [&[0][..], &length(NAME.len()), NAME].concat();
        let list = [&length(name.len())[..], &name].concat();
        let extension = [&[0, 0][..], &length(list.len()), &list].concat();
        let extensions = [&extension[..], &[0, 23, 0, 0]].concat();
        let fixed = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 19, 1], &[1, 0]].concat();
        let body = [fixed, length(extensions.len()).into(), extensions].concat();
        let message = [&[1, 0][..], &length(body.len()), &body].concat();
        let record = [&[22, 3, 1][..], &length(message.len()), &message].concat();
        let end = record.len() - 4;
        (record, end)
    }

    /// The name that a segment completes.
    fn ask(hellos: &mut Hellos, port: u16, seq: u32, payload: &[u8], now: u64) -> Option<Vec<u8>> {
        let (src, dst) = (
            ([10, 0, 0, 2], port).into(),
            ([198, 51, 100, 7], 443).into(),
        );
        let spec = TcpSpec {
            flags: 0x10,
            seq,
            ..TcpSpec::default()
        };
        let craft = Craft::tcp(src, dst, spec).unwrap().payload(payload);
        let mut buf = HeapBuffer::new(craft.frame().unwrap(), 0);
        let parsed = parse(&mut buf).unwrap();
        let name = hellos.name(&buf, &parsed, Tick::from_secs(now))?;
        Some(name.to_vec())
    }

    #[test]
    fn a_name_in_one_segment_is_known_each_time_it_is_asked() {
        let (bytes, _) = hello();
        let mut hellos = hellos();
        for _ in 0..3 {
            assert_eq!(ask(&mut hellos, 1, 100, &bytes, 1).as_deref(), Some(NAME));
        }
        assert!(hellos.lines.iter().flatten().all(Option::is_none));
    }

    #[test]
    fn the_segment_that_completes_the_name_has_it_and_so_has_its_repetition() {
        let (bytes, end) = hello();
        let mut hellos = hellos();
        // Sequence numbers that wrap in the middle.
        let start = u32::MAX - 20;
        let segment = |hellos: &mut Hellos, from: usize, to: usize| {
            let seq = start.wrapping_add(u32::try_from(from).unwrap());
            ask(hellos, 1, seq, &bytes[from..to], 1).is_some()
        };
        for _asked_twice in 0..2 {
            assert!(!segment(&mut hellos, 0, 30));
        }
        assert!(!segment(&mut hellos, 60, bytes.len()), "ahead of the rest");
        assert!(!segment(&mut hellos, 30, 60));
        assert!(!segment(&mut hellos, 0, 30), "old");
        assert!(!segment(&mut hellos, 60, end - 1), "all but its last byte");
        for _asked_twice in 0..2 {
            assert!(segment(&mut hellos, end - 1, bytes.len()));
        }
        assert!(segment(&mut hellos, 40, bytes.len()), "sent again in one");
        assert!(!segment(&mut hellos, end, bytes.len()), "behind the name");
        assert!(!segment(&mut hellos, 30, 60), "before its end");
        let behind = start.wrapping_add(u32::try_from(bytes.len()).unwrap());
        assert_eq!(ask(&mut hellos, 1, behind, b"more", 1), None);
    }

    #[test]
    fn flows_do_not_meet_and_a_new_hello_takes_the_place_of_an_old_one() {
        let (bytes, _) = hello();
        let mut hellos = hellos();
        let rest = |hellos: &mut Hellos, port, seq| ask(hellos, port, seq, &bytes[50..], 2);
        ask(&mut hellos, 1, 100, &bytes[..50], 1);
        assert_eq!(rest(&mut hellos, 2, 150), None, "another port");
        // The same ports again, long before the first one's time is over.
        ask(&mut hellos, 1, 9_000, &bytes[..50], 2);
        assert_eq!(rest(&mut hellos, 1, 150), None);
        assert_eq!(rest(&mut hellos, 1, 9_050).as_deref(), Some(NAME));
    }

    #[test]
    fn what_waits_too_long_is_forgotten_and_places_are_few() {
        let (bytes, _) = hello();
        let mut hellos = hellos();
        ask(&mut hellos, 1, 100, &bytes[..50], 1);
        assert_eq!(ask(&mut hellos, 1, 150, &bytes[50..], 12), None);
        ask(&mut hellos, 1, 100, &bytes[..50], 20);
        for port in 2..2_000 {
            ask(&mut hellos, port, 100, &bytes[..50], 21);
        }
        let kept = hellos.lines.iter().flatten().flatten().count();
        assert!(kept <= HELLOS_MAX && kept > HELLOS_MAX / 2, "{kept}");
        assert_eq!(
            ask(&mut hellos, 1, 150, &bytes[50..], 22),
            None,
            "pushed out"
        );
        let last = ask(&mut hellos, 1_999, 150, &bytes[50..], 22);
        assert_eq!(last.as_deref(), Some(NAME));
    }

    proptest! {
        #[test]
        fn however_it_is_cut_one_segment_completes_the_name(
            cuts in proptest::collection::vec(1..40_usize, 1..6),
            start: u32,
        ) {
            let (bytes, end) = hello();
            let mut hellos = hellos();
            let (mut from, mut cuts) = (0, cuts.into_iter().cycle());
            while from < bytes.len() {
                let to = (from + cuts.next().unwrap_or(1)).min(bytes.len());
                let seq = start.wrapping_add(u32::try_from(from).unwrap());
                let named = ask(&mut hellos, 1, seq, &bytes[from..to], 1).is_some();
                prop_assert_eq!(named, from < end && end <= to);
                from = to;
            }
        }

        #[test]
        fn any_segments_are_read_without_harm(
            segments in proptest::collection::vec(
                (0..300_u32, 0..250_usize, 0..250_usize, 0..3_u16), 0..40),
        ) {
            let (bytes, _) = hello();
            let mut hellos = hellos();
            for (seq, from, to, port) in segments {
                let (from, to) = (from.min(bytes.len()), to.min(bytes.len()));
                let part = bytes.get(from..to).unwrap_or_default();
                let once = ask(&mut hellos, port, seq, part, 1);
                prop_assert_eq!(ask(&mut hellos, port, seq, part, 1), once);
            }
        }
    }
}
