//! The evaluator that defines what rules mean: one after the other, first decision wins.
//!
//! A matching rule is counted and does what its action says. Most actions decide; `log`,
//! `passthrough` and `fasttrack-connection` go on with the next rule; `jump` goes on in another
//! chain and `return`, or that chain's end, behind the jump. The end of a built-in chain accepts.
//! What only the packet itself can answer is asked of the observer, once all that the facts answer
//! holds, and a rule's `connection-limit` last: only what the rest of a rule holds for is counted.
//! A mark that a rule has set is the packet's for the rules behind it, and what a rule adds to a
//! list of addresses is in it for them.
//! What cannot happen with a checked configuration (a chain that does not exist, jumps nested
//! deeper than [`JUMP_DEPTH_MAX`], more than [`STEPS_MAX`] rules for one packet) drops.

use std::net::IpAddr;
use std::ops::Range;

use arrayvec::ArrayVec;
use turnpike_conntrack::limits::Limit;

use crate::drops::DropReason;
use crate::ids::{ChainId, ListId, RULES_MAX, RuleId};
use crate::policy::{
    Action, AddressRange, Edit, ListTimeout, PacketAsk, PortRange, RejectWith, SameBy, TableKind,
    Then, Translation,
};
use crate::program::Program;
use crate::rules::compiled::{CompiledRule, Rules};
use crate::rules::facts::Facts;
use crate::rules::look::look;

/// How deep jumps nest; configuration refuses deeper ones, and the evaluator drops.
pub const JUMP_DEPTH_MAX: usize = 16;

/// How many rules and returns one evaluation may take before it drops: every rule, several times.
pub const STEPS_MAX: u32 = 4 * RULES_MAX as u32;

/// What a table decides about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It passes; in the nat table, untranslated.
    Accept,
    /// It ends here, silently.
    Drop,
    /// It ends here, and its sender is told.
    Reject(RejectWith),
    /// raw: it passes and is not tracked.
    NoTrack,
    /// nat: its connection's source becomes one of these.
    SrcNat(Translation),
    /// nat: its connection's source becomes an address of the interface it leaves by.
    Masquerade(Option<PortRange>),
    /// nat: its connection's destination becomes one of these.
    DstNat(Translation),
    /// nat: its connection's destination becomes the gateway itself.
    Redirect(Option<PortRange>),
    /// nat: its connection has the external endpoint that its inside one has towards everybody, or
    /// goes in through one.
    EndpointIndependent(Translation),
    /// nat: its connection's source, or destination, becomes one of these, the same one each time.
    Same(Translation, SameBy),
    /// nat: its connection's source, or destination, becomes its counterpart here.
    Netmap(AddressRange),
}

impl Verdict {
    /// Why a packet with this verdict of the filter ends; `None` if it passes.
    pub const fn drop_reason(&self) -> Option<DropReason> {
        match self {
            Self::Accept => None,
            Self::Reject(_) => Some(DropReason::FilterReject),
            Self::Drop
            | Self::NoTrack
            | Self::SrcNat(_)
            | Self::Masquerade(_)
            | Self::DstNat(_)
            | Self::Redirect(_)
            | Self::EndpointIndependent(_)
            | Self::Same(..)
            | Self::Netmap(_) => Some(DropReason::FilterRule),
        }
    }
}

/// A verdict and the rule that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decision {
    /// What happens to the packet.
    pub verdict: Verdict,
    /// The rule that decided; `None` when a built-in chain was gone through to its end.
    pub rule: Option<RuleId>,
}

/// What holding one rule against a packet showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Every matcher holds.
    Matched,
    /// The matcher of this name does not.
    Failed(&'static str),
    /// The rule is disabled.
    Disabled,
}

/// Somebody who wants to know how a verdict came about; `()` does not.
pub trait Observer {
    /// A rule was looked at, whether it matched or not.
    fn looked_at(&mut self, rule: RuleId, look: Look, facts: &Facts) {
        let _ = (rule, look, facts);
    }

    /// A rule matched, be it that it decides or not; called in order, once per match.
    fn matched(&mut self, id: RuleId, rule: &CompiledRule) {
        let _ = (id, rule);
    }

