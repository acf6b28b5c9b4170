//! Stage 7, `rewrite`: the accepted packet gets the addresses it leaves with.
//!
//! Reads the connection, the way and what rules change; writes addresses, ports or identifiers,
//! DSCP, IPv4's flags and options, a SYN's segment size, checksums (by differences, RFC 1624), and
//! the time to live. Drops what cannot carry its
//! translation (`nat-untranslatable`).

use turnpike_conntrack::entry::Flags;
use turnpike_conntrack::hash::HashKey;
use turnpike_conntrack::ids::FlowRef;
use turnpike_conntrack::tuple::{Address, V4, V6};

use crate::buffer::Buffer;
use crate::burst::{Burst, Meta, Origin, Track, Way};
use crate::drops::DropReason;
use crate::outbox::Outbox;
use crate::packet::checksum::Delta;
use crate::packet::edit::{change_ttl, clear_df, lower_mss, set_dscp, strip_options};
use crate::packet::quoted::quoted;
use crate::packet::rewrite::{Deltas, decrement_ttl, set_icmp_source, translate, translate_quoted};
use crate::rules::Edits;
use crate::stages::family::Stack;
use crate::stages::fate::{Fate, settle};
use crate::stages::judge::out_interface;
use crate::stages::view::View;
use crate::witness::Witness;
use crate::worker::Core;

/// Rewrites every live packet.
pub fn run<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    burst: &mut Burst<B>,
    out: &mut Outbox<B>,
) {
    for slot in burst.live() {
        let Some((buf, meta)) = burst.packet(slot) else {
            continue;
        };
        let fate = match meta.parsed.version() {
            Some(4) => packet::<V4, B, W>(core, buf, meta),
            Some(_) => packet::<V6, B, W>(core, buf, meta),
            None => Fate::Pass,
        };
        settle(core, burst, slot, fate, out);
    }
}

fn packet<F: Stack, B: Buffer, W>(core: &Core<W>, buf: &mut B, meta: &Meta) -> Fate {
    if let Track::Known(flow, _) | Track::Related(flow) = meta.track
        && !core.is_still::<F, B>(flow, buf, meta)
    {
        // Accepted, and then pushed out of the table by another packet of the same burst.
        return Fate::Drop(DropReason::TableFull);
    }
    let translated = match meta.track {
        Track::Known(flow, _) => translate_packet::<F, B, W>(core, buf, meta, flow),
        Track::Related(flow) => translate_error::<F, B, W>(core, buf, meta, flow),
        Track::Exempt | Track::Missed | Track::Opening(_) | Track::Invalid => Some(()),
    };
    if translated.is_none() {
        return Fate::Drop(DropReason::NatUntranslatable);
    }
    let head = buf.head_mut();
    let edits = meta.edits.touch_headers().then_some(&meta.edits);
    if let Some(edits) = edits {
        change_ttl(head, &meta.parsed, edits.ttl_early);
    }
    if meta.way != Way::Local
        && !meta.origin.is_local()
        && let Err(reason) = decrement_ttl(head, &meta.parsed)
    {
        return Fate::Drop(reason);
    }
    if let Some(edits) = edits {
        change_late(core, head, meta, edits);
    }
    Fate::Pass
}

/// Makes all changes but those of the time to live before routing.
fn change_late<W>(core: &Core<W>, head: &mut [u8], meta: &Meta, edits: &Edits) {
    let parsed = &meta.parsed;
    change_ttl(head, parsed, edits.ttl_late);
    if let Some(dscp) = edits.dscp {
        set_dscp(head, parsed, dscp);
    }
    if edits.options_stripped {
        strip_options(head, parsed);
    }
    if edits.df_cleared.is_some() {
        let key = core.conntrack.shared().key;
        clear_df(head, parsed, |packet| identification(&key, packet));
    }
    let interfaces = &core.program.interfaces;
    let mtu = interfaces.mtu_between(meta.in_interface, out_interface(core, meta));
    if let Some(limit) = edits.mss_limit(parsed.net, mtu) {
        lower_mss(head, parsed, limit);
    }
}

/// An identification that two packets have in common if they begin alike, else by chance only.
fn identification(key: &HashKey, packet: &[u8]) -> u16 {
    /// Addresses, ports, sequence numbers and checksums are in front of this.
    const READ_MAX: usize = 64;
    let begin = packet.get(..READ_MAX).unwrap_or(packet);
    let (words, _) = begin.as_chunks::<8>();
    let hash = words
        .iter()
        .fold(0, |hash, word| key.words(hash, u64::from_be_bytes(*word)));
    let [.., high, low] = hash.to_be_bytes();
    u16::from_be_bytes([high, low]).max(1)
}

fn translate_packet<F: Stack, B: Buffer, W>(
    core: &Core<W>,
    buf: &mut B,
    meta: &Meta,
    flow: FlowRef,
) -> Option<()> {
    let table = F::table(&core.conntrack);
    if !is_translated(table.flags(flow.id)) {
        return Some(());
    }
    let view = View::of_flow(&table.pair(flow.id), flow.direction);
    let kept = table.cached(flow).deltas;
    let deltas = Deltas {
        l3: Delta::from_bits(kept.l3),
        l4: Delta::from_bits(kept.l4),
    };
    translate(buf.head_mut(), &meta.parsed, &view.outgoing, &deltas).ok()
}

fn translate_error<F: Stack, B: Buffer, W>(
    core: &Core<W>,
    buf: &mut B,
    meta: &Meta,
    flow: FlowRef,
) -> Option<()> {
    let table = F::table(&core.conntrack);
    if !is_translated(table.flags(flow.id)) {
        return Some(());
    }
    // A router's word to a host on its own link (RFC 1122, 3.2.2.2): translated, it would name to
    // one side a gateway of the other.
    if meta.parsed.is_redirect() {
        return None;
    }
    let view = View::of_flow(&table.pair(flow.id), flow.direction);
    let quote = quoted::<F>(buf.head(), &meta.parsed)?;
    let head = buf.head_mut();
    translate_quoted(head, &meta.parsed, &quote, &view.incoming, &view.outgoing).ok()?;
    if meta.origin == Origin::Local && view.incoming.src == view.outgoing.src {
        set_own_source::<F, B, W>(core, buf, meta);
    }
    Some(())
}

/// An error of the gateway about a packet that had been translated was written from where that
/// packet was to leave; it goes another way, and has an address of that one (RFC 1812 section
/// 4.3.2.4).
fn set_own_source<F: Stack, B: Buffer, W>(core: &Core<W>, buf: &mut B, meta: &Meta) {
    let towards = meta.parsed.dst_ip(buf.head());
    let interface = out_interface(core, meta);
    let own = interface.zip(towards).and_then(|(interface, towards)| {
        let own = core.program.interfaces.source_address(interface, towards)?;
        F::Addr::from_ip(own)
    });
    if let Some(own) = own {
        set_icmp_source::<F>(buf.head_mut(), &meta.parsed, own);
    }
}

fn is_translated(flags: Flags) -> bool {
    flags.contains(Flags::SRCNAT) || flags.contains(Flags::DSTNAT)
}
