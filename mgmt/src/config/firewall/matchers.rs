//! What a rule asks of a packet.

use std::net::IpAddr;

use turnpike_conntrack::ids::{ConnState, HelperId};
use turnpike_conntrack::tuple::Proto;
use turnpike_helpers::catalogue::{PROTOCOLS, protocol_named};
use turnpike_helpers::names::{HELPER_NAMES, helper_named};
use turnpike_pipeline::policy::{
    AddressRange, AddressTypeSet, ConnectionLimit, IcmpOptions, IpFamily, IpsecPolicy, IpsecSide,
    Match, Matchers, NatStateSet, PortSet, Protection, StateSet,
};

use super::super::address::Addresses;
use super::super::names::Names;
use super::super::port::port_set;
use super::super::section::{Item, Section, Word, items, or_report, scalar};
use super::super::value::{choice, number};
use super::{asks, labels, rates};
use crate::problem::{Problems, did_you_mean};
use crate::yaml::{Node, Value};

/// The most connections that a limit can be.
const LIMIT_MAX: u64 = 10_000_000;

/// Reads every matcher of a rule; wrong ones are reported and left out.
pub fn decode(section: Section<'_>, names: &Names, problems: &mut Problems) -> Matchers {
    let mut reader = Reader { section, problems };
    let marks = asks::marks(&mut reader, names);
    let p2p = labels::peer_to_peer(&mut reader, names);
    let packet = asks::decode(&mut reader);
    let classifier = rates::classifier(&mut reader);
    let mut matchers = Matchers {
        marks,
        routing_table: reader.one("routing-table", |i, p| {
            names.routing_table(i.text, i.span, p)
        }),
        p2p,
        layer7_protocol: reader.one("layer7-protocol", |i, p| names.layer7(i.text, i.span, p)),
        layer7_fail: None,
        classifier,
        packet,
        family: reader.family(),
        connection_state: reader.set("connection-state", states),
        connection_nat_state: reader.set("connection-nat-state", nat_states),
        connection_limit: reader.set("connection-limit", connection_limit),
        connection_type: reader.one("connection-type", connection_type),
        ipsec_policy: reader.set("ipsec-policy", ipsec_policy),
        protocol: reader.one("protocol", protocol),
        src_address: reader.one("src-address", address),
        dst_address: reader.one("dst-address", address),
        src_address_list: reader.one("src-address-list", |i, p| {
            names.address_list(i.text, i.span, p)
        }),
        dst_address_list: reader.one("dst-address-list", |i, p| {
            names.address_list(i.text, i.span, p)
        }),
        src_address_type: reader.set("src-address-type", address_types),
        dst_address_type: reader.set("dst-address-type", address_types),
        src_port: reader.set("src-port", ports),
        dst_port: reader.set("dst-port", ports),
        port: reader.set("port", ports),
        icmp_options: reader.one("icmp-options", icmp_options),
        in_interface: reader.one("in-interface", |i, p| names.interface(i.text, i.span, p)),
        out_interface: reader.one("out-interface", |i, p| names.interface(i.text, i.span, p)),
        in_interface_list: reader.one("in-interface-list", |i, p| {
            names.interface_list(i.text, i.span, p)
        }),
        out_interface_list: reader.one("out-interface-list", |i, p| {
            names.interface_list(i.text, i.span, p)
        }),
    };
    matchers.layer7_fail = labels::fail(section, &matchers, problems);
    matchers
}

/// Reads matchers out of one rule.
pub struct Reader<'a, 'p> {
    section: Section<'a>,
    /// Where what is wrong goes.
    pub problems: &'p mut Problems,
}

