//! What replay has to know of a frame before it is fed, and after it was sent.
//!
//! This is not the pipeline's parser: it looks only as far as it must, and what it does not
//! understand it leaves alone for the pipeline to judge.

use std::net::IpAddr;

use turnpike_pipeline::ids::Mac;

const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;
const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// The two bytes at `at`, in network order.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|b| u16::from_be_bytes(*b))
}

/// The identifier of the outer VLAN tag, `None` for an untagged frame.
pub fn vlan(frame: &[u8]) -> Option<u16> {
    match u16_at(frame, 12)? {
        VLAN | SERVICE_VLAN => Some(u16_at(frame, 14)? & 0x0fff),
        _ => None,
    }
}

/// Where the payload starts behind up to two tags, and its Ethernet type.
pub fn payload(frame: &[u8]) -> Option<(usize, u16)> {
    let mut at = 12;
    for _ in 0..3 {
        let ethertype = u16_at(frame, at)?;
        match ethertype {
            VLAN | SERVICE_VLAN => at += 4,
            _ => return Some((at + 2, ethertype)),
        }
    }
    None
}

/// Who sent it: the source of an IP packet, the sender of an ARP packet.
pub fn sender(frame: &[u8]) -> Option<IpAddr> {
    let (at, ethertype) = payload(frame)?;
    let address = |from: usize, bytes: usize| frame.get(at + from..at + from + bytes);
    match ethertype {
        IPV4 => Some(<[u8; 4]>::try_from(address(12, 4)?).ok()?.into()),
        IPV6 => Some(<[u8; 16]>::try_from(address(8, 16)?).ok()?.into()),
        ARP => Some(<[u8; 4]>::try_from(address(14, 4)?).ok()?.into()),
        _ => None,
    }
}

/// Readdresses a frame that was captured on its way to another station to the one it enters now;
/// what goes to a group stays as it is, unless its packet is for one host.
pub fn address_to(frame: &mut [u8], station: Mac) {
    let to_host = is_for_one_host(frame);
    if let Some(destination) = frame.first_chunk_mut::<6>()
        && (to_host || !Mac(*destination).is_multicast())
    {
        *destination = station.0;
    }
}

/// Whether it holds an IP packet whose destination is no group.
fn is_for_one_host(frame: &[u8]) -> bool {
    let Some((at, ethertype)) = payload(frame) else {
        return false;
    };
    match ethertype {
        // Classes D and E, with the limited broadcast at their end.
        IPV4 => frame.get(at + 16).is_some_and(|first| *first < 224),
        IPV6 => frame.get(at + 24).is_some_and(|first| *first != 0xff),
        _ => false,
    }
}

/// Puts a VLAN tag into a frame that has none: it was captured behind the interface it enters.
pub fn tag(frame: &mut Vec<u8>, id: u16) {
    if frame.len() >= 14 && vlan(frame).is_none() {
        let [high, low] = (id & 0x0fff).to_be_bytes();
        frame.splice(12..12, [0x81, 0x00, high, low]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(ethertype: u16, payload: &[u8]) -> Vec<u8> {
        [&[2; 12][..], &ethertype.to_be_bytes(), payload].concat()
    }

    #[test]
    fn the_sender_of_each_kind_is_found_behind_tags_too() {
        let mut v4 = frame(0x0800, &[&[0x45; 12][..], &[10, 0, 0, 7], &[9; 4]].concat());
        assert_eq!(sender(&v4), Some([10, 0, 0, 7].into()));
        tag(&mut v4, 20);
        assert_eq!(
            (vlan(&v4), sender(&v4)),
            (Some(20), Some([10, 0, 0, 7].into()))
        );
        let v6 = frame(0x86dd, &[&[0x60; 8][..], &[0x20; 16]].concat());
        assert_eq!(sender(&v6), Some([0x20; 16].into()));
        let arp = frame(0x0806, &[&[0; 14][..], &[10, 0, 0, 8]].concat());
        assert_eq!(sender(&arp), Some([10, 0, 0, 8].into()));
        assert_eq!(sender(&frame(0x0800, &[0x45; 15])), None);
        assert_eq!(sender(&frame(0x88cc, &[0; 60])), None);
        assert_eq!(sender(&[]), None);
    }

    #[test]
    fn a_tagged_frame_is_not_tagged_again() {
        let mut tagged = frame(0x0800, &[1, 2]);
        tag(&mut tagged, 0x0123);
        let once = tagged.clone();
        tag(&mut tagged, 7);
        assert_eq!(tagged, once);
        assert_eq!(once[12..], [0x81, 0, 0x01, 0x23, 8, 0, 1, 2]);
    }

    #[test]
    fn groups_keep_their_address_and_stations_lose_it() {
        let mut unicast = frame(0x0800, &[]);
        address_to(&mut unicast, Mac([4; 6]));
        assert_eq!(unicast[..6], [4; 6]);
        let mut group = [&[0x33, 0x33, 0, 0, 0, 1][..], &[0; 8]].concat();
        address_to(&mut group, Mac([4; 6]));
        assert_eq!(group[..2], [0x33, 0x33]);
        address_to(&mut [0; 5], Mac([4; 6]));
    }

    #[test]
    fn a_packet_for_one_host_is_readdressed_even_in_a_frame_for_everybody() {
        let taken = |ethertype: u16, destination_at: usize, first: u8| {
            let mut packet = [0; 40];
            packet[destination_at] = first;
            let mut frame = frame(ethertype, &packet);
            frame[..6].fill(0xff);
            address_to(&mut frame, Mac([4; 6]));
            frame[..6] == [4; 6]
        };
        assert!(taken(0x0800, 16, 10) && taken(0x86dd, 24, 0x20));
        assert!(!taken(0x0800, 16, 255) && !taken(0x0800, 16, 224) && !taken(0x86dd, 24, 0xff));
        assert!(!taken(0x0806, 24, 10));
    }
}
