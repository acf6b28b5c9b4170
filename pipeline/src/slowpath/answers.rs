//! What the gateway says: echo replies, ICMP errors, resets, and what keeps clients hanging.

use turnpike_conntrack::ids::WorkerId;
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tuple::Proto;

use crate::buffer::{Buffer, BufferPool};
use crate::ids::IfaceId;
use crate::outbox::{ErrorKind, FromSlowPath};
use crate::packet::icmp::{IcmpError, write_error};
use crate::packet::parse::{Net, Parsed, inspect};
use crate::packet::reset::write_reset;
use crate::packet::{echo, tarpit};
use crate::policy::{RejectWith, Unreachable};
use crate::slowpath::{SlowOutbox, SlowPath};
use crate::witness::Witness;

/// In whose words a refused packet stands in its buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// As its sender knows it: no translation has touched it.
    Sender,
    /// As it was about to leave: its connection's translation has to be undone in the answer.
    Wire,
}

/// A packet that is to be answered: its buffer, who punted it, the interface it is about.
type About<'a, B> = (&'a B, WorkerId, IfaceId);

impl<P: BufferPool, W: Witness<P::Buf>> SlowPath<P, W> {
    /// Answers an echo request to one of the gateway's addresses.
    pub(super) fn answer_echo(
        &mut self,
        buf: P::Buf,
        from: WorkerId,
        out: &mut SlowOutbox<P::Buf>,
    ) {
        if let Ok(parsed) = inspect(buf.head(), buf.frame_len())
            && let Some(own) = parsed.dst_ip(buf.head())
            && echo::write_reply(&mut self.frame, own, &buf, &parsed).is_some()
        {
            self.send(from, FromSlowPath::Output, out);
        }
        self.consumed(buf);
    }

    /// Tells a sender by ICMP, or a reset, why its packet went no further.
    pub(super) fn answer_error(
        &mut self,
        (buf, from, iface): About<'_, P::Buf>,
        kind: ErrorKind,
        words: Words,
        now: Tick,
        out: &mut SlowOutbox<P::Buf>,
    ) {
        let Ok(parsed) = inspect(buf.head(), buf.frame_len()) else {
            return;
        };
        let error = match kind {
            ErrorKind::TimeExceeded => IcmpError::TtlExceeded,
            ErrorKind::TooBig(mtu) => IcmpError::TooBig {
                mtu: u32::from(mtu),
            },
            ErrorKind::NoRoute => IcmpError::Unreachable(Unreachable::Network),
            ErrorKind::HostUnreachable => IcmpError::Unreachable(Unreachable::Host),
            ErrorKind::NoListener => match no_listener(&parsed) {
                Some(error) => error,
                None => {
                    let about = (buf, from, iface);
                    return self.answer_segment(about, &parsed, write_reset, now, out);
                }
            },
        };
        self.answer_icmp((buf, from, iface), &parsed, error, words, now, out);
    }

    /// Tells a sender in the way the rule chose that its packet was rejected.
    pub(super) fn answer_reject(
        &mut self,
        about: About<'_, P::Buf>,
        with: RejectWith,
        now: Tick,
        out: &mut SlowOutbox<P::Buf>,
    ) {
        let buf = about.0;
        let Ok(parsed) = inspect(buf.head(), buf.frame_len()) else {
            return;
        };
        match with {
            RejectWith::TcpReset if parsed.proto == Proto::TCP => {
                self.answer_segment(about, &parsed, write_reset, now, out);
            }
            RejectWith::TcpReset => {
                let error = IcmpError::Unreachable(Unreachable::Port);
                self.answer_icmp(about, &parsed, error, Words::Sender, now, out);
            }
            RejectWith::Tarpit => {
                self.answer_segment(about, &parsed, tarpit::write_answer, now, out);
            }
            RejectWith::Icmp(kind) => {
                let error = IcmpError::Unreachable(kind);
                self.answer_icmp(about, &parsed, error, Words::Sender, now, out);
            }
        }
    }

    fn answer_icmp(
        &mut self,
        (buf, from, iface): About<'_, P::Buf>,
        parsed: &Parsed,
        error: IcmpError,
        words: Words,
        now: Tick,
        out: &mut SlowOutbox<P::Buf>,
    ) {
        let Some(source) = parsed.src_ip(buf.head()) else {
            return;
        };
        let Some(own) = self.program.interfaces.source_address(iface, source) else {
            return;
        };
        if write_error(&mut self.frame, own, buf, parsed, error).is_none() {
            return;
        }
        if !self.limit.allows(source, now) {
            self.counters.answers_suppressed.add(1);
            return;
        }
        match words {
            Words::Sender => self.send(from, FromSlowPath::Notice, out),
            Words::Wire => self.send(from, FromSlowPath::Output, out),
        }
    }

    /// Answers a TCP segment with the one that `write` makes of it.
    fn answer_segment(
        &mut self,
        (buf, from, _): About<'_, P::Buf>,
        parsed: &Parsed,
        write: fn(&mut Vec<u8>, &[u8], &Parsed) -> Option<()>,
        now: Tick,
        out: &mut SlowOutbox<P::Buf>,
    ) {
        let Some(source) = parsed.src_ip(buf.head()) else {
            return;
        };
        if write(&mut self.frame, buf.head(), parsed).is_none() {
            return;
        }
        if !self.limit.allows(source, now) {
            self.counters.answers_suppressed.add(1);
            return;
        }
        self.send(from, FromSlowPath::Notice, out);
    }
}

/// How a host says that nothing listens (RFC 1122 sections 3.2.2.1 and 4.2.2.13); `None` for TCP,
/// which is answered with a reset.
fn no_listener(parsed: &Parsed) -> Option<IcmpError> {
    match (parsed.net, parsed.proto) {
        (_, Proto::TCP) => None,
        (_, Proto::UDP | Proto::UDPLITE) | (Net::V6 | Net::Arp, _) => {
            Some(IcmpError::Unreachable(Unreachable::Port))
        }
        (Net::V4, _) => Some(IcmpError::Unreachable(Unreachable::Protocol)),
    }
}