impl<'a> Reader<'a, '_> {
    fn family(&mut self) -> Option<IpFamily> {
        const FAMILIES: &[(&str, Option<IpFamily>)] = &[
            ("any", None),
            ("ipv4", Some(IpFamily::V4)),
            ("ipv6", Some(IpFamily::V6)),
        ];
        let node = self.section.field("family")?;
        let text = &scalar(node, self.problems)?.text;
        let read = choice(text, "an address family", FAMILIES);
        or_report(read, node.span, self.problems).flatten()
    }

    /// A matcher of one value.
    pub fn one<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(Item<'a>, &mut Problems) -> Option<T>,
    ) -> Option<Match<T>> {
        let node = self.section.field(key)?;
        let scalar = scalar(node, self.problems)?;
        let whole = Item {
            text: &scalar.text,
            span: node.span,
        };
        let (item, negated) = negation(whole, scalar.lead());
        let value = read(item, self.problems)?;
        Some(Match { value, negated })
    }

    /// The words of a list, `!` and all; an error if there are none.
    pub fn words(&mut self, key: &str) -> Option<Vec<Item<'a>>> {
        let node = self.section.field(key)?;
        let words = items(node, self.problems)?;
        self.unless_empty(key, node, &words)?;
        Some(words)
    }

    fn unless_empty(&mut self, key: &str, node: &Node, words: &[Item<'a>]) -> Option<()> {
        if words.is_empty() {
            self.problems.error(
                node.span,
                format!("the list is empty and would match nothing; fill it or remove `{key}`"),
            );
            return None;
        }
        Some(())
    }

    /// A matcher of several values, any of which is enough; `!` negates all of them together.
    pub fn set<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&[Item<'a>], &mut Problems) -> Option<T>,
    ) -> Option<Match<T>> {
        let node = self.section.field(key)?;
        let mut words = items(node, self.problems)?;
        let mut negated = false;
        match &node.value {
            Value::Scalar(_) => {
                if let Some(first) = words.first_mut() {
                    (*first, negated) = negation(*first, 0);
                }
            }
            Value::Sequence(_) => {
                if let Some(item) = words.iter().find(|i| i.text.starts_with('!')) {
                    let plain: Vec<&str> = words
                        .iter()
                        .map(|i| i.text.trim_start_matches('!'))
                        .collect();
                    self.problems.error(
                        item.span,
                        format!(
                            "`!` negates a whole list; write {key}: \"!{}\"",
                            plain.join(",")
                        ),
                    );
                    return None;
                }
            }
            Value::Mapping(_) | Value::Refused => return None,
        }
        self.unless_empty(key, node, &words)?;
        let value = read(&words, self.problems)?;
        Some(Match { value, negated })
    }
}

/// The word without its `!`, and whether it had one. `lead` is the width of an opening quote.
fn negation(item: Item<'_>, lead: usize) -> (Item<'_>, bool) {
    match item.text.strip_prefix('!') {
        Some(text) => (
            Item {
                text,
                span: item.span.shifted(lead + 1),
            },
            true,
        ),
        None => (item, false),
    }
}

