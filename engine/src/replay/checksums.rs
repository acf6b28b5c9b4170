//! `--fix-checksums`: what the sender's network card would have filled in.
//!
//! Captures taken on a host with checksum offload hold packets whose checksums were never
//! finished. IPv4 headers, TCP, UDP, SCTP, ICMP and ICMPv6 are recomputed; a UDP checksum of zero
//! over IPv4 means "none" and stays. What cannot be whole is left alone: fragments, and packets of
//! which the capture kept only a part. So are DCCP and UDP-Lite, whose checksums no card finishes,
//! and packets quoted or tunnelled inside others.

use turnpike_pipeline::packet::sctp;

use super::frame;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
/// The most extension headers looked behind; the pipeline refuses more.
const EXTENSIONS_MAX: usize = 8;

/// Recomputes the checksums of the packet in an Ethernet frame.
pub fn fix(frame: &mut [u8]) {
    let Some((at, ethertype)) = frame::payload(frame) else {
        return;
    };
    let Some(packet) = frame.get_mut(at..) else {
        return;
    };
    // Nothing to do is not a failure: `None` only says where a packet was too short.
    let _fixed = match ethertype {
        IPV4 => fix_ipv4(packet),
        IPV6 => fix_ipv6(packet),
        _ => None,
    };
}

fn fix_ipv4(packet: &mut [u8]) -> Option<()> {
    let header_len = usize::from(packet.first()? & 0x0f) * 4;
    if header_len < 20 {
        return None;
    }
    let header = packet.get_mut(..header_len)?;
    put(header, 10, 0)?;
    let sum = finish(sum(header, 0));
    put(header, 10, sum)?;

    let total = usize::from(frame::u16_at(packet, 2)?);
    let fragment = frame::u16_at(packet, 6)? & 0x3fff;
    let protocol = *packet.get(9)?;
    if fragment != 0 {
        return None;
    }
    let pseudo = sum_addresses(
        packet.get(12..20)?,
        protocol,
        total.checked_sub(header_len)?,
    );
    fix_l4(packet.get_mut(header_len..total)?, protocol, pseudo)
}

fn fix_ipv6(packet: &mut [u8]) -> Option<()> {
    let total = 40 + usize::from(frame::u16_at(packet, 4)?);
    let (at, protocol) = behind_extensions(packet)?;
    let pseudo = sum_addresses(packet.get(8..40)?, protocol, total.checked_sub(at)?);
    match protocol {
        // Without a pseudo header and with this number it is IPv4's, lost in IPv6.
        ICMP => None,
        _ => fix_l4(packet.get_mut(at..total)?, protocol, pseudo),
    }
}

/// Where the upper layer starts, `None` if it is not there: fragments, encryption.
fn behind_extensions(packet: &[u8]) -> Option<(usize, u8)> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const DESTINATION: u8 = 60;
    let (mut at, mut next) = (40, *packet.get(6)?);
    for _ in 0..=EXTENSIONS_MAX {
        match next {
            // With segments left, the destination in the header is not the one that was summed.
            ROUTING if *packet.get(at + 3)? != 0 => return None,
            HOP_BY_HOP | ROUTING | DESTINATION => {
                next = *packet.get(at)?;
                at += 8 + usize::from(*packet.get(at + 1)?) * 8;
            }
            _ => return Some((at, next)),
        }
    }
    None
}

/// Recomputes the checksum of one whole upper-layer packet.
fn fix_l4(segment: &mut [u8], protocol: u8, pseudo: u64) -> Option<()> {
    let (at, start) = match protocol {
        TCP => (16, pseudo),
        UDP => (6, pseudo),
        ICMPV6 => (2, pseudo),
        ICMP => (2, 0),
        SCTP => {
            sctp::seal(segment);
            return Some(());
        }
        _ => return None,
    };
    let before = frame::u16_at(segment, at)?;
    if protocol == UDP && before == 0 {
        return None;
    }
    put(segment, at, 0)?;
    let sum = finish(sum(segment, start));
    // A computed zero is sent as its other representation, because zero means "none" in UDP.
    put(
        segment,
        at,
        if protocol == UDP && sum == 0 {
            0xffff
        } else {
            sum
        },
    )
}

fn sum_addresses(addresses: &[u8], protocol: u8, length: usize) -> u64 {
    sum(addresses, u64::from(protocol) + length as u64)
}

/// Adds up 16-bit words; an odd last byte counts as the upper half of one.
fn sum(bytes: &[u8], start: u64) -> u64 {
    let (words, rest) = bytes.as_chunks::<2>();
    let odd = rest.first().map_or(0, |b| u64::from(*b) << 8);
    words.iter().fold(start + odd, |sum, word| {
        sum + u64::from(u16::from_be_bytes(*word))
    })
}

/// Folds the carries in and complements.
fn finish(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).map_or(0, |folded| !folded)
}

