//! One imagined packet on its way: raw, nat, routing and filter, as the stages ask them.

use std::net::IpAddr;

use turnpike_conntrack::ids::ConnState;
use turnpike_conntrack::labels::Layer7;
use turnpike_conntrack::limits::Limit;
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tuple::Proto;
use turnpike_pipeline::fib::NextHop;
use turnpike_pipeline::ids::{IfaceId, RoutingTableId, RuleId};
use turnpike_pipeline::policy::{
    Action, AddressRange, Edit, IpFamily, NatStateSet, PacketAsk, PortRange, Translation,
};
use turnpike_pipeline::program::Program;
use turnpike_pipeline::routing::{Found, Sought};
use turnpike_pipeline::rules::matchers::End as Side;
use turnpike_pipeline::rules::{CompiledRule, Decision, Facts, Marks, Observer, Verdict, evaluate};
use turnpike_pipeline::stages::ask::Hook;

/// The first packet of an imagined connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Where it comes in.
    pub iface: IfaceId,
    /// Source address and port.
    pub src: (IpAddr, Option<u16>),
    /// Destination address and port.
    pub dst: (IpAddr, Option<u16>),
    /// IP protocol.
    pub proto: Proto,
    /// ICMP type and code.
    pub icmp: Option<(u8, u8)>,
}

/// Where a packet ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The gateway takes it.
    Gateway,
    /// It leaves by this interface.
    Interface(IfaceId),
    /// A rule drops it.
    Dropped,
    /// A rule refuses it, and its sender is told.
    Rejected,
    /// There is no way to its destination.
    Nowhere,
}

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Course {
    /// Where it ended.
    pub end: End,
    /// The rule that decided so; `None` where a chain came to its end, or no rule was asked.
    pub rule: Option<RuleId>,
    /// Where it goes in truth, and the rule that says so, if one translates it.
    pub translated: Option<((IpAddr, Option<u16>), RuleId)>,
    /// The rules that wrote it to the log.
    pub logged: Vec<RuleId>,
}

/// What is made of a rule that jumps or returns if the packet, a rate or a count says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// It does.
    Go,
    /// It does not.
    Stay,
}

/// What a rule does to a packet that it matches, as far as reaching goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It lets the packet pass, translated or not.
    Admit,
    /// It ends the packet.
    Refuse,
    /// It leads to other rules.
    Lead,
    /// It lets the next rule decide.
    Note,
}

/// The role of an action.
pub const fn role(action: &Action) -> Role {
    match action {
        Action::Accept
        | Action::NoTrack
        | Action::SrcNat(_)
        | Action::Masquerade(_)
        | Action::DstNat(_)
        | Action::Redirect(_)
        | Action::EndpointIndependent(_)
        | Action::Same(..)
        | Action::Netmap(_) => Role::Admit,
        Action::Drop | Action::Reject(_) => Role::Refuse,
        Action::Jump(_) | Action::Return => Role::Lead,
        Action::Log(_)
        | Action::Passthrough
        | Action::Fasttrack
        | Action::AddToList(..)
        | Action::Sniff(_)
        | Action::Edit(..) => Role::Note,
    }
}

/// Sends a packet through the rules.
pub fn send(program: &Program, packet: &Packet, doubt: Doubt) -> Course {
    let mut way = Way {
        program,
        doubt,
        logged: Vec::new(),
        marks: Marks::default(),
        router: None,
    };
    let facts = Facts {
        src: packet.src.0,
        dst: packet.dst.0,
        proto: packet.proto,
        src_port: packet.src.1,
        dst_port: packet.dst.1,
        icmp: packet.icmp,
        in_interface: Some(packet.iface),
        out_interface: None,
        state: None,
        nat_state: NatStateSet::default(),
        helper: None,
        layer7: Layer7::Unknown,
        now: Tick::default(),
        marks: Marks::default(),
        routing_table: None,
    };
    let mut course = way.run(facts);
    course.logged = way.logged;
    course
}

/// A packet on its way, and what is noted meanwhile.
struct Way<'a> {
    program: &'a Program,
    doubt: Doubt,
    logged: Vec<RuleId>,
    marks: Marks,
    router: Option<IpAddr>,
}

