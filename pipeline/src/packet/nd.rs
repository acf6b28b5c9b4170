//! IPv6 neighbour discovery: solicitations and advertisements (RFC 4861 sections 4.3, 4.4, 7).

use turnpike_conntrack::tuple::Proto;

use super::bytes::{array_at, u8_at};
use super::frame::{Addresses, FrameWriter, IpFields};
use super::headers::{ICMPV6_NEIGHBOUR_ADVERTISEMENT, ICMPV6_NEIGHBOUR_SOLICITATION};
use super::parse::{Fragment, Net, Parsed};
use super::verify::verify_l4;
use crate::buffer::Buffer;
use crate::ids::Mac;
use turnpike_conntrack::segment::Checksum;

const UNSPECIFIED: [u8; 16] = [0; 16];
const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// The hop limit of every ND packet: it has crossed no router.
const HOP_LIMIT: u8 = 255;
/// Length of both messages without options.
const MESSAGE_LEN: usize = 24;

const OPTION_SOURCE_LINK: u8 = 1;
const OPTION_TARGET_LINK: u8 = 2;

const FLAG_ROUTER: u8 = 0x80;
const FLAG_SOLICITED: u8 = 0x40;
const FLAG_OVERRIDE: u8 = 0x20;

/// One side of a neighbour exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Station6 {
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its IPv6 address.
    pub ip: [u8; 16],
}

/// A valid neighbour discovery message of the two kinds that resolve addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Nd {
    /// "Who has `target`?"
    Solicitation(Solicitation),
    /// "`target` is here."
    Advertisement(Advertisement),
}

/// A neighbour solicitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Solicitation {
    /// Who asks; unspecified if it wants to know whether an address is free.
    pub from: [u8; 16],
    /// Whose address is wanted.
    pub target: [u8; 16],
    /// The Ethernet address of who asks.
    pub link: Option<Mac>,
}

/// A neighbour advertisement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Advertisement {
    /// Whose address it is about.
    pub target: [u8; 16],
    /// Its Ethernet address.
    pub link: Option<Mac>,
    /// Whether the target is a router.
    pub router: bool,
    /// Whether it answers a solicitation.
    pub solicited: bool,
    /// Whether it replaces what is known.
    pub overrides: bool,
}

/// Whether the packet is of neighbour or router discovery, well-formed or not.
pub const fn is_discovery(parsed: &Parsed) -> bool {
    matches!(
        (parsed.proto, parsed.icmp()),
        (Proto::ICMPV6, Some((133..=137, _)))
    )
}

/// Whether the packet is a neighbour solicitation or advertisement, well-formed or not.
pub const fn is_resolution(parsed: &Parsed) -> bool {
    matches!(
        (parsed.proto, parsed.icmp()),
        (Proto::ICMPV6, Some((135 | 136, _)))
    )
}

/// Whether the packet is of multicast listener discovery (RFC 2710, RFC 3810).
pub const fn is_listener_discovery(parsed: &Parsed) -> bool {
    matches!(
        (parsed.proto, parsed.icmp()),
        (Proto::ICMPV6, Some((130..=132 | 143, _)))
    )
}

/// The neighbour discovery message in `buf`.
///
/// `None` if it is none, or fails one of the checks of RFC 4861 sections 7.1.1 and 7.1.2: hop
/// limit 255, checksum, code zero, length, option lengths, addresses; or if it is not in the head.
pub fn read<B: Buffer>(buf: &B, parsed: &Parsed) -> Option<Nd> {
    let (kind, code) = parsed.icmp()?;
    let fits = parsed.net == Net::V6
        && parsed.proto == Proto::ICMPV6
        && parsed.ttl == HOP_LIMIT
        && parsed.fragment == Fragment::Whole
        && code == 0;
    if !fits {
        return None;
    }
    let l3 = usize::from(parsed.l3);
    let end = l3 + parsed.ip_len as usize;
    let ip = buf.head().get(l3..end)?;
    let message = buf.head().get(usize::from(parsed.l4)..end)?;
    let target: [u8; 16] = array_at(message, 8)?;
    let options = message.get(MESSAGE_LEN..)?;
    if target[0] == 0xff || verify_l4(buf, parsed) == Checksum::Bad {
        return None;
    }
    let src: [u8; 16] = array_at(ip, 8)?;
    let dst: [u8; 16] = array_at(ip, 24)?;
    match kind {
        ICMPV6_NEIGHBOUR_SOLICITATION => {
            let link = link_option(options, OPTION_SOURCE_LINK)?;
            let probe = src == UNSPECIFIED;
            if probe && (link.is_some() || !is_solicited_node(dst)) {
                return None;
            }
            Some(Nd::Solicitation(Solicitation {
                from: src,
                target,
                link,
            }))
        }
        ICMPV6_NEIGHBOUR_ADVERTISEMENT => {
            let flags = u8_at(message, 4)?;
            let solicited = flags & FLAG_SOLICITED != 0;
            if solicited && dst[0] == 0xff {
                return None;
            }
            Some(Nd::Advertisement(Advertisement {
                target,
                link: link_option(options, OPTION_TARGET_LINK)?,
                router: flags & FLAG_ROUTER != 0,
                solicited,
                overrides: flags & FLAG_OVERRIDE != 0,
            }))
        }
        _ => None,
    }
}

