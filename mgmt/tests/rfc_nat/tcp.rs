//! RFC 5382: TCP; and of RFC 7857 what is about TCP.

use turnpike_conntrack::ids::ConnState;
use turnpike_pipeline::drops::DropReason;

use crate::sim::packets::{ACK, RST, SYN, SYN_ACK, at, balanced, one, tcp};
use crate::sim::{LAN, Sim, WAN};
use crate::{
    Cast, FAMILIES, end, error, flow, gateway, is_silent, outside_of, passes, quoted_ends, seconds,
    words,
};

const FIN_ACK: u8 = 0x11;
/// Two hours and four minutes, and four minutes.
const ESTABLISHED_S: u64 = 2 * 3_600 + 4 * 60;
const TRANSITORY_S: u64 = 240;

/// An inside client and an outside server: segments by either, and what they are on the other side.
#[derive(Debug, Clone)]
struct Session {
    inside: String,
    outside: String,
    server: String,
}

impl Session {
    fn of(who: &Cast) -> Self {
        Self {
            inside: end(who.a, 40_000),
            outside: end(who.gateway, 40_000),
            server: end(who.server, 443),
        }
    }

    fn client(&self, sim: &mut Sim, flags: u8, seq: u32, ack: u32) {
        let segment = tcp(LAN, &self.inside, &self.server, flags, seq, ack);
        passes(sim, LAN, segment, WAN, &flow(&self.outside, &self.server));
    }

    fn server(&self, sim: &mut Sim, flags: u8, seq: u32, ack: u32) {
        let segment = tcp(WAN, &self.server, &self.outside, flags, seq, ack);
        passes(sim, WAN, segment, LAN, &flow(&self.server, &self.inside));
    }

    fn handshake(&self, sim: &mut Sim) {
        self.client(sim, SYN, 100, 0);
        self.server(sim, SYN_ACK, 500, 101);
        self.client(sim, ACK, 101, 501);
    }

    /// Whether a segment of the server still finds its way.
    fn answers(&self, sim: &mut Sim, flags: u8, seq: u32, ack: u32) -> bool {
        let segment = tcp(WAN, &self.server, &self.outside, flags, seq, ack);
        sim.inject(WAN, segment).len() == 1
    }
}

#[test]
fn sessions_open_and_close_from_either_end() {
    for who in FAMILIES {
        let mut sim = gateway();
        let session = Session::of(&who);
        session.handshake(&mut sim);
        session.server(&mut sim, FIN_ACK, 501, 101);
        session.client(&mut sim, ACK, 101, 502);
        session.client(&mut sim, FIN_ACK, 101, 502);
        session.server(&mut sim, ACK, 502, 102);
        // Opened outside, towards the published server, and closed by the client.
        let (client, published) = (end(who.stranger, 5_000), end(who.gateway, 8_080));
        let server = end(who.inside_server, 80);
        let inwards = flow(&client, &server);
        let outwards = flow(&published, &client);
        let steps = [
            (WAN, SYN, 1, 0),
            (LAN, SYN_ACK, 9, 2),
            (WAN, ACK, 2, 10),
            (WAN, FIN_ACK, 2, 10),
            (LAN, FIN_ACK, 10, 3),
            (WAN, ACK, 3, 11),
        ];
        for (from, flags, seq, ack) in steps {
            if from == WAN {
                let segment = tcp(WAN, &client, &published, flags, seq, ack);
                passes(&mut sim, WAN, segment, LAN, &inwards);
            } else {
                let segment = tcp(LAN, &server, &client, flags, seq, ack);
                passes(&mut sim, LAN, segment, WAN, &outwards);
            }
        }
        balanced(&sim);
    }
}

#[test]
fn a_simultaneous_open_is_a_session() {
    for who in FAMILIES {
        let mut sim = gateway();
        let session = Session::of(&who);
        session.client(&mut sim, SYN, 100, 0);
        session.server(&mut sim, SYN, 500, 0);
        session.client(&mut sim, SYN_ACK, 100, 501);
        session.server(&mut sim, SYN_ACK, 500, 101);
        session.client(&mut sim, ACK, 101, 501);
        session.server(&mut sim, ACK, 501, 101);
        seconds(&mut sim, ESTABLISHED_S);
        session.server(&mut sim, ACK, 501, 101);
    }
}

