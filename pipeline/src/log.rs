//! Log events: what a rule with `log` says of a packet, as plain data.

use std::fmt;
use std::net::IpAddr;

use turnpike_conntrack::ids::{ConnState, Generation};
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tuple::Proto;

use crate::ids::{IfaceId, Mac, RuleId};
use crate::program::Program;

/// The most log events a worker makes in one second; the rest is counted.
pub const LOG_EVENTS_PER_SECOND_MAX: u32 = 1_000;

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
    /// The sender's link address.
    pub src_mac: Mac,
    /// Source address and port.
    pub src: (IpAddr, Option<u16>),
    /// Destination address and port.
    pub dst: (IpAddr, Option<u16>),
    /// IP protocol.
    pub proto: Proto,
    /// TCP flags, if it is TCP.
    pub tcp_flags: Option<u8>,
    /// IP length in bytes.
    pub length: u32,
    /// Connection state.
    pub state: ConnState,
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
        let event = self.event;
        let name = |iface: Option<IfaceId>| {
            iface
                .and_then(|i| self.program.interface_name(i))
                .unwrap_or("(none)")
        };
        if let Some(prefix) = self
            .program
            .log_prefix(event.rule)
            .filter(|p| !p.is_empty())
        {
            write!(f, "{}: ", prefix.trim_end().trim_end_matches(':'))?;
        }
        write!(
            f,
            "{}: in:{} out:{}, connection-state:{} src-mac {}, proto {}",
            self.program.rule_name(event.rule).unwrap_or_default(),
            name(event.in_interface),
            name(event.out_interface),
            event.state.name(),
            event.src_mac,
            ProtoName(event.proto),
        )?;
        if let Some(flags) = event.tcp_flags {
            write!(f, " ({})", TcpFlags(flags))?;
        }
        let end = |(ip, port): (IpAddr, Option<u16>)| match (ip, port) {
            (IpAddr::V4(ip), Some(port)) => format!("{ip}:{port}"),
            (IpAddr::V6(ip), Some(port)) => format!("[{ip}]:{port}"),
            (ip, None) => ip.to_string(),
        };
        write!(
            f,
            ", {}->{}, len {}",
            end(event.src),
            end(event.dst),
            event.length
        )
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
#[derive(Debug, Clone, Copy, Default)]
pub struct Budget {
    second: u64,
    spent: u32,
}

impl Budget {
    /// Whether one more event fits into this second's `most`.
    pub fn take(&mut self, now: Tick, most: u32) -> bool {
        if now.as_secs() != self.second {
            *self = Self {
                second: now.as_secs(),
                spent: 0,
            };
        }
        if self.spent >= most {
            return false;
        }
        self.spent += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_refuses_what_exceeds_it_and_starts_again_with_the_next_second() {
        let mut budget = Budget::default();
        let taken = (0..5)
            .filter(|_| budget.take(Tick::from_millis(1_500), 3))
            .count();
        assert_eq!(taken, 3);
        assert!(budget.take(Tick::from_millis(2_000), 3));
    }

    #[test]
    fn tcp_flags_print_in_wire_order() {
        assert_eq!(TcpFlags(0x12).to_string(), "SYN,ACK");
        assert_eq!(TcpFlags(0).to_string(), "");
    }
}
