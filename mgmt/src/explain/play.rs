//! Packets in words, sent through a gateway one after the other.

use std::sync::Arc;
use std::time::Duration;

use turnpike_conntrack::ids::ConnState;
use turnpike_conntrack::tuple::Proto;
use turnpike_engine::explain::{Explainer, Followed, Sent, compile};
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::IfaceId;
use turnpike_pipeline::packet::headers::TCP_ACK;
use turnpike_pipeline::packet::parse::inspect;
use turnpike_pipeline::policy::{Policy, Table};
use turnpike_pipeline::program::Program;

use super::{Earlier, explained};
use crate::words::{Words, of_frame};

/// The time between two packets.
const PAUSE: Duration = Duration::from_millis(10);
/// What an ICMP message quotes behind the IP header (RFC 792).
const QUOTED_BYTES: usize = 8;
/// The ports between which a connection announces another one.
const MASTER_PORTS: (u16, u16) = (40_001, 40_002);

/// A gateway, and what has left it last.
pub(super) struct Play {
    explainer: Explainer,
    last_left: Option<Sent>,
}

impl Play {
    pub(super) const fn new(explainer: Explainer) -> Self {
        Self {
            explainer,
            last_left: None,
        }
    }

    pub(super) fn program(&self) -> Arc<Program> {
        Arc::clone(self.explainer.program())
    }

    /// Sends a packet that comes before the one in question; says what became of it.
    pub(super) fn earlier(&mut self, earlier: &Earlier) -> Result<String, String> {
        let packet = &earlier.packet;
        let towards = || self.explainer.entrance(packet.src.ip());
        let interface = earlier.in_interface.or_else(towards).ok_or_else(|| {
            let source = packet.src.ip();
            format!("no route points back to {source}; say `in-interface` of `{packet}`")
        })?;
        let followed = self.packet(interface, packet)?;
        let what = explained(&self.program(), interface, Some(packet), &followed);
        let rule = what.rule.map(|rule| format!(" by {}", rule.rule));
        let reason = what.reason.map(|reason| format!(": {reason}"));
        Ok(format!(
            "{packet}, in by {}: {}{}{}",
            what.in_interface,
            what.verdict,
            reason.unwrap_or_default(),
            rule.unwrap_or_default()
        ))
    }

    /// Sends a packet as its words have it.
    pub(super) fn packet(
        &mut self,
        interface: IfaceId,
        packet: &Words,
    ) -> Result<Followed, String> {
        let quoted = self.quoted(packet);
        let mut frame = packet
            .frame(quoted.as_deref())
            .ok_or_else(|| format!("`{packet}` is too long with what it quotes"))?;
        if packet.state == Some(ConnState::Invalid) {
            spoil(packet, &mut frame)?;
        }
        Ok(self.send(interface, frame))
    }

    /// Sends a frame, and notes what left.
    pub(super) fn send(&mut self, interface: IfaceId, frame: Vec<u8>) -> Followed {
        self.explainer.wait(PAUSE);
        let followed = self.explainer.send(interface, frame);
        if let Some(sent) = followed.left.first() {
            self.last_left = Some(sent.clone());
        }
        followed
    }

    /// What an ICMP error has to quote: the packet that left last, if its source is whom the error
    /// is for.
    fn quoted(&self, packet: &Words) -> Option<Vec<u8>> {
        let frame = &self.last_left.as_ref()?.frame;
        let parsed = inspect(frame, frame.len()).ok()?;
        if !packet.is_icmp_error() || parsed.src_ip(frame) != Some(packet.dst.ip()) {
            return None;
        }
        let (from, to) = (
            usize::from(parsed.l3),
            usize::from(parsed.l4) + QUOTED_BYTES,
        );
        frame.get(from..to.min(frame.len())).map(<[u8]>::to_vec)
    }

    /// Opens the connection that a packet belongs to, past every rule but those that translate.
    pub(super) fn establish(
        &mut self,
        interface: IfaceId,
        packet: &Words,
        policy: &Policy,
    ) -> Result<(), String> {
        if matches!(packet.proto, Proto::SCTP | Proto::DCCP) {
            return Err(format!(
                "`{packet}`: the handshake of this protocol is not played; only tcp, udp, \
                 udplite, icmp, icmpv6 and protocols without states can be `state established`"
            ));
        }
        self.past_the_rules(policy, |play| play.open(interface, packet))
    }

