//! Who sends, who receives, and what they speak: one of each kind that the rules tell apart.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tuple::Proto;
use turnpike_helpers::catalogue::{PROTOCOLS, Rating, SERVICES, services_at};
use turnpike_pipeline::fib::NextHop;
use turnpike_pipeline::ids::{IfaceId, ListId};
use turnpike_pipeline::policy::{AddressRange, IpFamily, Match, PortSet, Rule, TableKind};
use turnpike_pipeline::program::Program;

use super::Subject;

/// The most addresses of one gateway, and lists and ranges of its rules, that are imagined.
const ADDRESSES_MAX: usize = 64;
/// How many prefixes of a list, and addresses of a prefix, are looked at for a fitting one.
const TRIES_MAX: usize = 512;

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// Somebody whom no rule knows by address.
    Anybody,
    /// A member of this list.
    List(ListId),
    /// Somebody with an address of the range with this number among those that rules ask for.
    Range(usize),
}

/// Somebody who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// The interface the sender is behind.
    pub iface: IfaceId,
    /// Who it is.
    pub who: Who,
    /// The address.
    pub address: IpAddr,
}

/// What is spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speech {
    /// The name and port: `ssh 22/tcp`.
    pub name: String,
    /// The name in the catalogue, empty if it has none.
    pub service: &'static str,
    /// How safe it is.
    pub rating: Option<Rating>,
    /// IP protocol.
    pub proto: Proto,
    /// The ports that are called, of which one is enough; none for a protocol without.
    pub ports: Vec<Option<u16>>,
    /// Whether it stands for every port that nobody names.
    pub unnamed: bool,
}

impl Speech {
    /// ICMP type and code of its first packet.
    pub const fn icmp(&self) -> Option<(u8, u8)> {
        match self.proto {
            Proto::ICMP => Some((8, 0)),
            Proto::ICMPV6 => Some((128, 0)),
            Proto(_) => None,
        }
    }

    /// Whether packets of this family speak it.
    pub fn fits(&self, family: IpFamily) -> bool {
        match family {
            IpFamily::V4 => self.proto != Proto::ICMPV6,
            IpFamily::V6 => !matches!(self.proto, Proto::ICMP | Proto(2) | Proto(4)),
        }
    }
}

/// Everybody and everything of an audit.
#[derive(Debug, Clone)]
pub struct Cast {
    /// Who sends.
    pub senders: Vec<Sender>,
    /// Where to.
    pub receivers: Vec<IpAddr>,
    /// What is spoken.
    pub speeches: Vec<Speech>,
    /// Source ports: one that no rule names, then one of each set that rules ask for.
    pub source_ports: Vec<u16>,
    /// The ranges of [`Who::Range`].
    pub ranges: Vec<AddressRange>,
}

impl Cast {
    /// Everybody whom the rules tell apart.
    pub fn of(subject: &Subject<'_>) -> Self {
        let rules = || {
            let tables = TableKind::ALL.into_iter();
            let chains = tables.flat_map(|kind| &subject.config.policy.table(kind).chains);
            chains.flat_map(|c| &c.rules).filter(|r| !r.disabled)
        };
        let sources = Known::of(
            rules(),
            |r| r.matchers.src_address_list,
            |r| r.matchers.src_address,
        );
        let destinations = Known::of(
            rules(),
            |r| r.matchers.dst_address_list,
            |r| r.matchers.dst_address,
        );
        Self {
            senders: senders(subject, &sources),
            receivers: receivers(subject, &destinations),
            speeches: speeches(subject, rules()),
            source_ports: source_ports(rules()),
            ranges: sources.ranges,
        }
    }
}

/// The addresses that rules know at one end of a packet.
struct Known {
    lists: Vec<ListId>,
    ranges: Vec<AddressRange>,
}

impl Known {
    fn of<'a>(
        rules: impl Iterator<Item = &'a Rule> + Clone,
        list: fn(&Rule) -> Option<Match<ListId>>,
        range: fn(&Rule) -> Option<Match<AddressRange>>,
    ) -> Self {
        let lists: BTreeSet<ListId> = rules.clone().filter_map(list).map(|m| m.value).collect();
        let mut ranges: Vec<AddressRange> = Vec::new();
        for asked in rules.filter_map(range) {
            if !ranges.contains(&asked.value) && ranges.len() < ADDRESSES_MAX {
                ranges.push(asked.value);
            }
        }
        Self {
            lists: lists.into_iter().take(ADDRESSES_MAX).collect(),
            ranges,
        }
    }

    /// By how many names rules know the address.
    fn names(&self, program: &Program, address: IpAddr) -> usize {
        let in_list = |list: &&ListId| program.lists.contains(**list, address, Tick::default());
        let in_range = |range: &&AddressRange| range.contains(address);
        self.lists.iter().filter(in_list).count() + self.ranges.iter().filter(in_range).count()
    }

    /// The address among these that rules know by the fewest names, the first of several.
    fn stranger(
        &self,
        program: &Program,
        candidates: impl Iterator<Item = IpAddr>,
    ) -> Option<IpAddr> {
        let unused = candidates.filter(|ip| match program.fib.lookup(*ip) {
            Some(NextHop::Neighbour { .. }) => true,
            Some(
                NextHop::Local | NextHop::Broadcast(_) | NextHop::Unreachable | NextHop::Blackhole,
            )
            | None => false,
        });
        unused
            .take(TRIES_MAX)
            .min_by_key(|ip| self.names(program, *ip))
    }
}

