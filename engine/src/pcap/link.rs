//! Link types of captures, and how each becomes an Ethernet frame.
//!
//! What a capture does not hold is made up: [`MADE_UP_MAC`] stands for every station that the
//! link type does not name. A packet to a group or to everybody gets the group's Ethernet address,
//! so that it is judged as what it was.

use turnpike_pipeline::ids::Mac;

/// The address of a station that the capture does not name: locally administered, "tp" in it.
pub const MADE_UP_MAC: Mac = Mac([0x02, 0x74, 0x70, 0, 0, 0x01]);

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Not an Ethernet type: what carries it is dropped as an unknown one.
const ETHERTYPE_NONE: u16 = 0;

/// The link types that can be turned into Ethernet frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Link {
    /// Ethernet frames (1).
    Ethernet,
    /// IP packets of either version (101, and 12 and 14 as written by some systems).
    Raw,
    /// IPv4 packets (228).
    RawV4,
    /// IPv6 packets (229).
    RawV6,
    /// Linux "any" device, 16-byte header (113).
    Cooked,
    /// Linux "any" device, 20-byte header (276).
    CookedV2,
    /// BSD loopback, address family in the byte order of the writer (0).
    Null,
    /// OpenBSD loopback, address family in network order (108).
    Loop,
}

impl Link {
    /// The link type with this number in the registry of capture link types.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Ethernet),
            12 | 14 | 101 => Some(Self::Raw),
            228 => Some(Self::RawV4),
            229 => Some(Self::RawV6),
            113 => Some(Self::Cooked),
            276 => Some(Self::CookedV2),
            0 => Some(Self::Null),
            108 => Some(Self::Loop),
            _ => None,
        }
    }

    /// The packet as an Ethernet frame.
    ///
    /// A packet that ends inside its link header becomes a frame that ends inside its Ethernet
    /// header, so that it is dropped as such and not invented.
    pub fn to_ethernet(self, packet: &[u8]) -> Vec<u8> {
        let framed = match self {
            Self::Ethernet => return packet.to_vec(),
            Self::Raw => Some(frame(MADE_UP_MAC, by_version(packet), packet)),
            Self::RawV4 => Some(frame(MADE_UP_MAC, ETHERTYPE_IPV4, packet)),
            Self::RawV6 => Some(frame(MADE_UP_MAC, ETHERTYPE_IPV6, packet)),
            Self::Cooked => cooked(packet),
            Self::CookedV2 => cooked_v2(packet),
            Self::Null => null(packet, |family| {
                // Address families are small numbers: the order in which this one is small is the
                // writer's.
                let little = u32::from_le_bytes(family);
                if little <= 0xffff {
                    little
                } else {
                    u32::from_be_bytes(family)
                }
            }),
            Self::Loop => null(packet, u32::from_be_bytes),
        };
        framed.unwrap_or_default()
    }
}

