//! Rehearsing: what a program would do with a connection, found out without doing it.
//!
//! A worker takes its connections down as [`Subject`]s; everything else here needs only the
//! program and what workers share, so that it happens elsewhere and holds up no packet. Nothing is
//! counted, no port is taken, no limit moves. The rules, the nat table's arithmetic and the
//! forwarding table are those that packets meet. What only a packet has (its size, its flags) is
//! not known here: such a rule is passed over, and what follows is said to be not certain. Whether
//! a port would be free is not looked at.

use turnpike_conntrack::entry::{Cached, Flags};
use turnpike_conntrack::ids::{ConnState, Direction, Generation};
use turnpike_conntrack::labels::Layer7;
use turnpike_conntrack::limits::{Limit, Limits};
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tracker::Shared;
use turnpike_conntrack::tuple::{Address, Proto, Tuple, TuplePair};

use std::net::IpAddr;

use crate::drops::DropReason;
use crate::fib::NextHop;
use crate::ids::{IfaceId, ListId, RoutingTableId, RuleId};
use crate::masquerade::has_lapsed;
use crate::policy::{Action, AddressRange, Edit, ListTimeout, NatStateSet, PacketAsk, PortRange};
use crate::program::Program;
use crate::routing::{Found, Sought};
use crate::rules::marks::Marks;
use crate::rules::{CompiledRule, Decision, Facts, Observer, Verdict, evaluate};
use crate::stages::ask::Hook;
use crate::stages::family::Stack;
use crate::stages::judge::{nat_state_of, speaks_for_others};
use crate::stages::nat::{self, Wish};
use crate::stages::view::View;

/// Where the packets of one direction come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    /// None has been judged yet: by the interface towards its sender, if all is well.
    Unknown,
    /// They are the gateway's own.
    Gateway,
    /// By this interface.
    Interface(IfaceId),
}

impl Entrance {
    /// The entrance that a flow's last judgement was for.
    pub fn of(cached: &Cached) -> Self {
        match (cached.generation, cached.in_interface) {
            (Generation(0), _) => Self::Unknown,
            (_, u16::MAX) => Self::Gateway,
            (_, iface) => Self::Interface(IfaceId(iface)),
        }
    }

    /// The same entrance in another program, whose interfaces may be numbered otherwise.
    #[must_use]
    pub fn in_program(self, from: &Program, to: &Program) -> Self {
        let Self::Interface(iface) = self else {
            return self;
        };
        let name = from.interface_name(iface);
        let mut interfaces = to.interfaces.iter();
        let same = interfaces.find(|(_, iface)| name == Some(&*iface.name));
        same.map_or(Self::Unknown, |(iface, _)| Self::Interface(iface))
    }
}

/// A connection as a rehearsal needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject<F: Stack> {
    /// Both tuples.
    pub pair: TuplePair<F>,
    /// What is true of it.
    pub flags: Flags,
    /// Its mark, as a number.
    pub mark: u32,
    /// What it was found to carry.
    pub layer7: Layer7,
    /// Where its packets come in, by direction, in the numbers of the rehearsed program.
    pub entrances: [Entrance; 2],
}

/// Why a packet would go no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It would be dropped.
    Dropped(DropReason),
    /// It would not be tracked any more, and so lose its translation.
    Untracked,
}

impl Why {
    /// The word for it: a drop reason's label, or `untracked`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Dropped(reason) => reason.label(),
            Self::Untracked => "untracked",
        }
    }
}

/// The end of a packet, as far as a rehearsal sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub why: Why,
    /// The rule that would decide it; `None` if none does.
    pub rule: Option<RuleId>,
    /// Whether all packets would meet it.
    pub certainty: Certainty,
}

/// Whether something holds for all packets of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// It does.
    Certain,
    /// A rule on the way asks what only a packet can answer.
    DependsOnPackets,
}

/// What a connection would be translated to, which is not what it is translated to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retranslation {
    /// What would become of it.
    pub to: NewEnd,
    /// The rule that would decide it; `None` if none would translate.
    pub rule: Option<RuleId>,
    /// Whether any first packet would.
    pub certainty: Certainty,
}

