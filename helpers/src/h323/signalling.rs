//! Call signalling: H.225.0's messages in those of Q.931, in a stream (port 1720).

use std::time::Duration;

use turnpike_conntrack::ids::Direction;

use super::endpoints::{About, settle};
use super::tpkt::{Packets, Start};
use super::{h225, per, q931};
use crate::helper::{Desk, Helper, Progress};

/// Reads call signalling.
#[derive(Debug, Clone, Default)]
pub struct CallSignalling {
    packets: Packets,
}

impl CallSignalling {
    /// A reader of a connection that begins.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Helper for CallSignalling {
    fn read(&mut self, from: Direction, bytes: &[u8], desk: &mut dyn Desk) -> Progress {
        let begins = |contents: &[u8]| match q931::begins(contents) {
            true => Start::Known,
            false => Start::Foreign,
        };
        self.packets.read(from, bytes, begins, |contents| {
            let Some(message) = q931::read(bytes, contents, from) else {
                return;
            };
            let about = About {
                from,
                call: message.call,
                registered_for: Duration::ZERO,
            };
            let found = message
                .user_information
                .and_then(|range| per::find(bytes, range, &h225::USER_INFORMATION).ok());
            for found in found.iter().flat_map(|f| &f.endpoints) {
                settle(desk, &about, found);
            }
            match message.effect {
                q931::Effect::Ends => desk.withdraw(message.call),
                q931::Effect::GoesOn => {}
            }
        })
    }
}
