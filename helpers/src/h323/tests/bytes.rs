//! Any bytes: nothing panics, nothing outside is edited, and nothing is announced that may not be;
//! and wherever a stream is cut, the same arrives.

use proptest::prelude::*;
use proptest::sample::Index;
use turnpike_conntrack::ids::Direction::{Original, Reply};

use super::super::per::{self, FOUND_MAX, Place, Stop, Type};
use super::super::{CallSignalling, MediaControl, Registration, h225, h245, ras};
use super::generate::{Dice, Encoding};
use super::messages::{RELEASE_COMPLETE, SETUP, name, q931, tpkt};
use crate::helper::{Helper, Opener, Transport};
use crate::testing::{Dialogue, behind_nat};

/// A message of the type; some of its endpoints are ends of the connection, so that they matter.
fn message(of: &'static Type, seed: u64) -> Vec<u8> {
    let mut dice = Dice(seed | 1);
    let mut encoding = Encoding::default();
    encoding.add(of, Place::Told, &mut dice);
    let mut octets = encoding.octets();
    let ends = ["10.0.0.2", "198.51.100.7", "203.0.113.2"];
    for (_, at) in &encoding.endpoints {
        let end = format!("{}:{}", ends[dice.below(3) as usize], 900 + dice.below(300));
        if at.len() == 6 {
            octets[at.clone()].copy_from_slice(&name(end.parse().unwrap()));
        }
    }
    octets
}

/// A stream of such messages.
fn stream(of: &'static Type, seeds: &[u64]) -> Vec<u8> {
    let wrap = |seed: &u64| match std::ptr::eq(of, &h225::USER_INFORMATION) {
        true if seed.is_multiple_of(7) => q931(RELEASE_COMPLETE, 1, &message(of, *seed)),
        true => q931(SETUP, 1, &message(of, *seed)),
        false => tpkt(&message(of, *seed)),
    };
    seeds.iter().flat_map(wrap).collect()
}

/// Says all of it, in pieces of these lengths, and what arrives.
fn say<H: Helper>(dialogue: &mut Dialogue<H>, bytes: &[u8], cuts: &[usize]) -> Vec<u8> {
    let (mut rest, mut arrived) = (bytes, Vec::new());
    let mut cuts = cuts.iter().copied().cycle();
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(cuts.next().unwrap_or(1).clamp(1, rest.len()));
        arrived.extend(dialogue.say(Original, piece).unwrap());
        rest = behind;
    }
    arrived
}

/// What was announced is the sender's own, towards the receiver, and not below 1024.
fn within_the_rules<H: Helper>(dialogue: &Dialogue<H>) {
    for a in &dialogue.desk.announced {
        let own = match a.from {
            Original => "10.0.0.2",
            Reply => "198.51.100.7",
        };
        assert_eq!(a.wanted.listener.ip().to_string(), own);
        assert!(a.wanted.listener.port() >= 1024);
        assert_eq!(a.wanted.opener, Opener::Receiver);
    }
}

fn tcp<H: Helper>(helper: H) -> Dialogue<H> {
    Dialogue::new(helper, behind_nat(Transport::Tcp, 60_000, 1720))
}

/// Two readers of one kind are told the same, one in one piece; the same arrives.
fn however_cut<H: Helper + Clone>(helper: &H, bytes: &[u8], cuts: &[usize]) {
    let (mut whole, mut pieces) = (tcp(helper.clone()), tcp(helper.clone()));
    let arrived = say(&mut whole, bytes, &[bytes.len()]);
    assert_eq!(arrived.len(), bytes.len());
    assert_eq!(say(&mut pieces, bytes, cuts), arrived);
    assert_eq!(pieces.desk.announced, whole.desk.announced);
    within_the_rules(&whole);
}

