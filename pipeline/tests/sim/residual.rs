//! Rules that ask something of each packet, and that mark and change packets, by chance.

use std::time::Duration;

use turnpike_pipeline::ids::{IfaceId, ListId, MarkId, RoutingTableId};
use turnpike_pipeline::policy::{
    Action, AddressList, Comparison, ConnectionLimit, Edit, Interface, ListTimeout, Mark, MarkKind,
    Match, Matchers, NatStateSet, NewMss, NewPriority, PacketAsk, Policy, RejectWith, Route,
    RoutingAction, RoutingRule, RoutingTable, Then, TtlChange, Unreachable, Via,
};
use turnpike_pipeline::rules::matchers::End;

use crate::random::Random;
use crate::sim::{LAN_IF, WAN, ip, is, rule};

/// Adds some to a policy.
pub fn residual_rules(policy: &mut Policy, random: &mut Random) {
    policy.marks = vec!["a".to_owned(), "b".to_owned()];
    let list = |name: &str| AddressList {
        name: name.to_owned(),
        ..AddressList::default()
    };
    policy.address_lists = vec![list("a"), list("b")];
    routing(policy, random);
    for chain in &mut policy.mangle.chains {
        for _ in 0..random.below(3) {
            let asked = residual_matchers(random);
            chain.rules.push(rule(asked, edit(random)));
        }
    }
    for _ in 0..random.below(4) {
        let asked = residual_matchers(random);
        let action = match random.below(8) {
            0 => Action::Drop,
            1 => Action::Reject(RejectWith::Icmp(Unreachable::AdminProhibited)),
            2 => Action::Log("asked ".into()),
            3 => Action::Fasttrack,
            4 | 5 => add_to_list(random),
            _ => Action::Passthrough,
        };
        let forward = &mut policy.filter.chains[1].rules;
        let at = random.below(forward.len() + 1);
        forward.insert(at, rule(asked, action));
    }
}

/// The second way out.
pub const WAN2_IF: IfaceId = IfaceId(2);

/// A second way out, `wan2` (VLAN 20 on `wan`'s port), that tables and routing rules may lead to.
fn routing(policy: &mut Policy, random: &mut Random) {
    policy.interfaces.push(Interface {
        name: "wan2".to_owned(),
        port: WAN,
        vlan: Some(20),
        addresses: ["198.18.2.2/24", "2001:db8:18::2/64"]
            .map(|net| net.parse().unwrap())
            .to_vec(),
        mtu: 1_500,
    });
    let by = |gateway| Via::Gateway(WAN2_IF, ip(gateway));
    let route = |destination: &str, via| Route {
        destination: destination.parse().unwrap(),
        via,
    };
    let table = |name: &str, routes| RoutingTable {
        name: name.to_owned(),
        routes,
    };
    policy.routing.tables = vec![
        table(
            "a",
            vec![
                route("0.0.0.0/0", by("198.18.2.1")),
                route("::/0", by("2001:db8:18::1")),
            ],
        ),
        table(
            "b",
            vec![
                route("198.51.100.0/30", by("198.18.2.9")),
                route("198.51.100.4/30", Via::Unreachable),
            ],
        ),
    ];
    for _ in 0..random.below(3) {
        let table = RoutingTableId(random.pick(&[0, 1, 2]));
        let prefix = random.pick(&["198.51.100.0/29", "0.0.0.0/0", "::/0"]);
        policy.routing.rules.push(RoutingRule {
            src_address: None,
            dst_address: Some(prefix.parse().unwrap()),
            routing_mark: random.chance(30).then_some(MarkId(1)),
            interface: random.chance(50).then_some(LAN_IF),
            action: random.pick(&[
                RoutingAction::Lookup(table),
                RoutingAction::Lookup(table),
                RoutingAction::LookupOnly(table),
                RoutingAction::Drop,
            ]),
        });
    }
}

fn add_to_list(random: &mut Random) -> Action {
    let timeout = Duration::from_secs(1 + random.below(30) as u64);
    let end = random.pick(&[End::Src, End::Dst]);
    let list = random.pick(&[ListId(0), ListId(1)]);
    Action::AddToList(end, list, ListTimeout::For(timeout))
}

fn residual_matchers(random: &mut Random) -> Matchers {
    let mut asked = Matchers::default();
    if random.chance(30) {
        let list = Match {
            value: random.pick(&[ListId(0), ListId(1)]),
            negated: random.chance(30),
        };
        if random.chance(50) {
            asked.src_address_list = Some(list);
        } else {
            asked.dst_address_list = Some(list);
        }
    }
    if random.chance(60) {
        let size = 20 + u16::from(random.byte()) / 2;
        asked.packet.push(Match {
            value: PacketAsk::Size(0, size),
            negated: random.chance(30),
        });
    }
    if random.chance(20) {
        let comparison = random.pick(&Comparison::ALL);
        asked.packet.push(is(PacketAsk::Ttl(comparison, 63)));
    }
    if random.chance(30) {
        let kind = random.pick(&MarkKind::ALL);
        let mark = random.pick(&[None, Some(MarkId(0)), Some(MarkId(1))]);
        asked.marks.push(Match {
            value: Mark { kind, mark },
            negated: random.chance(30),
        });
    }
    if random.chance(10) {
        asked.routing_table = Some(Match {
            value: RoutingTableId(random.pick(&[0, 1, 2])),
            negated: random.chance(30),
        });
    }
    if random.chance(20) {
        asked.connection_nat_state = Some(Match {
            value: NatStateSet(random.pick(&[1, 2, 3])),
            negated: random.chance(30),
        });
    }
    if random.chance(15) {
        asked.connection_limit = Some(is(ConnectionLimit {
            count: 3,
            prefix: 32,
        }));
    }
    asked
}

fn edit(random: &mut Random) -> Action {
    let mark = random.pick(&[None, Some(MarkId(0)), Some(MarkId(1))]);
    let edit = match random.below(11) {
        0 => Edit::Dscp(random.byte() % 64),
        1 => Edit::Ttl(TtlChange::increment(1)),
        2 => Edit::Ttl(TtlChange::set(2)),
        3 => Edit::Mark(MarkKind::Connection, mark),
        4 => Edit::Mss(NewMss::AtMost(1_000 + u16::from(random.byte()))),
        5 => Edit::Mss(NewMss::FitsPath),
        6 => random.pick(&[Edit::ClearDf, Edit::StripOptions]),
        7 => Edit::Priority(random.pick(&[
            NewPriority::Set(5),
            NewPriority::FromDscpHigh,
            NewPriority::FromIngress,
        ])),
        8 => Edit::Mark(MarkKind::Routing, mark),
        9 => Edit::Route(ip(random.pick(&["198.18.2.7", "2001:db8:18::7"]))),
        _ => Edit::Mark(MarkKind::Packet, mark),
    };
    Action::Edit(edit, random.pick(&[Then::GoOn, Then::GoOn, Then::Stop]))
}
