//! Rewriting in place: translation, time to live, Ethernet addresses.
//!
//! Every checksum is updated by the difference, so that one that was wrong stays wrong.

use turnpike_conntrack::tuple::{Address, Family, Port, Proto, Tuple};

use super::bytes::{put, put_u16, u8_at, u16_at};
use super::checksum::Delta;
use super::parse::{Net, Parsed, Transport};
use super::quoted::Quoted;
use super::tuple::{IcmpRole, address_offsets, is_icmp_of};
use super::{gre, sctp};
use crate::drops::DropReason;
use crate::ids::Mac;

/// What a translation adds to the checksums of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Deltas {
    /// To the IPv4 header checksum: the addresses.
    pub l3: Delta,
    /// To the layer-4 checksum: ports, and addresses where it has a pseudo header.
    pub l4: Delta,
}

impl Deltas {
    /// The deltas of packets that come in as `incoming` and leave as `outgoing`.
    pub fn between<F: Family>(incoming: &Tuple<F>, outgoing: &Tuple<F>) -> Self {
        let l3 = Delta::of_words(incoming.src.as_bytes(), outgoing.src.as_bytes()).and(
            Delta::of_words(incoming.dst.as_bytes(), outgoing.dst.as_bytes()),
        );
        let ports = Delta::of_word(incoming.src_port.0, outgoing.src_port.0)
            .and(Delta::of_word(incoming.dst_port.0, outgoing.dst_port.0));
        let l4 = if has_pseudo_header::<F>(incoming.proto) {
            l3.and(ports)
        } else {
            ports
        };
        Self { l3, l4 }
    }

    /// The deltas of the way back.
    #[must_use]
    pub fn inverse(self) -> Self {
        Self {
            l3: self.l3.inverse(),
            l4: self.l4.inverse(),
        }
    }
}

/// Only ICMP in IPv4 sums nothing but itself.
fn has_pseudo_header<F: Family>(proto: Proto) -> bool {
    !(F::VERSION == 4 && proto == Proto::ICMP)
}

/// Offset of the checksum in the layer-4 header; `None` for protocols without this checksum.
fn checksum_offset<F: Family>(proto: Proto) -> Option<usize> {
    match proto {
        Proto::TCP => Some(16),
        Proto::UDP | Proto::UDPLITE | Proto::DCCP => Some(6),
        _ if is_icmp_of::<F>(proto) => Some(2),
        _ => None,
    }
}

/// Makes the packet in `head` one of tuple `out`, with the deltas of its flow.
///
/// Later fragments and protocols without ports get the addresses only.
///
/// # Errors
///
/// [`DropReason::NatUntranslatable`] for a packet of another family, and for a fragment of SCTP
/// whose ports would change: its checksum needs the whole. The packet is then unchanged.
pub fn translate<F: Family>(
    head: &mut [u8],
    parsed: &Parsed,
    out: &Tuple<F>,
    deltas: &Deltas,
) -> Result<(), DropReason> {
    let untranslatable = DropReason::NatUntranslatable;
    let now = parsed.tuple::<F>(head).ok_or(untranslatable)?;
    let is_sctp = parsed.proto == Proto::SCTP && port_bytes(&now) != port_bytes(out);
    if is_sctp && parsed.fragment.is_fragment() {
        return Err(untranslatable);
    }
    let l3 = usize::from(parsed.l3);
    let l4 = usize::from(parsed.l4);
    let (src_at, dst_at) = address_offsets::<F>();
    put(head, l3 + src_at, out.src.as_bytes());
    put(head, l3 + dst_at, out.dst.as_bytes());
    if F::VERSION == 4 {
        apply(head, l3 + 10, deltas.l3);
    }
    match parsed.transport {
        Transport::Other => {
            if parsed.proto == Proto::GRE && out.has_call() && now.has_call() {
                put_u16(head, l4 + gre::CALL_AT, out.dst_port.0);
            }
            return Ok(());
        }
        Transport::Tcp(_) | Transport::Ports { .. } => {
            put_u16(head, l4, out.src_port.0);
            put_u16(head, l4 + 2, out.dst_port.0);
        }
        Transport::Icmp { kind, .. } => {
            if let Some(id) = query_id(parsed.proto, kind, out) {
                put_u16(head, l4 + 4, id.0);
            }
        }
    }
    if is_sctp {
        let [first, second] = sctp_change(&now, out, parsed.l4_len() as usize);
        let at = l4 + sctp::CHECKSUM_AT;
        patch(head, at, |sum| sum ^ first);
        patch(head, at + 2, |sum| sum ^ second);
    }
    if let Some(at) = checksum_offset::<F>(parsed.proto) {
        apply_l4(head, l4 + at, parsed.proto, deltas.l4);
    }
    Ok(())
}

