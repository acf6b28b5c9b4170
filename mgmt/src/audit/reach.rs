//! What new connections reach: everybody of the cast calls everybody, in every way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use turnpike_conntrack::tuple::Proto;
use turnpike_pipeline::ids::{IfaceId, RuleId};
use turnpike_pipeline::policy::IpFamily;

use super::Subject;
use super::cast::{Cast, Sender, Speech, Who};
use super::probe::{Course, Doubt, End, Packet, Role, role, send};
use crate::report::{Reachable, Service};

/// Where something is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Zone {
    /// The gateway itself.
    Gateway,
    /// What is behind this interface.
    Behind(IfaceId),
}

/// Who reaches something, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    /// The interface that the sender is behind.
    pub from: IfaceId,
    /// The sender.
    pub who: Who,
    /// Where to.
    pub to: Zone,
}

impl Pair {
    /// The same side and place, whoever it is.
    pub const fn by_anybody(self) -> Self {
        Self {
            who: Who::Anybody,
            ..self
        }
    }
}

/// How something is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The rule that accepts it; `None` where a chain ends.
    pub rule: Option<RuleId>,
    /// Where it goes in truth, and the rule that says so, if one translates it.
    pub translated: Option<((IpAddr, Option<u16>), RuleId)>,
    /// The source port without which it is not reached.
    pub source_port: Option<u16>,
}

/// What was found out.
#[derive(Debug)]
pub struct Reach {
    /// Whom and what was tried.
    pub cast: Cast,
    /// By pair: which speeches get there, and how.
    pub hits: BTreeMap<Pair, BTreeMap<usize, Hit>>,
    /// Rules that tell somebody untrusted that they refuse.
    pub rejecting: BTreeSet<RuleId>,
    /// Rules that log late answers of name servers from an untrusted side.
    pub noisy: BTreeSet<RuleId>,
}

/// Lets everybody call everybody.
pub fn explore(subject: &Subject<'_>) -> Reach {
    let cast = Cast::of(subject);
    let doubts: &[Doubt] = if has_doubts(subject) {
        &[Doubt::Stay, Doubt::Go]
    } else {
        &[Doubt::Stay]
    };
    let mut reach = Reach {
        hits: BTreeMap::new(),
        rejecting: BTreeSet::new(),
        noisy: BTreeSet::new(),
        cast,
    };
    let cast = reach.cast.clone();
    for sender in &cast.senders {
        let family = IpFamily::of(sender.address);
        for (index, speech) in cast.speeches.iter().enumerate() {
            let others = cast.receivers.iter().filter(|ip| **ip != sender.address);
            let receivers = others.copied();
            let same = receivers.filter(|ip| IpFamily::of(*ip) == family && speech.fits(family));
            for receiver in same {
                let call = Call {
                    sender,
                    speech: (index, speech),
                    receiver,
                };
                reach.call(subject, &cast, &call, doubts);
            }
        }
        reach.late_answer(subject, sender);
    }
    reach.leave_out_what_anybody_reaches();
    reach
}

/// Somebody calls somebody.
struct Call<'a> {
    sender: &'a Sender,
    speech: (usize, &'a Speech),
    receiver: IpAddr,
}

impl Reach {
    fn call(&mut self, subject: &Subject<'_>, cast: &Cast, call: &Call<'_>, doubts: &[Doubt]) {
        let (index, speech) = call.speech;
        let outsider = subject.untrusted.contains(&call.sender.iface);
        let usual = cast.source_ports.first();
        for port in &speech.ports {
            for source_port in &cast.source_ports {
                let packet = Packet {
                    iface: call.sender.iface,
                    src: (call.sender.address, port.map(|_| *source_port)),
                    dst: (call.receiver, *port),
                    proto: speech.proto,
                    icmp: speech.icmp(),
                };
                for doubt in doubts {
                    let course = send(subject.program, &packet, *doubt);
                    if let (End::Rejected, Some(rule), true) = (course.end, course.rule, outsider) {
                        self.rejecting.insert(rule);
                    }
                    let special = (Some(source_port) != usual).then_some(*source_port);
                    self.note(call.sender, index, &course, special);
                }
                if port.is_none() {
                    break;
                }
            }
        }
    }

    /// Notes what is reached; a way without conditions replaces one with them.
    fn note(&mut self, sender: &Sender, speech: usize, course: &Course, special: Option<u16>) {
        let to = match course.end {
            End::Gateway => Zone::Gateway,
            End::Interface(iface) => Zone::Behind(iface),
            End::Dropped | End::Rejected | End::Nowhere => return,
        };
        if to == Zone::Behind(sender.iface) && course.translated.is_none() {
            return;
        }
        let pair = Pair {
            from: sender.iface,
            who: sender.who,
            to,
        };
        let known = self.hits.entry(pair).or_default();
        let better = known.get(&speech).is_none_or(|before| {
            (before.source_port.is_some(), before.translated.is_some())
                > (special.is_some(), course.translated.is_some())
        });
        if better {
            let hit = Hit {
                rule: course.rule,
                translated: course.translated,
                source_port: special,
            };
            known.insert(speech, hit);
        }
    }

