//! Fragments: received ones become packets again, packets too large for a link become fragments.

use turnpike_conntrack::ids::WorkerId;
use turnpike_conntrack::time::Tick;

use crate::buffer::{Buffer, BufferPool};
use crate::drops::DropReason;
use crate::ids::{IfaceId, Mac, PortId};
use crate::outbox::FromSlowPath;
use crate::packet::fragment::fragment;
use crate::packet::parse::inspect;
use crate::packet::reassembly::{Ended, PieceEnd};
use crate::slowpath::{SlowOutbox, SlowPath};
use crate::stages::distribute::owner_by_hash;
use crate::witness::{End, Ending, Witness};

impl<P: BufferPool, W: Witness<P::Buf>> SlowPath<P, W> {
    /// Keeps a fragment, or sends the packet it completes to the worker whose hash it has.
    pub(super) fn reassemble(
        &mut self,
        port: PortId,
        buf: P::Buf,
        from: WorkerId,
        now: Tick,
        out: &mut SlowOutbox<P::Buf>,
    ) {
        let mut ended = Vec::new();
        let whole = match inspect(buf.head(), buf.frame_len()) {
            Ok(parsed) => self.fragments.insert(buf, (port, &parsed), now, &mut ended),
            Err(reason) => return self.drop_packet(buf, reason),
        };
        self.end_pieces(ended);
        if let Some(frame) = whole {
            let facts = self.program.interfaces.port(port);
            let owner = inspect(&frame, frame.len())
                .ok()
                .and_then(|parsed| owner_by_hash(&facts?.distribution, &frame, &parsed));
            self.frame = frame;
            self.send(
                owner.unwrap_or(from),
                |buf| FromSlowPath::Whole(port, buf),
                out,
            );
        }
        self.count_held();
    }

    /// Drops fragments whose packet did not become whole in time.
    pub(super) fn expire_fragments(&mut self, now: Tick) {
        let mut ended = Vec::new();
        self.fragments.expire(now, &mut ended);
        if !ended.is_empty() {
            self.end_pieces(ended);
            self.count_held();
        }
    }

    fn end_pieces(&mut self, ended: Vec<Ended<P::Buf>>) {
        for Ended { buf, end } in ended {
            match end {
                PieceEnd::Reassembled => {
                    self.witness.end(&buf, &End::bare(Ending::Consumed, None));
                    self.consumed(buf);
                }
                PieceEnd::Dropped(reason) => self.drop_packet(buf, reason),
            }
        }
    }

    /// Cuts a packet into fragments for the link it leaves by, towards a known neighbour.
    pub(super) fn fragment(
        &mut self,
        buf: P::Buf,
        from: WorkerId,
        (iface, mac): (IfaceId, Mac),
        out: &mut SlowOutbox<P::Buf>,
    ) {
        let mtu = self.program.interfaces.find(iface).map_or(0, |i| i.mtu);
        self.frame.clear();
        buf.for_each_segment(|bytes| self.frame.extend_from_slice(bytes));
        let cut = fragment(&self.frame, mtu, |piece| {
            self.counters.fragments_made.add(1);
            match self.pool.make(piece) {
                Some(buf) => {
                    let message = FromSlowPath::Forward(iface, mac, buf);
                    out.to_worker.push((from, message));
                }
                None => self.counters.dropped(DropReason::NoBuffer).add(1),
            }
        });
        match cut {
            Ok(()) => self.consumed(buf),
            Err(_) => self.drop_packet(buf, DropReason::MtuExceeded),
        }
    }
}
