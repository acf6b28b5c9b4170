//! `per-connection-classifier`: into which class a flow falls.
//!
//! The hash is not keyed: the same flow falls into the same class at every worker, after every
//! reload and after a restart. Whoever chooses addresses and ports can choose the class, too, but
//! that is all there is to gain.

use std::net::IpAddr;

use turnpike_conntrack::hash::HashKey;

use crate::policy::{Classifier, FlowFields};
use crate::rules::facts::Facts;

/// Any bits, evenly spread: those of the fraction of pi.
const KEY: HashKey = HashKey([
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7344,
    0xa409_3822_299f_31d0,
    0x082e_fa98_ec4e_6c89,
]);

/// Whether a packet's flow is of the class that is asked for.
pub fn is_of_class(facts: &Facts, classifier: &Classifier) -> bool {
    class(facts, classifier) == Some(classifier.remainder.into())
}

/// The class that a packet's flow is of, among those that are told apart; `None` if there are none.
pub fn class(facts: &Facts, classifier: &Classifier) -> Option<u64> {
    let (fields, denominator) = (classifier.fields, classifier.denominator);
    let src = end(
        fields
            .contains(FlowFields::SRC_ADDRESS)
            .then_some(facts.src),
        fields
            .contains(FlowFields::SRC_PORT)
            .then_some(facts.src_port),
    );
    let dst = end(
        fields
            .contains(FlowFields::DST_ADDRESS)
            .then_some(facts.dst),
        fields
            .contains(FlowFields::DST_PORT)
            .then_some(facts.dst_port),
    );
    // A sum, in which both ends are alike.
    let hash = KEY.words(src.wrapping_add(dst), denominator.into());
    (hash >> 32).checked_rem(denominator.into())
}

/// The hash of one end, as far as it is asked for.
fn end(address: Option<IpAddr>, port: Option<Option<u16>>) -> u64 {
    let bits = match address {
        None => 0,
        Some(IpAddr::V4(ip)) => u128::from(ip.to_bits()),
        Some(IpAddr::V6(ip)) => ip.to_bits(),
    };
    let [high, low] = [bits >> 64, bits & u128::from(u64::MAX)]
        .map(|half| u64::try_from(half).unwrap_or_default());
    let port = u64::from(port.flatten().unwrap_or_default());
    KEY.words(KEY.words(high, port), low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bare, ip};
    use turnpike_conntrack::tuple::Proto;

    fn tcp(src: &str, dst: &str, ports: (u16, u16)) -> Facts {
        Facts {
            src_port: Some(ports.0),
            dst_port: Some(ports.1),
            ..bare(src, dst, Proto::TCP)
        }
    }

    fn of(facts: &Facts, fields: &str, denominator: u32) -> u64 {
        let known = FlowFields::CLASSIFIED.iter().find(|(w, _)| *w == fields);
        let classifier = Classifier {
            fields: known.unwrap().1,
            denominator,
            remainder: 0,
        };
        class(facts, &classifier).unwrap()
    }

    #[test]
    fn per_connection_classifier_gives_each_flow_exactly_one_class_and_spreads_them() {
        for (word, _) in FlowFields::CLASSIFIED {
            let mut seen = [0; 3];
            for n in 0..3_000_u16 {
                let [high, low] = n.to_be_bytes();
                let (src, dst) = (format!("10.0.{high}.{low}"), format!("10.1.{high}.{low}"));
                seen[usize::try_from(of(&tcp(&src, &dst, (n, n + 1)), word, 3)).unwrap()] += 1;
            }
            assert!(
                seen.iter().all(|n| (900..=1_100).contains(n)),
                "{word}: {seen:?}"
            );
        }
    }

    #[test]
    fn only_the_fields_that_are_asked_for_count() {
        let base = tcp("10.0.0.1", "10.0.0.2", (40_000, 80));
        let changed = [
            tcp("10.0.0.9", "10.0.0.2", (40_000, 80)),
            tcp("10.0.0.1", "10.0.0.9", (40_000, 80)),
            tcp("10.0.0.1", "10.0.0.2", (40_009, 80)),
            tcp("10.0.0.1", "10.0.0.2", (40_000, 89)),
        ];
        for (word, expected) in [
            ("src-address", [true, false, false, false]),
            ("dst-address", [false, true, false, false]),
            ("both-addresses", [true, true, false, false]),
            ("src-port", [false, false, true, false]),
            ("dst-port", [false, false, false, true]),
            ("both-ports", [false, false, true, true]),
            ("src-address-and-port", [true, false, true, false]),
            ("dst-address-and-port", [false, true, false, true]),
            ("both-addresses-and-ports", [true, true, true, true]),
        ] {
            let class = |facts: &Facts| of(facts, word, 1_000_000_007);
            let differs = changed.each_ref().map(|facts| class(facts) != class(&base));
            assert_eq!(differs, expected, "{word}");
        }
    }

    #[test]
    fn both_ends_are_classified_alike_in_both_directions_and_families() {
        for (a, b) in [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8:1::2")] {
            let there = tcp(a, b, (40_000, 80));
            let back = tcp(b, a, (80, 40_000));
            for word in ["both-addresses", "both-ports", "both-addresses-and-ports"] {
                assert_eq!(of(&there, word, 1_009), of(&back, word, 1_009), "{word}");
            }
            assert_ne!(
                of(&there, "src-address", 1_009),
                of(&back, "src-address", 1_009)
            );
        }
    }

    #[test]
    fn a_packet_without_ports_has_a_class_too() {
        let ping = Facts {
            dst: ip("10.0.0.9"),
            ..bare("10.0.0.1", "10.0.0.2", Proto::ICMP)
        };
        let classes = (0..4).filter(|remainder| {
            let classifier = Classifier {
                fields: FlowFields::CLASSIFIED[8].1,
                denominator: 4,
                remainder: *remainder,
            };
            is_of_class(&ping, &classifier)
        });
        assert_eq!(classes.count(), 1);
    }
}
