//! ARP for IPv4 over Ethernet (RFC 826, announcements as in RFC 5227).

use super::bytes::{array_at, u16_at};
use super::frame::ethernet;
use super::headers::{ETHERTYPE_ARP, ETHERTYPE_IPV4};
use super::parse::{Net, Parsed};
use crate::ids::Mac;

/// Hardware type Ethernet.
const HARDWARE_ETHERNET: u16 = 1;
/// Lengths of the two kinds of address.
const ADDRESS_LENGTHS: u16 = 0x0604;

/// One side of an ARP exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Station {
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its IPv4 address.
    pub ip: [u8; 4],
}

/// Asking or answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArpKind {
    /// "Who has the target's IPv4 address?"
    Request,
    /// "The sender has it."
    Reply,
}

/// An ARP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Arp {
    /// Asking or answering.
    pub kind: ArpKind,
    /// Who sent it.
    pub sender: Station,
    /// Whom it asks for, or answers.
    pub target: Station,
}

/// The ARP packet in `head`; `None` if the frame is none.
pub fn read(head: &[u8], parsed: &Parsed) -> Option<Arp> {
    match parsed.net {
        Net::Arp => read_at(head, usize::from(parsed.l3)),
        Net::V4 | Net::V6 => None,
    }
}

/// The ARP packet at `at`; `None` unless it is whole, of Ethernet and IPv4, request or reply.
pub(super) fn read_at(bytes: &[u8], at: usize) -> Option<Arp> {
    let well_formed = u16_at(bytes, at)? == HARDWARE_ETHERNET
        && u16_at(bytes, at + 2)? == ETHERTYPE_IPV4
        && u16_at(bytes, at + 4)? == ADDRESS_LENGTHS;
    if !well_formed {
        return None;
    }
    let kind = match u16_at(bytes, at + 6)? {
        1 => ArpKind::Request,
        2 => ArpKind::Reply,
        _ => return None,
    };
    let station = |at| {
        Some(Station {
            mac: Mac(array_at(bytes, at)?),
            ip: array_at(bytes, at + 6)?,
        })
    };
    Some(Arp {
        kind,
        sender: station(at + 8)?,
        target: station(at + 18)?,
    })
}

/// Writes a frame that asks `to` (usually [`Mac::BROADCAST`]) who has `wanted`.
pub fn request(out: &mut Vec<u8>, from: Station, to: Mac, wanted: [u8; 4]) {
    let target = Station {
        mac: Mac::default(),
        ip: wanted,
    };
    let arp = Arp {
        kind: ArpKind::Request,
        sender: from,
        target,
    };
    write(out, to, &arp);
}

/// Writes a frame that tells `to` that `from` has its address.
pub fn reply(out: &mut Vec<u8>, from: Station, to: Station) {
    let arp = Arp {
        kind: ArpKind::Reply,
        sender: from,
        target: to,
    };
    write(out, to.mac, &arp);
}

/// Writes a frame that tells everybody that `station` has its address (gratuitous ARP).
pub fn announce(out: &mut Vec<u8>, station: Station) {
    request(out, station, Mac::BROADCAST, station.ip);
}

fn write(out: &mut Vec<u8>, to: Mac, arp: &Arp) {
    ethernet(out, to, arp.sender.mac, ETHERTYPE_ARP);
    let kind: u16 = match arp.kind {
        ArpKind::Request => 1,
        ArpKind::Reply => 2,
    };
    for word in [HARDWARE_ETHERNET, ETHERTYPE_IPV4, ADDRESS_LENGTHS, kind] {
        out.extend(word.to_be_bytes());
    }
    for station in [arp.sender, arp.target] {
        out.extend(station.mac.0);
        out.extend(station.ip);
    }
}