impl Way<'_> {
    fn run(&mut self, mut facts: Facts) -> Course {
        let raw = self.ask(Hook::RawPrerouting, &mut facts);
        if raw.verdict == Verdict::Drop {
            return ended(End::Dropped, raw.rule, None);
        }
        let tracked = self.program.tracking.enabled && raw.verdict != Verdict::NoTrack;
        facts.state = Some(if tracked {
            ConnState::New
        } else {
            ConnState::Untracked
        });
        self.ask(Hook::ManglePrerouting, &mut facts);
        let translated = if tracked {
            self.translate(&mut facts)
        } else {
            None
        };
        let (end, hooks) = match self.route(&mut facts) {
            End::Interface(iface) => {
                facts.out_interface = Some(iface);
                let hooks = [Hook::MangleForward, Hook::FilterForward];
                (End::Interface(iface), hooks)
            }
            End::Gateway => (End::Gateway, [Hook::MangleInput, Hook::FilterInput]),
            end @ (End::Dropped | End::Rejected | End::Nowhere) => {
                return ended(end, None, translated);
            }
        };
        let [mangle, filter] = hooks;
        self.ask(mangle, &mut facts);
        let decision = self.ask(filter, &mut facts);
        let end = match decision.verdict {
            Verdict::Accept => end,
            Verdict::Reject(_) => End::Rejected,
            Verdict::Drop
            | Verdict::NoTrack
            | Verdict::SrcNat(_)
            | Verdict::Masquerade(_)
            | Verdict::DstNat(_)
            | Verdict::Redirect(_)
            | Verdict::EndpointIndependent(_)
            | Verdict::Same(..)
            | Verdict::Netmap(_) => End::Dropped,
        };
        ended(end, decision.rule, translated)
    }

    fn ask(&mut self, hook: Hook, facts: &mut Facts) -> Decision {
        let (table, chain) = hook.chain();
        self.marks = facts.marks;
        let decision = evaluate(self.program, table, chain, facts, self);
        facts.marks = self.marks;
        decision
    }

    fn route(&self, facts: &mut Facts) -> End {
        facts.routing_table = Some(RoutingTableId::MAIN);
        if facts.dst.is_multicast() {
            return End::Gateway;
        }
        let sought = Sought {
            source: facts.src,
            destination: facts.dst,
            in_interface: facts.in_interface,
            mark: facts.marks.routing,
            router: self.router,
        };
        let Found { hop, table } = self.program.routing.find(&self.program.fib, &sought);
        facts.routing_table = Some(table);
        match hop {
            Some(NextHop::Local | NextHop::Broadcast(_)) => End::Gateway,
            Some(NextHop::Neighbour { iface, .. }) => End::Interface(iface),
            Some(NextHop::Unreachable | NextHop::Blackhole) | None => End::Nowhere,
        }
    }

    /// Translates the destination as a nat rule says: to the first of several addresses.
    fn translate(&mut self, facts: &mut Facts) -> Option<((IpAddr, Option<u16>), RuleId)> {
        let decision = self.ask(Hook::DstNat, facts);
        let rule = decision.rule?;
        let before = (facts.dst, facts.dst_port);
        match decision.verdict {
            Verdict::DstNat(to) | Verdict::Same(to, _) => apply(facts, to),
            Verdict::Redirect(ports) => {
                let iface = facts.in_interface?;
                let own = self.program.interfaces.source_address(iface, facts.src)?;
                facts.dst = own;
                translate_port(facts, ports);
            }
            Verdict::Netmap(to) => {
                let asked = self.program.rules.find(rule)?.asked_range(Side::Dst)?;
                facts.dst = counterpart(asked, to, facts.dst)?;
            }
            Verdict::Accept
            | Verdict::Drop
            | Verdict::Reject(_)
            | Verdict::NoTrack
            | Verdict::SrcNat(_)
            | Verdict::Masquerade(_)
            | Verdict::EndpointIndependent(_) => {}
        }
        let after = (facts.dst, facts.dst_port);
        (before != after).then(|| {
            facts.nat_state = NatStateSet(NatStateSet::DSTNAT);
            (after, rule)
        })
    }

    /// Whether a rule is taken to match although that depends on what is not known here.
    fn is_taken(&self, rule: RuleId) -> bool {
        let action = self.program.rules.find(rule).map(|rule| role(&rule.action));
        match action {
            Some(Role::Admit | Role::Note) => true,
            Some(Role::Lead) => self.doubt == Doubt::Go,
            Some(Role::Refuse) | None => false,
        }
    }
}

impl Observer for Way<'_> {
    fn matched(&mut self, id: RuleId, rule: &CompiledRule) {
        if rule.log_prefix().is_some() {
            self.logged.push(id);
        }
        if let Action::Edit(Edit::Mark(kind, mark), _) = rule.action {
            self.marks.set(kind, self.program.marks.number(mark));
        }
        if let Action::Edit(Edit::Route(router), _) = rule.action {
            self.router = Some(router);
        }
    }

    fn packet(&mut self, rule: RuleId, ask: &PacketAsk, _: &Facts) -> Option<bool> {
        let asked = self.program.rules.find(rule)?.packet_asks();
        let negated = asked.iter().find(|a| a.value == *ask)?.negated;
        self.is_taken(rule).then_some(!negated)
    }

    fn asks_label(&mut self, rule: RuleId) -> Option<bool> {
        Some(self.is_taken(rule))
    }

    fn connections(&mut self, limit: Limit, _: IpAddr) -> u32 {
        let Some(rule) = self.program.lasting.rule(limit.rule) else {
            return 1;
        };
        let asked = self.program.rules.find(rule).and_then(CompiledRule::limit);
        let negated = asked.is_some_and(|asked| asked.negated);
        // So many that the rule is over its limit, or none at all.
        if self.is_taken(rule) == negated {
            0
        } else {
            u32::MAX
        }
    }
}

fn ended(
    end: End,
    rule: Option<RuleId>,
    translated: Option<((IpAddr, Option<u16>), RuleId)>,
) -> Course {
    Course {
        end,
        rule,
        translated,
        logged: Vec::new(),
    }
}

fn apply(facts: &mut Facts, to: Translation) {
    if let Some(addresses) = to.addresses {
        facts.dst = addresses.first;
    }
    translate_port(facts, to.ports);
}

fn translate_port(facts: &mut Facts, ports: Option<PortRange>) {
    if let (Some(ports), Some(port)) = (ports, facts.dst_port)
        && !(ports.first..=ports.last).contains(&port)
    {
        facts.dst_port = Some(ports.first);
    }
}

/// The address as far from the start of `to` as it is from that of `from`.
fn counterpart(from: AddressRange, to: AddressRange, address: IpAddr) -> Option<IpAddr> {
    let number = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let offset = number(address).checked_sub(number(from.first))?;
    let moved = number(to.first).checked_add(offset)?;
    if moved > number(to.last) {
        return None;
    }
    match to.family() {
        IpFamily::V4 => Some(IpAddr::V4(u32::try_from(moved).ok()?.into())),
        IpFamily::V6 => Some(IpAddr::V6(moved.into())),
    }
}
