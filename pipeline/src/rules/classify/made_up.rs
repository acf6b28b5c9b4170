//! Made-up rules and packets that have a lot in common, so that rules match and nearly match.

use std::net::{IpAddr, Ipv6Addr};

use turnpike_conntrack::ids::{ConnState, HelperId, LabelId};
use turnpike_conntrack::labels::Layer7;
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tuple::Proto;
use turnpike_helpers::names::helper_named;

use crate::ids::{ChainId, IfaceId, InterfaceListId, Layer7Id, ListId, MarkId, RoutingTableId};
use crate::policy::{
    Action, AddressList, AddressRange, AddressTypeSet, Classifier, Comparison, ConnectionLimit,
    Edit, FlowFields, IcmpOptions, InterfaceList, IpFamily, IpsecPolicy, IpsecSide, Layer7Fail,
    Layer7Policy, Mark, MarkKind, Match, Matchers, NatStateSet, PacketAsk, PeerToPeer, Policy,
    PortRange, PortSet, Protection, RejectWith, Rule, SameBy, StateSet, TableKind, Then,
    Translation, TtlChange,
};
use crate::rules::{Facts, Marks};
use crate::testing::{chain, gateway, ip, layer7_protocol, rule};

/// SplitMix64.
pub struct Chance(pub u64);

/// Interfaces that packets come by; the gateway does not have the last.
const INTERFACES: [u16; 4] = [0, 1, 2, 3];
const PROTOCOLS: [Proto; 5] = [
    Proto::TCP,
    Proto::UDP,
    Proto::ICMP,
    Proto::ICMPV6,
    Proto(255),
];
const PORTS: [u16; 8] = [0, 1, 22, 53, 80, 443, 65_534, 65_535];
const STATES: [ConnState; 5] = [
    ConnState::New,
    ConnState::Established,
    ConnState::Related,
    ConnState::Invalid,
    ConnState::Untracked,
];

