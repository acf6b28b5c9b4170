//! Log events: what a rule with `log` says of a packet, as plain data, and how many are made.
//!
//! A line reads as RouterOS prints it; the rule's place and the receiving station's address come
//! last, where nobody who takes such lines apart trips over them. What cannot be known (the way
//! out of a packet to the gateway, the station of a packet that it makes) is `(unknown 0)` or
//! absent.

use std::fmt;
use std::net::IpAddr;

use turnpike_conntrack::ids::{ConnState, Generation};
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tuple::Proto;

use crate::ids::{IfaceId, Mac, RuleId};
use crate::policy::NatStateSet;
use crate::program::Program;

/// The most log events a worker makes in one second; the rest is counted.
pub const LOG_EVENTS_PER_SECOND_MAX: u32 = 1_000;
/// How many of them are kept for rules that have logged little in that second.
pub const LOG_EVENTS_FOR_QUIET_RULES: u32 = 250;
/// How many events in one second are little.
pub const QUIET_RULE_EVENTS_MAX: u8 = 10;

/// Rules with one number modulo this share the count of what they have logged.
const RULE_COUNTS: usize = 256;

/// An address with its port, if the packet has ports.
pub type Endpoint = (IpAddr, Option<u16>);

/// One logged packet. The prefix and names follow from the program of its generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEvent {
    /// When.
    pub at: Tick,
    /// The program whose rule it was.
    pub generation: Generation,
    /// The rule.
    pub rule: RuleId,
    /// Where the packet came in, `None` if the gateway made it.
    pub in_interface: Option<IfaceId>,
    /// Where it would leave, if that is known in the rule's chain.
    pub out_interface: Option<IfaceId>,
    /// The link addresses of sender and receiver, `None` if the gateway made it.
    pub macs: Option<(Mac, Mac)>,
    /// The source as the rule sees it.
    pub src: Endpoint,
    /// The destination as the rule sees it.
    pub dst: Endpoint,
    /// What becomes of the source when the packet leaves, if that is decided and another one.
    pub translated_src: Option<Endpoint>,
    /// The destination that the packet came with, if it is another one now.
    pub received_dst: Option<Endpoint>,
    /// IP protocol.
    pub proto: Proto,
    /// TCP flags, if it is TCP.
    pub tcp_flags: Option<u8>,
    /// ICMP or ICMPv6 type and code, if it is that.
    pub icmp: Option<(u8, u8)>,
    /// IP length in bytes.
    pub length: u32,
    /// Connection state; `None` before connection tracking.
    pub state: Option<ConnState>,
    /// How its connection is translated.
    pub nat_state: NatStateSet,
}

impl LogEvent {
    /// The event as a line in RouterOS's manner; `program` is the one of its generation.
    pub fn line<'a>(&'a self, program: &'a Program) -> Line<'a> {
        Line {
            event: self,
            program,
        }
    }
}

/// A log event with the names it needs to be printed.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    event: &'a LogEvent,
    program: &'a Program,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (event, program) = (self.event, self.program);
        let name = |iface: Option<IfaceId>| {
            iface
                .and_then(|i| program.interface_name(i))
                .unwrap_or("(unknown 0)")
        };
        let prefix = program.log_prefix(event.rule).unwrap_or_default();
        let prefix = prefix.trim_end().trim_end_matches(':');
        if !prefix.is_empty() {
            write!(f, "{prefix}: ")?;
        }
        let rule = program.rules.find(event.rule);
        write!(
            f,
            "{}: in:{} out:{}, ",
            rule.map_or("?", |r| &*r.chain_name),
            name(event.in_interface),
            name(event.out_interface),
        )?;
        if let Some(state) = event.state {
            write!(f, "connection-state:{}", state.name())?;
            for (bit, word) in [(NatStateSet::SRCNAT, "snat"), (NatStateSet::DSTNAT, "dnat")] {
                if event.nat_state.intersects(NatStateSet(bit)) {
                    write!(f, ",{word}")?;
                }
            }
            f.write_str(" ")?;
        }
        if let Some((src, _)) = event.macs {
            write!(f, "src-mac {src}, ")?;
        }
        write!(f, "proto {}", ProtoName(event.proto))?;
        if let Some(flags) = event.tcp_flags {
            write!(f, " ({})", TcpFlags(flags))?;
        }
        if let Some((kind, code)) = event.icmp {
            write!(f, " (type {kind}, code {code})")?;
        }
        write!(f, ", {}->{}, ", At(event.src), At(event.dst))?;
        self.translation(f)?;
        write!(f, "len {}", event.length)?;
        if let Some((_, dst)) = event.macs {
            write!(f, ", dst-mac {dst}")?;
        }
        match rule {
            Some(rule) => write!(f, ", rule {rule}"),
            None => Ok(()),
        }
    }
}

