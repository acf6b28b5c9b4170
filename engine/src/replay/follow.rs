//! `--follow-nat`: one side's view of a session, carried over into what the other side sees.
//!
//! In a capture taken on one side of the gateway, an answer is addressed to whom that side knows;
//! the gateway expects it addressed to what its translation made of the question. So every packet
//! that leaves is looked at: what it came in as and what it left as say how answers have to come
//! in. A captured packet that answers one of them is rewritten before it enters: addresses, ports
//! or identifiers, and the packet that an ICMP error quotes. Checksums follow by their difference,
//! so that wrong ones stay wrong.
//!
//! A packet that answers nothing yet, such as the first of a data connection from the server, is
//! carried over by what is known of its ends: the endpoint that another packet of the same inside
//! address and port left with, or else the address. What nothing is known of stays as captured.

use std::net::IpAddr;

use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tracker::Conntrack;
use turnpike_conntrack::tuple::{Address, Family, Port, Proto, Tuple, V4, V6};
use turnpike_pipeline::fib::NextHop;
use turnpike_pipeline::ids::IfaceId;
use turnpike_pipeline::packet::parse::{Fragment, Net, Parsed, inspect};
use turnpike_pipeline::packet::quoted::quoted;
use turnpike_pipeline::packet::rewrite::{Deltas, translate, translate_quoted};
use turnpike_pipeline::program::Program;

use super::recent::Recent;

/// What was learned of translations, for both families.
#[derive(Debug, Default)]
pub struct Follower {
    v4: Views<V4>,
    v6: Views<V6>,
    carried: u64,
}

/// A packet on its way out: its interface, its frame, and when it left.
#[derive(Debug, Clone, Copy)]
pub struct Leaving<'a> {
    /// The interface.
    pub interface: IfaceId,
    /// The frame.
    pub frame: &'a [u8],
    /// The time.
    pub now: Tick,
}

impl Follower {
    /// Rewrites a captured frame into the one that the gateway has to see.
    pub fn carry(&mut self, frame: &mut [u8], program: &Program) {
        // What the gateway would not take is for the gateway to refuse.
        let Ok(parsed) = inspect(frame, frame.len()) else {
            return;
        };
        let carried = match parsed.net {
            Net::Arp => None,
            Net::V4 => self.v4.carry(frame, &parsed, program),
            Net::V6 => self.v6.carry(frame, &parsed, program),
        };
        self.carried += u64::from(carried.is_some());
    }

    /// Learns from a packet that leaves, while its connection stands.
    pub fn learn(&mut self, leaving: Leaving<'_>, conntrack: &Conntrack, program: &Program) {
        let frame = leaving.frame;
        let Ok(parsed) = inspect(frame, frame.len()) else {
            return;
        };
        let _learned = match parsed.net {
            Net::Arp => None,
            Net::V4 => self.v4.learn(&leaving, &parsed, conntrack, program),
            Net::V6 => self.v6.learn(&leaving, &parsed, conntrack, program),
        };
    }

    /// How many packets were rewritten.
    pub const fn carried(&self) -> u64 {
        self.carried
    }
}

/// The interface behind which an address is, by the route to it.
pub fn behind(program: &Program, address: IpAddr) -> Option<IfaceId> {
    match program.fib.lookup(address)? {
        NextHop::Neighbour { iface, .. } | NextHop::Broadcast(Some(iface)) => Some(iface),
        NextHop::Local | NextHop::Broadcast(None) | NextHop::Unreachable | NextHop::Blackhole => {
            None
        }
    }
}

/// What is known of one end of packets that answer nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Clue<A> {
    /// Who is captured as the destination of packets from behind this interface.
    Inside(IfaceId, A, Option<(Proto, Port)>),
    /// Who is captured as the source, from any port to this peer.
    ServerOf(A, A),
    /// Who is captured as the source, from this port.
    Server(A, Proto, Port),
}

