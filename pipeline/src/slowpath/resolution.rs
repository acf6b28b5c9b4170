//! ARP and neighbour discovery: asking, answering, announcing, and learning from what is heard.

use std::net::IpAddr;

use turnpike_conntrack::ids::WorkerId;
use turnpike_conntrack::time::Tick;

use crate::buffer::{Buffer, BufferPool};
use crate::ids::{IfaceId, Mac};
use crate::interfaces::InterfaceFacts;
use crate::outbox::FromSlowPath;
use crate::packet::arp::{self, ArpKind, Station};
use crate::packet::nd::{self, Nd, SolicitTo, Station6};
use crate::packet::parse::inspect;
use crate::slowpath::neighbours::{Heard, Key};
use crate::slowpath::{SlowOutbox, SlowPath};
use crate::witness::Witness;

/// The worker that sends what no worker asked for.
const ANY_WORKER: WorkerId = WorkerId(0);

impl<P: BufferPool, W: Witness<P::Buf>> SlowPath<P, W> {
    pub(super) fn hear_arp(
        &mut self,
        iface: IfaceId,
        buf: P::Buf,
        from: WorkerId,
        now: Tick,
        out: &mut SlowOutbox<P::Buf>,
    ) {
        let heard = inspect(buf.head(), buf.frame_len())
            .ok()
            .and_then(|parsed| arp::read(buf.head(), &parsed));
        if let Some(packet) = heard {
            let to_us = self.owns(iface, IpAddr::from(packet.target.ip));
            let how = if to_us {
                Heard::Addressed
            } else {
                Heard::Overheard
            };
            self.learn(
                iface,
                packet.sender.ip.into(),
                packet.sender.mac,
                how,
                now,
                out,
            );
            if to_us && packet.kind == ArpKind::Request {
                let own = Station {
                    mac: self.mac_of(iface),
                    ip: packet.target.ip,
                };
                arp::reply(&mut self.frame, own, packet.sender);
                self.send(from, |buf| FromSlowPath::Send(iface, buf), out);
            }
        }
        self.consumed(buf);
    }

    pub(super) fn hear_discovery(
        &mut self,
        iface: IfaceId,
        buf: P::Buf,
        from: WorkerId,
        now: Tick,
        out: &mut SlowOutbox<P::Buf>,
    ) {
        let heard = inspect(buf.head(), buf.frame_len())
            .ok()
            .and_then(|parsed| Some((nd::read(&buf, &parsed)?, parsed.link.src)));
        match heard {
            Some((Nd::Solicitation(asked), link_src))
                if self.owns(iface, IpAddr::from(asked.target)) =>
            {
                let asker = IpAddr::from(asked.from);
                if let Some(mac) = asked.link.filter(|_| !asker.is_unspecified()) {
                    self.learn(iface, asker, mac, Heard::Addressed, now, out);
                }
                let own = Station6 {
                    mac: self.mac_of(iface),
                    ip: asked.target,
                };
                let to = asked.link.unwrap_or(link_src);
                nd::advertise(&mut self.frame, own, &asked, to);
                self.send(from, |buf| FromSlowPath::Send(iface, buf), out);
            }
            Some((Nd::Advertisement(news), link_src)) => {
                let mac = news.link.unwrap_or(link_src);
                self.learn(iface, news.target.into(), mac, Heard::Overheard, now, out);
            }
            Some((Nd::Solicitation(_), _)) | None => {}
        }
        self.consumed(buf);
    }

    /// Asks for a neighbour: the whole link, or where it was seen last.
    pub(super) fn ask(
        &mut self,
        (iface, address): Key,
        last_seen_at: Option<Mac>,
        out: &mut SlowOutbox<P::Buf>,
    ) {
        let mac = self.mac_of(iface);
        match (
            self.program.interfaces.source_address(iface, address),
            address,
        ) {
            (Some(IpAddr::V4(own)), IpAddr::V4(wanted)) => {
                let own = Station {
                    mac,
                    ip: own.octets(),
                };
                let to = last_seen_at.unwrap_or(Mac::BROADCAST);
                arp::request(&mut self.frame, own, to, wanted.octets());
            }
            (Some(IpAddr::V6(own)), IpAddr::V6(wanted)) => {
                let own = Station6 {
                    mac,
                    ip: own.octets(),
                };
                let to = last_seen_at.map_or(SolicitTo::Group, SolicitTo::Unicast);
                nd::solicit(&mut self.frame, own, wanted.octets(), to);
            }
            // Without an address of the family on the link there is nobody to ask as.
            (Some(_) | None, _) => return,
        }
        self.send(ANY_WORKER, |buf| FromSlowPath::Send(iface, buf), out);
    }

    /// Tells a link where the interface's addresses are.
    pub(super) fn announce_interface(
        &mut self,
        iface: IfaceId,
        facts: &InterfaceFacts,
        out: &mut SlowOutbox<P::Buf>,
    ) {
        for address in &facts.addresses {
            match address.addr() {
                IpAddr::V4(ip) => {
                    let own = Station {
                        mac: facts.mac,
                        ip: ip.octets(),
                    };
                    arp::announce(&mut self.frame, own);
                }
                IpAddr::V6(ip) => {
                    let own = Station6 {
                        mac: facts.mac,
                        ip: ip.octets(),
                    };
                    nd::announce(&mut self.frame, own);
                }
            }
            self.send(ANY_WORKER, |buf| FromSlowPath::Send(iface, buf), out);
        }
    }

    fn learn(
        &mut self,
        iface: IfaceId,
        address: IpAddr,
        mac: Mac,
        how: Heard,
        now: Tick,
        out: &mut SlowOutbox<P::Buf>,
    ) {
        let plausible = !mac.is_multicast() && mac != Mac::default();
        if !plausible || !self.is_on_link(iface, address) || self.owns(iface, address) {
            return;
        }
        self.neighbours
            .heard((iface, address), mac, how, now, &mut self.events);
        self.carry_out(now, out);
    }

    fn mac_of(&self, iface: IfaceId) -> Mac {
        self.program
            .interfaces
            .find(iface)
            .map_or(Mac::default(), |i| i.mac)
    }

    /// Whether the address is one of the gateway's on this interface.
    fn owns(&self, iface: IfaceId, address: IpAddr) -> bool {
        self.program.interfaces.find(iface).is_some_and(|facts| {
            facts.addresses.iter().any(|a| a.addr() == address)
                || IpAddr::V6(facts.link_local) == address
        })
    }

    /// Whether the address belongs to the interface's link; nobody else's word is taken for it.
    fn is_on_link(&self, iface: IfaceId, address: IpAddr) -> bool {
        let link_local = matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local());
        self.program.interfaces.find(iface).is_some_and(|facts| {
            link_local || facts.addresses.iter().any(|net| net.contains(&address))
        })
    }
}