impl Line<'_> {
    /// `NAT (from->as)->to` or `NAT from->(to->as)`, or both, where there is a translation.
    fn translation(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let event = self.event;
        if event.translated_src.is_none() && event.received_dst.is_none() {
            return Ok(());
        }
        match event.translated_src {
            Some(translated) => write!(f, "NAT ({}->{})", At(event.src), At(translated))?,
            None => write!(f, "NAT {}", At(event.src))?,
        }
        match event.received_dst {
            Some(received) => write!(f, "->({}->{}), ", At(received), At(event.dst)),
            None => write!(f, "->{}, ", At(event.dst)),
        }
    }
}

struct At(Endpoint);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            (IpAddr::V4(ip), Some(port)) => write!(f, "{ip}:{port}"),
            (IpAddr::V6(ip), Some(port)) => write!(f, "[{ip}]:{port}"),
            (ip, None) => write!(f, "{ip}"),
        }
    }
}

struct ProtoName(Proto);

impl fmt::Display for ProtoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Proto::ICMP => f.write_str("ICMP"),
            Proto::TCP => f.write_str("TCP"),
            Proto::UDP => f.write_str("UDP"),
            Proto::ICMPV6 => f.write_str("ICMPv6"),
            Proto(number) => write!(f, "{number}"),
        }
    }
}

struct TcpFlags(u8);

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
        let mut first = true;
        for (bit, name) in NAMES.iter().enumerate() {
            if self.0 & 1 << bit != 0 {
                if !first {
                    f.write_str(",")?;
                }
                f.write_str(name)?;
                first = false;
            }
        }
        Ok(())
    }
}

/// A budget of events per second, refilled when the second turns.
///
/// No rule can silence all others: the last [`LOG_EVENTS_FOR_QUIET_RULES`] of a second are for
/// rules that have logged no more than [`QUIET_RULE_EVENTS_MAX`] packets in it.
#[derive(Debug, Clone)]
pub struct Budget {
    second: u64,
    spent: u32,
    /// What rules have logged in this second, up to the point where it is not little any more.
    by_rule: [u8; RULE_COUNTS],
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            second: 0,
            spent: 0,
            by_rule: [0; RULE_COUNTS],
        }
    }
}

