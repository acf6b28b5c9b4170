//! Messages for tests: made at random until one names just what a test wants.

use std::net::SocketAddr;

use super::super::per::{Place, Type};
use super::super::{h225, h245, ras};
use super::generate::{Dice, Encoding};

/// An encoding of the type that names these endpoints, in this order, and no others.
pub fn encoded(
    of: &'static Type,
    names: &[(Place, &str)],
    fits: impl Fn(&[u8]) -> bool,
) -> Vec<u8> {
    let names: Vec<(Place, SocketAddr)> = names.iter().map(|(p, e)| (*p, at(e))).collect();
    let len = |endpoint: &SocketAddr| if endpoint.is_ipv4() { 6 } else { 18 };
    let mut dice = Dice(7);
    for _ in 0..2_000_000 {
        let mut encoding = Encoding::default();
        encoding.add(of, Place::Told, &mut dice);
        let places = encoding.endpoints.iter().map(|(p, at)| (*p, at.len()));
        if !places.eq(names.iter().map(|(p, e)| (*p, len(e)))) {
            continue;
        }
        let mut octets = encoding.octets();
        if !fits(&octets) {
            continue;
        }
        for ((_, range), (_, endpoint)) in encoding.endpoints.iter().zip(&names) {
            octets[range.clone()].copy_from_slice(&name(*endpoint));
        }
        return octets;
    }
    panic!("no message names {names:?}");
}

/// An endpoint as it stands in a message.
pub fn name(endpoint: SocketAddr) -> Vec<u8> {
    let ip = match endpoint {
        SocketAddr::V4(v4) => v4.ip().octets().to_vec(),
        SocketAddr::V6(v6) => v6.ip().octets().to_vec(),
    };
    [ip, endpoint.port().to_be_bytes().to_vec()].concat()
}

pub fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A message of a stream.
pub fn tpkt(message: &[u8]) -> Vec<u8> {
    let [high, low] = ((4 + message.len()) as u16).to_be_bytes();
    [&[3, 0, high, low][..], message].concat()
}

/// A kind of Q.931's messages: it begins a call, tells about one, or ends it.
pub const SETUP: u8 = 5;
pub const FACILITY: u8 = 0x62;
pub const RELEASE_COMPLETE: u8 = 0x5a;

/// Q.931's header, an element in front, and H.225.0's message.
pub fn q931(kind: u8, call: u16, message: &[u8]) -> Vec<u8> {
    let user = [&[5][..], message].concat();
    let [high, low] = (user.len() as u16).to_be_bytes();
    let [call_high, call_low] = call.to_be_bytes();
    let header = [8, 2, call_high, call_low, kind, 0xa1, 0x04, 2, 0x88, 0x90];
    tpkt(&[&header, &[0x7e, high, low][..], &user].concat())
}

/// Call signalling of call 1 that names these endpoints.
pub fn signalling(kind: u8, names: &[(Place, &str)]) -> Vec<u8> {
    q931(kind, 1, &encoded(&h225::USER_INFORMATION, names, |_| true))
}

/// Control of media that names these endpoints.
pub fn media(names: &[(Place, &str)]) -> Vec<u8> {
    tpkt(&encoded(&h245::MESSAGE, names, |_| true))
}

/// A message of registration, admission and status, of this kind, without additions.
pub fn registration(kind: u64, names: &[(Place, &str)]) -> Vec<u8> {
    // A bit, five of the kind, and the bit that says whether there are additions.
    encoded(&ras::MESSAGE, names, |octets| {
        u64::from(octets[0] >> 2) == kind && octets[0] & 2 == 0
    })
}