/// What has been damaged a little, from both sides in turn.
fn damaged<H: Helper>(mut dialogue: Dialogue<H>, mut bytes: Vec<u8>, damage: &[(Index, u8)]) {
    for (at, octet) in damage {
        let at = at.index(bytes.len());
        bytes[at] = *octet;
    }
    for from in [Original, Reply, Original] {
        let arrived = dialogue.say(from, &bytes).unwrap();
        assert!(arrived.len() <= 3 * bytes.len());
        within_the_rules(&dialogue);
        if dialogue.left {
            return;
        }
        // The rest of a message that was cut would be the beginning of the next.
        if arrived.len() != bytes.len() {
            return;
        }
    }
}

fn seeds() -> impl Strategy<Value = Vec<u64>> {
    proptest::collection::vec(any::<u64>(), 1..6)
}

fn damage() -> impl Strategy<Value = Vec<(Index, u8)>> {
    proptest::collection::vec((any::<Index>(), any::<u8>()), 0..8)
}

proptest! {
    #[test]
    fn wherever_call_signalling_is_cut_the_same_arrives(
        seeds in seeds(),
        cuts in proptest::collection::vec(1..200_usize, 1..6),
    ) {
        let bytes = stream(&h225::USER_INFORMATION, &seeds);
        however_cut(&CallSignalling::new(), &bytes, &cuts);
    }

    #[test]
    fn wherever_the_control_of_media_is_cut_the_same_arrives(
        seeds in seeds(),
        cuts in proptest::collection::vec(1..90_usize, 1..6),
    ) {
        let bytes = stream(&h245::MESSAGE, &seeds);
        however_cut(&MediaControl::new(), &bytes, &cuts);
    }

    #[test]
    fn damaged_messages_panic_nowhere_and_announce_nothing_they_may_not(
        seeds in seeds(),
        damage in damage(),
    ) {
        let signalling = stream(&h225::USER_INFORMATION, &seeds);
        damaged(tcp(CallSignalling::new()), signalling, &damage);
        let media = stream(&h245::MESSAGE, &seeds);
        damaged(tcp(MediaControl::new()), media, &damage);
        let session = behind_nat(Transport::Udp, 1719, 1719);
        let request = message(&ras::MESSAGE, seeds[0]);
        damaged(Dialogue::new(Registration::new(), session), request, &damage);
    }

    #[test]
    fn any_bytes_panic_nowhere(bytes in proptest::collection::vec(any::<u8>(), 1..600)) {
        for of in [&h225::USER_INFORMATION, &h245::MESSAGE, &ras::MESSAGE] {
            if let Ok(found) = per::find(&bytes, 0..bytes.len(), of) {
                let mut end = 0;
                for found in &found.endpoints {
                    prop_assert!(end <= found.at.start && found.at.end <= bytes.len());
                    end = found.at.end;
                }
            }
        }
        damaged(tcp(CallSignalling::new()), bytes.clone(), &[]);
        damaged(tcp(CallSignalling::new()), tpkt(&bytes), &[]);
        damaged(tcp(CallSignalling::new()), q931(SETUP, 1, &bytes), &[]);
        damaged(tcp(MediaControl::new()), tpkt(&bytes), &[]);
        let session = behind_nat(Transport::Udp, 1719, 1719);
        damaged(Dialogue::new(Registration::new(), session), bytes, &[]);
    }
}