    /// An answer of a name server that comes when nobody waits for it any more.
    fn late_answer(&mut self, subject: &Subject<'_>, sender: &Sender) {
        if !subject.untrusted.contains(&sender.iface) || sender.who != Who::Anybody {
            return;
        }
        let family = IpFamily::of(sender.address);
        let facts = subject.program.interfaces.find(sender.iface);
        let own = facts.and_then(|f| f.routable(family).next());
        let (Some(own), Some(port)) = (own, self.cast.source_ports.first()) else {
            return;
        };
        let packet = Packet {
            iface: sender.iface,
            src: (sender.address, Some(53)),
            dst: (own.addr(), Some(*port)),
            proto: Proto::UDP,
            icmp: None,
        };
        let course = send(subject.program, &packet, Doubt::Stay);
        if matches!(course.end, End::Dropped | End::Rejected) {
            self.noisy.extend(course.logged);
        }
    }

    fn leave_out_what_anybody_reaches(&mut self) {
        let anybody: BTreeMap<Pair, BTreeMap<usize, Hit>> = self
            .hits
            .iter()
            .filter(|(pair, _)| pair.who == Who::Anybody)
            .map(|(pair, hits)| (*pair, hits.clone()))
            .collect();
        for (pair, hits) in &mut self.hits {
            if let (Some(open), true) = (anybody.get(&pair.by_anybody()), pair.who != Who::Anybody)
            {
                hits.retain(|speech, hit| {
                    let before = open.get(speech);
                    before.is_none_or(|b| b.source_port.is_some() && hit.source_port.is_none())
                });
            }
        }
        self.hits.retain(|_, hits| !hits.is_empty());
    }

    /// Whether such a sender has an address to speak so with.
    fn is_speakable(&self, pair: Pair, speech: &Speech) -> bool {
        let senders = self.cast.senders.iter();
        let mut such = senders.filter(|s| (s.iface, s.who) == (pair.from, pair.who));
        such.any(|sender| speech.fits(IpFamily::of(sender.address)))
    }

    /// Whether a pair reaches the ports that nobody names.
    pub fn is_open(&self, hits: &BTreeMap<usize, Hit>) -> bool {
        let speeches = self.cast.speeches.iter().enumerate();
        let mut unnamed = speeches.filter(|(_, s)| s.unnamed);
        unnamed.all(|(index, _)| hits.get(&index).is_some_and(|h| h.source_port.is_none()))
    }
}

/// Whether a rule that leads to others asks what is not known here.
fn has_doubts(subject: &Subject<'_>) -> bool {
    let mut rules = subject.program.rules.iter();
    rules.any(|(_, rule)| {
        let unknown = !rule.packet_asks().is_empty() || rule.limit().is_some();
        !rule.disabled && unknown && role(&rule.action) == Role::Lead
    })
}

/// A sender in words.
pub fn who(subject: &Subject<'_>, cast: &Cast, who: Who) -> String {
    match who {
        Who::Anybody => "anybody".to_owned(),
        Who::List(list) => {
            let described = subject.program.lists.describe(list);
            described.map_or("?".to_owned(), |(name, _)| format!("list {name}"))
        }
        Who::Range(number) => match cast.ranges.get(number) {
            Some(range) if range.first == range.last => range.first.to_string(),
            Some(range) => format!("{}-{}", range.first, range.last),
            None => "?".to_owned(),
        },
    }
}

/// A place in words.
pub fn zone(subject: &Subject<'_>, zone: Zone) -> String {
    match zone {
        Zone::Gateway => "gateway".to_owned(),
        Zone::Behind(iface) => subject.name(iface).to_owned(),
    }
}

/// The whole in words.
pub fn describe(subject: &Subject<'_>, reach: &Reach) -> Vec<Reachable> {
    let rows = reach.hits.iter().map(|(pair, hits)| {
        let named = || {
            let speeches = reach.cast.speeches.iter().enumerate();
            speeches.filter(|(_, s)| !s.unnamed)
        };
        let everything = reach.is_open(hits);
        let open = reach.hits.get(&pair.by_anybody());
        let missing = named().filter(|(index, speech)| {
            let reached = hits.contains_key(index) || open.is_some_and(|o| o.contains_key(index));
            everything && !reached && reach.is_speakable(*pair, speech)
        });
        Reachable {
            from: subject.name(pair.from).to_owned(),
            who: who(subject, &reach.cast, pair.who),
            to: zone(subject, pair.to),
            everything,
            services: hits
                .iter()
                .filter_map(|(index, hit)| {
                    let speech = reach.cast.speeches.get(*index)?;
                    Some(service(subject, speech, hit))
                })
                .collect(),
            except: missing.map(|(_, speech)| speech.name.clone()).collect(),
        }
    });
    rows.collect()
}

fn service(subject: &Subject<'_>, speech: &Speech, hit: &Hit) -> Service {
    Service {
        service: speech.name.clone(),
        rating: speech.rating.map(|rating| rating.letter()),
        rule: hit.rule.and_then(|rule| subject.program.rule_name(rule)),
        translated_to: hit.translated.map(|(to, _)| endpoint(to)),
        source_port: hit.source_port,
    }
}

/// An address and port in words.
pub fn endpoint((ip, port): (IpAddr, Option<u16>)) -> String {
    match (ip, port) {
        (IpAddr::V4(ip), Some(port)) => format!("{ip}:{port}"),
        (IpAddr::V6(ip), Some(port)) => format!("[{ip}]:{port}"),
        (ip, None) => ip.to_string(),
    }
}
