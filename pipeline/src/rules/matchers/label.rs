//! What a rule asks of the label of a packet's connection.
//!
//! A connection that is not labelled, or not yet, carries none of the protocols that rules ask for;
//! what is negated holds for it. For one that there was no room to look at, a rule can say what is
//! to come of it.

use turnpike_conntrack::labels::Layer7;

use super::{Ask, Test};
use crate::ids::Layer7Id;
use crate::policy::{Action, Layer7Fail, Rule};
use crate::program::Program;

/// Whether a connection carries one of these protocols.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelAsk {
    /// The matcher it came from.
    matcher: &'static str,
    protocols: Box<[Layer7Id]>,
    /// Whether it holds for a connection that there was no room to look at, if the rule says so.
    unexamined: Option<bool>,
}

impl LabelAsk {
    /// The property name of the configuration that this came from.
    pub const fn name(&self) -> &'static str {
        self.matcher
    }

    /// Yes or no.
    pub fn answer(&self, layer7: Layer7, negated: bool, program: &Program) -> bool {
        match (layer7, self.unexamined) {
            (Layer7::Unexamined, Some(holds)) => holds != negated,
            (Layer7::Unknown | Layer7::Unexamined, _) => false,
            (Layer7::Found(label), _) => {
                let mut asked = self.protocols.iter();
                asked.any(|protocol| program.layer7.label(*protocol) == Some(label))
            }
        }
    }
}

/// A rule's questions for the label.
pub fn tests(rule: &Rule) -> impl Iterator<Item = Test> {
    let matchers = &rule.matchers;
    let refuses = refuses(&rule.action);
    let unexamined = matchers
        .layer7_fail
        .map(|fail| (fail == Layer7Fail::Closed) == refuses);
    let one = matchers
        .layer7_protocol
        .map(|asked| ("layer7-protocol", [asked.value].into(), asked.negated));
    let group = matchers
        .p2p
        .as_ref()
        .map(|asked| ("p2p", asked.value.protocols.clone(), asked.negated));
    let asked = one.into_iter().chain(group);
    asked.map(move |(matcher, protocols, negated)| Test {
        ask: Ask::Label(LabelAsk {
            matcher,
            protocols,
            unexamined,
        }),
        negated,
    })
}

impl Test {
    /// The protocols that it asks a connection's label for.
    pub fn asked_protocols(&self) -> &[Layer7Id] {
        if let Ask::Label(asked) = &self.ask {
            &asked.protocols
        } else {
            &[]
        }
    }
}

/// Whether an action refuses what it takes.
const fn refuses(action: &Action) -> bool {
    match action {
        Action::Drop | Action::Reject(_) => true,
        Action::Accept
        | Action::Log(_)
        | Action::Passthrough
        | Action::Jump(_)
        | Action::Return
        | Action::NoTrack
        | Action::Fasttrack
        | Action::AddToList(..)
        | Action::Edit(..)
        | Action::Sniff(_)
        | Action::SrcNat(_)
        | Action::Masquerade(_)
        | Action::DstNat(_)
        | Action::Redirect(_)
        | Action::EndpointIndependent(_)
        | Action::Same(..)
        | Action::Netmap(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Layer7Policy, Match, Matchers, PeerToPeer};
    use crate::testing::{bare, compile, gateway, layer7_protocol, rule};
    use turnpike_conntrack::ids::LabelId;
    use turnpike_conntrack::tuple::Proto;

    const ONE: Layer7Id = Layer7Id(0);
    const TWO: Layer7Id = Layer7Id(1);

    fn program() -> Program {
        let mut policy = gateway();
        policy.layer7 = Layer7Policy::new(["one", "two"].map(layer7_protocol).into());
        compile(&policy)
    }

    fn holds(rule: &Rule, layer7: Layer7) -> bool {
        let facts = crate::rules::Facts {
            layer7,
            ..bare("192.168.88.2", "8.8.8.8", Proto::TCP)
        };
        let program = program();
        tests(rule).all(|test| test.holds(&facts, &program))
    }

    fn asking(negated: bool, fail: Option<Layer7Fail>, action: Action) -> Rule {
        Rule {
            matchers: Matchers {
                layer7_protocol: Some(Match {
                    value: ONE,
                    negated,
                }),
                layer7_fail: fail,
                ..Matchers::default()
            },
            ..rule(action)
        }
    }

    fn found(protocol: Layer7Id) -> Layer7 {
        let label: Option<LabelId> = program().layer7.label(protocol);
        Layer7::Found(label.unwrap())
    }

    #[test]
    fn layer7_protocol_holds_for_its_label_and_negated_for_everything_else() {
        let (plain, not) = (
            asking(false, None, Action::Drop),
            asking(true, None, Action::Drop),
        );
        for (layer7, is_one) in [
            (found(ONE), true),
            (found(TWO), false),
            (Layer7::Unknown, false),
            (Layer7::Unexamined, false),
        ] {
            assert_eq!(holds(&plain, layer7), is_one, "{layer7:?}");
            assert_eq!(holds(&not, layer7), !is_one, "!{layer7:?}");
        }
    }

    #[test]
    fn p2p_holds_for_any_label_of_its_group() {
        let group = |protocols: &[Layer7Id]| Rule {
            matchers: Matchers {
                p2p: Some(Match {
                    value: PeerToPeer {
                        group: "all-p2p",
                        protocols: protocols.into(),
                    },
                    negated: false,
                }),
                ..Matchers::default()
            },
            ..rule(Action::Drop)
        };
        assert!(holds(&group(&[ONE, TWO]), found(TWO)));
        assert!(!holds(&group(&[ONE]), found(TWO)));
        assert!(!holds(&group(&[ONE, TWO]), Layer7::Unknown));
    }

    #[test]
    fn layer7_fail_says_what_becomes_of_a_connection_that_could_not_be_looked_at() {
        let (open, closed) = (Some(Layer7Fail::Open), Some(Layer7Fail::Closed));
        for negated in [false, true] {
            for (fail, action, expected) in [
                (closed, Action::Drop, true),
                (open, Action::Drop, false),
                (closed, Action::Accept, false),
                (open, Action::Accept, true),
                (None, Action::Drop, negated),
            ] {
                let rule = asking(negated, fail, action);
                let holds = holds(&rule, Layer7::Unexamined);
                assert_eq!(holds, expected, "{negated} {fail:?} {:?}", rule.action);
            }
        }
    }
}
