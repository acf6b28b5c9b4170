//! Copies of packets, on their way to those who want to look at them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use turnpike_conntrack::ids::WorkerId;

use crate::buffer::BufferPool;
use crate::drops::DropReason;
use crate::fib::NextHop;
use crate::outbox::FromSlowPath;
use crate::packet::sniff::write_copy;
use crate::policy::Sniff;
use crate::routing::Sought;
use crate::slowpath::{SlowOutbox, SlowPath};
use crate::witness::Witness;

impl<P: BufferPool, W: Witness<P::Buf>> SlowPath<P, W> {
    /// Sends a copy to its sniffer; one that has no way there is dropped.
    pub(super) fn send_copy(
        &mut self,
        buf: P::Buf,
        from: WorkerId,
        sniff: &Sniff,
        out: &mut SlowOutbox<P::Buf>,
    ) {
        let to = sniff.to.ip();
        let sought = Sought {
            source: match to {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            },
            destination: to,
            in_interface: None,
            mark: 0,
            router: None,
        };
        let iface = match self.program.routing.find(&self.program.fib, &sought).hop {
            Some(NextHop::Neighbour { iface, .. }) => Some(iface),
            Some(
                NextHop::Local | NextHop::Broadcast(_) | NextHop::Unreachable | NextHop::Blackhole,
            )
            | None => None,
        };
        let interfaces = &self.program.interfaces;
        let place = iface.and_then(|iface| {
            let own = interfaces.source_address(iface, to)?;
            Some((own, interfaces.find(iface)?.mtu))
        });
        let id = self.copy_id;
        let made = place.and_then(|place| write_copy(&mut self.frame, place, &buf, sniff, id));
        if made.is_none() {
            return self.drop_packet(buf, DropReason::NoRoute);
        }
        self.copy_id = id.wrapping_add(1);
        self.send(from, FromSlowPath::Copy, out);
        self.consumed(buf);
    }
}