/// What is walked over, without following an octet of any message.
fn least_bits(of: &'static Type, depth: usize) -> usize {
    assert!(
        depth < 24,
        "the descriptions are nested too deeply, or have no end"
    );
    let deeper = |of| least_bits(of, depth + 1);
    match of {
        Type::Null | Type::Opaque => 0,
        Type::Flags(number) => *number,
        Type::Integer(low, high) | Type::Seconds(low, high) => usize::from(low < high),
        Type::Kind(_) => 1,
        Type::Octets(_)
        | Type::Text(..)
        | Type::Object
        | Type::Protocol(_)
        | Type::Ip4
        | Type::Ip6 => 1,
        Type::Sequence(fields, more) => {
            let required = fields.iter().map(|f| match (f.optional(), deeper(f.of())) {
                (true, _) => 1,
                (false, bits) => bits,
            });
            let known = additions(*more, depth);
            required.sum::<usize>() + known
        }
        Type::Choice(root, more) => {
            let least = root.iter().map(|t| deeper(t)).min().unwrap_or(0);
            least + usize::from(root.len() > 1) + additions(*more, depth)
        }
        Type::List(_, element) => {
            assert!(
                deeper(element) > 0,
                "elements of nothing could be without end"
            );
            1
        }
        Type::Encoded(inside) => {
            deeper(inside);
            1
        }
    }
}

/// The bit that says whether there are additions.
fn additions(more: per::More, depth: usize) -> usize {
    match more {
        per::More::Closed => 0,
        per::More::Open(known) => {
            for addition in known {
                least_bits(addition.of(), depth + 1);
            }
            1
        }
    }
}

#[test]
fn the_descriptions_have_an_end_and_each_element_of_a_list_takes_a_bit() {
    for of in [&h225::USER_INFORMATION, &h245::MESSAGE, &ras::MESSAGE] {
        assert!(least_bits(of, 0) > 0);
    }
}

#[test]
fn more_endpoints_than_are_noted_stay_as_they_are() {
    static LIST: Type = Type::List(per::Size::Any, &h225::ADDRESS);
    // A list of 200 endpoints: a choice and padding, address, port.
    let mut octets = vec![0x80, 200];
    (0..200).for_each(|_| octets.extend([0, 10, 0, 0, 2, 0x13, 0x88]));
    let found = per::find(&octets, 0..octets.len(), &LIST).unwrap();
    assert_eq!(found.endpoints.len(), FOUND_MAX);
}

#[test]
fn what_a_newer_version_has_added_is_skipped_by_its_length() {
    static OLD: Type = Type::Sequence(&[per::must(&Type::Ip4)], per::More::Open(&[]));
    static TWO: Type = Type::Sequence(&[per::must(&OLD), per::must(&OLD)], per::More::Closed);
    let plain = [0, 10, 0, 0, 2, 0x13, 0x88];
    // The same with 66 additions, of which the last is there: a long number, nine octets of bits.
    let mut extended = vec![0x80, 10, 0, 0, 2, 0x13, 0x88, 0x80, 66];
    extended.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x40, 3, 1, 2, 3]);
    let octets = [&extended[..], &plain].concat();
    let found = per::find(&octets, 0..octets.len(), &TWO).unwrap();
    let places: Vec<_> = found.endpoints.iter().map(|f| f.at.clone()).collect();
    assert_eq!(places, [1..7, octets.len() - 6..octets.len()]);
    for len in 0..octets.len() {
        assert_eq!(
            per::find(&octets, 0..len, &TWO),
            Err(Stop::Unreadable),
            "{len}"
        );
    }
}

#[test]
fn an_unreadable_part_of_known_length_hides_nothing_behind_it_and_names_nothing() {
    static TWO: Type = Type::Sequence(
        &[per::must(&Type::Ip4), per::must(&Type::Ip4)],
        per::More::Closed,
    );
    static PARTS: Type = Type::List(per::Size::Any, &Type::Encoded(&TWO));
    let endpoint = [10, 0, 0, 2, 0x13, 0x88];
    let good = [&[12][..], &endpoint, &endpoint].concat();
    // The second ends within the port of its second endpoint.
    let bad = [&[11][..], &endpoint, &endpoint[..5]].concat();
    let octets = [&[3][..], &good, &bad, &good].concat();
    let found = per::find(&octets, 0..octets.len(), &PARTS).unwrap();
    let places: Vec<_> = found.endpoints.iter().map(|f| f.at.clone()).collect();
    assert_eq!(places, [2..8, 8..14, 27..33, 33..39]);
}