/// The end of a connection that would be another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewEnd {
    /// It would go there.
    Destination(IpAddr, u16),
    /// It would seem to come from one of these.
    Source(AddressRange, Option<PortRange>),
}

/// A program to rehearse with.
#[derive(Debug, Clone, Copy)]
pub struct Rehearsal<'a> {
    /// The program.
    pub program: &'a Program,
    /// What workers share: counts of connections are read, mappings looked up.
    pub shared: &'a Shared,
    /// The time: members of address lists come and go.
    pub now: Tick,
}

/// Reads the counts that rules with a `connection-limit` have, and adds nothing.
struct Reading<'a> {
    program: &'a Program,
    limits: &'a Limits,
    marks: Marks,
    router: Option<IpAddr>,
    certainty: Certainty,
}

impl Observer for Reading<'_> {
    fn matched(&mut self, _: RuleId, rule: &CompiledRule) {
        if let Action::Edit(Edit::Mark(kind, mark), _) = rule.action {
            self.marks.set(kind, self.program.marks.number(mark));
        }
        if let Action::Edit(Edit::Route(router), _) = rule.action {
            self.router = Some(router);
        }
    }

    fn packet(&mut self, _: RuleId, _: &PacketAsk, _: &Facts) -> Option<bool> {
        self.certainty = Certainty::DependsOnPackets;
        None
    }

    fn add_to_list(&mut self, _: ListId, _: IpAddr, _: ListTimeout) {
        // Nothing is added here, and what follows may ask for it.
        self.certainty = Certainty::DependsOnPackets;
    }

    fn connections(&mut self, limit: Limit, source: IpAddr) -> u32 {
        // A rule that is carried over has counted the connection; for a new one it is the first.
        self.limits.count(limit, source).max(1)
    }
}

/// A packet on its way through a rehearsal.
struct Passing<F: Stack> {
    incoming: Tuple<F>,
    icmp: Option<(u8, u8)>,
    in_interface: Option<IfaceId>,
    local: bool,
    state: ConnState,
    nat_state: NatStateSet,
    marks: Marks,
    router: Option<IpAddr>,
    routing_table: Option<RoutingTableId>,
    layer7: Layer7,
    now: Tick,
    certainty: Certainty,
}

impl<F: Stack> Passing<F> {
    const fn refused(&self, reason: DropReason, rule: Option<RuleId>) -> Refusal {
        Refusal {
            why: Why::Dropped(reason),
            rule,
            certainty: self.certainty,
        }
    }
}

/// Where a packet would go.
enum Way {
    Local,
    Out(IfaceId),
}

impl Way {
    const fn out(&self) -> Option<IfaceId> {
        match self {
            Self::Out(iface) => Some(*iface),
            Self::Local => None,
        }
    }
}