#[test]
fn an_unsolicited_syn_is_never_answered_and_does_not_stop_the_open_it_crosses() {
    for who in FAMILIES {
        let mut sim = gateway();
        let session = Session::of(&who);
        let syn = || tcp(WAN, &session.server, &session.outside, SYN, 500, 0);
        let ended = is_silent(&mut sim, WAN, syn());
        assert_eq!(ended.reason, Some(DropReason::FilterRule));
        // Within six seconds the inside opens: the first SYN stays dropped, its repetition passes.
        seconds(&mut sim, 5);
        session.client(&mut sim, SYN, 100, 0);
        session.server(&mut sim, SYN, 500, 0);
        // Where nobody opens, nothing is said afterwards either.
        let mut sim = gateway();
        is_silent(&mut sim, WAN, syn());
        seconds(&mut sim, 3);
        seconds(&mut sim, 4);
        seconds(&mut sim, 60);
    }
}

#[test]
fn an_established_session_may_be_silent_for_two_hours_and_four_minutes() {
    for who in FAMILIES {
        let session = Session::of(&who);
        // Idle, and with something on its way that was never acknowledged.
        for unacknowledged in [false, true] {
            let mut sim = gateway();
            session.handshake(&mut sim);
            if unacknowledged {
                let data = |seq| {
                    let spec = turnpike_pipeline::packet::craft::TcpSpec {
                        flags: ACK,
                        seq,
                        ack: 501,
                        ..Default::default()
                    };
                    let (src, dst) = (at(&session.inside), at(&session.server));
                    let craft = turnpike_pipeline::packet::craft::Craft::tcp(src, dst, spec);
                    crate::to_gateway(LAN, craft.unwrap().payload(b"anybody there?"))
                };
                // Four times: the retransmission timeout holds as well.
                for _ in 0..4 {
                    assert_eq!(sim.inject(LAN, data(101)).len(), 1);
                }
            }
            seconds(&mut sim, ESTABLISHED_S - 1);
            session.server(&mut sim, ACK, 501, 101);
            assert_eq!(sim.last_end().state, Some(ConnState::Established));
        }
    }
}

#[test]
fn a_session_that_opens_or_closes_may_be_silent_for_four_minutes() {
    for who in FAMILIES {
        let session = Session::of(&who);
        for (silence, alive) in [(TRANSITORY_S - 1, true), (TRANSITORY_S + 1, false)] {
            let mut sim = gateway();
            session.client(&mut sim, SYN, 100, 0);
            seconds(&mut sim, silence);
            assert_eq!(session.answers(&mut sim, SYN_ACK, 500, 101), alive);

            let mut sim = gateway();
            session.client(&mut sim, SYN, 100, 0);
            session.server(&mut sim, SYN_ACK, 500, 101);
            seconds(&mut sim, silence);
            assert_eq!(session.answers(&mut sim, SYN_ACK, 500, 101), alive);

            let mut sim = gateway();
            session.handshake(&mut sim);
            session.client(&mut sim, FIN_ACK, 101, 501);
            seconds(&mut sim, silence);
            assert_eq!(session.answers(&mut sim, ACK, 501, 102), alive);

            let mut sim = gateway();
            session.handshake(&mut sim);
            session.client(&mut sim, FIN_ACK, 101, 501);
            session.server(&mut sim, FIN_ACK, 501, 102);
            session.client(&mut sim, ACK, 102, 502);
            seconds(&mut sim, silence);
            assert_eq!(session.answers(&mut sim, FIN_ACK, 501, 102), alive);
        }
    }
}

#[test]
fn a_reset_is_translated_and_its_session_kept_for_four_minutes() {
    for who in FAMILIES {
        let session = Session::of(&who);
        for by_server in [false, true] {
            for (silence, kept) in [(TRANSITORY_S - 1, 1), (TRANSITORY_S + 1, 0)] {
                let mut sim = gateway();
                session.handshake(&mut sim);
                if by_server {
                    session.server(&mut sim, RST, 501, 0);
                } else {
                    session.client(&mut sim, RST, 101, 0);
                }
                seconds(&mut sim, silence);
                assert_eq!(sim.connections(), kept);
            }
        }
    }
}

/// The outside endpoint from which an inside one opens a session.
fn opened(sim: &mut Sim, inside: &str, server: &str) -> String {
    let syn = tcp(LAN, inside, server, SYN, 1, 0);
    outside_of(&sim.inject(LAN, syn))
}