/// What to exclusive-or the two words of the checksum of an SCTP packet of `len` bytes with.
fn sctp_change<F: Family>(old: &Tuple<F>, new: &Tuple<F>, len: usize) -> [u16; 2] {
    let [a, b, c, d] = sctp::ports_difference(port_bytes(old), port_bytes(new), len);
    [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
}

fn port_bytes<F: Family>(tuple: &Tuple<F>) -> [u8; 4] {
    let ([a, b], [c, d]) = (
        tuple.src_port.0.to_be_bytes(),
        tuple.dst_port.0.to_be_bytes(),
    );
    [a, b, c, d]
}

/// The identifier that a query of type `kind` carries in a flow of tuple `out`.
fn query_id<F: Family>(proto: Proto, kind: u8, out: &Tuple<F>) -> Option<Port> {
    match IcmpRole::of(proto, kind)? {
        IcmpRole::Request => Some(out.src_port),
        IcmpRole::Reply { .. } => Some(out.dst_port),
        IcmpRole::Error | IcmpRole::Other => None,
    }
}

pub(super) fn apply(head: &mut [u8], at: usize, delta: Delta) {
    if let Some(old) = u16_at(head, at) {
        put_u16(head, at, delta.apply(old));
    }
}

/// A zero UDP checksum means "none" and stays; a sum that comes out as zero is sent as ones.
fn apply_l4(head: &mut [u8], at: usize, proto: Proto, delta: Delta) {
    let Some(old) = u16_at(head, at) else {
        return;
    };
    if proto != Proto::UDP && proto != Proto::UDPLITE {
        put_u16(head, at, delta.apply(old));
    } else if old != 0 {
        put_u16(head, at, ones_for_zero(delta.apply(old)));
    }
}

/// RFC 768: a computed zero is transmitted as all ones.
pub(super) const fn ones_for_zero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// Translates an ICMP error that travels along a flow with these tuples.
///
/// `incoming` and `outgoing` are what packets of the error's own direction carry before and after
/// translation. The quoted packet becomes the one its sender knows: the inverse of `outgoing`.
/// The error's destination follows, and its source where the flow's source is translated: a
/// router behind the gateway must not show addresses that only the inside knows (RFC 5508 REQ-5).
///
/// # Errors
///
/// [`DropReason::NatUntranslatable`] if the packet is of another family.
pub fn translate_quoted<F: Family>(
    head: &mut [u8],
    parsed: &Parsed,
    quoted: &Quoted<F>,
    incoming: &Tuple<F>,
    outgoing: &Tuple<F>,
) -> Result<(), DropReason> {
    let outer = parsed
        .tuple::<F>(head)
        .ok_or(DropReason::NatUntranslatable)?;
    let sent = outgoing.inverse();
    let mut change = rewrite_quoted(head, quoted, &sent);

    let l3 = usize::from(parsed.l3);
    let (src_at, dst_at) = address_offsets::<F>();
    let mut addresses = replace(head, l3 + dst_at, outer.dst.as_bytes(), &outgoing.dst);
    if incoming.src != outgoing.src {
        addresses = addresses.and(replace(
            head,
            l3 + src_at,
            outer.src.as_bytes(),
            &outgoing.src,
        ));
    }
    if F::VERSION == 4 {
        apply(head, l3 + 10, addresses);
    } else {
        change = change.and(addresses);
    }
    apply(head, usize::from(parsed.l4) + 2, change);
    Ok(())
}

/// Gives an ICMP message another source address.
pub fn set_icmp_source<F: Family>(head: &mut [u8], parsed: &Parsed, source: F::Addr) {
    let Some(now) = parsed.tuple::<F>(head) else {
        return;
    };
    let l3 = usize::from(parsed.l3);
    let (src_at, _) = address_offsets::<F>();
    let change = replace(head, l3 + src_at, now.src.as_bytes(), &source);
    let summed_at = if F::VERSION == 4 {
        l3 + 10
    } else {
        usize::from(parsed.l4) + 2
    };
    apply(head, summed_at, change);
}

/// Makes the quoted packet one of tuple `sent`; returns what that adds to a sum over it.
///
/// Everything replaced lies at even offsets of the ICMP message: IP headers are made of words.
fn rewrite_quoted<F: Family>(head: &mut [u8], quoted: &Quoted<F>, sent: &Tuple<F>) -> Delta {
    let old = &quoted.tuple;
    let deltas = Deltas::between(old, sent);
    let l3 = usize::from(quoted.l3);
    let l4 = usize::from(quoted.l4);
    let (src_at, dst_at) = address_offsets::<F>();
    let mut change = replace(head, l3 + src_at, old.src.as_bytes(), &sent.src);
    change = change.and(replace(head, l3 + dst_at, old.dst.as_bytes(), &sent.dst));
    if F::VERSION == 4 {
        change = change.and(patch(head, l3 + 10, |sum| deltas.l3.apply(sum)));
    }
    let proto = old.proto;
    if proto == Proto::SCTP
        && l4 + sctp::HEADER_LEN <= usize::from(quoted.end)
        && let Some(len) = quoted.l4_len(head)
    {
        let [first, second] = sctp_change(old, sent, len);
        let at = l4 + sctp::CHECKSUM_AT;
        change = change.and(patch(head, at, |sum| sum ^ first));
        change = change.and(patch(head, at + 2, |sum| sum ^ second));
    }
    if proto.has_ports() {
        change = change.and(patch(head, l4, |_| sent.src_port.0));
        change = change.and(patch(head, l4 + 2, |_| sent.dst_port.0));
    } else if let Some(id) = u8_at(head, l4).and_then(|kind| query_id(proto, kind, sent)) {
        change = change.and(patch(head, l4 + 4, |_| id.0));
    }
    match checksum_offset::<F>(proto) {
        Some(at) if l4 + at + 2 <= usize::from(quoted.end) => {
            change.and(patch(head, l4 + at, |sum| match proto {
                Proto::UDP | Proto::UDPLITE if sum == 0 => 0,
                Proto::UDP | Proto::UDPLITE => ones_for_zero(deltas.l4.apply(sum)),
                _ => deltas.l4.apply(sum),
            }))
        }
        Some(_) | None => change,
    }
}

fn replace<A: Address>(head: &mut [u8], at: usize, old: &[u8], new: &A) -> Delta {
    put(head, at, new.as_bytes());
    Delta::of_words(old, new.as_bytes())
}

fn patch(head: &mut [u8], at: usize, new: impl FnOnce(u16) -> u16) -> Delta {
    let Some(old) = u16_at(head, at) else {
        return Delta::NONE;
    };
    let new = new(old);
    put_u16(head, at, new);
    Delta::of_word(old, new)
}

/// Takes one from the time to live or hop limit.
///
/// # Errors
///
/// [`DropReason::TtlExceeded`] if nothing would be left; the packet is then unchanged.
pub fn decrement_ttl(head: &mut [u8], parsed: &Parsed) -> Result<(), DropReason> {
    let l3 = usize::from(parsed.l3);
    let at = match parsed.net {
        Net::Arp => return Ok(()),
        Net::V4 => l3 + 8,
        Net::V6 => l3 + 7,
    };
    let ttl = u8_at(head, at).unwrap_or_default();
    if ttl <= 1 {
        return Err(DropReason::TtlExceeded);
    }
    put(head, at, &[ttl - 1]);
    if parsed.net == Net::V4 {
        // The time to live is the high half of its word.
        let old = u16::from(ttl) << 8;
        apply(head, l3 + 10, Delta::of_word(old, old - 0x100));
    }
    Ok(())
}

/// Writes the Ethernet addresses.
pub fn set_ethernet(head: &mut [u8], dst: Mac, src: Mac) {
    put(head, 0, &dst.0);
    put(head, 6, &src.0);
}