impl Rehearsal<'_> {
    /// Why the next packet of a direction would go no further, in the connection's present state.
    pub fn next_packet<F: Stack>(
        &self,
        subject: &Subject<F>,
        direction: Direction,
    ) -> Option<Refusal> {
        self.continued(subject, direction).err()
    }

    fn continued<F: Stack>(
        &self,
        subject: &Subject<F>,
        direction: Direction,
    ) -> Result<(), Refusal> {
        let incoming = subject.pair.incoming(direction);
        let mut packet = self.packet(subject, direction, subject.flags.state(direction));
        packet.nat_state = nat_state_of(subject.flags);
        packet.marks.connection = subject.mark;
        packet.layer7 = subject.layer7;
        if self.before_tracking(&mut packet)? {
            if packet.nat_state != NatStateSet::default() {
                return Err(Refusal {
                    why: Why::Untracked,
                    rule: None,
                    certainty: packet.certainty,
                });
            }
            packet.state = ConnState::Untracked;
            packet.marks = Marks::default();
            self.prerouted(&mut packet)?;
            return self
                .filtered(&mut packet, &View::plain(*incoming))
                .map(drop);
        }
        if has_lapsed(self.program, subject.flags, subject.pair.reply.dst) {
            return Err(packet.refused(DropReason::NatNoAddress, None));
        }
        let view = View::of_flow(&subject.pair, direction);
        self.prerouted(&mut packet)?;
        self.filtered(&mut packet, &view).map(drop)
    }

    /// What would become of the connection if its first packet came now: refused, or translated
    /// otherwise than it is.
    ///
    /// A connection that another has announced is taken as announced: related, and translated as
    /// it is.
    pub fn opened_now<F: Stack>(
        &self,
        subject: &Subject<F>,
    ) -> Result<Option<Retranslation>, Refusal> {
        let expected = subject.flags.contains(Flags::EXPECTED);
        let opening = if expected {
            ConnState::Related
        } else {
            ConnState::New
        };
        let mut packet = self.packet(subject, Direction::Original, opening);
        if self.before_tracking(&mut packet)? {
            packet.state = ConnState::Untracked;
            let view = View::plain(packet.incoming);
            self.prerouted(&mut packet)?;
            return self.filtered(&mut packet, &view).map(|_| None);
        }
        self.prerouted(&mut packet)?;
        let live = subject.pair.outgoing(Direction::Original);
        let mut view = View::plain(packet.incoming);
        let mut destined = None;
        if expected {
            (view.outgoing.dst, view.outgoing.dst_port) = (live.dst, live.dst_port);
        } else {
            let hook = if packet.local {
                Hook::NatOutput
            } else {
                Hook::DstNat
            };
            let decision = self.ask(hook, &mut packet, &view.incoming, None);
            let (program, key) = (self.program, &self.shared.key);
            view.outgoing = nat::destined(
                program,
                key,
                decision,
                &packet.incoming,
                packet.in_interface,
            )
            .map_err(|reason| packet.refused(reason, decision.rule))?;
            destined = decision.rule;
        }
        if view.incoming != view.outgoing {
            packet.nat_state.0 |= NatStateSet::DSTNAT;
        }
        let way = self.filtered(&mut packet, &view)?;
        if (view.outgoing.dst, view.outgoing.dst_port) != (live.dst, live.dst_port) {
            let Tuple { dst, dst_port, .. } = view.outgoing;
            return Ok(Some(Retranslation {
                to: NewEnd::Destination(dst.to_ip(), dst_port.0),
                rule: destined,
                certainty: packet.certainty,
            }));
        }
        match way {
            Way::Out(_) | Way::Local if expected => Ok(None),
            Way::Out(iface) => {
                let asked = (Hook::SrcNat, iface, Some(iface));
                self.source(&mut packet, &view, asked, &live)
            }
            Way::Local => match packet.in_interface {
                Some(entry) => {
                    let asked = (Hook::NatInput, entry, None);
                    self.source(&mut packet, &view, asked, &live)
                }
                None => Ok(None),
            },
        }
    }

    /// What the source would become, if that is not what it is.
    fn source<F: Stack>(
        &self,
        packet: &mut Passing<F>,
        view: &View<F>,
        (hook, link, leaves): (Hook, IfaceId, Option<IfaceId>),
        live: &Tuple<F>,
    ) -> Result<Option<Retranslation>, Refusal> {
        let decision = self.ask(hook, packet, &view.outgoing, leaves);
        let wish = nat::wished(self.program, view, decision, link);
        let wish = wish.map_err(|reason| packet.refused(reason, decision.rule))?;
        let single = |address: F::Addr| AddressRange {
            first: address.to_ip(),
            last: address.to_ip(),
        };
        let (addresses, ports) = match wish {
            Wish::Stay => (single(view.outgoing.src), None),
            Wish::Exactly(address) => (single(address), None),
            Wish::OneOf(wanted) => (wanted.addresses, wanted.ports),
        };
        let ports = ports.filter(|_| live.proto.has_ports());
        let port_fits = |p: PortRange| (p.first..=p.last).contains(&live.src_port.0);
        if addresses.contains(live.src.to_ip()) && ports.is_none_or(port_fits) {
            return Ok(None);
        }
        Ok(Some(Retranslation {
            to: NewEnd::Source(addresses, ports),
            rule: decision.rule,
            certainty: packet.certainty,
        }))
    }

    fn packet<F: Stack>(
        &self,
        subject: &Subject<F>,
        direction: Direction,
        state: ConnState,
    ) -> Passing<F> {
        let incoming = *subject.pair.incoming(direction);
        let hop = || self.program.fib.lookup(incoming.src.to_ip());
        let (in_interface, local) = match subject.entrances[direction.index()] {
            Entrance::Interface(iface) => (Some(iface), false),
            Entrance::Gateway => (None, true),
            Entrance::Unknown => match hop() {
                Some(NextHop::Neighbour { iface, .. }) => (Some(iface), false),
                Some(NextHop::Local) => (None, true),
                Some(NextHop::Broadcast(_) | NextHop::Unreachable | NextHop::Blackhole) | None => {
                    (None, false)
                }
            },
        };
        Passing {
            incoming,
            icmp: icmp(&subject.pair.original, direction),
            in_interface,
            local,
            state,
            nat_state: NatStateSet::default(),
            marks: Marks::default(),
            router: None,
            routing_table: None,
            layer7: Layer7::Unknown,
            now: self.now,
            certainty: Certainty::Certain,
        }
    }

    /// Takes a packet as far as connection tracking: whether it would not be tracked.
    fn before_tracking<F: Stack>(&self, packet: &mut Passing<F>) -> Result<bool, Refusal> {
        let mut exempt = !self.program.tracking.enabled;
        if self.program.has_raw_rules {
            let hook = if packet.local {
                Hook::RawOutput
            } else {
                Hook::RawPrerouting
            };
            let facts = Facts {
                state: None,
                nat_state: NatStateSet::default(),
                marks: Marks::default(),
                ..facts(packet, &packet.incoming, None)
            };
            let decision = self.decide(hook, packet, &facts);
            match decision.verdict {
                Verdict::Drop => return Err(packet.refused(DropReason::RawRule, decision.rule)),
                Verdict::NoTrack => exempt = true,
                Verdict::Accept
                | Verdict::Reject(_)
                | Verdict::SrcNat(_)
                | Verdict::Masquerade(_)
                | Verdict::DstNat(_)
                | Verdict::Redirect(_)
                | Verdict::EndpointIndependent(_)
                | Verdict::Same(..)
                | Verdict::Netmap(_) => {}
            }
        }
        if !packet.local && speaks_for_others(self.program, packet.incoming.src.to_ip()) {
            return Err(packet.refused(DropReason::MartianSource, None));
        }
        Ok(exempt)
    }

    /// Takes a packet from the wire through mangle's prerouting chain, as it came.
    fn prerouted<F: Stack>(&self, packet: &mut Passing<F>) -> Result<(), Refusal> {
        if packet.local {
            return Ok(());
        }
        let incoming = packet.incoming;
        self.mangled(Hook::ManglePrerouting, packet, &incoming, None)
    }

    /// Holds a packet against a chain of mangle, which may mark it.
    fn mangled<F: Stack>(
        &self,
        hook: Hook,
        packet: &mut Passing<F>,
        tuple: &Tuple<F>,
        out_interface: Option<IfaceId>,
    ) -> Result<(), Refusal> {
        if !self.program.has_mangle_rules {
            return Ok(());
        }
        let decision = self.ask(hook, packet, tuple, out_interface);
        if decision.verdict == Verdict::Drop {
            return Err(packet.refused(DropReason::FilterRule, decision.rule));
        }
        Ok(())
    }

    /// Finds the way of a packet with its routing mark of now.
    fn routed<F: Stack>(&self, packet: &mut Passing<F>, view: &View<F>) -> Result<Way, Refusal> {
        let destination = view.outgoing.dst.to_ip();
        packet.routing_table = Some(RoutingTableId::MAIN);
        if destination.is_multicast() {
            return Ok(Way::Local);
        }
        let sought = Sought {
            source: view.incoming.src.to_ip(),
            destination,
            in_interface: packet.in_interface,
            mark: packet.marks.routing,
            router: packet.router,
        };
        let Found { hop, table } = self.program.routing.find(&self.program.fib, &sought);
        packet.routing_table = Some(table);
        match hop {
            Some(NextHop::Local | NextHop::Broadcast(_)) => Ok(Way::Local),
            Some(NextHop::Neighbour { iface, .. }) => Ok(Way::Out(iface)),
            Some(NextHop::Unreachable | NextHop::Blackhole) | None => {
                Err(packet.refused(DropReason::NoRoute, None))
            }
        }
    }

    /// Routes and filters a packet whose destination is decided.
    fn filtered<F: Stack>(&self, packet: &mut Passing<F>, view: &View<F>) -> Result<Way, Refusal> {
        let mut way = self.routed(packet, view)?;
        let mut egress = way.out();
        let [before, filter] = match (packet.local, &way) {
            (true, _) => [Hook::MangleOutput, Hook::FilterOutput],
            (false, Way::Out(_)) => [Hook::MangleForward, Hook::FilterForward],
            (false, Way::Local) => [Hook::MangleInput, Hook::FilterInput],
        };
        let tuple = view.at_filter();
        let mark = packet.marks.routing;
        self.mangled(before, packet, &tuple, egress)?;
        if packet.local && packet.marks.routing != mark {
            way = self.routed(packet, view)?;
            egress = way.out();
        }
        let decision = self.ask(filter, packet, &tuple, egress);
        if let Some(reason) = decision.verdict.drop_reason() {
            return Err(packet.refused(reason, decision.rule));
        }
        if egress.is_some() {
            self.mangled(Hook::ManglePostrouting, packet, &tuple, egress)?;
        }
        Ok(way)
    }

    fn ask<F: Stack>(
        &self,
        hook: Hook,
        packet: &mut Passing<F>,
        tuple: &Tuple<F>,
        out_interface: Option<IfaceId>,
    ) -> Decision {
        let facts = facts(packet, tuple, out_interface);
        self.decide(hook, packet, &facts)
    }

    fn decide<F: Stack>(&self, hook: Hook, packet: &mut Passing<F>, facts: &Facts) -> Decision {
        let (table, chain) = hook.chain();
        let mut reading = Reading {
            program: self.program,
            limits: &self.shared.limits,
            marks: packet.marks,
            router: packet.router,
            certainty: packet.certainty,
        };
        let decision = evaluate(self.program, table, chain, facts, &mut reading);
        (packet.marks, packet.certainty) = (reading.marks, reading.certainty);
        packet.router = reading.router;
        decision
    }
}

