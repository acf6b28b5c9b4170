//! Control of media: H.245's messages in a stream of their own, whose port call signalling names.

use std::time::Duration;

use turnpike_conntrack::ids::Direction;

use super::endpoints::{About, settle};
use super::tpkt::{Packets, Start};
use super::{h245, per};
use crate::helper::{Call, Desk, Helper, Progress};

/// Reads the control of media.
#[derive(Debug, Clone, Default)]
pub struct MediaControl {
    packets: Packets,
}

impl MediaControl {
    /// A reader of a connection that begins.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Helper for MediaControl {
    fn read(&mut self, from: Direction, bytes: &[u8], desk: &mut dyn Desk) -> Progress {
        let about = About {
            from,
            call: Call::default(),
            registered_for: Duration::ZERO,
        };
        self.packets.read(
            from,
            bytes,
            |_| Start::Known,
            |contents| {
                let found = per::find(bytes, contents, &h245::MESSAGE);
                for found in found.iter().flat_map(|f| &f.endpoints) {
                    settle(desk, &about, found);
                }
            },
        )
    }
}
