//! A rule in canonical words: RouterOS's keys in one fixed order, values in one fixed form.
//!
//! Two rules with the same text do the same; over a reload, counters follow the text. Comment and
//! `disabled` are not part of it, so that editing a comment keeps the counters.

use std::fmt::Write;

use turnpike_conntrack::ids::ConnState;
use turnpike_conntrack::tuple::Proto;
use turnpike_helpers::catalogue::protocol_name;
use turnpike_helpers::names::helper_name;
use turnpike_pipeline::ids::{ChainId, MarkId};
use turnpike_pipeline::policy::{
    Action, AddressTypeSet, Edit, IcmpOptions, IpFamily, IpsecPolicy, IpsecSide, Match, Matchers,
    NatStateSet, PacketAsk, PortChoice, PortRange, Protection, RejectWith, Rule, SameBy, SniffForm,
    StateSet, Then, Translation,
};
use turnpike_pipeline::routing::MAIN;
use turnpike_pipeline::rules::matchers::End;

use super::super::address::show;
use super::super::names::Names;
use super::super::port::{show_range, show_set};
use super::action::reject_name;
use super::asks::NO_MARK;
use super::edits;
use super::lists::show_timeout;
use super::rule::Context;

/// The canonical text of `rule` in `chain`.
pub fn canonical(rule: &Rule, chain: ChainId, context: &Context<'_>) -> String {
    let m = &rule.matchers;
    let names = context.names;
    let interface = |i: u16| known(&names.interfaces, i);
    let interface_list = |i: u16| known(&names.interface_lists, i);
    let address_list = |i: u16| known(&names.address_lists, i);
    let mut words = Words(context.kind.name().to_owned());
    words.plain("chain", context.chains.name(chain));
    if let Some(family) = m.family {
        words.plain("family", family_word(family));
    }
    words.matcher("connection-state", m.connection_state.as_ref(), states);
    words.matcher(
        "connection-nat-state",
        m.connection_nat_state.as_ref(),
        nat_states,
    );
    words.matcher("connection-limit", m.connection_limit.as_ref(), |l| {
        format!("{},{}", l.count, l.prefix)
    });
    words.matcher("connection-type", m.connection_type.as_ref(), |helper| {
        helper_name(*helper).unwrap_or("?").to_owned()
    });
    words.matcher("ipsec-policy", m.ipsec_policy.as_ref(), ipsec_policy);
    words.matcher("protocol", m.protocol.as_ref(), protocol);
    words.matcher("src-address", m.src_address.as_ref(), show);
    words.matcher("dst-address", m.dst_address.as_ref(), show);
    words.matcher("src-address-list", m.src_address_list.as_ref(), |l| {
        address_list(l.0)
    });
    words.matcher("dst-address-list", m.dst_address_list.as_ref(), |l| {
        address_list(l.0)
    });
    words.matcher("src-address-type", m.src_address_type.as_ref(), types);
    words.matcher("dst-address-type", m.dst_address_type.as_ref(), types);
    words.matcher("src-port", m.src_port.as_ref(), show_set);
    words.matcher("dst-port", m.dst_port.as_ref(), show_set);
    words.matcher("port", m.port.as_ref(), show_set);
    words.matcher("icmp-options", m.icmp_options.as_ref(), icmp);
    words.matcher("in-interface", m.in_interface.as_ref(), |i| interface(i.0));
    words.matcher("out-interface", m.out_interface.as_ref(), |i| {
        interface(i.0)
    });
    words.matcher("in-interface-list", m.in_interface_list.as_ref(), |l| {
        interface_list(l.0)
    });
    words.matcher("out-interface-list", m.out_interface_list.as_ref(), |l| {
        interface_list(l.0)
    });
    marks_and_packet(m, names, &mut words);
    action(&rule.action, context, &mut words);
    match rule.port_choice {
        PortChoice::Preserved => {}
        PortChoice::Random => words.plain("randomise-ports", "yes"),
    }
    if let Some(prefix) = &rule.log {
        words.plain("log", "yes");
        words.plain("log-prefix", prefix);
    }
    words.0
}