fn put(bytes: &mut [u8], at: usize, value: u16) -> Option<()> {
    *bytes.get_mut(at..)?.first_chunk_mut()? = value.to_be_bytes();
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: usize = 14;

    /// A UDP datagram of a query, as captured off a wire: every checksum right.
    fn good_udp4() -> Vec<u8> {
        let mut bytes = vec![2; 12];
        bytes.extend([
            0x08, 0x00, 0x45, 0x00, 0x00, 0x21, 0x00, 0x01, 0x00, 0x00, 0x40, 0x11, 0x66, 0xc9,
            0x0a, 0x00, 0x00, 0x01, 0x0a, 0x00, 0x00, 0x02, 0x04, 0xd2, 0x00, 0x35, 0x00, 0x0d,
            0xa2, 0xf8, 0x68, 0x65, 0x6c, 0x6c, 0x6f,
        ]);
        bytes
    }

    /// The sum over what a right checksum covers is all ones.
    fn verifies(covered: &[u8], start: u64) -> bool {
        finish(sum(covered, start)) == 0
    }

    #[test]
    fn right_checksums_stay_and_wrong_ones_become_right() {
        let good = good_udp4();
        let mut fixed = good.clone();
        fix(&mut fixed);
        assert_eq!(fixed, good);
        fixed[HEADER + 10] ^= 0x55;
        fixed[HEADER + 26] ^= 0xaa;
        fix(&mut fixed);
        assert_eq!(fixed, good);
    }

    #[test]
    fn a_udp_checksum_of_zero_stays_zero() {
        let mut bytes = good_udp4();
        bytes[HEADER + 26..HEADER + 28].fill(0);
        fix(&mut bytes);
        assert_eq!(bytes[HEADER + 26..HEADER + 28], [0, 0]);
    }

    #[test]
    fn padding_behind_the_packet_is_not_summed() {
        let good = good_udp4();
        let mut padded = good.clone();
        padded.resize(60, 0x77);
        padded[HEADER + 26] ^= 0xff;
        fix(&mut padded);
        assert_eq!(padded[..good.len()], good);
    }

    #[test]
    fn fragments_and_cut_packets_keep_their_upper_checksum() {
        let mut fragment = good_udp4();
        fragment[HEADER + 6] = 0x20;
        fragment[HEADER + 26] ^= 0xff;
        let upper = fragment[HEADER + 20..].to_vec();
        fix(&mut fragment);
        assert_eq!(fragment[HEADER + 20..], upper);
        assert!(
            verifies(&fragment[HEADER..HEADER + 20], 0),
            "the header is fixed all the same"
        );
        let mut cut = good_udp4();
        cut.pop();
        cut[HEADER + 26] ^= 0xff;
        let before = cut.clone();
        fix(&mut cut);
        assert_eq!(cut, before);
    }

    #[test]
    fn tcp_behind_an_extension_header_is_fixed() {
        let mut bytes = vec![2; 12];
        bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 28, 60, 64]);
        bytes.extend([0x20; 32]);
        bytes.extend([6, 0, 1, 4, 0, 0, 0, 0]);
        bytes.extend([0x13; 20]);
        fix(&mut bytes);
        let packet = &bytes[HEADER..];
        assert!(verifies(
            &packet[48..],
            sum_addresses(&packet[8..40], TCP, 20)
        ));
        assert_ne!(packet[64..66], [0x13, 0x13]);
    }

    #[test]
    fn icmp_has_no_pseudo_header_and_icmpv6_has_one() {
        let mut v4 = good_udp4();
        v4[HEADER + 9] = ICMP;
        fix(&mut v4);
        assert!(verifies(&v4[HEADER + 20..], 0));
        let mut v6 = vec![2; 12];
        v6.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, ICMPV6, 64]);
        v6.extend([0xfe; 32]);
        v6.extend([128, 0, 9, 9, 0, 1, 0, 2]);
        fix(&mut v6);
        let packet = &v6[HEADER..];
        assert!(verifies(
            &packet[40..],
            sum_addresses(&packet[8..40], ICMPV6, 8)
        ));
    }

    #[test]
    fn an_unfinished_sctp_checksum_is_finished() {
        let at = |last| std::net::SocketAddr::from(([10, 0, 0, last], 9));
        let craft = turnpike_pipeline::packet::craft::Craft::sctp(at(1), at(2), 7);
        let good = craft.and_then(|c| c.payload_len(21).frame()).unwrap();
        let mut unfinished = good.clone();
        unfinished[HEADER + 28..HEADER + 32].fill(0);
        fix(&mut unfinished);
        assert_eq!(unfinished, good);
    }

    #[test]
    fn short_and_contradictory_packets_are_left_alone() {
        let whole = good_udp4();
        for length in 0..whole.len() {
            fix(&mut whole[..length].to_vec());
        }
        let mut tiny_header = whole.clone();
        tiny_header[HEADER] = 0x41;
        let before = tiny_header.clone();
        fix(&mut tiny_header);
        assert_eq!(tiny_header, before);
    }
}