const FAMILIES: [IpFamily; 2] = [IpFamily::V4, IpFamily::V6];

fn senders(subject: &Subject<'_>, known: &Known) -> Vec<Sender> {
    let program = subject.program;
    let mut senders = Vec::new();
    for (iface, _) in program.interfaces.iter() {
        for family in FAMILIES {
            let behind = |ip: &IpAddr| is_behind(program, *ip, iface);
            let stranger = known.stranger(program, addresses_at(program, iface, family));
            let Some(stranger) = stranger else { continue };
            let mut add = |who, address| {
                senders.push(Sender {
                    iface,
                    who,
                    address,
                });
            };
            add(Who::Anybody, stranger);
            for list in &known.lists {
                let members = subject.config.policy.address_lists.get(usize::from(list.0));
                let members = members.into_iter().flat_map(|l| &l.prefixes);
                let members = members.take(TRIES_MAX).flat_map(hosts);
                let mut fitting = members.filter(|ip| IpFamily::of(*ip) == family && behind(ip));
                if let Some(address) = fitting.next() {
                    add(Who::List(*list), address);
                }
            }
            for (number, range) in known.ranges.iter().enumerate() {
                let fits = range.family() == family && !range.contains(stranger);
                if let Some(address) = [range.first, next(range.first), range.last]
                    .into_iter()
                    .find(|ip| fits && range.contains(*ip) && behind(ip))
                {
                    add(Who::Range(number), address);
                }
            }
        }
    }
    senders
}

fn receivers(subject: &Subject<'_>, known: &Known) -> Vec<IpAddr> {
    let program = subject.program;
    let mut found: Vec<IpAddr> = Vec::new();
    for (iface, facts) in program.interfaces.iter() {
        for family in FAMILIES {
            found.extend(facts.routable(family).map(|net| net.addr()));
            found.extend(known.stranger(program, addresses_at(program, iface, family)));
        }
    }
    for list in &known.lists {
        let members = subject.config.policy.address_lists.get(usize::from(list.0));
        let first = members.and_then(|l| l.prefixes.first());
        found.extend(first.and_then(|net| hosts(net).next()));
    }
    for range in &known.ranges {
        found.extend([range.first, range.last]);
    }
    let mut seen = BTreeSet::new();
    found.retain(|ip| !ip.is_unspecified() && !ip.is_loopback() && seen.insert(*ip));
    found.truncate(ADDRESSES_MAX);
    found
}

/// Addresses of stations behind an interface: on its link, or anywhere if it leads everywhere.
fn addresses_at(
    program: &Program,
    iface: IfaceId,
    family: IpFamily,
) -> impl Iterator<Item = IpAddr> {
    let far = far_away(family).filter(move |ip| is_behind(program, *ip, iface));
    let facts = program.interfaces.find(iface);
    let links = facts.into_iter().flat_map(move |f| f.routable(family));
    let near = links.flat_map(|net| hosts(&net.trunc()));
    far.chain(near)
        .filter(move |ip| is_behind(program, *ip, iface))
}

/// Addresses in many corners of the Internet.
fn far_away(family: IpFamily) -> impl Iterator<Item = IpAddr> {
    (0..64_u8).map(move |n| match family {
        IpFamily::V4 => IpAddr::V4(Ipv4Addr::new(23 + n * 2, 17, 91, 44)),
        IpFamily::V6 => {
            let words = [0x2a00 + u16::from(n), 0x17, 0x91, 0, 0, 0, 0, 0x44];
            IpAddr::V6(Ipv6Addr::from(words))
        }
    })
}

/// Whether a station may be behind this interface that has this address.
fn is_behind(program: &Program, ip: IpAddr, iface: IfaceId) -> bool {
    if ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || ip == Ipv4Addr::BROADCAST {
        return false;
    }
    let mut ways = program.routing.ways(&program.fib, ip);
    ways.any(|hop| matches!(hop, NextHop::Neighbour { iface: by, .. } if by == iface))
}