impl Budget {
    /// Whether one more event of `rule` fits into this second.
    pub fn take(&mut self, now: Tick, rule: RuleId) -> bool {
        if now.as_secs() != self.second {
            *self = Self {
                second: now.as_secs(),
                ..Self::default()
            };
        }
        let Some(logged) = self.by_rule.get_mut(rule.0 as usize % RULE_COUNTS) else {
            return false;
        };
        let most = if *logged < QUIET_RULE_EVENTS_MAX {
            LOG_EVENTS_PER_SECOND_MAX
        } else {
            LOG_EVENTS_PER_SECOND_MAX - LOG_EVENTS_FOR_QUIET_RULES
        };
        if self.spent >= most {
            return false;
        }
        *logged = logged.saturating_add(1);
        self.spent += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Action;
    use crate::testing::{chain, compile, gateway, ip, rule};

    const NOW: Tick = Tick::from_millis(1_500);

    fn taken(budget: &mut Budget, now: Tick, rule: u32, tries: usize) -> u32 {
        let each = (0..tries).map(|_| u32::from(budget.take(now, RuleId(rule))));
        each.sum()
    }

    #[test]
    fn a_second_has_so_many_events_and_the_next_as_many_again() {
        let mut budget = Budget::default();
        let all: u32 = (0..2_000)
            .map(|rule| taken(&mut budget, NOW, rule, 1))
            .sum();
        assert_eq!(all, LOG_EVENTS_PER_SECOND_MAX);
        assert!(budget.take(Tick::from_millis(2_000), RuleId(0)));
    }

    #[test]
    fn a_rule_that_logs_without_end_leaves_room_for_those_that_log_little() {
        let mut budget = Budget::default();
        let chatty = taken(&mut budget, NOW, 7, 100_000);
        assert_eq!(
            chatty,
            LOG_EVENTS_PER_SECOND_MAX - LOG_EVENTS_FOR_QUIET_RULES
        );
        assert_eq!(
            taken(&mut budget, NOW, 8, 100),
            u32::from(QUIET_RULE_EVENTS_MAX)
        );
        assert_eq!(taken(&mut budget, NOW, 9, 3), 3);
        assert_eq!(taken(&mut budget, NOW, 7, 1), 0);
    }

    #[test]
    fn tcp_flags_print_in_wire_order() {
        assert_eq!(TcpFlags(0x12).to_string(), "SYN,ACK");
        assert_eq!(TcpFlags(0).to_string(), "");
    }

    /// A program whose filter/input has one rule that logs with this prefix.
    fn program(prefix: &str) -> Program {
        let mut policy = gateway();
        let logging = crate::policy::Rule {
            log: Some(prefix.into()),
            ..rule(Action::Drop)
        };
        policy.filter.chains = vec![chain("input", vec![logging])];
        compile(&policy)
    }

    fn syn() -> LogEvent {
        LogEvent {
            at: NOW,
            generation: Generation(1),
            rule: RuleId(0),
            in_interface: Some(IfaceId(1)),
            out_interface: None,
            macs: Some((Mac([2, 0, 0, 0, 2, 1]), Mac([2, 0, 0, 0, 0, 2]))),
            src: (ip("1.2.3.4"), Some(5)),
            dst: (ip("6.7.8.9"), Some(10)),
            translated_src: None,
            received_dst: None,
            proto: Proto::TCP,
            tcp_flags: Some(2),
            icmp: None,
            length: 60,
            state: Some(ConnState::New),
            nat_state: NatStateSet::default(),
        }
    }

    fn line(prefix: &str, event: &LogEvent) -> String {
        event.line(&program(prefix)).to_string()
    }

    #[test]
    fn a_line_reads_as_routeros_prints_it_and_ends_with_the_rule() {
        assert_eq!(
            line("API Drop: ", &syn()),
            "API Drop: input: in:wan out:(unknown 0), connection-state:new src-mac \
             02:00:00:00:02:01, proto TCP (SYN), 1.2.3.4:5->6.7.8.9:10, len 60, dst-mac \
             02:00:00:00:00:02, rule filter/input/1 gw.yaml:41"
        );
    }

    #[test]
    fn what_is_not_known_of_a_packet_is_left_out_or_unknown() {
        let own = LogEvent {
            in_interface: None,
            out_interface: Some(IfaceId(0)),
            macs: None,
            src: (ip("fe80::1"), None),
            dst: (ip("fe80::2"), None),
            proto: Proto::ICMPV6,
            tcp_flags: None,
            icmp: Some((128, 0)),
            state: None,
            ..syn()
        };
        assert_eq!(
            line("", &own),
            "input: in:(unknown 0) out:lan, proto ICMPv6 (type 128, code 0), fe80::1->fe80::2, \
             len 60, rule filter/input/1 gw.yaml:41"
        );
        let ospf = LogEvent {
            proto: Proto(89),
            icmp: None,
            ..own
        };
        assert!(line("", &ospf).contains("proto 89, fe80::1->"));
    }

    #[test]
    fn a_translation_shows_what_each_end_was_and_becomes() {
        let nat = |translated_src, received_dst, set| {
            let event = LogEvent {
                translated_src,
                received_dst,
                nat_state: NatStateSet(set),
                ..syn()
            };
            let text = line("", &event);
            let from = text.find("NAT").unwrap();
            let state = text
                .split_whitespace()
                .find(|w| w.starts_with("conn"))
                .unwrap();
            let nat = &text[from..text.find(", len").unwrap()];
            (nat.to_owned(), state.to_owned())
        };
        let (outside, server) = ((ip("9.9.9.9"), Some(99)), (ip("8.8.8.8"), Some(88)));
        assert_eq!(
            nat(Some(outside), None, 1),
            (
                "NAT (1.2.3.4:5->9.9.9.9:99)->6.7.8.9:10".to_owned(),
                "connection-state:new,snat".to_owned()
            )
        );
        assert_eq!(
            nat(None, Some(server), 2),
            (
                "NAT 1.2.3.4:5->(8.8.8.8:88->6.7.8.9:10)".to_owned(),
                "connection-state:new,dnat".to_owned()
            )
        );
        assert_eq!(
            nat(Some(outside), Some(server), 3).0,
            "NAT (1.2.3.4:5->9.9.9.9:99)->(8.8.8.8:88->6.7.8.9:10)"
        );
    }
}