    /// Makes a packet one that another connection has announced, or an error about one: which is
    /// then for the address that the connection has outside, and returned as it is to be sent.
    pub(super) fn relate(
        &mut self,
        interface: IfaceId,
        packet: &Words,
        policy: &Policy,
    ) -> Result<Words, String> {
        let between = |src: std::net::IpAddr, dst: std::net::IpAddr| Words {
            proto: Proto::UDP,
            src: (src, MASTER_PORTS.0).into(),
            dst: (dst, MASTER_PORTS.1).into(),
            kind: None,
            code: None,
            flags: None,
            len: None,
            ttl: None,
            state: None,
        };
        if packet.is_icmp_error() {
            if self.quoted(packet).is_some() {
                return Ok(*packet);
            }
            let about = between(packet.dst.ip(), packet.src.ip());
            let from = self.explainer.entrance(about.src.ip()).ok_or_else(|| {
                format!(
                    "`{packet}` is for no host behind an interface; say in `after` which packet \
                     it is about"
                )
            })?;
            self.past_the_rules(policy, |play| play.open(from, &about))?;
            let left = self.last_left.as_ref();
            let src = left
                .and_then(|sent| of_frame(&sent.frame))
                .map(|left| left.src.ip());
            let outside = src.map_or(packet.dst, |ip| (ip, 0).into());
            return Ok(Words {
                dst: outside,
                ..*packet
            });
        }
        let master = between(packet.src.ip(), packet.dst.ip());
        self.past_the_rules(policy, |play| play.open(interface, &master))?;
        let frames = master.frame(None).zip(packet.frame(None));
        frames
            .and_then(|(master, child)| self.explainer.announce(&master, &child))
            .ok_or_else(|| format!("`{packet}` cannot be announced by another connection"))?;
        Ok(*packet)
    }

    /// Does something in a gateway with no rules but those that translate, which then gets all of
    /// them again.
    fn past_the_rules(
        &mut self,
        policy: &Policy,
        play: impl FnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut open = policy.clone();
        for table in [&mut open.raw, &mut open.mangle, &mut open.filter] {
            empty(table);
        }
        let before = self.program();
        let open = Arc::new(compile(&open, Some(&before)));
        self.explainer.adopt(Arc::clone(&open));
        let played = play(self);
        let all = compile(policy, Some(&open));
        self.explainer.adopt(Arc::new(all));
        played
    }

    /// Opens a connection: its first packet, the answer, and for TCP the third of the handshake.
    /// What has left last is then its first packet, which an error may be about.
    fn open(&mut self, interface: IfaceId, packet: &Words) -> Result<(), String> {
        let first = Words {
            flags: None,
            kind: None,
            code: None,
            len: None,
            ttl: None,
            state: None,
            ..*packet
        };
        let followed = self.packet(interface, &first)?;
        let reason = followed.end.and_then(|end| end.reason);
        if let Some(sent) = followed.left.first() {
            let answer = of_frame(&sent.frame).map(|left| left.answer());
            let frame = answer.and_then(|answer| answer.frame(None));
            let back = sent.interface;
            frame.map(|frame| self.send(back, frame));
        } else if reason == Some(DropReason::NoListener) {
            let frames = first.frame(None).zip(first.answer().frame(None));
            frames.and_then(|(first, answer)| self.explainer.enter(&first, &answer));
        } else if let Some(reason) = reason {
            return Err(format!(
                "`{packet}`: no rule forbids its connection, and still it cannot be opened: \
                 {} ({})",
                reason.describe().trim(),
                reason.label()
            ));
        }
        if packet.proto == Proto::TCP {
            let third = Words {
                flags: Some(TCP_ACK),
                ..first
            };
            self.packet(interface, &third)?;
        }
        if let Some(sent) = followed.left.into_iter().next() {
            self.last_left = Some(sent);
        }
        Ok(())
    }
}

fn empty(table: &mut Table) {
    for chain in &mut table.chains {
        chain.rules.clear();
    }
}

/// Makes the layer-4 checksum of a frame wrong.
fn spoil(packet: &Words, frame: &mut [u8]) -> Result<(), String> {
    let at = match packet.proto {
        Proto::TCP => Some(16),
        Proto::UDP | Proto::UDPLITE | Proto::DCCP => Some(6),
        Proto::ICMP | Proto::ICMPV6 => Some(2),
        Proto::SCTP => Some(8),
        _ => None,
    };
    let l4 = inspect(frame, frame.len())
        .ok()
        .map(|parsed| usize::from(parsed.l4));
    let byte = l4.zip(at).and_then(|(l4, at)| frame.get_mut(l4 + at));
    match byte {
        Some(byte) => {
            *byte ^= 0x55;
            Ok(())
        }
        None => Err(format!(
            "`{packet}`: a packet of this protocol has no checksum that could make it invalid"
        )),
    }
}