/// What is asked of marks, of the flow's class, and of each packet, in the order of asking.
fn marks_and_packet(m: &Matchers, names: &Names, words: &mut Words) {
    for mark in &m.marks {
        let name = mark_name(mark.value.mark, names);
        let bang = if mark.negated { "!" } else { "" };
        words.plain(mark.value.kind.matcher(), &format!("{bang}{name}"));
    }
    words.matcher("layer7-protocol", m.layer7_protocol.as_ref(), |protocol| {
        known(&names.layer7, protocol.0)
    });
    words.matcher("p2p", m.p2p.as_ref(), |p2p| p2p.group.to_owned());
    if let Some(fail) = m.layer7_fail {
        words.plain("layer7-fail", fail.name());
    }
    words.matcher(
        "routing-table",
        m.routing_table.as_ref(),
        |table| match table.0.checked_sub(1) {
            Some(index) => known(&names.routing_tables, index),
            None => MAIN.to_owned(),
        },
    );
    words.matcher(
        "per-connection-classifier",
        m.classifier.as_ref(),
        ToString::to_string,
    );
    for asked in &m.packet {
        let name = match (&asked.value, m.family) {
            // Two words for one thing; this is the family's own.
            (PacketAsk::Ttl(..), Some(IpFamily::V6)) => "hop-limit",
            (ask, _) => ask.name(),
        };
        words.matcher(name, Some(asked), ToString::to_string);
    }
}

struct Words(String);

impl Words {
    fn plain(&mut self, key: &str, value: &str) {
        let quoted = value.is_empty() || value.contains(' ') || value.contains('"');
        // Writing into a string cannot fail.
        let _ = if quoted {
            write!(self.0, " {key}={value:?}")
        } else {
            write!(self.0, " {key}={value}")
        };
    }

    fn matcher<T>(&mut self, key: &str, m: Option<&Match<T>>, show: impl FnOnce(&T) -> String) {
        if let Some(m) = m {
            let bang = if m.negated { "!" } else { "" };
            self.plain(key, &format!("{bang}{}", show(&m.value)));
        }
    }
}

fn action(action: &Action, context: &Context<'_>, words: &mut Words) {
    match action {
        Action::Accept => words.plain("action", "accept"),
        Action::Drop => words.plain("action", "drop"),
        Action::Reject(RejectWith::Tarpit) => words.plain("action", "tarpit"),
        Action::Reject(with) => {
            words.plain("action", "reject");
            words.plain("reject-with", reject_name(*with));
        }
        Action::Log(prefix) => {
            words.plain("action", "log");
            words.plain("log-prefix", prefix);
        }
        Action::Passthrough => words.plain("action", "passthrough"),
        Action::Jump(chain) => {
            words.plain("action", "jump");
            words.plain("jump-target", context.chains.name(*chain));
        }
        Action::Return => words.plain("action", "return"),
        Action::NoTrack => words.plain("action", "notrack"),
        Action::Fasttrack => words.plain("action", "fasttrack-connection"),
        Action::SrcNat(to) => translation("src-nat", *to, words),
        Action::DstNat(to) => translation("dst-nat", *to, words),
        Action::Masquerade(ports) => to_ports("masquerade", *ports, words),
        Action::Redirect(ports) => to_ports("redirect", *ports, words),
        Action::EndpointIndependent(to) => translation("endpoint-independent-nat", *to, words),
        Action::Same(to, by) => {
            translation("same", *to, words);
            match by {
                SameBy::Both => {}
                SameBy::Client => words.plain("same-not-by-dst", "yes"),
            }
        }
        Action::Netmap(to) => {
            let to = Translation {
                addresses: Some(*to),
                ports: None,
            };
            translation("netmap", to, words);
        }
        Action::AddToList(end, list, timeout) => {
            words.plain("action", adding_action(*end));
            let name = known(&context.names.address_lists, list.0);
            words.plain("address-list", &name);
            words.plain("address-list-timeout", &show_timeout(*timeout));
        }
        Action::Sniff(sniff) => {
            words.plain("action", sniff.form.action());
            if let SniffForm::PacketCable(stream) = sniff.form {
                words.plain("sniff-id", &stream.to_string());
            }
            words.plain("sniff-target", &sniff.to.ip().to_string());
            words.plain("sniff-target-port", &sniff.to.port().to_string());
        }
        Action::Edit(change, then) => {
            edit(*change, context, words);
            match then {
                Then::GoOn => {}
                Then::Stop => words.plain("passthrough", "no"),
            }
        }
    }
}