/// What was learned, of one family.
#[derive(Debug)]
struct Views<F: Family> {
    /// How a captured flow has to come in.
    flows: Recent<Tuple<F>, Tuple<F>>,
    /// The address and port to come in with, where only one end is known.
    clues: Recent<Clue<F::Addr>, (F::Addr, Port)>,
    /// How the first piece of a packet came in, by its flow and identification; both without the
    /// ports, which the other pieces do not have.
    pieces: Recent<(Tuple<F>, u32), Tuple<F>>,
}

impl<F: Family> Default for Views<F> {
    fn default() -> Self {
        Self {
            flows: Recent::default(),
            clues: Recent::default(),
            pieces: Recent::default(),
        }
    }
}

impl<F: Family> Views<F> {
    /// Rewrites a packet; `None` if it stays as captured.
    fn carry(&mut self, frame: &mut [u8], parsed: &Parsed, program: &Program) -> Option<()> {
        let captured = parsed.tuple::<F>(frame)?;
        if let Some(quote) = quoted::<F>(frame, parsed) {
            let answer = quote.tuple.inverse();
            let fed = self.fed(&answer, program);
            // An error for somebody else than the sender of what it quotes stays one.
            if captured.dst == answer.dst {
                return (fed != answer)
                    .then(|| translate_quoted(frame, parsed, &quote, &answer, &fed).ok())?;
            }
        }
        let fed = self.fed_piece(&captured, parsed.fragment, program);
        if fed == captured {
            return None;
        }
        translate(frame, parsed, &fed, &Deltas::between(&captured, &fed)).ok()
    }

    /// What a captured packet has to come in as; pieces of a packet as its first one.
    fn fed_piece(&mut self, captured: &Tuple<F>, piece: Fragment, program: &Program) -> Tuple<F> {
        match piece {
            Fragment::Whole => self.fed(captured, program),
            Fragment::First { id } => {
                let fed = self.fed(captured, program);
                let key = (without_ports(captured), id);
                self.pieces.note(key, without_ports(&fed));
                fed
            }
            Fragment::Middle { id, .. } | Fragment::Last { id, .. } => {
                let first = self.pieces.find(&(*captured, id));
                first.unwrap_or_else(|| self.by_clues(captured, program))
            }
        }
    }

    /// What a captured flow has to come in as.
    fn fed(&self, captured: &Tuple<F>, program: &Program) -> Tuple<F> {
        let known = self.flows.find(captured);
        known.unwrap_or_else(|| self.by_clues(captured, program))
    }

    /// What a flow that answers nothing has to come in as.
    fn by_clues(&self, captured: &Tuple<F>, program: &Program) -> Tuple<F> {
        let mut fed = *captured;
        let has_ports = captured.proto.has_ports();
        if let Some(side) = behind(program, captured.src.to_ip()) {
            let endpoint = Some((captured.proto, captured.dst_port)).filter(|_| has_ports);
            let port = endpoint.and_then(|endpoint| {
                let clue = Clue::Inside(side, captured.dst, Some(endpoint));
                self.clues.find(&clue)
            });
            let host = || self.clues.find(&Clue::Inside(side, captured.dst, None));
            if let Some((address, port)) = port {
                (fed.dst, fed.dst_port) = (address, port);
            } else if let Some((address, _)) = host() {
                fed.dst = address;
            }
        }
        let service = Clue::Server(captured.src, captured.proto, captured.src_port);
        let service = self.clues.find(&service).filter(|_| has_ports);
        let server = || self.clues.find(&Clue::ServerOf(captured.src, captured.dst));
        if let Some((address, port)) = service {
            (fed.src, fed.src_port) = (address, port);
        } else if let Some((address, _)) = server() {
            fed.src = address;
        }
        fed
    }