/// The first addresses of a prefix.
fn hosts(net: &IpNet) -> impl Iterator<Item = IpAddr> + use<> {
    let net = *net;
    let count = TRIES_MAX;
    let first = net.addr();
    std::iter::successors(Some(first), |ip| Some(next(*ip)))
        .take(count)
        .take_while(move |ip| net.contains(ip))
}

fn next(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::V4(ip.to_bits().saturating_add(1).into()),
        IpAddr::V6(ip) => IpAddr::V6(ip.to_bits().saturating_add(1).into()),
    }
}

/// The catalogue, the ports that rules name, and for each transport a port that nobody names.
fn speeches<'a>(
    subject: &Subject<'_>,
    rules: impl Iterator<Item = &'a Rule> + Clone,
) -> Vec<Speech> {
    let mut speeches = Vec::new();
    for service in SERVICES {
        for (proto, word) in [(Proto::TCP, "tcp"), (Proto::UDP, "udp")] {
            if !service.transport.carries(proto) {
                continue;
            }
            let ends = BTreeSet::from([service.first, service.last]);
            let ports: Vec<String> = ends.iter().map(u16::to_string).collect();
            speeches.push(Speech {
                name: format!("{} {}/{word}", service.name, ports.join("-")),
                service: service.name,
                rating: Some(service.rating),
                proto,
                ports: ends.into_iter().map(Some).collect(),
                unnamed: false,
            });
        }
    }
    let named = ports(rules.clone(), |r| r.matchers.dst_port.as_ref())
        .chain(ports(rules.clone(), |r| r.matchers.port.as_ref()));
    let metrics = subject.config.services.metrics.as_ref().map(|m| m.port);
    let named: BTreeSet<u16> = named.chain(metrics).collect();
    for (proto, word) in [(Proto::TCP, "tcp"), (Proto::UDP, "udp")] {
        let unknown = named
            .iter()
            .filter(|p| services_at(**p, proto).next().is_none());
        speeches.extend(unknown.map(|port| {
            let metrics = metrics == Some(*port) && proto == Proto::TCP;
            let service = if metrics { METRICS } else { "" };
            Speech {
                name: format!("{service} {port}/{word}").trim_start().to_owned(),
                service,
                rating: None,
                proto,
                ports: vec![Some(*port)],
                unnamed: false,
            }
        }));
        speeches.push(Speech {
            name: format!("other {word}"),
            service: "",
            rating: None,
            proto,
            ports: vec![Some(unnamed(&asked(rules.clone())))],
            unnamed: true,
        });
    }
    let others = PROTOCOLS.iter().filter(|(_, proto)| !proto.has_ports());
    speeches.extend(others.map(|(name, proto)| Speech {
        name: (*name).to_owned(),
        service: "",
        rating: None,
        proto: *proto,
        ports: vec![None],
        unnamed: false,
    }));
    speeches
}

/// The name of the metrics listener's port.
pub const METRICS: &str = "metrics";

/// A port that nobody names.
fn source_ports<'a>(rules: impl Iterator<Item = &'a Rule> + Clone) -> Vec<u16> {
    let own = ports(rules.clone(), |r| r.matchers.src_port.as_ref())
        .chain(ports(rules.clone(), |r| r.matchers.port.as_ref()));
    let special: BTreeSet<u16> = own.collect();
    let mut found = vec![unnamed(&asked(rules))];
    found.extend(special.into_iter().take(ADDRESSES_MAX));
    found
}

type Ask = fn(&Rule) -> Option<&Match<PortSet>>;

/// First and last port of each range that rules ask for.
fn ports<'a>(rules: impl Iterator<Item = &'a Rule> + Clone, ask: Ask) -> impl Iterator<Item = u16> {
    rules
        .filter_map(ask)
        .flat_map(|asked| asked.value.0.iter())
        .flat_map(|(first, last)| [*first, *last])
}

/// Every set of ports that rules ask for.
fn asked<'a>(rules: impl Iterator<Item = &'a Rule> + Clone) -> Vec<&'a PortSet> {
    let asks: [Ask; 3] = [
        |r| r.matchers.src_port.as_ref(),
        |r| r.matchers.dst_port.as_ref(),
        |r| r.matchers.port.as_ref(),
    ];
    let each = asks.into_iter();
    each.flat_map(|ask| rules.clone().filter_map(ask))
        .map(|asked| &asked.value)
        .collect()
}

/// A high port that no rule asks for and no service has; if all are asked for, one of the least
/// asked.
fn unnamed(asked: &[&PortSet]) -> u16 {
    let free = |port: &u16| {
        let known = |proto| services_at(*port, proto).next().is_some();
        !known(Proto::TCP) && !known(Proto::UDP)
    };
    (40_000..=65_000_u16)
        .step_by(7)
        .filter(free)
        .min_by_key(|port| asked.iter().filter(|set| set.contains(*port)).count())
        .unwrap_or(40_001)
}