/// The action that adds the address at this end to a list.
pub const fn adding_action(end: End) -> &'static str {
    match end {
        End::Src => "add-src-to-address-list",
        End::Dst => "add-dst-to-address-list",
    }
}

fn edit(edit: Edit, context: &Context<'_>, words: &mut Words) {
    words.plain("action", edit.action());
    if let Edit::Mark(kind, mark) = edit {
        words.plain(kind.option(), mark_name(mark, context.names));
    }
    if let Some((key, value)) = edits::option(edit) {
        words.plain(key, &value);
    }
}

fn mark_name(mark: Option<MarkId>, names: &Names) -> &str {
    let Some(MarkId(index)) = mark else {
        return NO_MARK;
    };
    names
        .marks
        .get(usize::from(index))
        .map_or("?", String::as_str)
}

fn translation(word: &str, to: Translation, words: &mut Words) {
    words.plain("action", word);
    if let Some(addresses) = to.addresses {
        words.plain("to-addresses", &show(&addresses));
    }
    if let Some(ports) = to.ports {
        words.plain("to-ports", &show_range(ports));
    }
}

fn to_ports(word: &str, ports: Option<PortRange>, words: &mut Words) {
    let to = Translation {
        addresses: None,
        ports,
    };
    translation(word, to, words);
}

fn known(names: &[String], index: u16) -> String {
    names
        .get(usize::from(index))
        .map_or_else(|| format!("#{index}"), String::clone)
}

fn family_word(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => "ipv4",
        IpFamily::V6 => "ipv6",
    }
}

fn states(set: &StateSet) -> String {
    let names = ConnState::ALL.iter().filter(|s| set.contains(**s));
    names.map(|s| s.name()).collect::<Vec<_>>().join(",")
}

fn nat_states(set: &NatStateSet) -> String {
    flags(
        set.0,
        &[
            (NatStateSet::SRCNAT, "srcnat"),
            (NatStateSet::DSTNAT, "dstnat"),
        ],
    )
}

fn types(set: &AddressTypeSet) -> String {
    flags(
        set.0,
        &[
            (AddressTypeSet::UNICAST, "unicast"),
            (AddressTypeSet::LOCAL, "local"),
            (AddressTypeSet::BROADCAST, "broadcast"),
            (AddressTypeSet::MULTICAST, "multicast"),
        ],
    )
}

fn flags(bits: u8, names: &[(u8, &str)]) -> String {
    let set = names.iter().filter(|(bit, _)| bits & bit != 0);
    set.map(|(_, name)| *name).collect::<Vec<_>>().join(",")
}

fn ipsec_policy(policy: &IpsecPolicy) -> String {
    let side = match policy.side {
        IpsecSide::In => "in",
        IpsecSide::Out => "out",
    };
    let kind = match policy.protection {
        Protection::Ipsec => "ipsec",
        Protection::None => "none",
    };
    format!("{side},{kind}")
}

fn protocol(proto: &Proto) -> String {
    protocol_name(*proto).map_or_else(|| proto.0.to_string(), str::to_owned)
}

fn icmp(options: &IcmpOptions) -> String {
    match options.codes {
        (0, 255) => options.kind.to_string(),
        (first, last) if first == last => format!("{}:{first}", options.kind),
        (first, last) => format!("{}:{first}-{last}", options.kind),
    }
}