impl Chance {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.word() % bound as u64).unwrap()
    }

    /// True `percent` times in a hundred.
    fn is(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn bits(&mut self, bits: usize) -> u8 {
        u8::try_from(self.below(1 << bits)).unwrap()
    }

    /// Sometimes a question, sometimes negated.
    fn asks<T>(&mut self, percent: usize, value: impl FnOnce(&mut Self) -> T) -> Option<Match<T>> {
        self.is(percent).then(|| Match {
            value: value(self),
            negated: self.is(30),
        })
    }

    /// An address of a few, the ends of its family among them.
    fn address(&mut self, family: IpFamily) -> IpAddr {
        let near = u32::try_from(self.below(16)).unwrap();
        match (family, self.below(8)) {
            (IpFamily::V4, 0) => ip("0.0.0.0"),
            (IpFamily::V4, 1) => ip("255.255.255.255"),
            // The gateway's own, and what is in a list.
            (IpFamily::V4, 2) => ip("192.168.88.1"),
            (IpFamily::V4, 3) => ip("10.5.0.1"),
            (IpFamily::V4, _) => IpAddr::V4((0x0a05_0000 + near * 0x55).into()),
            (IpFamily::V6, 0) => ip("::"),
            (IpFamily::V6, 1) => IpAddr::V6(Ipv6Addr::from(u128::MAX)),
            (IpFamily::V6, 2) => ip("2001:db8:88::1"),
            (IpFamily::V6, _) => {
                let high = 0x2001_0db8_u128 << 96;
                IpAddr::V6((high | u128::from(near) << (near * 4)).into())
            }
        }
    }

    fn range(&mut self) -> AddressRange {
        let family = self.family();
        let (a, b) = (self.address(family), self.address(family));
        let (a, b) = if self.is(40) { (a, a) } else { (a, b) };
        AddressRange {
            first: a.min(b),
            last: a.max(b),
        }
    }

    fn family(&mut self) -> IpFamily {
        if self.is(60) {
            IpFamily::V4
        } else {
            IpFamily::V6
        }
    }

    fn ports(&mut self) -> PortSet {
        let few = 1 + self.below(7);
        PortSet::new((0..few).map(|_| {
            let (a, b) = (self.pick(&PORTS), self.pick(&PORTS));
            if self.is(80) {
                a..=a
            } else {
                a.min(b)..=a.max(b)
            }
        }))
    }

    fn marks(&mut self) -> Vec<Match<Mark>> {
        let kinds = MarkKind::ALL.into_iter();
        let asked = kinds.filter_map(|kind| {
            self.asks(5, |c| Mark {
                kind,
                mark: c.is(70).then(|| MarkId(c.bits(1).into())),
            })
        });
        asked.collect()
    }

    fn packet_asks(&mut self) -> Vec<Match<PacketAsk>> {
        let asked = [
            self.asks(5, |c| PacketAsk::Size(0, c.pick(&PORTS))),
            self.asks(5, |c| PacketAsk::Ttl(Comparison::Less, c.bits(8))),
        ];
        asked.into_iter().flatten().collect()
    }

    fn helper(&mut self) -> HelperId {
        let name = self.pick(&["ftp", "sip"]);
        helper_named(name).unwrap()
    }

    fn layer7(&mut self) -> Layer7 {
        let found = |number| LabelId::new(number).map_or(Layer7::Unknown, Layer7::Found);
        let (one, two) = (found(1), found(2));
        self.pick(&[Layer7::Unknown, Layer7::Unexamined, one, two])
    }

    /// A rule's questions: none, some, or now and then many.
    fn matchers(&mut self) -> Matchers {
        // How often one of them is asked.
        let often = self.pick(&[0, 8, 15, 25]);
        let list = |c: &mut Self| ListId(c.bits(1).into());
        let iface = |c: &mut Self| IfaceId(c.pick(&INTERFACES));
        let interface_list = |c: &mut Self| InterfaceListId(c.pick(&[0, 1, 2]));
        let types = |c: &mut Self| AddressTypeSet(1 + c.bits(3));
        Matchers {
            family: self.is(often).then(|| self.family()),
            connection_state: self.asks(often, |c| StateSet(c.bits(5))),
            connection_nat_state: self.asks(often / 2, |c| NatStateSet(1 + c.pick(&[0, 1, 2]))),
            connection_limit: self.asks(often / 4, |c| ConnectionLimit {
                count: c.bits(2).into(),
                prefix: 32,
            }),
            connection_type: self.asks(often / 4, Self::helper),
            layer7_protocol: self.asks(often / 4, |c| Layer7Id(c.bits(1).into())),
            p2p: self.asks(often / 8, |_| PeerToPeer {
                group: "all-p2p",
                protocols: [Layer7Id(0), Layer7Id(1)].into(),
            }),
            layer7_fail: self.is(20).then_some(Layer7Fail::Closed),
            ipsec_policy: self.asks(often / 4, |c| IpsecPolicy {
                side: IpsecSide::In,
                protection: c.pick(&[Protection::None, Protection::Ipsec]),
            }),
            protocol: self.asks(often, |c| c.pick(&PROTOCOLS)),
            src_address: self.asks(often, Self::range),
            dst_address: self.asks(often, Self::range),
            src_address_list: self.asks(often / 4, list),
            dst_address_list: self.asks(often / 4, list),
            src_address_type: self.asks(often / 4, types),
            dst_address_type: self.asks(often / 4, types),
            src_port: self.asks(often, Self::ports),
            dst_port: self.asks(often, Self::ports),
            port: self.asks(often / 4, Self::ports),
            icmp_options: self.asks(often / 4, |c| IcmpOptions {
                kind: c.pick(&[0, 3, 8, 255]),
                codes: c.pick(&[(0, 255), (0, 0), (1, 4), (255, 255)]),
            }),
            in_interface: self.asks(often, iface),
            out_interface: self.asks(often, iface),
            in_interface_list: self.asks(often / 2, interface_list),
            out_interface_list: self.asks(often / 2, interface_list),
            marks: self.marks(),
            routing_table: self.asks(5, |c| RoutingTableId(c.bits(1).into())),
            classifier: self.asks(5, |c| Classifier {
                fields: FlowFields::CLASSIFIED[8].1,
                denominator: 2,
                remainder: c.bits(1).into(),
            }),
            packet: self.packet_asks(),
        }
    }

    /// Mostly something that goes on, so that ways through the rules are long.
    fn action(&mut self, chain: usize, chains: usize) -> Action {
        let ports = Some(PortRange { first: 1, last: 9 });
        let to = Translation {
            addresses: self.is(70).then(|| self.range()),
            ports,
        };
        let then = self.pick(&[Then::GoOn, Then::GoOn, Then::GoOn, Then::Stop]);
        match self.below(64) {
            0 => Action::Accept,
            1 => Action::Drop,
            2 => Action::Reject(RejectWith::TcpReset),
            3 => Action::NoTrack,
            4 => Action::SrcNat(to),
            5 => Action::DstNat(to),
            6 => Action::Same(to, SameBy::Both),
            7 => Action::EndpointIndependent(to),
            8 => Action::Netmap(self.range()),
            9 => Action::Masquerade(ports),
            10 => Action::Redirect(ports),
            11..14 => Action::Return,
            14..20 => {
                // Behind this chain, but once in a while anywhere: a loop, or nowhere.
                let any = self.below(400) == 0;
                let first = if any { 0 } else { chain + 1 };
                let target =
                    first + self.below((chains + usize::from(any)).saturating_sub(first).max(1));
                Action::Jump(ChainId(u16::try_from(target).unwrap()))
            }
            20..30 => {
                let mark = self.is(70).then(|| MarkId(self.bits(1).into()));
                Action::Edit(Edit::Mark(self.pick(&MarkKind::ALL), mark), then)
            }
            30 => Action::Edit(Edit::Ttl(TtlChange::set(self.bits(8))), then),
            31 => Action::Edit(Edit::Dscp(self.bits(6)), then),
            32..35 => Action::Log("line".into()),
            35..38 => Action::Fasttrack,
            _ => Action::Passthrough,
        }
    }

    fn rule(&mut self, chain: usize, chains: usize) -> Rule {
        let action = self.action(chain, chains);
        let decides = !matches!(
            action,
            Action::Passthrough | Action::Log(_) | Action::Fasttrack
        );
        let mut matchers = self.matchers();
        if decides && matchers == Matchers::default() && self.is(95) {
            matchers.protocol = self.asks(100, |c| c.pick(&PROTOCOLS));
        }
        Rule {
            matchers,
            log: self.is(5).then(|| "beside".into()),
            disabled: self.is(5),
            ..rule(action)
        }
    }

    /// A policy whose tables have chains of so many rules, the built-in ones first.
    pub fn policy(&mut self, sizes: &[usize]) -> Policy {
        let list = |name: &str, members: &[u16]| InterfaceList {
            name: name.to_owned(),
            members: members.iter().map(|n| IfaceId(*n)).collect(),
        };
        let mut policy = Policy {
            address_lists: vec![AddressList {
                name: "trusted".to_owned(),
                prefixes: vec!["10.5.0.0/30".parse().unwrap()],
                ..AddressList::default()
            }],
            interface_lists: vec![list("LAN", &[0, 2]), list("WAN", &[1])],
            marks: vec!["one".to_owned(), "two".to_owned()],
            layer7: Layer7Policy::new(["one", "two"].map(layer7_protocol).into()),
            ..gateway()
        };
        for kind in TableKind::ALL {
            let table = match kind {
                TableKind::Raw => &mut policy.raw,
                TableKind::Mangle => &mut policy.mangle,
                TableKind::Nat => &mut policy.nat,
                TableKind::Filter => &mut policy.filter,
            };
            for chain_number in 0..5 {
                let rules = (0..self.pick(sizes))
                    .map(|_| self.rule(chain_number, 5))
                    .collect();
                table
                    .chains
                    .push(chain(&format!("chain-{chain_number}"), rules));
            }
        }
        policy
    }

    /// A packet.
    pub fn facts(&mut self) -> Facts {
        let family = self.family();
        let proto = self.pick(&PROTOCOLS);
        let port = |c: &mut Self| (proto.has_ports() && !c.is(6)).then(|| c.pick(&PORTS));
        let is_icmp = proto == Proto::ICMP || proto == Proto::ICMPV6;
        let iface = |c: &mut Self| c.is(80).then(|| IfaceId(c.pick(&INTERFACES)));
        Facts {
            src: self.address(family),
            dst: self.address(family),
            proto,
            src_port: port(self),
            dst_port: port(self),
            icmp: is_icmp.then(|| (self.pick(&[0, 3, 8, 255]), self.pick(&[0, 1, 4, 5, 255]))),
            in_interface: iface(self),
            out_interface: iface(self),
            state: self.is(80).then(|| self.pick(&STATES)),
            nat_state: NatStateSet(self.bits(2)),
            helper: self.is(30).then(|| self.helper()),
            layer7: self.layer7(),
            now: Tick::default(),
            marks: Marks {
                connection: self.bits(1).into(),
                ..Marks::default()
            },
            routing_table: self.is(50).then(|| RoutingTableId(self.bits(1).into())),
        }
    }
}
