//! GRE on the wire: the call id of its version 1 (RFC 2637).

use turnpike_conntrack::tuple::Port;

use super::bytes::u16_at;

/// Offset of the call id: the low half of the key.
pub(super) const CALL_AT: usize = 6;

/// The receiver's call id in the packet that starts at `bytes`; `None` if it is not one of PPTP,
/// or cut.
pub(super) fn call_id(bytes: &[u8]) -> Option<Port> {
    const KEY: u16 = 0x2000;
    const VERSION_1: u16 = 1;
    const PPP: u16 = 0x880b;
    // Neither a checksum nor routing; a sequence number or none.
    const FORM: u16 = 0xe007;
    if u16_at(bytes, 0)? & FORM != KEY | VERSION_1 || u16_at(bytes, 2)? != PPP {
        return None;
    }
    u16_at(bytes, CALL_AT).map(Port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pptp_packet_has_a_call_id() {
        let pptp = [0x30, 0x81, 0x88, 0x0b, 0, 9, 0x12, 0x34, 0, 0, 0, 1];
        assert_eq!(call_id(&pptp), Some(Port(0x1234)));
        assert_eq!(call_id(&pptp[..8]), Some(Port(0x1234)));
        assert_eq!(call_id(&pptp[..7]), None);
        for (at, byte) in [
            (0, 0x10),
            (0, 0xb0),
            (0, 0x70),
            (1, 0x80),
            (1, 0x82),
            (3, 0),
        ] {
            let mut other = pptp;
            other[at] = byte;
            assert_eq!(call_id(&other), None, "{at}: {byte:#x}");
        }
    }
}
