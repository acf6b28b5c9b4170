//! What rules tell of a packet: log events, as far as the budget goes, and copies for sniffers.

use turnpike_conntrack::tuple::{Address, Port, V4, V6};

use crate::buffer::Buffer;
use crate::burst::{Meta, Origin, Track};
use crate::drops::DropReason;
use crate::ids::RuleId;
use crate::log::{Endpoint, LogEvent};
use crate::outbox::{Outbox, Punt, PuntKind};
use crate::policy::Sniff;
use crate::rules::Facts;
use crate::stages::family::Stack;
use crate::stages::transmit;
use crate::stages::view::View;
use crate::worker::Core;

/// Writes a log event for each of `rules` that logs, as far as the second's budget goes, and sends
/// off a copy of the packet, as it came in, for each that has a sniffer.
pub fn log<B: Buffer, W>(
    core: &mut Core<W>,
    rules: &[RuleId],
    facts: &Facts,
    (buf, meta): (&B, &Meta),
    out: &mut Outbox<B>,
) {
    for rule in rules {
        let found = core.program.rules.find(*rule);
        let (logs, sniff) = found.map_or((false, None), |rule| {
            (rule.log_prefix().is_some(), rule.sniff())
        });
        // A copy that is copied would never end.
        if let (Some(sniff), false) = (sniff, meta.origin == Origin::Copy) {
            copy(core, buf, sniff, out);
        }
        if !logs {
            continue;
        }
        if !core.log_budget.take(core.now, *rule) {
            core.counters.logs_suppressed.add(1);
            continue;
        }
        let (received_dst, translated_src) = match meta.parsed.version() {
            Some(4) => translation::<V4, B, W>(core, facts, buf, meta),
            Some(_) => translation::<V6, B, W>(core, facts, buf, meta),
            None => (None, None),
        };
        out.logs.push(LogEvent {
            at: core.now,
            generation: core.program.generation,
            rule: *rule,
            in_interface: facts.in_interface,
            out_interface: facts.out_interface,
            macs: meta
                .in_interface
                .map(|_| (meta.parsed.link.src, meta.parsed.link.dst)),
            src: (facts.src, facts.src_port),
            dst: (facts.dst, facts.dst_port),
            translated_src,
            received_dst,
            proto: facts.proto,
            tcp_flags: meta.parsed.tcp().map(|tcp| tcp.flags),
            icmp: facts.icmp,
            length: meta.parsed.ip_len,
            state: facts.state,
            nat_state: facts.nat_state,
        });
    }
}

/// Sends a copy of the packet on its way to a sniffer.
fn copy<B: Buffer, W>(core: &mut Core<W>, buf: &B, sniff: Sniff, out: &mut Outbox<B>) {
    core.counters.copies.add(1);
    match buf.copy() {
        Some(buf) => {
            let (from, kind) = (core.id, PuntKind::Sniff(sniff));
            transmit::punt(core, Punt::new(buf, from, kind), out);
        }
        None => core.counters.dropped(DropReason::NoBuffer).add(1),
    }
}

/// The destination that the packet came with, where rules see another one, and the source that it
/// leaves with, where that is decided and another one.
fn translation<F: Stack, B: Buffer, W>(
    core: &Core<W>,
    facts: &Facts,
    buf: &B,
    meta: &Meta,
) -> (Option<Endpoint>, Option<Endpoint>) {
    let ports = meta.parsed.ports().is_some();
    let endpoint = |address: F::Addr, port: Port| (address.to_ip(), ports.then_some(port.0));
    // Nothing is rewritten before the rewrite stage: the buffer is as it came in.
    let received = meta.parsed.tuple::<F>(buf.head());
    let received = received.map(|tuple| endpoint(tuple.dst, tuple.dst_port));
    let leaves_as = match meta.track {
        Track::Known(flow, _) => {
            let pair = F::table(&core.conntrack).pair(flow.id);
            let tuple = View::of_flow(&pair, flow.direction).outgoing;
            Some(endpoint(tuple.src, tuple.src_port))
        }
        Track::Related(_) | Track::Opening(_) | Track::Missed | Track::Exempt | Track::Invalid => {
            None
        }
    };
    (
        received.filter(|dst| *dst != (facts.dst, facts.dst_port)),
        leaves_as.filter(|src| *src != (facts.src, facts.src_port)),
    )
}
