//! Changing a frame's VLAN tags to those of the interface it leaves by.

use super::bytes::{array_at, put, put_u16};
use super::headers::{ETHERNET_LEN, ETHERTYPE_VLAN, VLAN_LEN};
use super::parse::{Parsed, VlanId};
use crate::buffer::{Buffer, NoRoom};

/// The tags a frame leaves with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tagging {
    /// None.
    Untagged,
    /// One 802.1Q tag of this priority; without one, a tag that is there already keeps its own and
    /// a new one has zero.
    Tagged(VlanId, Option<u8>),
}

impl Tagging {
    /// Whether a frame carries other tags than these.
    pub fn differs_from(self, parsed: &Parsed) -> bool {
        let (wanted, priority) = match self {
            Self::Untagged => (None, None),
            Self::Tagged(id, priority) => (Some(id), priority),
        };
        self.header_len() != usize::from(parsed.link.len)
            || parsed.link.vlan != wanted
            || priority.is_some_and(|priority| priority != parsed.link.priority)
    }

    const fn header_len(self) -> usize {
        match self {
            Self::Untagged => ETHERNET_LEN,
            Self::Tagged(..) => ETHERNET_LEN + VLAN_LEN,
        }
    }
}

/// Gives the frame these tags and moves the offsets of `parsed` with it.
///
/// # Errors
///
/// [`NoRoom`] when the buffer has no room for a tag in front; the frame is then unchanged.
pub fn retag<B: Buffer>(buf: &mut B, parsed: &mut Parsed, tagging: Tagging) -> Result<(), NoRoom> {
    let old = usize::from(parsed.link.len);
    let new = tagging.header_len();
    let addresses: [u8; 12] = array_at(buf.head(), 0).ok_or(NoRoom)?;
    if new > old {
        buf.grow_front(new - old)?;
    } else if new < old {
        buf.shrink_front(old - new)?;
    }
    let head = buf.head_mut();
    put(head, 0, &addresses);
    parsed.link.vlan = None;
    parsed.link.inner_vlan = None;
    if let Tagging::Tagged(id, priority) = tagging {
        let priority = priority.unwrap_or_default() & 0b111;
        // The type of what is carried sits before it whatever the tags, so it has not moved.
        put_u16(head, 12, ETHERTYPE_VLAN);
        put_u16(head, 14, u16::from(priority) << 13 | id.0 & 0x0fff);
        parsed.link.vlan = Some(id);
        parsed.link.priority = priority;
    }
    parsed.link.len = u8::try_from(new).unwrap_or(parsed.link.len);
    for offset in [&mut parsed.l3, &mut parsed.l4, &mut parsed.payload] {
        let moved = (usize::from(*offset) + new).saturating_sub(old);
        *offset = u16::try_from(moved).unwrap_or(*offset);
    }
    Ok(())
}