#[test]
fn one_inside_endpoint_has_one_outside_one_towards_everybody() {
    for who in FAMILIES {
        let mut sim = gateway();
        let (a, b) = (end(who.a, 40_000), end(who.b, 40_000));
        let taken = opened(&mut sim, &a, &end(who.server, 443));
        let outside = opened(&mut sim, &b, &end(who.server, 443));
        assert_ne!(outside, taken);
        assert_eq!(opened(&mut sim, &b, &end(who.stranger, 443)), outside);
        assert_eq!(opened(&mut sim, &b, &end(who.server, 80)), outside);
    }
}

#[test]
fn anybody_may_open_a_session_to_a_mapped_endpoint() {
    for who in FAMILIES {
        let mut sim = gateway();
        let (inside, outside) = (end(who.a, 40_000), end(who.gateway, 40_000));
        opened(&mut sim, &inside, &end(who.server, 443));
        let stranger = end(who.stranger, 5_000);
        let syn = tcp(WAN, &stranger, &outside, SYN, 1, 0);
        passes(&mut sim, WAN, syn, LAN, &flow(&stranger, &inside));
        let answer = tcp(LAN, &inside, &stranger, SYN_ACK, 9, 2);
        passes(&mut sim, LAN, answer, WAN, &flow(&outside, &stranger));
        // TCP's mapping opens nothing for UDP.
        let datagram = crate::udp(WAN, &stranger, &outside);
        let ended = is_silent(&mut sim, WAN, datagram);
        assert_eq!(ended.reason, Some(DropReason::FilterRule));
    }
}

#[test]
fn two_inside_hosts_meet_at_their_outside_endpoints() {
    for who in FAMILIES {
        let mut sim = gateway();
        let (a, b) = (end(who.a, 40_000), end(who.b, 50_000));
        for inside in [&a, &b] {
            opened(&mut sim, inside, &end(who.server, 443));
        }
        let (a_outside, b_outside) = (end(who.gateway, 40_000), end(who.gateway, 50_000));
        let there = tcp(LAN, &a, &b_outside, SYN, 1, 0);
        passes(&mut sim, LAN, there, LAN, &flow(&a_outside, &b));
        let back = tcp(LAN, &b, &a_outside, SYN_ACK, 9, 2);
        passes(&mut sim, LAN, back, LAN, &flow(&b_outside, &a));
        balanced(&sim);
    }
}

#[test]
fn two_inside_endpoints_never_share_an_outside_one() {
    for who in FAMILIES {
        let mut sim = gateway();
        let mut open = |inside: &str, server: &str| {
            let syn = tcp(LAN, &end(inside, 40_000), &end(server, 443), SYN, 1, 0);
            at(&outside_of(&sim.inject(LAN, syn)))
        };
        let (first, second) = (open(who.a, who.server), open(who.b, who.stranger));
        assert_eq!(first.ip(), second.ip());
        assert_ne!(first.port(), second.port());
    }
}

#[test]
fn an_inside_host_reaches_an_inside_server_by_the_outside_address() {
    for who in FAMILIES {
        let mut sim = gateway();
        let (inside, server) = (end(who.a, 40_000), end(who.inside_server, 80));
        let (outside, published) = (end(who.gateway, 40_000), end(who.gateway, 8_080));
        let (there, back) = (flow(&outside, &server), flow(&published, &inside));
        let out = tcp(LAN, &inside, &published, SYN, 1, 0);
        passes(&mut sim, LAN, out, LAN, &there);
        let answer = tcp(LAN, &server, &outside, SYN_ACK, 9, 2);
        passes(&mut sim, LAN, answer, LAN, &back);
        let out = tcp(LAN, &inside, &published, ACK, 2, 10);
        passes(&mut sim, LAN, out, LAN, &there);
        balanced(&sim);
    }
}

#[test]
fn an_icmp_error_about_a_session_is_translated_and_ends_nothing() {
    for who in FAMILIES {
        let mut sim = gateway();
        let session = Session::of(&who);
        let syn = tcp(LAN, &session.inside, &session.server, SYN, 100, 0);
        let left = one(&sim.inject(LAN, syn), WAN);
        for kind in [who.port_unreachable, who.host_unreachable] {
            let told = error(WAN, (who.routers[0], who.gateway), kind, &left);
            let told = one(&sim.inject(WAN, told), LAN);
            assert_eq!(words(&told), flow(who.routers[0], who.a));
            assert_eq!(quoted_ends(&told), flow(&session.inside, &session.server));
            assert_eq!(told.parsed.icmp(), Some(kind));
        }
        session.server(&mut sim, SYN_ACK, 500, 101);
        session.client(&mut sim, ACK, 101, 501);
    }
}
