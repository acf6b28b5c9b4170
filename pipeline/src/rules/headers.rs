//! What the headers of the packet at hand answer.

use crate::buffer::Buffer;
use crate::packet::headers::{IPV4_LEN, TCP_SYN};
use crate::packet::ipv6::headers_of;
use crate::packet::parse::Net;
use crate::packet::tcp::tcp_options;
use crate::policy::{HeaderAsk, HeaderSet, Ipv4OptionSet, Piece, TcpFlags};
use crate::rules::packet::Sight;

impl<B: Buffer> Sight<'_, B> {
    /// Yes, no, or `None` for a packet that lacks what is asked about.
    pub(super) fn header(&self, ask: HeaderAsk) -> Option<bool> {
        match ask {
            HeaderAsk::Dscp(dscp) => Some(self.dscp()? == dscp),
            HeaderAsk::TcpFlags(flags) => Some(flags.hold(self.parsed.tcp()?.flags)),
            HeaderAsk::TcpMss(first, last) => Some((first..=last).contains(&self.mss()?)),
            HeaderAsk::SrcMac(mac) => self.came_in().then_some(self.parsed.link.src == mac),
            HeaderAsk::Fragment(Piece::Later) => Some(!self.parsed.fragment.has_transport()),
            HeaderAsk::Fragment(Piece::WholeOrFirst) => Some(self.parsed.fragment.has_transport()),
            HeaderAsk::Ipv4Options(options) => Some(options.hold(self.ipv4_options()?)),
            HeaderAsk::Headers(asked, extent) => Some(extent.holds(asked, self.ipv6_headers()?)),
            HeaderAsk::IngressPriority(priority) => self
                .came_in()
                .then_some(self.parsed.link.priority == priority),
            HeaderAsk::Priority(priority) => Some(self.priority() == priority),
        }
    }

    /// What the packet is like in what is asked about, for people; `None` if it lacks it.
    pub(super) fn header_value(&self, ask: HeaderAsk) -> Option<String> {
        Some(match ask {
            HeaderAsk::Dscp(_) => self.dscp()?.to_string(),
            HeaderAsk::TcpFlags(_) => {
                let set = self.parsed.tcp()?.flags;
                TcpFlags { set, clear: 0 }.to_string()
            }
            HeaderAsk::TcpMss(..) => self.mss()?.to_string(),
            HeaderAsk::SrcMac(_) => {
                let mac = self.parsed.link.src;
                self.came_in().then(|| mac.to_string())?
            }
            HeaderAsk::Fragment(_) if self.parsed.fragment.has_transport() => "no".to_owned(),
            HeaderAsk::Fragment(_) => "yes".to_owned(),
            HeaderAsk::Ipv4Options(_) => self.ipv4_options()?.to_string(),
            HeaderAsk::Headers(..) => self.ipv6_headers()?.to_string(),
            HeaderAsk::IngressPriority(_) => {
                let priority = self.parsed.link.priority;
                self.came_in().then(|| priority.to_string())?
            }
            HeaderAsk::Priority(_) => self.priority().to_string(),
        })
    }

    /// Whether the packet came from a link, and not from the gateway itself.
    const fn came_in(&self) -> bool {
        !self.origin.is_local()
    }

    fn dscp(&self) -> Option<u8> {
        match self.parsed.net {
            Net::Arp => None,
            Net::V4 | Net::V6 => Some(self.edits.dscp.unwrap_or(self.parsed.tos >> 2)),
        }
    }

    /// What a segment announces, with what rules have made of a SYN's.
    fn mss(&self) -> Option<u16> {
        let mss = tcp_options(self.buf.head(), self.parsed).mss?;
        let lowered = self.parsed.tcp()?.flags & TCP_SYN != 0;
        let limit = self.edits.mss_limit(self.parsed.net, self.path_mtu);
        Some(match limit.filter(|_| lowered) {
            Some(limit) => mss.min(limit),
            None => mss,
        })
    }

    /// What rules have given it, else that of the tag it came with; zero for a packet without one,
    /// or of the gateway itself.
    fn priority(&self) -> u8 {
        if let Some(priority) = self.edits.new_priority(self.parsed) {
            priority
        } else if self.came_in() {
            self.parsed.link.priority
        } else {
            0
        }
    }

    fn ipv4_options(&self) -> Option<Ipv4OptionSet> {
        match self.parsed.net {
            Net::Arp | Net::V6 => return None,
            Net::V4 if self.edits.options_stripped => return Some(Ipv4OptionSet::default()),
            Net::V4 => {}
        }
        let start = usize::from(self.parsed.l3) + IPV4_LEN;
        let mut rest = self.buf.head().get(start..usize::from(self.parsed.l4))?;
        let mut found = Ipv4OptionSet::default();
        while let [kind, behind @ ..] = rest {
            let len = match (kind, behind.first()) {
                (0, _) => break,
                (1, _) => 1,
                // The parser has let no shorter one through.
                (_, len) => usize::from(*len?).max(2),
            };
            found.0 |= Ipv4OptionSet::of(*kind).0;
            rest = rest.get(len..)?;
        }
        Some(found)
    }

    fn ipv6_headers(&self) -> Option<HeaderSet> {
        match self.parsed.net {
            Net::Arp | Net::V4 => None,
            Net::V6 => headers_of(self.buf.head().get(usize::from(self.parsed.l3)..)?),
        }
    }
}