    /// A rule was looked at that asks for lists of addresses, whose members come and go.
    fn asks_lists(&mut self) {}

    /// All of a rule holds but for the label of the packet's connection, which it asks for. Whoever
    /// sees packets has the connection looked through; whoever knows better what it carries says
    /// whether the rule is to match.
    fn asks_label(&mut self, rule: RuleId) -> Option<bool> {
        let _ = rule;
        None
    }

    /// A matching rule adds an address to a list, before the next rule is looked at. Whoever only
    /// looks adds nothing.
    fn add_to_list(&mut self, list: ListId, address: IpAddr, timeout: ListTimeout) {
        let _ = (list, address, timeout);
    }

    /// All that the facts answer holds for a rule: what the packet itself answers. `None` if it
    /// lacks what is asked about, and then the rule does not match, negated or not. Whoever has no
    /// packet knows nothing.
    fn packet(&mut self, rule: RuleId, ask: &PacketAsk, facts: &Facts) -> Option<bool> {
        let _ = (rule, ask, facts);
        None
    }

    /// Everything else of a rule holds: how many connections its `connection-limit` counts, with
    /// the one that the packet opens. Whoever keeps no counts sees the first.
    fn connections(&mut self, limit: Limit, source: IpAddr) -> u32 {
        let _ = (limit, source);
        1
    }

    /// Whether [`looked_at`](Self::looked_at) has to hear of rules that cannot match, too.
    fn hears_every_look(&self) -> bool {
        false
    }
}

impl Observer for () {}

/// Where it goes on after a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    Next,
    Jump(ChainId),
    Return,
    Decide(Verdict),
}

/// A way through the rules of one chain: which is looked at next.
///
/// A rule that is left out is one that does not match.
pub(super) trait Reading<'p>: Sized {
    /// The chain from its first rule on; `None` if there is no such chain.
    fn open(rules: &'p Rules, table: TableKind, chain: ChainId, facts: &Facts) -> Option<Self>;

    /// The first rule not passed yet, as a number; behind the last one, the chain's end.
    fn at(&self) -> u32;

    /// The next rule to look at, which is passed then; `None` at the chain's end.
    fn next(&mut self) -> Option<u32>;

    /// Passes all that is left.
    fn leave(&mut self);
}

/// Every rule, one after the other.
impl<'p> Reading<'p> for Range<u32> {
    fn open(rules: &'p Rules, table: TableKind, chain: ChainId, _: &Facts) -> Option<Self> {
        rules.chain(table, chain)
    }

    fn at(&self) -> u32 {
        self.start
    }

    fn next(&mut self) -> Option<u32> {
        Iterator::next(self)
    }

    fn leave(&mut self) {
        self.start = self.end;
    }
}

/// Takes a packet through the rules of a chain and whatever chains those jump to.
pub fn evaluate(
    program: &Program,
    table: TableKind,
    chain: ChainId,
    facts: &Facts,
    observer: &mut impl Observer,
) -> Decision {
    read::<Range<u32>>(program, table, chain, facts, observer)
}