    fn learn(
        &mut self,
        leaving: &Leaving<'_>,
        parsed: &Parsed,
        conntrack: &Conntrack,
        program: &Program,
    ) -> Option<()> {
        if !parsed.fragment.has_transport() {
            return None;
        }
        let left = parsed.tuple::<F>(leaving.frame)?;
        let table = F::table(conntrack);
        let answer = table.lookup(&left.inverse(), leaving.now)?;
        let pair = table.pair(answer.id);
        let came = *pair.incoming(answer.direction.flip());
        // A packet that was carried over leaves as it was captured, and teaches nothing.
        if came != left && self.fed(&left, program) == came {
            return None;
        }
        self.flows.note(came.inverse(), left.inverse());
        let new = (left.src, left.src_port);
        let crosses = behind(program, came.src.to_ip()) != Some(leaving.interface);
        if new != (came.src, came.src_port) && crosses {
            let inside = |port| Clue::Inside(leaving.interface, came.src, port);
            let port = Some((came.proto, came.src_port));
            self.clues.note(inside(port), new);
            self.clues.note(inside(None), new);
        }
        let new = (left.dst, left.dst_port);
        if new != (came.dst, came.dst_port) {
            let service = Clue::Server(came.dst, came.proto, came.dst_port);
            self.clues.note(service, new);
            self.clues.note(Clue::ServerOf(came.dst, came.src), new);
        }
        Some(())
    }
}

fn without_ports<F: Family>(tuple: &Tuple<F>) -> Tuple<F> {
    Tuple {
        src_port: Port(0),
        dst_port: Port(0),
        ..*tuple
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use turnpike_conntrack::hash::HashKey;
    use turnpike_conntrack::ids::Generation;
    use turnpike_conntrack::rss::Distribution;
    use turnpike_pipeline::ids::{Mac, PortId};
    use turnpike_pipeline::interfaces::PortFacts;
    use turnpike_pipeline::policy::{Interface, Policy};
    use turnpike_pipeline::program::CompileContext;

    const OUTSIDE: IfaceId = IfaceId(0);
    const HOST: [u8; 4] = [10, 0, 0, 2];
    const GATEWAY: [u8; 4] = [203, 0, 113, 2];
    const PEER: [u8; 4] = [203, 0, 113, 9];

    /// One interface, with the outside behind it.
    fn program() -> Program {
        let interface = Interface {
            name: "wan".to_owned(),
            port: PortId(0),
            vlan: None,
            addresses: vec!["203.0.113.2/24".parse().unwrap()],
            mtu: 1_500,
        };
        let policy = Policy {
            interfaces: vec![interface],
            ..Policy::default()
        };
        let ports = [PortFacts {
            mac: Mac([2; 6]),
            mtu: 1_500,
            distribution: Arc::new(Distribution::software(1)),
        }];
        let context = CompileContext {
            generation: Generation(1),
            workers: 1,
            ports: &ports,
            previous: None,
            key: HashKey([
                0x0123_4567_89ab_cdef,
                0x1032_5476_98ba_dcfe,
                0x5555_aaaa_3333_cccc,
                0x0f1e_2d3c_4b5a_6978,
            ]),
        };
        Program::compile(&policy, &context)
    }

    fn from_peer(port: u16) -> Tuple<V4> {
        Tuple {
            src: PEER,
            dst: HOST,
            src_port: Port(9),
            dst_port: Port(port),
            proto: Proto::UDP,
        }
    }

    #[test]
    fn the_endpoint_says_more_than_the_address_and_the_flow_most_of_all() {
        let program = program();
        let mut views = Views::<V4>::default();
        assert_eq!(views.fed(&from_peer(5_000), &program), from_peer(5_000));
        let endpoint = Some((Proto::UDP, Port(5_000)));
        let inside = |port| Clue::Inside(OUTSIDE, HOST, port);
        views.clues.note(inside(None), (GATEWAY, Port(1)));
        views.clues.note(inside(endpoint), (GATEWAY, Port(6_000)));
        let fed = |views: &Views<V4>, port| {
            let fed = views.fed(&from_peer(port), &program);
            (fed.dst, fed.dst_port.0)
        };
        assert_eq!(fed(&views, 5_000), (GATEWAY, 6_000));
        assert_eq!(fed(&views, 5_001), (GATEWAY, 5_001));
        let answer = Tuple {
            dst: GATEWAY,
            dst_port: Port(7_000),
            ..from_peer(5_000)
        };
        views.flows.note(from_peer(5_000), answer);
        assert_eq!(fed(&views, 5_000), (GATEWAY, 7_000));
    }
}