/// The bits of all words together.
fn bits(
    words: &[Item<'_>],
    what: &str,
    choices: &[(&str, u8)],
    problems: &mut Problems,
) -> Option<u8> {
    let found: Vec<Option<u8>> = words
        .iter()
        .map(|i| or_report(choice(i.text, what, choices), i.span, problems))
        .collect();
    found.into_iter().try_fold(0, |all, bit| Some(all | bit?))
}

fn states(words: &[Item<'_>], problems: &mut Problems) -> Option<StateSet> {
    let bit = |state: ConnState| (state.name(), StateSet::default().with(state).0);
    let choices = ConnState::ALL.map(bit);
    bits(words, "a connection state", &choices, problems).map(StateSet)
}

fn nat_states(words: &[Item<'_>], problems: &mut Problems) -> Option<NatStateSet> {
    const CHOICES: &[(&str, u8)] = &[
        ("srcnat", NatStateSet::SRCNAT),
        ("dstnat", NatStateSet::DSTNAT),
    ];
    bits(words, "a kind of translation", CHOICES, problems).map(NatStateSet)
}

/// `count,netmask`.
fn connection_limit(words: &[Item<'_>], problems: &mut Problems) -> Option<ConnectionLimit> {
    let [count, prefix] = words else {
        problems.error(
            words.first()?.span,
            "a connection limit is a count and a netmask; write, for example, \
             connection-limit: \"100,32\"",
        );
        return None;
    };
    let counted = or_report(number(count.text, 0, LIMIT_MAX), count.span, problems);
    let bits = or_report(number(prefix.text, 0, 128), prefix.span, problems);
    Some(ConnectionLimit {
        count: u32::try_from(counted?).ok()?,
        prefix: u8::try_from(bits?).ok()?,
    })
}

fn connection_type(item: Item<'_>, problems: &mut Problems) -> Option<HelperId> {
    let read = helper_named(item.text).ok_or_else(|| {
        let near = did_you_mean(item.text, HELPER_NAMES);
        format!(
            "`{}` is not a type of connection{near}; write one of {}",
            item.text,
            HELPER_NAMES.join(", ")
        )
    });
    let helper = or_report(read, item.span, problems)?;
    let message =
        "this version of Turnpike has no protocol helpers, so no connection has a type yet";
    problems.warning(item.span, message);
    Some(helper)
}

/// `in,none` and the like.
fn ipsec_policy(words: &[Item<'_>], problems: &mut Problems) -> Option<IpsecPolicy> {
    const SIDES: &[(&str, IpsecSide)] = &[("in", IpsecSide::In), ("out", IpsecSide::Out)];
    const KINDS: &[(&str, Protection)] =
        &[("ipsec", Protection::Ipsec), ("none", Protection::None)];
    let [side, kind] = words else {
        let message = "an IPsec policy is a side and a kind; write ipsec-policy: \"in,none\"";
        problems.error(words.first()?.span, message);
        return None;
    };
    let asked = or_report(choice(side.text, "a side", SIDES), side.span, problems);
    let protection = choice(kind.text, "a kind of protection", KINDS);
    let policy = IpsecPolicy {
        protection: or_report(protection, kind.span, problems)?,
        side: asked?,
    };
    let result = match policy.protection {
        Protection::Ipsec => "never holds",
        Protection::None => "always holds",
    };
    let message = format!("no IPsec tunnel ends at this gateway, so this {result}");
    problems.warning(side.span, message);
    Some(policy)
}

fn address_types(words: &[Item<'_>], problems: &mut Problems) -> Option<AddressTypeSet> {
    const CHOICES: &[(&str, u8)] = &[
        ("unicast", AddressTypeSet::UNICAST),
        ("local", AddressTypeSet::LOCAL),
        ("broadcast", AddressTypeSet::BROADCAST),
        ("multicast", AddressTypeSet::MULTICAST),
    ];
    bits(words, "a type of address", CHOICES, problems).map(AddressTypeSet)
}

fn ports(words: &[Item<'_>], problems: &mut Problems) -> Option<PortSet> {
    port_set(words, problems)
}

fn address(item: Item<'_>, problems: &mut Problems) -> Option<AddressRange> {
    or_report(Addresses::read(item.text), item.span, problems).map(|a| a.0)
}

fn protocol(item: Item<'_>, problems: &mut Problems) -> Option<Proto> {
    let read = protocol_named(item.text).map_or_else(|| protocol_number(item.text), Ok);
    or_report(read, item.span, problems)
}

fn protocol_number(text: &str) -> Result<Proto, String> {
    if text.bytes().next().is_some_and(|b| b.is_ascii_digit()) {
        let number = number(text, 0, 255)?;
        return u8::try_from(number).map(Proto).map_err(|e| e.to_string());
    }
    let near = match text {
        "icmp6" | "ipv6-icmp" => " (did you mean `icmpv6`?)".to_owned(),
        other => did_you_mean(other, PROTOCOLS.iter().map(|(name, _)| *name)),
    };
    Err(format!(
        "`{text}` is not a protocol{near}; write one name (tcp, udp, icmp, icmpv6, gre …) or a \
         number from 0 to 255"
    ))
}

/// `type`, `type:code` or `type:first-last`.
fn icmp_options(item: Item<'_>, problems: &mut Problems) -> Option<IcmpOptions> {
    let byte =
        |text: &str| number(text, 0, 255).and_then(|n| u8::try_from(n).map_err(|e| e.to_string()));
    let read = || -> Result<IcmpOptions, String> {
        let Some((kind, codes)) = item.text.split_once(':') else {
            return Ok(IcmpOptions {
                kind: byte(item.text)?,
                codes: (0, 255),
            });
        };
        let (first, last) = codes.split_once('-').unwrap_or((codes, codes));
        let codes = (byte(first)?, byte(last)?);
        if codes.0 > codes.1 {
            return Err(format!(
                "the codes of `{}` end before they begin",
                item.text
            ));
        }
        Ok(IcmpOptions {
            kind: byte(kind)?,
            codes,
        })
    };
    let read = read().map_err(|e| format!("{e}; icmp-options are type:code, for example \"8:0\""));
    or_report(read, item.span, problems)
}

/// The addresses that a rule names, with the nodes they were written in.
pub fn addresses<'a>(
    section: Section<'a>,
    matchers: &Matchers,
) -> impl Iterator<Item = (&'static str, &'a Node, IpAddr)> {
    let named = [
        ("src-address", matchers.src_address),
        ("dst-address", matchers.dst_address),
    ];
    named.into_iter().filter_map(move |(key, range)| {
        let first = range?.value.first;
        section.field(key).map(|node| (key, node, first))
    })
}