/// The same, reading chains in a way of one's own.
pub(super) fn read<'p, R: Reading<'p>>(
    program: &'p Program,
    table: TableKind,
    chain: ChainId,
    facts: &Facts,
    observer: &mut impl Observer,
) -> Decision {
    let rules = &program.rules;
    let mut facts = *facts;
    let Some(mut here) = R::open(rules, table, chain, &facts) else {
        return fail_closed(None);
    };
    let mut callers = ArrayVec::<_, JUMP_DEPTH_MAX>::new();
    let mut last = None;
    let mut left = STEPS_MAX;
    loop {
        let from = here.at();
        let next = here.next();
        // Rules that are passed over count as looked at, and so does a chain's end.
        let steps = here.at() - from + u32::from(next.is_none());
        let passed = |to: u32| {
            if to > from {
                Some(RuleId(to - 1))
            } else {
                last
            }
        };
        if steps > left {
            return fail_closed(passed(from + left));
        }
        left -= steps;
        last = passed(here.at());
        let Some(id) = next.map(RuleId) else {
            match callers.pop() {
                Some(caller) => here = caller,
                None => return END_OF_CHAIN,
            }
            continue;
        };
        let Some(rule) = rules.find(id) else {
            return fail_closed(last);
        };
        let look = look(program, (id, rule), &facts, observer);
        observer.looked_at(id, look, &facts);
        if look != Look::Matched {
            continue;
        }
        observer.matched(id, rule);
        if let Action::Edit(Edit::Mark(kind, mark), _) = rule.action {
            facts.marks.set(kind, program.marks.number(mark));
        }
        if let Action::AddToList(end, list, timeout) = rule.action {
            observer.add_to_list(list, facts.address(end), timeout);
        }
        match course(&rule.action) {
            Course::Next => {}
            Course::Return => here.leave(),
            Course::Decide(verdict) => {
                return Decision {
                    verdict,
                    rule: Some(id),
                };
            }
            Course::Jump(to) => {
                let Some(target) = R::open(rules, table, to, &facts) else {
                    return fail_closed(last);
                };
                let caller = std::mem::replace(&mut here, target);
                if callers.try_push(caller).is_err() {
                    return fail_closed(last);
                }
            }
        }
    }
}

/// The verdict of an action that decides.
pub(super) const fn decided(action: &Action) -> Option<Verdict> {
    match course(action) {
        Course::Decide(verdict) => Some(verdict),
        Course::Next | Course::Jump(_) | Course::Return => None,
    }
}

/// What going through a built-in chain to its end comes to.
pub const END_OF_CHAIN: Decision = Decision {
    verdict: Verdict::Accept,
    rule: None,
};

/// The answer to what a checked configuration cannot contain.
const fn fail_closed(rule: Option<RuleId>) -> Decision {
    Decision {
        verdict: Verdict::Drop,
        rule,
    }
}