/// The Ethernet address in the option `wanted`; `None` outside if the options do not parse.
#[expect(
    clippy::option_option,
    reason = "broken options and an absent option are different ends"
)]
fn link_option(mut options: &[u8], wanted: u8) -> Option<Option<Mac>> {
    let mut found = None;
    while let [kind, len, ..] = options {
        let len = 8 * usize::from(*len);
        if len == 0 {
            return None;
        }
        let (option, rest) = options.split_at_checked(len)?;
        if *kind == wanted && len == 8 {
            found = array_at(option, 2).map(Mac);
        }
        options = rest;
    }
    options.is_empty().then_some(found)
}

/// Where a solicitation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SolicitTo {
    /// To the target's solicited-node group: nobody knows where it is.
    Group,
    /// To where it was last: is it still there?
    Unicast(Mac),
}

/// Writes a frame that asks who has `target`.
pub fn solicit(out: &mut Vec<u8>, from: Station6, target: [u8; 16], to: SolicitTo) {
    let (mac, dst) = match to {
        SolicitTo::Group => {
            let group = solicited_node(target);
            (multicast_mac(group), group)
        }
        SolicitTo::Unicast(mac) => (mac, target),
    };
    let head = [ICMPV6_NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    write(out, from, (mac, dst), head, target, OPTION_SOURCE_LINK);
}

/// Writes a frame that answers a solicitation for `from`.
///
/// It goes to who asked at `to_mac`, or to all nodes if the question came from no address.
pub fn advertise(out: &mut Vec<u8>, from: Station6, asked: &Solicitation, to_mac: Mac) {
    if asked.from == UNSPECIFIED {
        announce(out, from);
        return;
    }
    let flags = FLAG_ROUTER | FLAG_SOLICITED | FLAG_OVERRIDE;
    let head = [ICMPV6_NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
    let to = (to_mac, asked.from);
    write(out, from, to, head, from.ip, OPTION_TARGET_LINK);
}

/// Writes a frame that tells all nodes where `station` is (an unsolicited advertisement).
pub fn announce(out: &mut Vec<u8>, station: Station6) {
    let flags = FLAG_ROUTER | FLAG_OVERRIDE;
    let head = [ICMPV6_NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
    let to = (multicast_mac(ALL_NODES), ALL_NODES);
    write(out, station, to, head, station.ip, OPTION_TARGET_LINK);
}

fn write(
    out: &mut Vec<u8>,
    from: Station6,
    (mac, dst): (Mac, [u8; 16]),
    head: [u8; 8],
    target: [u8; 16],
    option: u8,
) {
    let fields = IpFields {
        addresses: Addresses::V6 { src: from.ip, dst },
        proto: Proto::ICMPV6,
        ttl: HOP_LIMIT,
        tos: 0,
        id: 0,
        flags: 0,
    };
    let mut frame = FrameWriter::start(out, mac, from.mac, fields);
    frame.push(&head).push(&target);
    frame.push(&[option, 1]).push(&from.mac.0);
    // Thirty-two bytes always fit.
    frame.finish(Some(2)).unwrap_or_default();
}

/// The group every owner of `address` listens to (RFC 4291 section 2.7.1).
pub const fn solicited_node(address: [u8; 16]) -> [u8; 16] {
    let [.., a, b, c] = address;
    [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]
}

fn is_solicited_node(address: [u8; 16]) -> bool {
    solicited_node(address) == address
}

/// The Ethernet address of an IPv6 group (RFC 2464 section 7).
pub const fn multicast_mac(group: [u8; 16]) -> Mac {
    let [.., a, b, c, d] = group;
    Mac([0x33, 0x33, a, b, c, d])
}