/// A frame around `payload`, to the group its IP destination names or to a made-up station.
fn frame(source: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let destination = group_of(ethertype, payload).unwrap_or(MADE_UP_MAC);
    let mut bytes = Vec::with_capacity(14 + payload.len());
    bytes.extend_from_slice(&destination.0);
    bytes.extend_from_slice(&source.0);
    bytes.extend_from_slice(&ethertype.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// What a raw packet says it is; one that says neither is presented as IPv4, to be refused there.
fn by_version(packet: &[u8]) -> u16 {
    match packet.first().map(|b| b >> 4) {
        Some(6) => ETHERTYPE_IPV6,
        Some(_) | None => ETHERTYPE_IPV4,
    }
}

/// The Ethernet address of the group a packet goes to, `None` if it goes to one station.
fn group_of(ethertype: u16, packet: &[u8]) -> Option<Mac> {
    match ethertype {
        ETHERTYPE_IPV4 => match *packet.get(16..20)? {
            [255, 255, 255, 255] => Some(Mac::BROADCAST),
            [224..=239, b, c, d] => Some(Mac([0x01, 0x00, 0x5e, b & 0x7f, c, d])),
            _ => None,
        },
        ETHERTYPE_IPV6 => match *packet.get(24..40)? {
            [0xff, .., a, b, c, d] => Some(Mac([0x33, 0x33, a, b, c, d])),
            _ => None,
        },
        _ => None,
    }
}

/// Linux cooked: packet type, hardware type, address length, address (8), protocol.
fn cooked(packet: &[u8]) -> Option<Vec<u8>> {
    let (header, payload) = packet.split_at_checked(16)?;
    let source = station(u16_at(header, 4)?, header.get(6..12)?);
    let mut bytes = frame(source, u16_at(header, 14)?, payload);
    address_by_kind(&mut bytes, u16_at(header, 0)?);
    Some(bytes)
}

/// Linux cooked v2: protocol, reserved (2), index (4), hardware type, packet type (1), address
/// length (1), address (8).
fn cooked_v2(packet: &[u8]) -> Option<Vec<u8>> {
    let (header, payload) = packet.split_at_checked(20)?;
    let source = station(u16::from(*header.get(11)?), header.get(12..18)?);
    let mut bytes = frame(source, u16_at(header, 0)?, payload);
    address_by_kind(&mut bytes, u16::from(*header.get(10)?));
    Some(bytes)
}

/// A four-byte address family, then the packet.
fn null(packet: &[u8], family: impl Fn([u8; 4]) -> u32) -> Option<Vec<u8>> {
    let (header, payload) = packet.split_first_chunk::<4>()?;
    let ethertype = match family(*header) {
        2 => ETHERTYPE_IPV4,
        // AF_INET6 of Linux, Windows, NetBSD and OpenBSD, FreeBSD, macOS.
        10 | 23 | 24 | 28 | 30 => ETHERTYPE_IPV6,
        _ => ETHERTYPE_NONE,
    };
    Some(frame(MADE_UP_MAC, ethertype, payload))
}

/// The sender a cooked header names, made up where it is no Ethernet station.
fn station(length: u16, address: &[u8]) -> Mac {
    match (length, <[u8; 6]>::try_from(address)) {
        (6, Ok(mac)) if mac != [0; 6] => Mac(mac),
        (_, Ok(_) | Err(_)) => MADE_UP_MAC,
    }
}

/// A cooked header tells broadcast from unicast where the packet itself does not.
fn address_by_kind(frame: &mut [u8], kind: u16) {
    const BROADCAST: u16 = 1;
    if kind == BROADCAST
        && let Some(destination) = frame.first_chunk_mut::<6>()
    {
        *destination = Mac::BROADCAST.0;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|b| u16::from_be_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first bytes of an IPv4 packet to `destination`.
    fn v4(destination: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1];
        packet.extend_from_slice(&destination);
        packet
    }

    fn v6(destination: [u8; 16]) -> Vec<u8> {
        let mut packet = vec![0x60; 24];
        packet.extend_from_slice(&destination);
        packet
    }

    fn parts(frame: &[u8]) -> (Mac, Mac, u16, &[u8]) {
        let mac = |at: usize| Mac(frame[at..at + 6].try_into().unwrap());
        (mac(0), mac(6), u16_at(frame, 12).unwrap(), &frame[14..])
    }

    #[test]
    fn ethernet_frames_stay_as_they_are() {
        assert_eq!(Link::Ethernet.to_ethernet(&[1, 2, 3]), [1, 2, 3]);
    }

    #[test]
    fn raw_packets_get_the_type_of_their_version() {
        let packet = v4([10, 0, 0, 2]);
        let frame = Link::Raw.to_ethernet(&packet);
        assert_eq!(
            parts(&frame),
            (MADE_UP_MAC, MADE_UP_MAC, 0x0800, &packet[..])
        );
        let packet = v6([0x20; 16]);
        let frame = Link::Raw.to_ethernet(&packet);
        assert_eq!(
            parts(&frame),
            (MADE_UP_MAC, MADE_UP_MAC, 0x86dd, &packet[..])
        );
        assert_eq!(parts(&Link::RawV6.to_ethernet(&v4([1; 4]))).2, 0x86dd);
        assert_eq!(parts(&Link::RawV4.to_ethernet(&packet)).2, 0x0800);
        assert_eq!(parts(&Link::Raw.to_ethernet(&[])).2, 0x0800);
    }

    #[test]
    fn groups_get_their_ethernet_address() {
        let to = |packet: &[u8]| parts(&Link::Raw.to_ethernet(packet)).0;
        assert_eq!(to(&v4([224, 129, 2, 3])), Mac([1, 0, 0x5e, 1, 2, 3]));
        assert_eq!(to(&v4([255; 4])), Mac::BROADCAST);
        let mut group = [0; 16];
        group[0] = 0xff;
        group[15] = 0xfb;
        assert_eq!(to(&v6(group)), Mac([0x33, 0x33, 0, 0, 0, 0xfb]));
    }

    #[test]
    fn cooked_packets_keep_their_sender_and_protocol() {
        let packet = v4([10, 0, 0, 255]);
        let mut cooked = vec![0, 0, 0, 1, 0, 6, 2, 3, 4, 5, 6, 7, 0, 0, 8, 0];
        cooked.extend_from_slice(&packet);
        let frame = Link::Cooked.to_ethernet(&cooked);
        let sender = Mac([2, 3, 4, 5, 6, 7]);
        assert_eq!(parts(&frame), (MADE_UP_MAC, sender, 0x0800, &packet[..]));
        cooked[1] = 1;
        assert_eq!(parts(&Link::Cooked.to_ethernet(&cooked)).0, Mac::BROADCAST);
        cooked[5] = 0;
        assert_eq!(parts(&Link::Cooked.to_ethernet(&cooked)).1, MADE_UP_MAC);

        let mut v2 = vec![8, 0, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 3, 4, 5, 6, 7, 0, 0];
        v2.extend_from_slice(&packet);
        let frame = Link::CookedV2.to_ethernet(&v2);
        assert_eq!(parts(&frame), (MADE_UP_MAC, sender, 0x0800, &packet[..]));
        v2[10] = 1;
        assert_eq!(parts(&Link::CookedV2.to_ethernet(&v2)).0, Mac::BROADCAST);
    }

    #[test]
    fn loopback_families_are_known_in_every_order() {
        let with = |family: [u8; 4]| [&family[..], &v4([10, 0, 0, 1])].concat();
        let kind = |link: Link, family| parts(&link.to_ethernet(&with(family))).2;
        assert_eq!(kind(Link::Null, [2, 0, 0, 0]), 0x0800);
        assert_eq!(kind(Link::Null, [0, 0, 0, 2]), 0x0800);
        assert_eq!(kind(Link::Null, [30, 0, 0, 0]), 0x86dd);
        assert_eq!(kind(Link::Loop, [0, 0, 0, 24]), 0x86dd);
        assert_eq!(kind(Link::Loop, [2, 0, 0, 0]), 0);
    }

    #[test]
    fn a_packet_cut_inside_its_link_header_stays_cut() {
        assert!(Link::Cooked.to_ethernet(&[0; 15]).is_empty());
        assert!(Link::CookedV2.to_ethernet(&[0; 19]).is_empty());
        assert!(Link::Null.to_ethernet(&[2, 0, 0]).is_empty());
    }
}