pub(super) const fn course(action: &Action) -> Course {
    match action {
        Action::Log(_)
        | Action::Passthrough
        | Action::Fasttrack
        | Action::AddToList(..)
        | Action::Sniff(_)
        | Action::Edit(_, Then::GoOn) => Course::Next,
        Action::Edit(_, Then::Stop) => Course::Decide(Verdict::Accept),
        Action::Jump(chain) => Course::Jump(*chain),
        Action::Return => Course::Return,
        Action::Accept => Course::Decide(Verdict::Accept),
        Action::Drop => Course::Decide(Verdict::Drop),
        Action::Reject(with) => Course::Decide(Verdict::Reject(*with)),
        Action::NoTrack => Course::Decide(Verdict::NoTrack),
        Action::SrcNat(to) => Course::Decide(Verdict::SrcNat(*to)),
        Action::Masquerade(ports) => Course::Decide(Verdict::Masquerade(*ports)),
        Action::DstNat(to) => Course::Decide(Verdict::DstNat(*to)),
        Action::Redirect(ports) => Course::Decide(Verdict::Redirect(*ports)),
        Action::EndpointIndependent(to) => Course::Decide(Verdict::EndpointIndependent(*to)),
        Action::Same(to, by) => Course::Decide(Verdict::Same(*to, *by)),
        Action::Netmap(to) => Course::Decide(Verdict::Netmap(*to)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Match, Matchers, Policy, Rule};
    use crate::testing::{bare, chain, compile, gateway, rule};
    use turnpike_conntrack::tuple::Proto;

    const FORWARD: ChainId = ChainId(1);

    /// The gateway with these filter chains behind an empty `input`: `forward` first.
    fn program(chains: Vec<Vec<Rule>>) -> Program {
        let names = ["forward", "output", "custom-3", "custom-4", "custom-5"];
        let mut policy: Policy = gateway();
        policy.filter.chains = vec![chain("input", vec![])];
        for (n, rules) in chains.into_iter().enumerate() {
            let name = names.get(n).unwrap_or(&"more");
            policy.filter.chains.push(chain(name, rules));
        }
        compile(&policy)
    }

    fn packet() -> Facts {
        bare("192.168.88.2", "8.8.8.8", Proto::TCP)
    }

    fn udp_only(action: Action) -> Rule {
        Rule {
            matchers: Matchers {
                protocol: Some(Match {
                    value: Proto::UDP,
                    negated: false,
                }),
                ..Matchers::default()
            },
            ..rule(action)
        }
    }

    /// Writes down what it is told.
    #[derive(Default)]
    struct Notes {
        looked_at: Vec<(u32, Look)>,
        matched: Vec<u32>,
    }

    impl Observer for Notes {
        fn looked_at(&mut self, rule: RuleId, look: Look, _: &Facts) {
            self.looked_at.push((rule.0, look));
        }

        fn matched(&mut self, id: RuleId, _: &CompiledRule) {
            self.matched.push(id.0);
        }
    }

    /// The verdict, the number of the deciding rule, the matched rules.
    fn run(program: &Program) -> (Verdict, Option<u32>, Vec<u32>) {
        let mut notes = Notes::default();
        let decision = evaluate(program, TableKind::Filter, FORWARD, &packet(), &mut notes);
        (decision.verdict, decision.rule.map(|r| r.0), notes.matched)
    }

    #[test]
    fn the_end_of_a_built_in_chain_accepts() {
        let program = program(vec![vec![]]);
        assert_eq!(run(&program), (Verdict::Accept, None, vec![]));
    }

    #[test]
    fn the_first_deciding_rule_wins() {
        let program = program(vec![vec![
            udp_only(Action::Accept),
            rule(Action::Drop),
            rule(Action::Accept),
        ]]);
        assert_eq!(run(&program), (Verdict::Drop, Some(1), vec![1]));
    }

    #[test]
    fn every_deciding_action_gives_its_verdict() {
        let reject = RejectWith::TcpReset;
        let ports = PortRange { first: 1, last: 9 };
        let range = AddressRange {
            first: packet().src,
            last: packet().src,
        };
        let to = Translation {
            addresses: None,
            ports: Some(ports),
        };
        for (action, verdict) in [
            (Action::Accept, Verdict::Accept),
            (Action::Drop, Verdict::Drop),
            (Action::Reject(reject), Verdict::Reject(reject)),
            (Action::NoTrack, Verdict::NoTrack),
            (Action::SrcNat(to), Verdict::SrcNat(to)),
            (Action::DstNat(to), Verdict::DstNat(to)),
            (
                Action::Same(to, SameBy::Client),
                Verdict::Same(to, SameBy::Client),
            ),
            (Action::Netmap(range), Verdict::Netmap(range)),
        ] {
            let program = program(vec![vec![rule(action)]]);
            assert_eq!(run(&program), (verdict, Some(0), vec![0]));
        }
        for (action, verdict) in [
            (
                Action::Masquerade(Some(ports)),
                Verdict::Masquerade(Some(ports)),
            ),
            (Action::Redirect(None), Verdict::Redirect(None)),
            (
                Action::EndpointIndependent(to),
                Verdict::EndpointIndependent(to),
            ),
        ] {
            let program = program(vec![vec![rule(action)]]);
            let facts = Facts {
                in_interface: Some(crate::ids::IfaceId(0)),
                out_interface: Some(crate::ids::IfaceId(1)),
                ..packet()
            };
            let decision = evaluate(&program, TableKind::Filter, FORWARD, &facts, &mut ());
            assert_eq!(decision.verdict, verdict);
        }
    }

    #[test]
    fn log_passthrough_and_fasttrack_go_on_with_the_next_rule() {
        let program = program(vec![vec![
            rule(Action::Log("x".into())),
            rule(Action::Passthrough),
            rule(Action::Fasttrack),
            rule(Action::Drop),
        ]]);
        assert_eq!(run(&program), (Verdict::Drop, Some(3), vec![0, 1, 2, 3]));
    }

    #[test]
    fn a_disabled_rule_is_looked_at_and_never_matches() {
        let disabled = Rule {
            disabled: true,
            ..rule(Action::Drop)
        };
        let program = program(vec![vec![disabled, rule(Action::Accept)]]);
        let mut notes = Notes::default();
        evaluate(&program, TableKind::Filter, FORWARD, &packet(), &mut notes);
        assert_eq!(notes.looked_at, [(0, Look::Disabled), (1, Look::Matched)]);
    }

    #[test]
    fn the_observer_hears_which_matcher_failed() {
        let program = program(vec![vec![udp_only(Action::Drop)]]);
        let mut notes = Notes::default();
        evaluate(&program, TableKind::Filter, FORWARD, &packet(), &mut notes);
        assert_eq!(notes.looked_at, [(0, Look::Failed("protocol"))]);
        assert_eq!(notes.matched, []);
    }

    #[test]
    fn behind_a_jump_the_caller_goes_on_at_the_end_of_the_chain_and_at_return() {
        let jump = |to| rule(Action::Jump(ChainId(to)));
        let program = program(vec![
            // forward: 0..=3
            vec![
                jump(3),
                jump(4),
                udp_only(Action::Jump(ChainId(5))),
                rule(Action::Drop),
            ],
            // output
            vec![],
            // custom-3: 4, goes to its end
            vec![rule(Action::Passthrough)],
            // custom-4: 5..=6, returns
            vec![rule(Action::Return), rule(Action::Accept)],
            // custom-5: 7, is not entered
            vec![rule(Action::Accept)],
        ]);
        assert_eq!(run(&program), (Verdict::Drop, Some(3), vec![0, 4, 1, 5, 3]));
    }

    #[test]
    fn a_decision_in_a_nested_chain_is_final() {
        let program = program(vec![
            vec![rule(Action::Jump(ChainId(3))), rule(Action::Drop)],
            vec![],
            vec![rule(Action::Jump(ChainId(4))), rule(Action::Drop)],
            vec![rule(Action::Accept)],
        ]);
        assert_eq!(run(&program), (Verdict::Accept, Some(4), vec![0, 2, 4]));
    }

    #[test]
    fn return_in_a_built_in_chain_is_its_end() {
        let program = program(vec![vec![rule(Action::Return), rule(Action::Drop)]]);
        assert_eq!(run(&program), (Verdict::Accept, None, vec![0]));
    }

    /// forward jumps through `depth` chains, the last of which accepts.
    fn nested(depth: usize) -> Program {
        let mut chains = vec![vec![rule(Action::Jump(ChainId(3)))], vec![]];
        for n in 1..depth {
            let next = ChainId(u16::try_from(n + 3).unwrap());
            chains.push(vec![rule(Action::Jump(next))]);
        }
        chains.push(vec![rule(Action::Accept)]);
        program(chains)
    }

    #[test]
    fn jumps_nest_to_the_limit_and_drop_beyond_it() {
        assert_eq!(run(&nested(JUMP_DEPTH_MAX)).0, Verdict::Accept);
        let (verdict, rule, _) = run(&nested(JUMP_DEPTH_MAX + 1));
        assert_eq!(verdict, Verdict::Drop);
        assert_eq!(rule, Some(u32::try_from(JUMP_DEPTH_MAX).unwrap()));
    }

    #[test]
    fn a_loop_of_jumps_drops() {
        let program = program(vec![vec![rule(Action::Jump(FORWARD))]]);
        let (verdict, rule, _) = run(&program);
        assert_eq!((verdict, rule), (Verdict::Drop, Some(0)));
    }

    #[test]
    fn a_packet_that_would_take_too_many_steps_is_dropped() {
        // Each chain jumps to the next twenty times: 20^5 rules without a loop.
        let fan = |to| vec![rule(Action::Jump(ChainId(to))); 20];
        let program = program(vec![fan(3), vec![], fan(4), fan(5), fan(6), fan(7), vec![]]);
        assert_eq!(run(&program).0, Verdict::Drop);
    }

    #[test]
    fn a_chain_that_does_not_exist_drops() {
        let program = program(vec![vec![rule(Action::Jump(ChainId(9)))]]);
        assert_eq!(run(&program), (Verdict::Drop, Some(0), vec![0]));
        let nowhere = evaluate(&program, TableKind::Raw, ChainId(0), &packet(), &mut ());
        assert_eq!(nowhere, fail_closed(None));
    }
}