/// The packet as the rules see it under `tuple`.
fn facts<F: Stack>(packet: &Passing<F>, tuple: &Tuple<F>, out_interface: Option<IfaceId>) -> Facts {
    let ports = tuple.proto.has_ports();
    Facts {
        src: tuple.src.to_ip(),
        dst: tuple.dst.to_ip(),
        proto: tuple.proto,
        src_port: ports.then_some(tuple.src_port.0),
        dst_port: ports.then_some(tuple.dst_port.0),
        icmp: packet.icmp,
        in_interface: packet.in_interface,
        out_interface,
        state: Some(packet.state),
        nat_state: packet.nat_state,
        // What is rehearsed has no helper: rules that ask for one are taken not to match.
        helper: None,
        layer7: packet.layer7,
        now: packet.now,
        marks: packet.marks,
        routing_table: packet.routing_table,
    }
}

/// Type and code of the queries, or the answers, of a connection over ICMP.
fn icmp<F: Stack>(original: &Tuple<F>, direction: Direction) -> Option<(u8, u8)> {
    let ours = match F::VERSION {
        4 => Proto::ICMP,
        _ => Proto::ICMPV6,
    };
    // A query's tuple has its type in place of the destination port.
    let request = u8::try_from(original.dst_port.0).ok();
    let request = request.filter(|_| original.proto == ours)?;
    let kind = match (direction, request) {
        (Direction::Original, request) => request,
        (Direction::Reply, 8) if F::VERSION == 4 => 0,
        (Direction::Reply, request) => request.saturating_add(1),
    };
    Some((kind, 0))
}
